//! A vector as the answer to a READ: its bytes in a pipe, behind the reply's header, from where
//! one splice(2) takes them to /dev/fuse, or all in memory.
//!
//! The header says how long the reply is and has to come first, when it is not yet known how much
//! there is to be had; and of packets nothing may be shown before their footers were seen. So a
//! reply is put together in the pipe, which nobody else reads, and let go as a whole. When it
//! turns out shorter than its header says, or the pipe has too few buffers, what is in the pipe is
//! read back into the segments' own memory and the rest is copied there ([`Fallback`]): no byte is
//! asked for twice, as a socket would not give it twice.

use std::borrow::Cow;
use std::io::IoSlice;

use super::{Buf, BufFlags, BufVec, Pipe, Sink, Stopped};
use crate::Errno;
use crate::recovery::points::{self, Point};
use crate::sys::{file, memory::PAGE, pipe};

/// Why data was copied that was to be spliced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// There was less than the segments say: a file has become shorter, or a stream has ended.
    Short,
    /// The pipe has too few buffers for it.
    Full,
    /// splice(2) does not know this kind of file.
    Unsupported,
    /// The payload has to be looked at, for a checksum.
    Examined,
}

/// Of an attempt to put a vector into a pipe.
pub type Piped = Result<Result<(), Fallback>, Errno>;

impl BufVec<'_> {
    /// Puts `head` and all bytes from the place in it into `to`, which is empty.
    ///
    /// After a [`Fallback`] the pipe is empty again, and the place is behind what is in memory:
    /// [`BufVec::gather`] goes on from there. After an error the pipe may hold anything.
    pub fn put_into(&mut self, head: &[u8], to: Pipe) -> Piped {
        if self.bufs.iter().any(Buf::is_examined) {
            return Ok(Err(Fallback::Examined));
        }
        if self.fewest_slots() > to.slots() {
            return Ok(Err(Fallback::Full));
        }
        put(to, head)?;
        points::reach(Point::PipeHead);
        for index in self.index..self.bufs.len() {
            let from = if index == self.index { self.offset } else { 0 };
            let (moved, stopped) = self.bufs[index].move_to(from, to)?;
            if let Some(fallback) = stopped {
                self.take_back(head.len(), (index, from + moved), to)?;
                return Ok(Err(fallback));
            }
        }
        points::reach(Point::PipeFilled);
        Ok(Ok(()))
    }

    /// Buffers that the bytes take at the least, the head included.
    fn fewest_slots(&self) -> usize {
        1 + self.bufs.iter().map(Buf::slots).sum::<usize>()
    }

    /// Reads what is in the pipe into the segments' memory, up to the place `end`, which is the
    /// vector's place from then on.
    fn take_back(&mut self, head: usize, end: (usize, usize), from: Pipe) -> Result<(), Errno> {
        discard(from, head)?;
        let begin = (self.index, self.offset);
        for index in begin.0..=end.0 {
            let first = if index == begin.0 { begin.1 } else { 0 };
            let buf = &mut self.bufs[index];
            let last = if index == end.0 { end.1 } else { buf.size };
            match buf.room(first, last) {
                Some(room) => from.read_exact(room)?,
                None => discard(from, last - first)?,
            }
        }
        (self.index, self.offset) = end;
        Ok(())
    }

    /// Copies what is not in memory yet into the segments' own; returns how many bytes there are
    /// from the first segment on, which is less than all where a file or stream ends early.
    pub fn gather(&mut self) -> Result<usize, Errno> {
        let mut length = self.bufs[..self.index].iter().map(|buf| buf.size).sum::<usize>();
        for buf in &mut self.bufs[self.index..] {
            let from = std::mem::take(&mut self.offset);
            self.index += 1;
            let wanted = buf.size - from;
            let got = buf.gather(from)?;
            length += from + got;
            if got < wanted {
                break;
            }
        }
        Ok(length)
    }

    /// All bytes, in one piece, copied where they are not in memory.
    pub fn bytes(&mut self) -> Result<Cow<'_, [u8]>, Errno> {
        let length = self.gather()?;
        Ok(match self.bufs.first().map(|buf| buf.mem.bytes()) {
            Some(first) if length <= first.len() => Cow::Borrowed(&first[..length]),
            _ => Cow::Owned(self.slices(length).iter().flat_map(|part| part.to_vec()).collect()),
        })
    }

    /// The first `length` bytes, which [`BufVec::gather`] has brought into memory.
    pub fn slices(&self, length: usize) -> Vec<IoSlice<'_>> {
        let mut left = length;
        let mut slices = Vec::with_capacity(self.bufs.len());
        for buf in &self.bufs {
            let bytes = buf.mem.bytes();
            let bytes = &bytes[..bytes.len().min(buf.size).min(left)];
            left -= bytes.len();
            if !bytes.is_empty() {
                slices.push(IoSlice::new(bytes));
            }
        }
        slices
    }
}

impl Buf<'_> {
    fn is_examined(&self) -> bool {
        self.packets.as_ref().is_some_and(|packets| packets.wants_memory())
    }

    /// Where byte `at` is to be read; `None`: where the descriptor stands.
    fn position(&self, at: usize) -> Option<u64> {
        self.flags.contains(BufFlags::FD_SEEK).then_some(self.pos + at as u64)
    }

    /// Buffers of a pipe that it takes at the least.
    fn slots(&self) -> usize {
        (self.pos as usize % PAGE + self.size).div_ceil(PAGE)
    }

    /// The memory for bytes `from` to `to` of a segment that is elsewhere.
    fn room(&mut self, from: usize, to: usize) -> Option<&mut [u8]> {
        if self.is_memory() {
            return None;
        }
        self.mem.bytes_mut()?.get_mut(from..to)
    }

    /// Moves the bytes behind `from` to the pipe: how many, and what has come between.
    fn move_to(&mut self, from: usize, to: Pipe) -> Result<(usize, Option<Fallback>), Errno> {
        let wanted = self.size - from;
        if let Some(packets) = &mut self.packets {
            return match packets.take(wanted, Sink::Pipe(to)) {
                Ok(moved) => Ok((moved, (moved < wanted).then_some(Fallback::Short))),
                Err(Stopped::Full { moved }) => Ok((moved, Some(Fallback::Full))),
                Err(Stopped::Failed(errno)) => Err(errno),
            };
        }
        let mut moved = 0;
        while moved < wanted {
            let at = from + moved;
            let result = if self.is_memory() {
                nix::unistd::write(to.write, &self.mem.bytes()[at..self.size])
            } else {
                pipe::splice(self.fd, self.position(at), to.write, None, wanted - moved)
            };
            match result {
                Ok(0) => return Ok((moved, Some(Fallback::Short))),
                Ok(length) => moved += length,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok((moved, Some(Fallback::Full))),
                Err(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => {
                    return Ok((moved, Some(Fallback::Unsupported)));
                }
                Err(errno) => return Err(errno),
            }
        }
        Ok((moved, None))
    }

    /// Copies the bytes behind `from` into the segment's memory; returns how many.
    fn gather(&mut self, from: usize) -> Result<usize, Errno> {
        let (fd, pos, size) = (self.fd, self.pos, self.size);
        if self.is_memory() {
            return Ok(size - from);
        }
        let at_position = self.flags.contains(BufFlags::FD_SEEK);
        let mut packets = self.packets.take();
        let room = self.room(from, size).ok_or(Errno::EIO)?;
        match &mut packets {
            Some(packets) => match packets.take(size - from, Sink::Memory(room)) {
                Ok(length) => Ok(length),
                // Memory is never full.
                Err(Stopped::Full { .. }) => Err(Errno::EIO),
                Err(Stopped::Failed(errno)) => Err(errno),
            },
            None if at_position => file::pread(fd, room, pos + from as u64),
            None => file::read_on(fd, room),
        }
    }
}

/// Writes all of `bytes` to a pipe that has room for them.
fn put(to: Pipe, bytes: &[u8]) -> Result<(), Errno> {
    match nix::unistd::write(to.write, bytes) {
        Ok(length) if length == bytes.len() => Ok(()),
        Ok(_) => Err(Errno::EIO),
        Err(errno) => Err(errno),
    }
}

/// Reads `length` bytes from a pipe that has them, for nobody.
fn discard(from: Pipe, mut length: usize) -> Result<(), Errno> {
    let mut bounce = [0; PAGE];
    while length > 0 {
        let part = length.min(bounce.len());
        from.read_exact(&mut bounce[..part])?;
        length -= part;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

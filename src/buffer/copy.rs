//! Copying from one vector to another: what libfuse's `fuse_buf_copy` does.
//!
//! Each pair of segments goes the cheapest way: between memory and a descriptor by read(2) and
//! write(2), between two descriptors by splice(2), through a pipe unless one of them is one. Where
//! splice(2) is refused (EINVAL, as by a file opened with O_APPEND) the rest is copied.
//!
//! * Both vectors advance by what has arrived, never by what was only read. What was taken out of
//!   a stream and could not be delivered becomes a segment of its own in front of what is left of
//!   the stream, so that another call goes on with it. A file is simply read again.
//! * The pipe is empty before and after, whatever happens in between.
//! * Payload of packets is delivered when its packets have been verified. Packets that have failed
//!   are not asked again (EIO): behind a refused one the bytes would be the wrong ones.
//! * A descriptor that may block is waited for, by splice(2) as by read(2); of one that may not,
//!   EAGAIN ends the copy.
//!
//! By splice(2) a file's pages travel as they are: what is written to the file before the other
//! end has read them is what that end reads.

mod transfer;

use super::{Buf, BufFlags, BufVec, Memory, Pipe};
use crate::Errno;
use transfer::{End, Place, Step};

/// Bytes that are copied at once between two descriptors, if the segments bring no room.
const ROOM: usize = 128 << 10;

/// A segment, and the byte in it that comes next.
struct Part<'b, 'a> {
    buf: &'b mut Buf<'a>,
    offset: usize,
}

impl<'a> BufVec<'a> {
    /// Copies from here to `to`, from the places where the two are, until one of them is at its
    /// end, and moves their places on. `pipe` is empty, and nobody else uses it meanwhile.
    ///
    /// Returns how many bytes have arrived: fewer than there was room for when a source ended,
    /// when a transfer was short and its segment has no [`BufFlags::FD_RETRY`], or before an
    /// error. An error when nothing has arrived. EINVAL: the destination is a section, or memory
    /// that cannot be written.
    pub fn copy_to(&mut self, to: &mut BufVec<'_>, mut pipe: Option<Pipe>) -> Result<usize, Errno> {
        let mut scratch = Vec::new();
        let mut done = 0;
        while let (Some(mut source), Some(mut target)) = (self.part(), to.part()) {
            let length = source.left().min(target.left());
            let step = one(&mut source, &mut target, length, pipe, &mut scratch);
            done += step.moved;
            to.offset += step.moved;
            self.offset += step.moved;
            self.put_back(step.undelivered);
            match step.end {
                End::Whole => {}
                End::NoSplice => pipe = None,
                End::Failed(errno) if done == 0 => return Err(errno),
                End::Short | End::Failed(_) => break,
            }
        }
        Ok(done)
    }

    /// What comes next; segments that are used up, or empty, are passed.
    fn part<'b>(&'b mut self) -> Option<Part<'b, 'a>> {
        while self.bufs.get(self.index).is_some_and(|buf| self.offset >= buf.size) {
            self.index += 1;
            self.offset = 0;
        }
        let offset = self.offset;
        self.bufs.get_mut(self.index).map(|buf| Part { buf, offset })
    }

    /// These bytes were next in the stream at the place; they are no longer in it.
    fn put_back(&mut self, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        self.bufs[self.index].size -= self.offset + bytes.len();
        self.bufs.insert(self.index, Buf::owned(bytes));
        self.offset = 0;
    }
}

impl Part<'_, '_> {
    fn left(&self) -> usize {
        self.buf.size - self.offset
    }

    fn place(&self) -> Place {
        let flags = self.buf.flags;
        let at = self.buf.pos.saturating_add(self.offset as u64);
        Place {
            fd: self.buf.fd,
            at: flags.contains(BufFlags::FD_SEEK).then_some(at),
            retry: flags.contains(BufFlags::FD_RETRY),
        }
    }

    /// The memory of a segment without a descriptor.
    fn bytes(&self, length: usize) -> Result<&[u8], Errno> {
        let bytes = self.buf.mem.bytes().get(self.offset..).and_then(|rest| rest.get(..length));
        bytes.ok_or(Errno::EINVAL)
    }

    fn bytes_mut(&mut self, length: usize) -> Result<&mut [u8], Errno> {
        let rest = self.buf.mem.bytes_mut().and_then(|bytes| bytes.get_mut(self.offset..));
        rest.and_then(|rest| rest.get_mut(..length)).ok_or(Errno::EINVAL)
    }
}

/// Moves up to `length` bytes, which both have, from one segment to another.
fn one(
    source: &mut Part<'_, '_>,
    target: &mut Part<'_, '_>,
    length: usize,
    pipe: Option<Pipe>,
    scratch: &mut Vec<u8>,
) -> Step {
    if target.buf.flags.contains(BufFlags::FD_SECTION) {
        return Step::failed(Errno::EINVAL);
    }
    let section = source.buf.flags.contains(BufFlags::FD_SECTION);
    let step = match (source.buf.is_memory(), target.buf.is_memory()) {
        (true, true) => between_memory(source, target, length),
        (false, true) => target.bytes_mut(length).map(|to| match section {
            true => transfer::payload_to_memory(&mut source.buf.packets, to),
            false => source.place().read(to),
        }),
        (true, false) => source.bytes(length).map(|from| target.place().write(from)),
        (false, false) => {
            let (from, to) = (source.place(), target.place());
            Ok(match pipe {
                Some(pipe) if !section => transfer::by_splice(from, to, length, pipe),
                _ => {
                    let room = room(&mut source.buf.mem, &mut target.buf.mem, scratch, length);
                    match section {
                        true => transfer::payload(&mut source.buf.packets, to, length, pipe, room),
                        false => transfer::by_memory(from, to, length, room),
                    }
                }
            })
        }
    };
    step.unwrap_or_else(Step::failed)
}

fn between_memory(
    source: &Part<'_, '_>,
    target: &mut Part<'_, '_>,
    length: usize,
) -> Result<Step, Errno> {
    target.bytes_mut(length)?.copy_from_slice(source.bytes(length)?);
    Ok(Step::whole(length))
}

/// Room for bytes between two descriptors: what one of them brings along, else `scratch`. It may
/// be shorter than `length`.
fn room<'r>(
    source: &'r mut Memory<'_>,
    target: &'r mut Memory<'_>,
    scratch: &'r mut Vec<u8>,
    length: usize,
) -> &'r mut [u8] {
    let least = length.min(ROOM);
    for room in [source.bytes_mut(), target.bytes_mut()].into_iter().flatten() {
        if room.len() >= least {
            return room;
        }
    }
    if scratch.len() < least {
        scratch.resize(least, 0);
    }
    scratch
}

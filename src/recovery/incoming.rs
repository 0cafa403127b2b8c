//! Requests that are read by splice(2): header and arguments lie in the slot, a WRITE's data stays
//! in the slot's pipe until it goes to a file.
//!
//! Reading one is two system calls, splice(2) into the pipe and read(2) of what comes before the
//! data; a worker can die between any two, and the pipe is what tells where: it holds what has not
//! been read yet, and [`Incoming`] says where the rest is. A takeover brings all of it into the
//! slot, as if it had been read there at once ([`Slot::restore`]).

use super::journal::{Incoming, Phase};
use super::points::{self, Point};
use super::slot::Slot;
use crate::Errno;
use crate::buffer::Pipe;
use crate::sys::{Fd, pipe};
use crate::wire::Opcode;

/// fuse_in_header and fuse_write_in: what comes before a WRITE's data.
const WRITE_HEAD: usize = 80;

impl Slot {
    /// As [`Slot::receive`], through `pipe`, which is empty. Of a WRITE with data, `true`, the
    /// data stays in the pipe; everything else lies in the slot.
    pub fn receive_by(&mut self, device: Fd, pipe: Pipe) -> Result<(usize, bool), Errno> {
        self.clear();
        self.journal().reset();
        self.journal().set_incoming(Incoming::Pipe);
        // No more than the slot holds: the kernel puts as many FORGETs together as fit.
        let most = pipe.size.min(self.bytes_mut().len());
        let length = pipe::splice(device, None, pipe.write, None, most)?;
        let stays = self.take_head(pipe, length)?;
        points::reach_with(Point::Read, || self.asked());
        if stays {
            points::reach_with(Point::DataInPipe, || self.asked());
        }
        self.journal().begin();
        points::reach_with(Point::Begun, || self.asked());
        Ok((length, stays))
    }

    /// Reads from the pipe what comes before a WRITE's data, or all of another request. Returns
    /// whether data stays there.
    fn take_head(&mut self, pipe: Pipe, length: usize) -> Result<bool, Errno> {
        let head = length.min(WRITE_HEAD);
        let bytes = self.bytes_mut();
        if length > bytes.len() {
            return Err(Errno::EIO);
        }
        pipe.read_exact(&mut bytes[..head])?;
        if self.asked().0 == Opcode::FUSE_WRITE as u32 && length > WRITE_HEAD {
            return Ok(true);
        }
        pipe.read_exact(&mut self.bytes_mut()[head..length])?;
        self.journal().set_incoming(Incoming::Slot);
        Ok(false)
    }

    /// Takeover: brings what a dead worker has left in the pipe into the slot. Whatever this is
    /// interrupted by, it can be done again.
    ///
    /// EIO: the pipe has gone with the data, as when all processes of a mount were killed, or what
    /// is in it does not fit the header.
    pub fn restore(&mut self, pipe: Option<Pipe>) -> Result<(), Errno> {
        let journal = self.journal();
        if journal.incoming() == Incoming::Slot {
            return Ok(());
        }
        if self.left().is_some() && journal.phase() != Phase::Begun {
            // It has its reply: nobody asks for the data any more.
            journal.set_incoming(Incoming::Slot);
            return Ok(());
        }
        let Some(pipe) = pipe else {
            let lost = self.left().is_some();
            return if lost { Err(Errno::EIO) } else { Ok(()) };
        };
        let data = match (self.left(), pipe.content()?) {
            (None, 0) => false,
            // Not even the header was read.
            (None, length) => self.take_head(pipe, length)?,
            (Some(_), _) => true,
        };
        if data { self.restore_data(pipe) } else { Ok(()) }
    }

    fn restore_data(&mut self, pipe: Pipe) -> Result<(), Errno> {
        let (journal, length) = (self.journal(), self.left().unwrap_or(0));
        let in_pipe = pipe.content()?;
        if self.asked().0 != Opcode::FUSE_WRITE as u32 {
            // What has left the pipe is at its place.
            let first = length.checked_sub(in_pipe).ok_or(Errno::EIO)?;
            let rest = self.bytes_mut().get_mut(first..length).ok_or(Errno::EIO)?;
            pipe.read_exact(rest)?;
            journal.set_incoming(Incoming::Slot);
            return Ok(());
        }
        let whole = length.saturating_sub(WRITE_HEAD);
        if journal.incoming() == Incoming::File && journal.written().is_none() {
            journal.set_written(whole.saturating_sub(in_pipe) as u64);
        }
        let written = journal.written().map_or(0, |bytes| bytes as usize).min(whole);
        let left = whole - written;
        let first = left.checked_sub(in_pipe).ok_or(Errno::EIO)?;
        let (bytes, room) = self.halves_mut();
        let room = room.get_mut(..left).ok_or(Errno::EIO)?;
        pipe.read_exact(&mut room[first..])?;
        let place = bytes.get_mut(length - left..length).ok_or(Errno::EIO)?;
        place.copy_from_slice(room);
        journal.set_incoming(Incoming::Slot);
        Ok(())
    }
}

#[cfg(test)]
mod tests;

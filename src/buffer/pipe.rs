//! A pipe that data passes through on its way from one descriptor to another.
//!
//! It is non-blocking, and holds buffers rather than bytes: each is a page of a file, a fragment
//! from a socket (up to 32 KiB in one), or what one small write left, and there are
//! `size / PAGE` of them (16 unless more are asked for). So it can be full with few bytes in it.

use crate::Errno;
use crate::sys::memory::PAGE;
use crate::sys::{Fd, file, pipe};

/// The two ends, as numbers: copies are cheap, and none of them closes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pipe {
    /// What is read.
    pub read: Fd,
    /// What is written.
    pub write: Fd,
    /// Its room in bytes, if every buffer were full.
    pub size: usize,
}

impl Pipe {
    /// A new pipe with room for `payload` bytes of whole pages and a header before them; less
    /// where the system grants less. The table of the caller keeps and closes it.
    pub fn create(payload: usize) -> Result<Pipe, Errno> {
        let (read, write) = pipe::create()?;
        let mut wanted = (payload + 2 * PAGE).next_power_of_two();
        let size = loop {
            match pipe::set_size(write, wanted) {
                Ok(size) => break Ok(size),
                Err(_) if wanted > 16 * PAGE => wanted /= 2,
                Err(_) => break pipe::size(write),
            }
        };
        let made = size.map(|size| Pipe { read, write, size });
        if made.is_err() {
            Pipe { read, write, size: 0 }.close();
        }
        made
    }

    /// A pipe that is open already.
    pub fn of(read: Fd, write: Fd) -> Result<Pipe, Errno> {
        Ok(Pipe { read, write, size: pipe::size(write)? })
    }

    /// How many buffers it has.
    pub fn slots(self) -> usize {
        self.size / PAGE
    }

    /// Bytes that are in it.
    pub fn content(self) -> Result<usize, Errno> {
        pipe::content(self.read)
    }

    /// Fills `room`; EAGAIN when the pipe does not hold as much.
    pub fn read_exact(self, room: &mut [u8]) -> Result<(), Errno> {
        let length = file::read_on(self.read, room)?;
        if length == room.len() { Ok(()) } else { Err(Errno::EIO) }
    }

    /// Closes both ends.
    pub fn close(self) {
        self.read.close();
        self.write.close();
    }
}

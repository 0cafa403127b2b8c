//! The ways of a block from a descriptor to another.
//!
//! A splice goes through a pipe, which holds buffers rather than bytes: when it has none free the
//! rest is copied, which is the fallback. [`Mode::Fallback`] brings that about: its pipe has one
//! buffer for the payload, or none where one could hold all of it.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv};

use super::frames::Frames;
use super::{BenchError, Mode, Result};
use crate::Errno;
use crate::buffer::section::{Framing, Header};
use crate::buffer::{Packets, Pipe, Section, Sink, Stopped};
use crate::sys::memory::PAGE;
use crate::sys::{Fd, file, pipe};

/// The most that one buffer of a pipe holds: a fragment from a socket.
const FRAGMENT: usize = 32 << 10;

/// Where blocks come from.
pub(super) enum Input {
    /// A file, by position.
    File(Fd),
    /// A socket that is read piece by piece: header, payload, footer.
    Pieces(Fd, Frames),
    /// A socket that is read as packets.
    Packets(Box<Section<Frames>>),
}

/// Moves blocks of one size by one way.
pub(super) struct Mover {
    size: usize,
    buffer: Vec<u8>,
    /// For splices.
    pipe: Option<Pipe>,
    /// A byte is put into the pipe before each block, and taken out again.
    crowded: bool,
    /// How many blocks did not fit into the pipe.
    pub(super) full: u64,
}

impl Drop for Mover {
    fn drop(&mut self) {
        if let Some(pipe) = self.pipe {
            pipe.close();
        }
    }
}

impl Mover {
    /// For blocks of `size` bytes.
    pub(super) fn new(mode: Mode, size: usize) -> Result<Mover> {
        let failed = || BenchError::system("a pipe");
        let crowded = mode == Mode::Fallback;
        let pipe = match mode {
            Mode::Splice => Some(Pipe::create(size).map_err(failed())?),
            Mode::Fallback => {
                let pipe = Pipe::create(size).map_err(failed())?;
                let wanted = if size > FRAGMENT { 2 * PAGE } else { PAGE };
                let granted = pipe::set_size(pipe.write, wanted);
                if granted.is_err() {
                    pipe.close();
                }
                Some(Pipe { size: granted.map_err(failed())?, ..pipe })
            }
            _ => None,
        };
        // Not zeros, which would have no pages before they are written to.
        let buffer = vec![1; size + 1];
        Ok(Mover { size, buffer, pipe, crowded, full: 0 })
    }

    /// The pipe's room in bytes.
    pub(super) fn pipe_bytes(&self) -> Option<usize> {
        self.pipe.map(|pipe| pipe.size)
    }

    /// Moves the block at `at` to `sink`.
    pub(super) fn block(&mut self, input: &mut Input, at: u64, sink: Fd) -> Result<()> {
        let Some(pipe) = self.pipe else {
            take(input, at, &mut self.buffer[..self.size])?;
            return write_all(sink, &self.buffer[..self.size]);
        };
        if self.crowded {
            write_all(pipe.write, &[0])?;
        }
        match self.fill(pipe, input, at) {
            Ok(()) => self.drain(pipe, sink),
            Err(Stopped::Full { moved }) => {
                self.full += 1;
                self.read_out(pipe, moved)?;
                take(input, at + moved as u64, &mut self.buffer[moved..self.size])?;
                write_all(sink, &self.buffer[..self.size])
            }
            Err(Stopped::Failed(errno)) => Err(BenchError::system("splicing a block")(errno)),
        }
    }

    /// The block into the pipe.
    fn fill(&mut self, pipe: Pipe, input: &mut Input, at: u64) -> std::result::Result<(), Stopped> {
        let mut moved = 0;
        match input {
            Input::Packets(section) => moved = section.take(self.size, Sink::Pipe(pipe))?,
            Input::Pieces(..) => return Err(Stopped::Failed(Errno::EINVAL)),
            Input::File(file) => {
                while moved < self.size {
                    let (place, left) = (Some(at + moved as u64), self.size - moved);
                    match pipe::splice(*file, place, pipe.write, None, left) {
                        Ok(0) => break,
                        Ok(n) => moved += n,
                        Err(Errno::EINTR) => {}
                        Err(Errno::EAGAIN) => return Err(Stopped::Full { moved }),
                        Err(errno) => return Err(Stopped::Failed(errno)),
                    }
                }
            }
        }
        if moved < self.size { Err(Stopped::Failed(Errno::ENODATA)) } else { Ok(()) }
    }

    /// The block out of the pipe.
    fn drain(&mut self, pipe: Pipe, sink: Fd) -> Result<()> {
        if self.crowded {
            self.read_out(pipe, 0)?;
        }
        let mut left = self.size;
        while left > 0 {
            match pipe::splice(pipe.read, None, sink, None, left) {
                Ok(n) => left -= n,
                Err(Errno::EINTR) => {}
                // Who reads the sink has not caught up.
                Err(Errno::EAGAIN) => wait_for_room(sink)?,
                Err(errno) => return Err(BenchError::system("splicing to the sink")(errno)),
            }
        }
        Ok(())
    }

    /// `moved` bytes of payload out of the pipe, to the begin of the buffer.
    fn read_out(&mut self, pipe: Pipe, moved: usize) -> Result<()> {
        let (mut first, crowd) = ([0], usize::from(self.crowded));
        let mut done = 0;
        while done < crowd + moved {
            let behind = done.saturating_sub(crowd);
            let parts = &mut [
                IoSliceMut::new(&mut first[..crowd.saturating_sub(done)]),
                IoSliceMut::new(&mut self.buffer[behind..moved]),
            ];
            match nix::sys::uio::readv(pipe.read, parts) {
                Ok(n) => done += n,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(BenchError::system("emptying a pipe")(errno)),
            }
        }
        Ok(())
    }

    /// How many buffers of the pipe the block at `at` takes: what is left is filled with pages and
    /// counted. The block stays at the begin of the returned bytes; its pipe is empty again.
    /// `None`: it does not fit.
    pub(super) fn probe(&mut self, input: &mut Input, at: u64) -> Result<Option<(usize, &[u8])>> {
        let Some(pipe) = self.pipe.filter(|_| !self.crowded) else { return Ok(None) };
        match self.fill(pipe, input, at) {
            Ok(()) => {}
            Err(Stopped::Full { moved }) => {
                self.read_out(pipe, moved)?;
                take(input, at + moved as u64, &mut self.buffer[moved..self.size])?;
                return Ok(None);
            }
            Err(Stopped::Failed(errno)) => return Err(BenchError::system("a probe")(errno)),
        }
        let (mut page, mut free) = ([0; PAGE], 0);
        while nix::unistd::write(pipe.write, &page).is_ok() {
            free += 1;
        }
        self.read_out(pipe, self.size)?;
        for _ in 0..free {
            file::read(pipe.read, &mut page).map_err(BenchError::system("emptying a pipe"))?;
        }
        Ok(Some((pipe.slots() - free, &self.buffer[..self.size])))
    }
}

/// A block, or the rest of one, into memory.
fn take(input: &mut Input, at: u64, room: &mut [u8]) -> Result<()> {
    let failed = || BenchError::system("reading a block");
    let taken = match input {
        Input::File(file) => file::pread(*file, room, at).map_err(failed())?,
        Input::Pieces(socket, frames) => pieces(*socket, frames, room).map_err(failed())?,
        Input::Packets(section) => match section.take(room.len(), Sink::Memory(room)) {
            Ok(taken) => taken,
            Err(Stopped::Failed(errno)) => return Err(failed()(errno)),
            Err(Stopped::Full { .. }) => 0,
        },
    };
    if taken < room.len() { Err(failed()(Errno::ENODATA)) } else { Ok(()) }
}

/// A packet by three reads.
fn pieces(socket: Fd, frames: &mut Frames, room: &mut [u8]) -> std::result::Result<usize, Errno> {
    let mut edge = [0; 128];
    let size = frames.header_size();
    receive(socket, &mut edge[..size])?;
    let Header::Packet { payload, .. } = frames.header(&edge[..size])? else {
        return Err(Errno::EPROTO);
    };
    if payload != room.len() as u64 {
        return Err(Errno::EPROTO);
    }
    receive(socket, room)?;
    let size = frames.footer_size();
    receive(socket, &mut edge[..size])?;
    frames.footer(&edge[..size])?;
    Ok(room.len())
}

fn receive(socket: Fd, room: &mut [u8]) -> std::result::Result<(), Errno> {
    match recv(socket.as_raw_fd(), room, MsgFlags::MSG_WAITALL)? {
        n if n == room.len() => Ok(()),
        _ => Err(Errno::ECONNRESET),
    }
}

pub(super) fn write_all(to: Fd, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match nix::unistd::write(to, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(BenchError::system("writing a block")(errno)),
        }
    }
    Ok(())
}

fn wait_for_room(sink: Fd) -> Result<()> {
    let mut polled = [PollFd::new(sink.as_fd(), PollFlags::POLLOUT)];
    match poll(&mut polled, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(BenchError::system("waiting for the sink")(errno)),
    }
}

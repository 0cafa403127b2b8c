//! `/dev/fuse`: clones, replies, notifications and passthrough registrations.
//!
//! A message to the kernel is one writev(2): a `fuse_out_header` whose length covers all
//! of it. A reply goes to the clone that the request was read from; on another one the
//! kernel does not know it (ENOENT).

mod notify;
pub mod uring;

use std::io::IoSlice;

use zerocopy::IntoBytes;

use crate::Errno;
use crate::buffer::Pipe;
use crate::sys::{Fd, OpFd, device, file};
use crate::wire::{Unique, encode};

/// A message up to this many bytes is written as one part: every reply without data is.
const SHORT: usize = 512;

/// How requests and replies travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Transport {
    /// By read(2) and writev(2); data behind descriptors by splice(2) where that was measured to
    /// take less CPU time
    #[default]
    Auto,
    /// By read(2) and writev(2) alone
    Dev,
    /// Data behind descriptors by splice(2), however little it is
    Splice,
    /// Over io_uring (Linux 6.14, fuse.enable_uring=Y), in no order between CPUs; needs
    /// --no-supervise
    Uring,
}

/// The connection to the kernel of one mount. It is a number only: copies are cheap, and
/// none of them closes anything.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    device: Fd,
    /// Replies go into the calling thread's entry of this io_uring queue.
    queue: Option<u16>,
}

impl Connection {
    /// The connection behind an open /dev/fuse.
    pub fn new(device: Fd) -> Connection {
        Connection { device, queue: None }
    }

    /// The descriptor.
    pub fn device(self) -> Fd {
        self.device
    }

    /// The same for requests that come over io_uring: a reply goes into the entry of the calling
    /// thread, which serves `queue`, and is sent when that is committed.
    pub fn in_queue(self, queue: u16) -> Connection {
        Connection { queue: Some(queue), ..self }
    }

    /// The io_uring queue that replies go to.
    pub fn queue(self) -> Option<u16> {
        self.queue
    }

    /// A further queue on the same connection (FUSE_DEV_IOC_CLONE, Linux 4.2), for one thread.
    /// The table of the caller keeps and closes it.
    pub fn clone_device(self) -> Result<Connection, Errno> {
        // By its descriptor: a sandbox has no /dev.
        let new: OpFd = file::reopen(self.device, libc::O_RDWR)?;
        device::clone(new.get(), self.device)?;
        Ok(Connection::new(new.keep()))
    }

    /// Answers a request with success and `payload`.
    pub fn reply(self, unique: Unique, payload: &[IoSlice<'_>]) -> Result<(), Errno> {
        self.send(unique, None, payload)
    }

    /// Answers a request with an error.
    pub fn reply_error(self, unique: Unique, error: Errno) -> Result<(), Errno> {
        self.send(unique, Some(error), &[])
    }

    /// Sends a whole reply, header and all, which is all that `pipe` holds: the kernel wants it by
    /// one splice(2). Whatever the answer is, it may have taken some out of the pipe.
    pub fn reply_from(self, pipe: Pipe, length: usize) -> Result<(), Errno> {
        crate::sys::pipe::splice(pipe.read, None, self.device, None, length).map(drop)
    }

    /// Sends a whole reply that was put together before.
    pub fn reply_again(self, message: &[u8]) -> Result<(), Errno> {
        self.write_all(&[IoSlice::new(message)])
    }

    fn send(
        self,
        unique: Unique,
        error: Option<Errno>,
        payload: &[IoSlice<'_>],
    ) -> Result<(), Errno> {
        if self.queue.is_some() {
            uring::answer(unique, error, payload);
            return Ok(());
        }
        let length = payload.iter().map(|part| part.len()).sum();
        let header = encode::out_header(unique, error, length);
        self.write(header.as_bytes(), payload)
    }

    /// One message: `head` and what follows it.
    ///
    /// The kernel pins the pages of each part anew, so short messages are put together first.
    fn write(self, head: &[u8], rest: &[IoSlice<'_>]) -> Result<(), Errno> {
        let mut whole = [0; SHORT];
        let mut length = 0;
        for part in std::iter::once(head).chain(rest.iter().map(|part| &**part)) {
            let Some(room) = whole.get_mut(length..length + part.len()) else {
                return self.write_parts(head, rest);
            };
            room.copy_from_slice(part);
            length += part.len();
        }
        self.write_all(&[IoSlice::new(&whole[..length])])
    }

    /// `head` and what follows it, as they are.
    fn write_parts(self, head: &[u8], rest: &[IoSlice<'_>]) -> Result<(), Errno> {
        let mut few = [IoSlice::new(&[]); 4];
        few[0] = IoSlice::new(head);
        if let Some(room) = few.get_mut(1..=rest.len()) {
            room.copy_from_slice(rest);
            return self.write_all(&few[..=rest.len()]);
        }
        self.write_all(&[&few[..1], rest].concat())
    }

    /// One writev(2), which the kernel takes whole or not at all.
    fn write_all(self, parts: &[IoSlice<'_>]) -> Result<(), Errno> {
        loop {
            match device::writev(self.device, parts) {
                Err(Errno::EINTR) => {}
                other => return other.map(drop),
            }
        }
    }

    /// Registers `file` for FUSE_PASSTHROUGH (Linux 6.9, CAP_SYS_ADMIN); returns the backing id.
    pub fn backing_open(self, file: Fd) -> Result<i32, Errno> {
        device::backing_open(self.device, file)
    }

    /// Takes a registration back. Opens that already use it are not disturbed.
    pub fn backing_close(self, id: i32) -> Result<(), Errno> {
        device::backing_close(self.device, id)
    }
}

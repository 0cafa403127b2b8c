//! `/dev/fuse`: clones, replies, notifications and passthrough registrations.
//!
//! A message to the kernel is one writev(2): a `fuse_out_header` whose length covers all
//! of it. A reply goes to the clone that the request was read from; on another one the
//! kernel does not know it (ENOENT).

mod notify;

use std::io::IoSlice;

use zerocopy::IntoBytes;

use crate::Errno;
use crate::sys::{Fd, OpFd, device};
use crate::wire::{Unique, encode};

/// The connection to the kernel of one mount. It is a number only: copies are cheap, and
/// none of them closes anything.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    device: Fd,
}

impl Connection {
    /// The connection behind an open /dev/fuse.
    pub fn new(device: Fd) -> Connection {
        Connection { device }
    }

    /// The descriptor.
    pub fn device(self) -> Fd {
        self.device
    }

    /// A further queue on the same connection (FUSE_DEV_IOC_CLONE, Linux 4.2), for one thread.
    /// The table of the caller keeps and closes it.
    pub fn clone_device(self) -> Result<Connection, Errno> {
        let new: OpFd = device::open()?;
        device::clone(new.get(), self.device)?;
        Ok(Connection { device: new.keep() })
    }

    /// Answers a request with success and `payload`.
    pub fn reply(self, unique: Unique, payload: &[IoSlice<'_>]) -> Result<(), Errno> {
        self.send(unique, None, payload)
    }

    /// Answers a request with an error.
    pub fn reply_error(self, unique: Unique, error: Errno) -> Result<(), Errno> {
        self.send(unique, Some(error), &[])
    }

    fn send(
        self,
        unique: Unique,
        error: Option<Errno>,
        payload: &[IoSlice<'_>],
    ) -> Result<(), Errno> {
        let length = payload.iter().map(|part| part.len()).sum();
        let header = encode::out_header(unique, error, length);
        self.write(header.as_bytes(), payload)
    }

    /// One message: `head` and up to three further parts.
    fn write(self, head: &[u8], rest: &[IoSlice<'_>]) -> Result<(), Errno> {
        let mut parts =
            [IoSlice::new(head), IoSlice::new(&[]), IoSlice::new(&[]), IoSlice::new(&[])];
        parts[1..=rest.len()].copy_from_slice(rest);
        loop {
            match device::writev(self.device, &parts[..=rest.len()]) {
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

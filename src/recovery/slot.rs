//! One serving thread's place in shared memory: what it reads requests into.
//!
//! The kernel copies a request straight into the slot, so that it is still there after the
//! thread's death. The request's id is set to zero before each read: a slot whose id is
//! zero holds no request.

use crate::Errno;
use crate::sys::memory::SharedBuffer;
use crate::sys::{Fd, file};

/// What a request needs beside its data: fuse_in_header and fuse_write_in, on a page so that
/// the data may stay aligned.
const HEAD: usize = 4096;

/// The longest extended attribute (XATTR_SIZE_MAX), which may be longer than a READ or WRITE.
const XATTR_MAX: usize = 64 << 10;
/// Where the unique id stands in fuse_in_header.
const UNIQUE: std::ops::Range<usize> = 8..16;

/// Room for one request and for one reply's data.
#[derive(Debug)]
pub struct Slot {
    request: SharedBuffer,
    reply: SharedBuffer,
}

impl Slot {
    /// A slot for requests that carry up to `max_data` bytes, and replies likewise.
    pub fn new(max_data: usize) -> Result<Slot, Errno> {
        Ok(Slot {
            request: SharedBuffer::new(c"fusex request", HEAD + max_data.max(XATTR_MAX))?,
            reply: SharedBuffer::new(c"fusex reply", max_data.max(XATTR_MAX))?,
        })
    }

    /// Waits for the next request on `device`; returns its length.
    ///
    /// ENODEV: the mount is gone. ENOENT: the request was taken back while it was read.
    pub fn receive(&mut self, device: Fd) -> Result<usize, Errno> {
        self.clear();
        file::read(device, self.request.bytes_mut())
    }

    /// Marks the request as finished.
    pub fn clear(&mut self) {
        self.request.bytes_mut()[UNIQUE].fill(0);
    }

    /// The request's bytes, and the room for its reply's data.
    pub fn parts(&mut self, length: usize) -> (&[u8], &mut [u8]) {
        (&self.request.bytes()[..length], self.reply.bytes_mut())
    }
}

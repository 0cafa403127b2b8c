//! File handles: an inode without an open descriptor.
//!
//! open_by_handle_at(2) wants CAP_DAC_READ_SEARCH and a descriptor of the file system
//! that is not O_PATH. A handle holds the inode's generation, so it never leads to
//! another file that got the same inode number; then it is ESTALE.

use std::ffi::CStr;
use std::os::fd::AsRawFd;

use super::{Fd, OpFd, check};
use crate::Errno;

const MAX_HANDLE: usize = libc::MAX_HANDLE_SZ as usize;

#[repr(C)]
struct RawHandle {
    bytes: u32,
    kind: i32,
    handle: [u8; MAX_HANDLE],
}

/// A file handle, only as long as it has to be.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Handle {
    kind: i32,
    bytes: Box<[u8]>,
}

impl Handle {
    /// The handle of an O_PATH or open descriptor. EOPNOTSUPP: that file system has none.
    pub fn of(fd: Fd) -> Result<Handle, Errno> {
        let mut raw = RawHandle { bytes: MAX_HANDLE as u32, kind: 0, handle: [0; MAX_HANDLE] };
        let (mut mount_id, empty): (i32, &CStr) = (0, c"");
        // SAFETY: `raw` starts with the kernel's struct file_handle, its length field says how
        // many bytes follow, and they do; `mount_id` is an int, the name is NUL-ended.
        let result = unsafe {
            libc::name_to_handle_at(
                fd.as_raw_fd(),
                empty.as_ptr(),
                (&raw mut raw).cast(),
                &raw mut mount_id,
                libc::AT_EMPTY_PATH,
            )
        };
        check(result)?;
        let length = (raw.bytes as usize).min(MAX_HANDLE);
        Ok(Handle { kind: raw.kind, bytes: raw.handle[..length].into() })
    }

    /// The handle of this kind with these bytes, as [`Handle::of`] gave them.
    pub fn new(kind: i32, bytes: &[u8]) -> Handle {
        Handle { kind, bytes: bytes[..bytes.len().min(MAX_HANDLE)].into() }
    }

    /// Its kind, which only its file system understands.
    pub fn kind(&self) -> i32 {
        self.kind
    }

    /// Its bytes, up to 128.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Opens it; `mount` is any descriptor on the handle's file system, not O_PATH.
    pub fn open(&self, mount: Fd, flags: i32) -> Result<OpFd, Errno> {
        let mut raw =
            RawHandle { bytes: self.bytes.len() as u32, kind: self.kind, handle: [0; MAX_HANDLE] };
        raw.handle[..self.bytes.len()].copy_from_slice(&self.bytes);
        // SAFETY: `raw` is laid out as in `of`, with its length field filled in.
        let result = unsafe {
            libc::open_by_handle_at(
                mount.as_raw_fd(),
                (&raw mut raw).cast(),
                flags | libc::O_CLOEXEC,
            )
        };
        Ok(OpFd::new(Fd::from_number(check(result)?)))
    }
}

//! Extended attributes of O_PATH descriptors.
//!
//! f*xattr(2) refuse O_PATH (and so does getxattrat(2) of Linux 6.13); the magic link in
//! /proc leads to the inode, symbolic links included.

use std::ffi::CStr;

use super::file::with_proc_path;
use super::{Fd, check, length};
use crate::Errno;

/// getxattr(2); an empty `buf` asks for the length.
pub fn get(fd: Fd, name: &CStr, buf: &mut [u8]) -> Result<usize, Errno> {
    with_proc_path(fd, |path| {
        // SAFETY: both strings are NUL-ended, the pointer and length are those of `buf`.
        length(unsafe {
            libc::getxattr(path.as_ptr(), name.as_ptr(), buf.as_mut_ptr().cast(), buf.len())
        })
    })
}

/// setxattr(2) with XATTR_CREATE or XATTR_REPLACE or 0.
pub fn set(fd: Fd, name: &CStr, value: &[u8], flags: u32) -> Result<(), Errno> {
    with_proc_path(fd, |path| {
        // SAFETY: both strings are NUL-ended, the pointer and length are those of `value`.
        check(unsafe {
            libc::setxattr(
                path.as_ptr(),
                name.as_ptr(),
                value.as_ptr().cast(),
                value.len(),
                flags as i32,
            )
        })
        .map(drop)
    })
}

/// listxattr(2); an empty `buf` asks for the length.
pub fn list(fd: Fd, buf: &mut [u8]) -> Result<usize, Errno> {
    with_proc_path(fd, |path| {
        // SAFETY: the path is NUL-ended, the pointer and length are those of `buf`.
        length(unsafe { libc::listxattr(path.as_ptr(), buf.as_mut_ptr().cast(), buf.len()) })
    })
}

/// removexattr(2).
pub fn remove(fd: Fd, name: &CStr) -> Result<(), Errno> {
    with_proc_path(fd, |path| {
        // SAFETY: both strings are NUL-ended.
        check(unsafe { libc::removexattr(path.as_ptr(), name.as_ptr()) }).map(drop)
    })
}

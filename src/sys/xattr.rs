//! Extended attributes of O_PATH descriptors, and of names.
//!
//! f*xattr(2) refuse O_PATH (and so does getxattrat(2) of Linux 6.13); the magic link in
//! /proc leads to the inode, symbolic links included.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

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

fn c_path(path: &Path) -> Result<CString, Errno> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)
}

/// lsetxattr(2).
pub fn set_of_path(path: &Path, name: &CStr, value: &[u8], flags: i32) -> Result<(), Errno> {
    let (path, data) = (c_path(path)?, value.as_ptr().cast());
    // SAFETY: both strings are NUL-ended, the pointer and length are those of `value`.
    check(unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), data, value.len(), flags) })
        .map(drop)
}

/// lgetxattr(2) with room for `room` bytes: the length, and what was written; with 0 the length
/// alone.
pub fn get_of_path(path: &Path, name: &CStr, room: usize) -> Result<(usize, Vec<u8>), Errno> {
    let (path, mut value) = (c_path(path)?, vec![0_u8; room]);
    // SAFETY: both strings are NUL-ended, the buffer is as long as is said.
    let size = length(unsafe {
        libc::lgetxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), room)
    })?;
    value.truncate(size);
    Ok((size, value))
}

/// llistxattr(2): the names, sorted.
pub fn list_of_path(path: &Path) -> Result<Vec<String>, Errno> {
    let (path, mut list) = (c_path(path)?, vec![0_u8; 64 << 10]);
    // SAFETY: the string is NUL-ended, the buffer is as long as is said.
    let size =
        length(unsafe { libc::llistxattr(path.as_ptr(), list.as_mut_ptr().cast(), list.len()) })?;
    list.truncate(size);
    let names = list.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut names: Vec<_> = names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    names.sort();
    Ok(names)
}

/// lremovexattr(2).
pub fn remove_of_path(path: &Path, name: &CStr) -> Result<(), Errno> {
    let path = c_path(path)?;
    // SAFETY: both strings are NUL-ended.
    check(unsafe { libc::lremovexattr(path.as_ptr(), name.as_ptr()) }).map(drop)
}

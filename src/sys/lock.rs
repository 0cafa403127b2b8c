//! flock(2) and open-file-description locks.

use std::os::fd::AsRawFd;

use super::{Fd, check};
use crate::Errno;

/// flock(2) with LOCK_SH, LOCK_EX or LOCK_UN, and LOCK_NB.
pub fn flock(fd: Fd, operation: i32) -> Result<(), Errno> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::flock(fd.as_raw_fd(), operation) }).map(drop)
}

/// A lock of F_RDLCK, F_WRLCK or F_UNLCK on the bytes from `start` to `end`, both included.
fn range(kind: u32, start: u64, end: u64) -> libc::flock {
    let length = if end >= i64::MAX as u64 { 0 } else { end - start.min(end) + 1 };
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start as i64,
        l_len: length as i64,
        l_pid: 0,
    }
}

/// F_OFD_SETLK, or F_OFD_SETLKW when `wait`.
pub fn set(fd: Fd, kind: u32, start: u64, end: u64, wait: bool) -> Result<(), Errno> {
    let command = if wait { libc::F_OFD_SETLKW } else { libc::F_OFD_SETLK };
    let lock = range(kind, start, end);
    // SAFETY: the command reads one struct flock, which `lock` is.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), command, &raw const lock) }).map(drop)
}

/// F_OFD_GETLK: the lock in the way as (type, start, end), or `None`.
pub fn get(fd: Fd, kind: u32, start: u64, end: u64) -> Result<Option<(u32, u64, u64)>, Errno> {
    let mut lock = range(kind, start, end);
    // SAFETY: the command reads and writes one struct flock, which `lock` is.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) })?;
    if i32::from(lock.l_type) == libc::F_UNLCK {
        return Ok(None);
    }
    let start = lock.l_start as u64;
    let end = if lock.l_len == 0 { i64::MAX as u64 } else { start + lock.l_len as u64 - 1 };
    Ok(Some((lock.l_type as u32, start, end)))
}

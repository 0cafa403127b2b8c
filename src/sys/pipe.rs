//! Pipes, and splice(2) to and from them.

use std::cell::Cell;
use std::os::fd::AsRawFd;

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl};

use super::{Fd, check};
use crate::Errno;

mod request {
    nix::ioctl_read_bad!(readable_bytes, libc::FIONREAD, libc::c_int);
}

thread_local! {
    static SPLICES: Cell<u64> = const { Cell::new(0) };
}

/// Calls of splice(2) by this thread so far that moved bytes.
pub fn splices() -> u64 {
    SPLICES.get()
}

/// A non-blocking pipe: what is read, and what is written.
pub fn create() -> Result<(Fd, Fd), Errno> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    Ok((Fd::from_owned(read), Fd::from_owned(write)))
}

/// Makes room for `bytes` at the least; returns the room that there is now, in bytes.
///
/// EPERM: more than /proc/sys/fs/pipe-max-size without CAP_SYS_RESOURCE, or the user has too many
/// pages in pipes.
pub fn set_size(pipe: Fd, bytes: usize) -> Result<usize, Errno> {
    let bytes = i32::try_from(bytes).map_err(|_| Errno::EINVAL)?;
    fcntl(pipe, FcntlArg::F_SETPIPE_SZ(bytes)).map(|size| size as usize)
}

/// The room of a pipe in bytes, if every buffer were full.
pub fn size(pipe: Fd) -> Result<usize, Errno> {
    fcntl(pipe, FcntlArg::F_GETPIPE_SZ).map(|size| size as usize)
}

/// How many bytes can be read at once: from a pipe all that are in it.
pub fn content(fd: Fd) -> Result<usize, Errno> {
    let mut bytes = 0;
    // SAFETY: the request writes one int, which `bytes` is.
    check(unsafe { request::readable_bytes(fd.as_raw_fd(), &raw mut bytes) }?)?;
    Ok(bytes as usize)
}

/// splice(2): one of the two is a pipe. At a position, or where the descriptor stands. EAGAIN: the
/// pipe is full or empty, or the other end has nothing, or no room.
pub fn splice(
    from: Fd,
    from_at: Option<u64>,
    to: Fd,
    to_at: Option<u64>,
    length: usize,
) -> Result<usize, Errno> {
    let position = |at: Option<u64>| at.map(super::file::position).transpose();
    let (mut from_at, mut to_at) = (position(from_at)?, position(to_at)?);
    let flags = SpliceFFlags::SPLICE_F_NONBLOCK;
    let moved = nix::fcntl::splice(from, from_at.as_mut(), to, to_at.as_mut(), length, flags);
    SPLICES.set(SPLICES.get() + u64::from(moved.is_ok_and(|bytes| bytes > 0)));
    moved
}

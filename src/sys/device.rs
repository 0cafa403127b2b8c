//! The ioctls of /dev/fuse, and its vectored reads and writes.
//!
//! From include/uapi/linux/fuse.h: CLONE since Linux 4.2, BACKING_OPEN and BACKING_CLOSE
//! since 6.9 (CAP_SYS_ADMIN).

use std::io::IoSlice;
use std::os::fd::AsRawFd;

use super::{Fd, check, length};
use crate::Errno;

#[repr(C)]
struct BackingMap {
    fd: i32,
    flags: u32,
    padding: u64,
}

mod request {
    nix::ioctl_read!(clone, 229, 0, u32);
    nix::ioctl_write_ptr!(backing_open, 229, 1, super::BackingMap);
    nix::ioctl_write_ptr!(backing_close, 229, 2, u32);
}

/// Makes `new`, a freshly opened /dev/fuse, a further queue of the connection of `device`.
pub fn clone(new: Fd, device: Fd) -> Result<(), Errno> {
    let mut number = device.number() as u32;
    // SAFETY: the request reads one u32, which `number` is.
    unsafe { request::clone(new.as_raw_fd(), &raw mut number) }.map(drop)
}

/// Registers `file` for passthrough; returns its backing id.
pub fn backing_open(device: Fd, file: Fd) -> Result<i32, Errno> {
    let map = BackingMap { fd: file.number(), flags: 0, padding: 0 };
    // SAFETY: the request reads one struct fuse_backing_map, which `map` is.
    unsafe { request::backing_open(device.as_raw_fd(), &raw const map) }
}

/// Takes a registration back; opens that use it keep it alive.
pub fn backing_close(device: Fd, id: i32) -> Result<(), Errno> {
    let id = id as u32;
    // SAFETY: the request reads one u32, which `id` is.
    unsafe { request::backing_close(device.as_raw_fd(), &raw const id) }.map(drop)
}

/// One writev(2): one whole message to the kernel.
pub fn writev(device: Fd, parts: &[IoSlice<'_>]) -> Result<usize, Errno> {
    let count = parts.len() as i32;
    // SAFETY: IoSlice is guaranteed to have the layout of iovec; `count` is their number.
    length(unsafe { libc::writev(device.as_raw_fd(), parts.as_ptr().cast(), count) })
}

/// Whether `fd` is /dev/fuse, and its mount is there.
pub fn is_connected(fd: Fd) -> bool {
    // include/linux/miscdevice.h: the character device 10:229; that of the module fusebpf gets
    // another second number each time.
    let is_fuse = super::file::fstatx(fd).is_ok_and(|stat| stat.stx_rdev_major == 10);
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one struct pollfd is passed, and its count is 1.
    let polled = check(unsafe { libc::poll(&raw mut poll, 1, 0) });
    is_fuse && polled.is_ok() && poll.revents & libc::POLLERR == 0
}

/// Whether poll(2) says that there is something to read, within `milliseconds` (-1: for ever).
pub fn readable(device: Fd, milliseconds: i32) -> Result<bool, Errno> {
    let mut poll = libc::pollfd { fd: device.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one struct pollfd is passed, and its count is 1.
    check(unsafe { libc::poll(&raw mut poll, 1, milliseconds) }).map(|n| n > 0)
}

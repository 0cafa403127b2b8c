//! Calls on names in a directory. None of them follows the last component.

use std::ffi::CStr;
use std::os::fd::AsRawFd;

use nix::fcntl::AtFlags;
use nix::sys::stat::{Mode, SFlag};
use nix::unistd::UnlinkatFlags;

use super::{Fd, check, length};
use crate::Errno;

/// mkdirat(2).
pub fn mkdir(dir: Fd, name: &CStr, mode: u32) -> Result<(), Errno> {
    nix::sys::stat::mkdirat(dir, name, Mode::from_bits_truncate(mode))
}

/// mknodat(2): `mode` has the type, `rdev` is in the kernel's encoding of FUSE.
pub fn mknod(dir: Fd, name: &CStr, mode: u32, rdev: u32) -> Result<(), Errno> {
    let kind = SFlag::from_bits_truncate(mode & libc::S_IFMT);
    nix::sys::stat::mknodat(dir, name, kind, Mode::from_bits_truncate(mode), device(rdev))
}

/// The device number in the encoding that FUSE uses (12 bits major, 20 bits minor) as libc's.
fn device(rdev: u32) -> libc::dev_t {
    let major = rdev >> 8 & 0xfff;
    let minor = rdev & 0xff | rdev >> 12 & 0xfff00;
    libc::makedev(major, minor)
}

/// symlinkat(2).
pub fn symlink(target: &CStr, dir: Fd, name: &CStr) -> Result<(), Errno> {
    nix::unistd::symlinkat(target, dir, name)
}

/// A further name for the inode of an O_PATH descriptor.
///
/// By the magic link, so that it works without CAP_DAC_READ_SEARCH and for O_TMPFILE.
pub fn link(node: Fd, dir: Fd, name: &CStr) -> Result<(), Errno> {
    let direct = nix::unistd::linkat(node, c"", dir, name, AtFlags::AT_EMPTY_PATH);
    if direct != Err(Errno::ENOENT) {
        return direct;
    }
    super::file::with_proc_path(node, |path| {
        nix::unistd::linkat(Fd::CWD, path, dir, name, AtFlags::AT_SYMLINK_FOLLOW)
    })
}

/// unlinkat(2).
pub fn unlink(dir: Fd, name: &CStr) -> Result<(), Errno> {
    nix::unistd::unlinkat(dir, name, UnlinkatFlags::NoRemoveDir)
}

/// unlinkat(2) of a directory.
pub fn rmdir(dir: Fd, name: &CStr) -> Result<(), Errno> {
    nix::unistd::unlinkat(dir, name, UnlinkatFlags::RemoveDir)
}

/// renameat2(2); with no flags renameat(2), which every file system has.
pub fn rename(from: Fd, old: &CStr, to: Fd, new: &CStr, flags: u32) -> Result<(), Errno> {
    // SAFETY: both names are NUL-ended.
    let result = unsafe {
        libc::renameat2(from.as_raw_fd(), old.as_ptr(), to.as_raw_fd(), new.as_ptr(), flags)
    };
    check(result).map(drop)
}

/// readlinkat(2) of an O_PATH descriptor of the link itself.
pub fn readlink(node: Fd, buf: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the name is NUL-ended, the pointer and length are those of `buf`.
    length(unsafe {
        libc::readlinkat(node.as_raw_fd(), c"".as_ptr(), buf.as_mut_ptr().cast(), buf.len())
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn device_numbers_are_translated() {
        assert_eq!(super::device(0x0103), libc::makedev(1, 3));
        // Minor 0x12345: its low byte stays, the rest goes above the major.
        assert_eq!(super::device(0x1230_0845), libc::makedev(8, 0x12345 & 0xff | 0x12300));
    }
}

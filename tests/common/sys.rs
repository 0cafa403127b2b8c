//! System calls that have no safe wrapper elsewhere, as a program would make them.
#![allow(unsafe_code)]

use std::ffi::{CString, c_int};
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

// Each test binary uses its own part of these too.
#[allow(unused_imports)]
pub(crate) use fusex::sys::map::Map;
#[allow(unused_imports)]
pub(crate) use fusex::sys::stream::Stream;
#[allow(unused_imports)]
pub(crate) use fusex::sys::xattr::{
    get_of_path as get_xattr, list_of_path as list_xattrs, remove_of_path as remove_xattr,
    set_of_path as set_xattr,
};

use super::Caller;

type Result<T> = std::result::Result<T, Errno>;

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

fn check(result: i64) -> Result<i64> {
    if result == -1 { Err(Errno::last()) } else { Ok(result) }
}

/// Makes the calling thread alone act as `caller`, with a umask of its own.
pub(crate) fn become_caller(caller: &Caller) {
    let (uid, gid, groups) = (caller.uid, caller.gid, caller.groups);
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).unwrap();
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_retain(caller.umask));
    // SAFETY: the raw calls change this thread only; the list is as long as is said.
    unsafe {
        check(libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr())).unwrap();
        check(libc::syscall(libc::SYS_setresgid, gid, gid, gid)).unwrap();
        check(libc::syscall(libc::SYS_setresuid, uid, uid, uid)).unwrap();
    }
}

/// llistxattr(2) with room for `room` bytes: how many it took, or would take.
pub(crate) fn list_xattrs_into(path: &Path, room: usize) -> Result<usize> {
    let (path, mut list) = (c_path(path), vec![0u8; room]);
    // SAFETY: the string ends in NUL, the buffer is as long as is said.
    let result = unsafe { libc::llistxattr(path.as_ptr(), list.as_mut_ptr().cast(), room) };
    check(result as i64).map(|size| size as usize)
}

/// FS_IOC_GETFLAGS: what lsattr shows.
pub(crate) fn get_flags(file: &File) -> Result<u32> {
    let mut flags: libc::c_long = 0;
    // SAFETY: the call writes an int, and there is room for a long.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_GETFLAGS, &raw mut flags) }.into())?;
    Ok(flags as u32)
}

/// FS_IOC_SETFLAGS: what chattr does.
pub(crate) fn set_flags(file: &File, flags: u32) -> Result<()> {
    let flags = libc::c_long::from(flags);
    // SAFETY: the call reads an int, and there is a long.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_SETFLAGS, &raw const flags) }.into())
        .map(drop)
}

/// flock(2), which is not tried again after EINTR.
pub(crate) fn flock(file: &File, operation: c_int) -> Result<()> {
    fusex::sys::lock::flock(fusex::sys::Fd::from_number(file.as_raw_fd()), operation)
}

/// Sends `signal` to one thread of another process.
pub(crate) fn signal_thread(process: i32, thread: i32, signal: Signal) -> Result<()> {
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal as c_int) }).map(drop)
}

/// A process that stays the same one, whoever gets its number later: pidfd_open(2).
pub(crate) fn pidfd(process: i32) -> Result<OwnedFd> {
    // SAFETY: numbers only.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) })?;
    // SAFETY: a new descriptor that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Sends `signal` to the process: pidfd_send_signal(2).
pub(crate) fn signal_pidfd(process: &OwnedFd, signal: Signal) -> Result<()> {
    let (fd, none) = (process.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
    // SAFETY: numbers, and no information to go with the signal.
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal as c_int, none, 0) };
    check(sent).map(drop)
}

extern "C" fn nothing(_: c_int) {}

/// Lets `signal` interrupt system calls and do nothing else.
pub(crate) fn let_interrupt(signal: Signal) {
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler is an empty function.
    unsafe { sigaction(signal, &action) }.unwrap();
}

/// A descriptor's number as a file of this process in /proc.
pub(crate) fn proc_path(fd: BorrowedFd<'_>) -> std::path::PathBuf {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into()
}

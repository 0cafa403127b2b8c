//! System calls that have no safe wrapper elsewhere, as a program would make them.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsString, c_int, c_void};
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

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

/// setxattr(2), or lsetxattr(2): a symbolic link at the end is not followed.
pub(crate) fn set_xattr(path: &Path, name: &CStr, value: &[u8], flags: c_int) -> Result<()> {
    let path = c_path(path);
    // SAFETY: strings end in NUL, the value is as long as is said.
    let result = unsafe {
        libc::lsetxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast::<c_void>(),
            value.len(),
            flags,
        )
    };
    check(result.into()).map(drop)
}

/// lgetxattr(2) with room for `room` bytes; 0 asks for the size alone.
pub(crate) fn get_xattr(path: &Path, name: &CStr, room: usize) -> Result<(usize, Vec<u8>)> {
    let (path, mut value) = (c_path(path), vec![0; room]);
    // SAFETY: strings end in NUL, the buffer is as long as is said.
    let result = unsafe {
        libc::lgetxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast::<c_void>(), room)
    };
    let size = check(result as i64)? as usize;
    value.truncate(size);
    Ok((size, value))
}

/// llistxattr(2): the names, sorted.
pub(crate) fn list_xattrs(path: &Path) -> Result<Vec<String>> {
    let (path, mut list) = (c_path(path), vec![0u8; 64 << 10]);
    // SAFETY: the string ends in NUL, the buffer is as long as is said.
    let result = unsafe { libc::llistxattr(path.as_ptr(), list.as_mut_ptr().cast(), list.len()) };
    list.truncate(check(result as i64)? as usize);
    let names = list.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut names: Vec<_> = names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    names.sort();
    Ok(names)
}

/// llistxattr(2) with room for `room` bytes: how many it took, or would take.
pub(crate) fn list_xattrs_into(path: &Path, room: usize) -> Result<usize> {
    let (path, mut list) = (c_path(path), vec![0u8; room]);
    // SAFETY: the string ends in NUL, the buffer is as long as is said.
    let result = unsafe { libc::llistxattr(path.as_ptr(), list.as_mut_ptr().cast(), room) };
    check(result as i64).map(|size| size as usize)
}

/// lremovexattr(2).
pub(crate) fn remove_xattr(path: &Path, name: &CStr) -> Result<()> {
    let path = c_path(path);
    // SAFETY: strings end in NUL.
    check(unsafe { libc::lremovexattr(path.as_ptr(), name.as_ptr()) }.into()).map(drop)
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
    // SAFETY: a descriptor and a number.
    check(unsafe { libc::flock(file.as_raw_fd(), operation) }.into()).map(drop)
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

/// Memory that maps a file from its beginning.
pub(crate) struct Map {
    start: *mut u8,
    length: usize,
}

// SAFETY: memory of the whole process, not of one thread.
unsafe impl Send for Map {}

impl Map {
    /// Maps `length` bytes; `shared` writes go to the file.
    pub(crate) fn new(file: &File, length: usize, write: bool, shared: bool) -> Result<Map> {
        let protection = libc::PROT_READ | if write { libc::PROT_WRITE } else { 0 };
        let flags = if shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
        let none = std::ptr::null_mut();
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { libc::mmap(none, length, protection, flags, file.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            Err(Errno::last())
        } else {
            Ok(Map { start: start.cast(), length })
        }
    }

    /// A copy of some of it.
    pub(crate) fn read(&self, at: usize, length: usize) -> Vec<u8> {
        assert!(at + length <= self.length);
        // SAFETY: within the mapping; others may change it meanwhile, hence volatile.
        (at..at + length).map(|i| unsafe { self.start.add(i).read_volatile() }).collect()
    }

    /// Writes to the memory.
    pub(crate) fn write(&self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.length);
        for (i, byte) in bytes.iter().enumerate() {
            // SAFETY: within the mapping, which the caller made writable.
            unsafe { self.start.add(at + i).write_volatile(*byte) };
        }
    }

    /// msync(2) of all of it, waiting for the data.
    pub(crate) fn sync(&self) -> Result<()> {
        // SAFETY: the mapping as it was made.
        check(unsafe { libc::msync(self.start.cast(), self.length, libc::MS_SYNC) }.into())
            .map(drop)
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping as it was made; nothing refers to it any more.
        unsafe { libc::munmap(self.start.cast(), self.length) };
    }
}

/// A directory stream of libc, with its positions.
pub(crate) struct Stream(*mut libc::DIR);

// SAFETY: libc's streams belong to no thread; whoever has it uses it alone.
unsafe impl Send for Stream {}

impl Stream {
    pub(crate) fn open(path: &Path) -> Result<Stream> {
        let path = c_path(path);
        // SAFETY: the string ends in NUL.
        let stream = unsafe { libc::opendir(path.as_ptr()) };
        if stream.is_null() { Err(Errno::last()) } else { Ok(Stream(stream)) }
    }

    /// The next name, with its inode number; without `.` and `..`.
    pub(crate) fn next(&mut self) -> Result<Option<(OsString, u64)>> {
        loop {
            Errno::clear();
            // SAFETY: an open stream, used by one thread.
            let entry = unsafe { libc::readdir64(self.0) };
            if entry.is_null() {
                return if Errno::last_raw() == 0 { Ok(None) } else { Err(Errno::last()) };
            }
            // SAFETY: the entry is valid until the next call, and its name ends in NUL.
            let (name, ino) = unsafe {
                let name = CStr::from_ptr((&raw const (*entry).d_name).cast());
                (name.to_bytes().to_vec(), (*entry).d_ino)
            };
            if name != b"." && name != b".." {
                return Ok(Some((OsString::from_vec(name), ino)));
            }
        }
    }

    /// All names that are left.
    pub(crate) fn rest(&mut self) -> Result<Vec<OsString>> {
        let mut names = Vec::new();
        while let Some((name, _)) = self.next()? {
            names.push(name);
        }
        Ok(names)
    }

    /// telldir(3).
    pub(crate) fn tell(&self) -> i64 {
        // SAFETY: an open stream.
        unsafe { libc::telldir(self.0) }
    }

    /// seekdir(3), to what `tell` gave.
    pub(crate) fn seek(&mut self, position: i64) {
        // SAFETY: an open stream.
        unsafe { libc::seekdir(self.0, position) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: an open stream, not used any more.
        unsafe { libc::closedir(self.0) };
    }
}

/// A descriptor's number as a file of this process in /proc.
pub(crate) fn proc_path(fd: BorrowedFd<'_>) -> std::path::PathBuf {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into()
}

//! File descriptors as indices.

use crate::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

/// An index into the process's fd table. Copying it copies the number only; nothing
/// is closed when it goes out of scope.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(transparent)]
pub struct Fd(RawFd);

impl Fd {
    /// The current directory, for the `*at` calls.
    pub const CWD: Fd = Fd(libc::AT_FDCWD);
    /// No descriptor: every call on it answers EBADF.
    pub const NONE: Fd = Fd(-9);

    /// The descriptor with this number.
    pub fn from_number(number: RawFd) -> Fd {
        if number == -1 { Fd::NONE } else { Fd(number) }
    }

    /// Takes a descriptor out of an owner: from here on its table closes it.
    pub fn from_owned(owned: OwnedFd) -> Fd {
        Fd(owned.into_raw_fd())
    }

    /// Gives the descriptor an owner that closes it.
    pub fn into_owned(self) -> OwnedFd {
        // SAFETY: `from_raw_fd` wants a number other than -1, which the constructors
        // never store; that nobody else closes it is the caller's decision, and a
        // mistake there is a wrong descriptor, not broken memory.
        unsafe { OwnedFd::from_raw_fd(self.0) }
    }

    /// The number.
    pub fn number(self) -> RawFd {
        self.0
    }

    /// What closing it would report: closes a copy.
    pub fn flush(self) -> Result<(), Errno> {
        // SAFETY: no memory is passed; the copy is closed by number and known to nobody else.
        unsafe {
            let copy = super::check(libc::dup(self.0))?;
            super::check(libc::close(copy)).map(drop)
        }
    }

    /// Closes it. An error is of no use to anyone: the number is free in any case.
    pub fn close(self) {
        if self.0 >= 0 {
            drop(self.into_owned());
        }
    }
}

/// Makes the table of this process large enough for `count` descriptors, or as many as its limit
/// allows; `any` is an open one.
///
/// The kernel doubles a table when it is full, and where threads or processes share it, waits for
/// all CPUs each time (synchronize_rcu): seven times some 5 ms on the way to 16,384 descriptors,
/// during which a server answers nobody. Before it is shared it costs next to nothing.
pub fn make_room(any: Fd, count: usize) {
    use nix::sys::resource::{Resource, getrlimit};
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    let count = (count as u64).min(limit).min(i32::MAX as u64);
    let last = nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(count.saturating_sub(1) as RawFd);
    // Without it the table grows when it is full.
    if let Ok(number) = nix::fcntl::fcntl(any, last) {
        Fd(number).close();
    }
}

/// Closes all of `first` to `last` that are open (close_range(2), Linux 5.9; before it one by one).
pub fn close_range(first: RawFd, last: RawFd) {
    let (first, last) = (first.max(0) as u32, last.max(0) as u32);
    // SAFETY: no memory is passed; that nobody else uses these is the caller's decision.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } == 0;
    if !closed {
        let highest = nix::unistd::sysconf(nix::unistd::SysconfVar::OPEN_MAX);
        let highest = highest.ok().flatten().unwrap_or(1 << 20) as u32;
        (first..=last.min(highest)).for_each(|number| Fd(number as RawFd).close());
    }
}

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the number is never -1 (see `from_number`); the borrow is handed to
        // one system call, which checks the number itself.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

/// A descriptor that lives within one request: opened and closed by the same call.
/// It never enters a table, and there is no unwinding that could close it early.
#[derive(Debug)]
pub struct OpFd(Fd);

impl OpFd {
    /// Closes `fd` at the end of the scope.
    pub fn new(fd: Fd) -> OpFd {
        OpFd(fd)
    }

    /// The descriptor, for as long as `self` lives.
    pub fn get(&self) -> Fd {
        self.0
    }

    /// Keeps the descriptor open: it goes into a table.
    pub fn keep(self) -> Fd {
        let fd = self.0;
        std::mem::forget(self);
        fd
    }
}

impl Drop for OpFd {
    fn drop(&mut self) {
        self.0.close();
    }
}

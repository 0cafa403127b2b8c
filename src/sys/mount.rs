//! What the process that waits to unmount needs beyond nix.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::resource::{Resource, getrlimit};

use super::check;
use crate::Errno;

/// Closes every descriptor of the process except `keep`.
///
/// For a freshly forked process only, which uses none of what its parent's objects hold.
pub fn close_all_but(keep: BorrowedFd<'_>) -> Result<(), Errno> {
    let keep = keep.as_raw_fd();
    if keep > 0 {
        close_from_to(0, keep - 1)?;
    }
    close_from_to(keep + 1, libc::c_int::MAX)
}

/// close_range(2), or one by one before Linux 5.9.
fn close_from_to(first: libc::c_int, last: libc::c_int) -> Result<(), Errno> {
    // SAFETY: no memory is passed; that the descriptors are not used again is what the
    // caller of `close_all_but` promises.
    match check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }) {
        Err(Errno::ENOSYS) => {}
        other => return other.map(drop),
    }
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let limit = libc::c_int::try_from(soft).unwrap_or(libc::c_int::MAX);
    for fd in first..=last.min(limit) {
        // SAFETY: as above; EBADF of a number that is not open is of no interest.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

/// Ends the process at once: no destructor, no buffer of the parent's is flushed twice.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

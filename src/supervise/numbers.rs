//! The descriptors of the supervisor, by number.
//!
//! Fd table and memory part ways: a standby's memory is as old as the standby, the table is
//! always today's. So what a supervisor holds has fixed numbers, below [`FIRST`], which
//! a takeover never touches. A number of these that is not in use holds a placeholder, so that no
//! open(2) of a worker gets it.
//!
//! A descriptor above exists here for a moment only (pidfd_open, accept), and only while no worker
//! is taking over: a takeover closes whatever no table knows.

use crate::Errno;
use crate::recovery::fds::FIRST;
use crate::sys::{Fd, clone, file};
use nix::fcntl::{FcntlArg, fcntl};

use super::SuperviseError;

/// The signalfd. It tells each reader of its own signals, so all supervisors use the same.
pub(super) const SIGNALS: i32 = 48;
/// The listening control socket.
pub(super) const LISTENER: i32 = 49;
/// Clients of the control socket: [`CLIENT_COUNT`] numbers from here.
pub(super) const CLIENTS: i32 = 50;
/// How many clients are served at a time.
pub(super) const CLIENT_COUNT: usize = 7;
/// The spare's pidfd.
pub(super) const SPARE: i32 = 57;
/// The pidfd of the worker that died last: how it ended is asked when its successor runs.
pub(super) const DEAD_WORKER: i32 = 58;
/// Keeps a number taken; refers to nothing that can be used.
pub(super) const PLACEHOLDER: i32 = 59;
/// The supervisor's pidfd.
pub(super) const SUPERVISOR: i32 = 60;
/// The standby's pidfd.
pub(super) const STANDBY: i32 = 61;
/// The reserve's pidfd.
pub(super) const RESERVE: i32 = 62;
/// The worker's pidfd.
pub(super) const WORKER: i32 = 63;

/// Takes every free number below [`FIRST`].
pub(super) fn reserve() -> Result<(), SuperviseError> {
    let is_open = |number: i32| fcntl(Fd::from_number(number), FcntlArg::F_GETFD).is_ok();
    if let Some(number) = (SIGNALS..FIRST).find(|number| is_open(*number)) {
        return Err(SuperviseError::NumberInUse { number });
    }
    let null = file::openat(Fd::CWD, c"/dev/null", libc::O_PATH, 0)
        .map_err(|errno| SuperviseError::System { what: "/dev/null", errno })?
        .keep();
    loop {
        let copy = fcntl(null, FcntlArg::F_DUPFD_CLOEXEC(3))
            .map_err(|errno| SuperviseError::System { what: "fcntl(2)", errno })?;
        if copy >= FIRST {
            Fd::from_number(copy).close();
            return Ok(());
        }
    }
}

/// Moves `fd` to `number`.
pub(super) fn put(fd: Fd, number: i32) -> Result<(), Errno> {
    let placed = clone::place(fd, number);
    fd.close();
    placed
}

/// Makes `number` refer to what `from` refers to.
pub(super) fn copy(from: i32, number: i32) {
    // Both are open for as long as there is a supervisor, so that it cannot fail.
    let _ = clone::place(Fd::from_number(from), number);
}

/// Gives `number` back.
pub(super) fn clear(number: i32) {
    copy(PLACEHOLDER, number);
}

//! `auto_unmount`: a process that outlives the server and takes its mount away.
//!
//! It holds the read end of a pipe whose write end the server and its children hold and nobody
//! ever writes to: end of file means that all of them are gone, however they ended. It has no
//! other descriptor (not `/dev/fuse`, which would keep the mount alive, not the terminal), is
//! in a session of its own, blocks every signal that can be blocked, and looks into the mount
//! table before it unmounts, so that a mount that is not its own is left alone.

use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::sys::signal::SigSet;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, pipe2, read, setsid};

use super::mountinfo::{self, Entry};
use super::{MountError, unmount};
use crate::Errno;
use crate::sys::Fd;
use crate::sys::mount::{close_all_but, exit_now};
use crate::sys::process::fork;

/// Starts the process that unmounts `entry` once every copy of the returned descriptor is
/// closed. The process is nobody's child: it is never in the way of a wait(2).
pub(super) fn watch(entry: &Entry) -> Result<OwnedFd, MountError> {
    let failed = |errno| MountError::System { what: "auto_unmount", errno };
    let (theirs, ours) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
    match fork().map_err(failed)? {
        ForkResult::Child => exit_now(match fork() {
            Ok(ForkResult::Child) => wait_and_unmount(&theirs, entry),
            Ok(ForkResult::Parent { .. }) => 0,
            Err(errno) => errno as i32,
        }),
        ForkResult::Parent { child } => match waitpid(child, None).map_err(failed)? {
            WaitStatus::Exited(_, 0) => Ok(ours),
            WaitStatus::Exited(_, errno) => Err(failed(Errno::from_raw(errno))),
            _ => Err(failed(Errno::ECHILD)),
        },
    }
}

/// The life of the waiting process; returns its exit code, which nobody reads.
fn wait_and_unmount(pipe: &OwnedFd, entry: &Entry) -> i32 {
    if detach(pipe).is_err() {
        return 1;
    }
    let mut byte = [0];
    while matches!(read(pipe, &mut byte), Ok(1) | Err(Errno::EINTR)) {}
    if is_still_there(entry) {
        return unmount(&entry.mount_point, true).map_or(1, |()| 0);
    }
    0
}

/// Leaves everything behind that the server has: descriptors, terminal, directory, signals.
fn detach(pipe: &OwnedFd) -> Result<(), Errno> {
    SigSet::all().thread_block()?;
    setsid()?;
    nix::unistd::chdir("/")?;
    close_all_but(pipe.as_fd())?;
    // Numbers 0 to 2 are expected to be open by the standard library.
    while let Ok(null) = std::fs::File::open("/dev/null") {
        if Fd::from_owned(null.into()).number() >= 2 {
            break;
        }
    }
    Ok(())
}

/// Whether the mount on top at the mount point is the one that was watched: the same mount of
/// the same connection.
fn is_still_there(entry: &Entry) -> bool {
    let same = |now: &Entry| (now.mount_id, now.minor) == (entry.mount_id, entry.minor);
    let table = mountinfo::read().unwrap_or_default();
    mountinfo::find(&table, &entry.mount_point).is_some_and(same)
}

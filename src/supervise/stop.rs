//! Taking the mount away.
//!
//! umount2(2) may wait for answers of the worker, so it runs in a child, and the supervisor goes
//! on replacing workers meanwhile. The child has an fd table of its own: it opens files, and a
//! worker that takes over would close them.

use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::ForkResult;

use crate::Errno;
use crate::recovery::board::Cell;
use crate::sys::{clone, process};

use super::Work;
use super::process::{Process, Reason};
use super::supervisor::{Supervisor, Turn};
use super::worker::Asked;

/// How long calls under way may take after the unmount before the worker is killed.
const GRACE: Duration = Duration::from_secs(1);
/// How long the unmount may take before the connection is aborted.
const PATIENCE: Duration = Duration::from_secs(5);

/// How far it is.
#[derive(Debug)]
pub(super) enum Stop {
    /// The child unmounts.
    Unmounting { child: Process, lazy: bool, until: Instant },
    /// The worker ends by itself, as it sees the mount go.
    Grace { until: Instant },
    /// It did not, and was killed; or the unmount hung, and the connection is to be aborted.
    Killed { abort: bool, child: Option<Process> },
}

impl Stop {
    /// When to look again. A child's end is told by a signal.
    pub(super) fn deadline(&self) -> Instant {
        match self {
            Stop::Unmounting { until, .. } | Stop::Grace { until } => *until,
            Stop::Killed { .. } => Instant::now() + GRACE,
        }
    }

    /// Leaves no child.
    pub(super) fn end(&self) {
        match self {
            Stop::Unmounting { child, .. } | Stop::Killed { child: Some(child), .. } => child.end(),
            Stop::Grace { .. } | Stop::Killed { child: None, .. } => {}
        }
    }
}

impl<W: Work> Supervisor<'_, W> {
    /// Begins to take the mount away, unless that is under way.
    pub(super) fn begin_stop(&mut self) {
        if self.stop.is_some() {
            return;
        }
        self.board.set(Cell::Stopping, 1);
        self.stop = Some(match self.config.mount_point {
            Some(_) => self.unmount(false),
            // Somebody else has mounted, and will unmount.
            None => Stop::Grace { until: Instant::now() },
        });
    }

    fn unmount(&self, lazy: bool) -> Stop {
        let until = Instant::now() + PATIENCE;
        match process::fork() {
            Ok(ForkResult::Parent { child }) => {
                Stop::Unmounting { child: Process::child(child), lazy, until }
            }
            Ok(ForkResult::Child) => clone::exit_now(self.unmount_here(lazy)),
            Err(errno) => {
                tracing::error!("the mount cannot be taken away: fork(2): {}", errno.desc());
                Stop::Killed { abort: true, child: None }
            }
        }
    }

    /// The life of the child; its exit status.
    fn unmount_here(&self, lazy: bool) -> i32 {
        let ready: Result<(), Errno> =
            prctl::set_pdeathsig(Signal::SIGKILL).and_then(|()| SigSet::empty().thread_set_mask());
        i32::from(!(ready.is_ok() && self.work.unmount(lazy)))
    }

    /// The next step, where it is time for one.
    pub(super) fn go_on_stopping(&mut self) -> Turn {
        let late = |until: Instant| Instant::now() >= until;
        let next = match &self.stop {
            None => return Turn::Again,
            Some(Stop::Unmounting { child, lazy, until }) => match child.ended() {
                Some(reason) => {
                    child.reap();
                    match (reason, *lazy) {
                        // In use: it disappears now, and who still holds a file sees the end.
                        (Reason::Exit(1), false) => self.unmount(true),
                        _ => Stop::Grace { until: Instant::now() + GRACE },
                    }
                }
                None if late(*until) => Stop::Killed { abort: true, child: Some(*child) },
                None => return Turn::Again,
            },
            Some(Stop::Grace { until }) if late(*until) => {
                Stop::Killed { abort: false, child: None }
            }
            Some(Stop::Grace { .. }) => return Turn::Again,
            // The worker's death ends the loop.
            Some(Stop::Killed { .. }) => return self.killed(),
        };
        if let Stop::Killed { .. } = next {
            self.kill_worker(Asked::Stop);
        }
        self.stop = Some(next);
        self.killed()
    }

    /// Ends the loop if it waits for a worker that there is not.
    fn killed(&self) -> Turn {
        match self.stop {
            Some(Stop::Killed { .. }) if self.worker.process().is_none() => Turn::Ended,
            _ => Turn::Again,
        }
    }

    /// Whether the connection has to be aborted at the end.
    pub(super) fn abort_if_it_hangs(&self) {
        if let Some(Stop::Killed { abort: true, .. }) = self.stop {
            tracing::error!("the mount does not go: its connection is aborted");
            self.work.abort();
        }
    }
}

//! One process of a mount, as its supervisor sees it: how it is born, and how it ended.
//!
//! A child is a whole one or none: until it is on the board it dies with its parent
//! (PR_SET_PDEATHSIG), afterwards whoever takes over finds it there, with its pidfd. A worker
//! puts its own pidfd in place, before it touches anything else; a standby waits until its
//! supervisor has done so, because a worker may be at work then. A spare dies with its supervisor
//! until it is the worker.

use std::ffi::CStr;
use std::fmt;
use std::time::Duration;

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, getppid, setpgid};

use crate::Errno;
use crate::recovery::board::{Board, Cell};
use crate::sys::{Fd, clone, device};

use super::numbers;

/// Tells a spare that it is the worker. Every process of a mount but a worker has it blocked.
pub(super) const PROMOTION: Signal = Signal::SIGUSR2;

/// Between two looks of a standby at the board.
const LOOK: Duration = Duration::from_micros(50);

/// On the board with the pid of a standby: its pidfd is in place, but it still dies with its
/// parent. The standby takes this mark away when it stands on its own.
pub(super) const INTRODUCED: u64 = 1 << 63;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Signal(Signal),
    Exit(i32),
    /// It is not this process's child, or was killed by a real-time signal.
    Unknown,
}

impl Reason {
    fn from_status(status: WaitStatus) -> Option<Reason> {
        match status {
            WaitStatus::Exited(_, code) => Some(Reason::Exit(code)),
            WaitStatus::Signaled(_, signal, _) => Some(Reason::Signal(signal)),
            _ => None,
        }
    }

    /// Of the dead process behind `pidfd`, whoever's child it was. Its parent, init, has to
    /// have seen it first: this waits a little for that.
    pub(super) fn of_stranger(pidfd: i32) -> Reason {
        let fd = Fd::from_number(pidfd);
        for _ in 0..20 {
            if let Some(status) = clone::exit_status(fd) {
                let status = WaitStatus::from_raw(Pid::from_raw(1), status).ok();
                return status.and_then(Reason::from_status).unwrap_or(Reason::Unknown);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Reason::Unknown
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Signal(signal) => write!(f, "signal {} ({signal})", *signal as i32),
            Reason::Exit(code) => write!(f, "exit status {code}"),
            Reason::Unknown => write!(f, "for an unknown reason"),
        }
    }
}

/// A process that a supervisor looks after.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    pub(super) pid: Pid,
    /// Not a child: it is known by this pidfd.
    pub(super) pidfd: Option<i32>,
}

impl Process {
    pub(super) fn child(pid: Pid) -> Process {
        Process { pid, pidfd: None }
    }

    /// A process of an earlier supervisor.
    pub(super) fn inherited(pid: u64, pidfd: i32) -> Process {
        Process { pid: Pid::from_raw(pid as i32), pidfd: Some(pidfd) }
    }

    /// How it ended, if it did. A child stays to be reaped.
    pub(super) fn ended(&self) -> Option<Reason> {
        match self.pidfd {
            Some(pidfd) => is_dead(pidfd).then_some(Reason::Unknown),
            None => self.wait(WaitPidFlag::WNOWAIT),
        }
    }

    /// Lets the kernel forget a dead child.
    pub(super) fn reap(&self) {
        if self.pidfd.is_none() {
            self.wait(WaitPidFlag::empty());
        }
    }

    fn wait(&self, flags: WaitPidFlag) -> Option<Reason> {
        let flags = flags | WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
        match waitid(Id::Pid(self.pid), flags) {
            Ok(status) => Reason::from_status(status),
            Err(Errno::EINTR) => None,
            Err(_) => Some(Reason::Unknown),
        }
    }

    /// SIGKILL. A child that was not waited for still has its pid; another is known by its pidfd.
    pub(super) fn kill(&self) {
        // It may be dead already, which is what is wanted.
        let _ = match self.pidfd {
            Some(pidfd) => clone::pidfd_signal(Fd::from_number(pidfd), Signal::SIGKILL),
            None => nix::sys::signal::kill(self.pid, Signal::SIGKILL),
        };
    }

    /// SIGKILL, and waits for the end: up to a second, as a process in an uninterruptible call
    /// of another file system may take longer.
    pub(super) fn end(&self) {
        self.kill();
        for _ in 0..10_000 {
            if self.ended().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        self.reap();
    }
}

/// Whether the process behind `pidfd` is dead. A number that holds no pidfd (yet) tells of none
/// that lives.
pub(super) fn is_dead(pidfd: i32) -> bool {
    device::readable(Fd::from_number(pidfd), 0) == Ok(true)
}

/// What every child does first. `parent`: who made it.
fn begin(parent: Pid, name: &CStr, core: bool) -> Result<(), Errno> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != parent {
        clone::exit_now(0);
    }
    prctl::set_name(name)?;
    // Signals of a terminal are for the supervisor alone.
    setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
    if !core {
        setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    }
    Ok(())
}

/// The first steps of a worker, up to where it is on the board.
pub(super) fn worker_birth(parent: Pid, board: Board, core: bool) -> Result<(), Errno> {
    begin(parent, c"fusex-worker", core)?;
    numbers::put(clone::pidfd_open(nix::unistd::getpid())?, numbers::WORKER)?;
    board.set(Cell::WorkerPid, nix::unistd::getpid().as_raw() as u64);
    stand_alone()
}

/// The first steps of a spare: it has time.
pub(super) fn spare_birth(parent: Pid, core: bool) -> Result<(), Errno> {
    begin(parent, c"fusex-spare", core)
}

/// Sleeps until this spare is the worker, which its supervisor has put on the board.
pub(super) fn wait_for_promotion(board: Board) -> Result<(), Errno> {
    let own = nix::unistd::getpid().as_raw() as u64;
    loop {
        // Also if it is on the board already: a signal that was not waited for would end it.
        SigSet::from(PROMOTION).wait()?;
        if board.get(Cell::WorkerPid) == own {
            break;
        }
    }
    prctl::set_name(c"fusex-worker")?;
    stand_alone()
}

/// A worker that is on the board lives on without its supervisor.
fn stand_alone() -> Result<(), Errno> {
    prctl::set_pdeathsig(None)?;
    SigSet::empty().thread_set_mask()
}

/// The first steps of a standby, up to where its supervisor has put it on the board.
pub(super) fn standby_birth(
    parent: Pid,
    board: Board,
    cell: Cell,
    name: &CStr,
) -> Result<(), Errno> {
    begin(parent, name, false)?;
    let own = nix::unistd::getpid().as_raw() as u64;
    while board.get(cell) != own | INTRODUCED {
        std::thread::sleep(LOOK);
    }
    prctl::set_pdeathsig(None)?;
    board.set(cell, own);
    Ok(())
}

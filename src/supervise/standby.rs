//! Standby, reserve and spare: asleep until another one is dead.
//!
//! A supervisor wakes its spare when the worker is dead. To make a worker from nothing takes longer
//! than all that it does before it serves (the pages of a new process, the system call filter), so
//! that is done beforehand: the caller's pause is half of what it was.
//!
//! The standby takes over when the supervisor is dead, the reserve when both are. Who of them is
//! dead is asked of the pidfds at their fixed numbers, each time anew: a supervisor that has taken
//! over is behind the supervisor's number, and behind its old one until it has a new standby.

use std::ffi::CStr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::kill;
use nix::unistd::{Pid, alarm, getpid};

use crate::Errno;
use crate::recovery::board::{Board, Cell};
use crate::recovery::points::{self, Point};
use crate::sys::{Fd, clone};

use super::process::{self, Process};
use super::supervisor::{Supervisor, Turn};
use super::{Work, numbers, worker};

/// How often the reserve looks while one of the two is dead.
const LOOK: Duration = Duration::from_millis(20);
/// How long the reserve sleeps at the most, in milliseconds. When a process dies, and its number is
/// given to another one before poll(2) has come to look, poll(2) finds nothing and goes on waiting
/// for the dead one.
const NAP: u8 = 200;
/// Before a standby that died is replaced: something may be killing them.
const AGAIN: Duration = Duration::from_millis(10);
/// Half-born children of a dead supervisor are gone by then.
pub(super) const SETTLE: Duration = Duration::from_millis(1);
/// After one could not be started.
const LATER: Duration = Duration::from_secs(1);

/// Who takes over from whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// From the supervisor.
    Standby,
    /// From the supervisor and the standby.
    Reserve,
    /// From the worker.
    Spare,
}

/// In the order in which they are needed.
const ROLES: [Role; 3] = [Role::Standby, Role::Reserve, Role::Spare];

impl Role {
    fn pidfd(self) -> i32 {
        match self {
            Role::Standby => numbers::STANDBY,
            Role::Reserve => numbers::RESERVE,
            Role::Spare => numbers::SPARE,
        }
    }

    fn cell(self) -> Cell {
        match self {
            Role::Standby => Cell::StandbyPid,
            Role::Reserve => Cell::ReservePid,
            Role::Spare => Cell::SparePid,
        }
    }

    fn name(self) -> &'static CStr {
        match self {
            Role::Standby => c"fusex-standby",
            Role::Reserve => c"fusex-reserve",
            Role::Spare => c"fusex-spare",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Role::Standby => "standby",
            Role::Reserve => "reserve",
            Role::Spare => "spare",
        }
    }
}

/// Those of a supervisor.
#[derive(Debug, Default)]
pub(super) struct Standbys {
    standby: Option<Process>,
    reserve: Option<Process>,
    spare: Option<Process>,
    not_before: Option<Instant>,
}

impl Standbys {
    fn of(&mut self, role: Role) -> &mut Option<Process> {
        match role {
            Role::Standby => &mut self.standby,
            Role::Reserve => &mut self.reserve,
            Role::Spare => &mut self.spare,
        }
    }

    /// The pidfds of those that are no children.
    pub(super) fn strangers(&self) -> impl Iterator<Item = i32> {
        [self.standby, self.reserve].into_iter().flatten().filter_map(|process| process.pidfd)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let missing = [self.standby, self.reserve, self.spare].iter().any(Option::is_none);
        self.not_before.filter(|_| missing)
    }

    /// Ends all: the reserve first, which watches the standby.
    pub(super) fn end(&mut self, board: Board) {
        for role in [Role::Reserve, Role::Standby, Role::Spare] {
            if let Some(process) = self.of(role).take() {
                process.end();
                board.set(role.cell(), 0);
            }
        }
    }

    /// The spare, which is the worker from now on: its pidfd is in its place, and its pid on the
    /// board. `None`: there is none that lives.
    pub(super) fn take_spare(&mut self, board: Board) -> Option<Process> {
        let spare = self.spare.filter(|spare| spare.ended().is_none())?;
        numbers::copy(numbers::SPARE, numbers::WORKER);
        board.set(Cell::WorkerPid, spare.pid.as_raw() as u64);
        board.set(Cell::SparePid, 0);
        // If it has not come so far yet, it finds the signal when it has.
        let _ = kill(spare.pid, process::PROMOTION);
        self.spare = None;
        Some(spare)
    }

    /// Ends the spare.
    pub(super) fn end_spare(&mut self, board: Board) {
        if let Some(spare) = self.spare.take() {
            spare.end();
            board.set(Cell::SparePid, 0);
        }
    }

    /// Notes who has died.
    fn check(&mut self, board: Board) {
        for role in ROLES {
            let Some(process) = *self.of(role) else { continue };
            if let Some(reason) = process.ended() {
                process.reap();
                *self.of(role) = None;
                board.set(role.cell(), 0);
                self.not_before = Some(Instant::now() + AGAIN);
                tracing::warn!("{} {} died: {reason}", role.word(), process.pid);
            }
        }
    }
}

impl<W: Work> Supervisor<'_, W> {
    /// Replaces standbys that have died.
    pub(super) fn check_standbys(&mut self) -> Turn {
        self.standbys.check(self.board);
        for role in ROLES {
            let due = self.standbys.not_before.is_none_or(|at| Instant::now() >= at);
            let served = self.board.get(Cell::ReadyGeneration) != 0;
            let wanted = self.stop.is_none() && due && served && self.quiescent();
            if !wanted || self.standbys.of(role).is_some() {
                continue;
            }
            self.board.set(role.cell(), 0);
            match clone::share() {
                Ok(clone::Side::Child) => return self.born(role),
                Ok(clone::Side::Parent(pid)) => self.introduce(role, pid),
                Err(errno) => self.not_started(role, errno),
            }
        }
        Turn::Again
    }

    /// Behind an upgrade: the standby of this version takes the place of the old one's. With the store
    /// that puts it on the board this version is responsible; until then the old one would go on.
    pub(super) fn relieve(&mut self) -> Turn {
        let relief = Relief::begin(self.board);
        match clone::share() {
            Ok(clone::Side::Child) => return self.born(Role::Standby),
            Ok(clone::Side::Parent(pid)) => {
                // Nobody is to be told any more that the old version goes on.
                self.board.set(Cell::Upgrading, 0);
                self.introduce(Role::Standby, pid);
            }
            Err(errno) => self.not_started(Role::Standby, errno),
        }
        points::reach(Point::Responsible);
        relief.end(self.board);
        alarm::cancel();
        Turn::Again
    }

    /// The first steps of a standby, the life of a spare.
    fn born(&self, role: Role) -> Turn {
        if role == Role::Spare {
            worker::enter_spare(self.work, self.board, self.config, self.pid);
        }
        match process::standby_birth(self.pid, self.board, role.cell(), role.name()) {
            Ok(()) => Turn::Sleep(role),
            Err(_) => clone::exit_now(1),
        }
    }

    /// Puts a new standby's pidfd in place, and then the standby on the board.
    fn introduce(&mut self, role: Role, pid: Pid) {
        let process = Process::child(pid);
        match clone::pidfd_open(pid).and_then(|fd| numbers::put(fd, role.pidfd())) {
            Ok(()) => {
                *self.standbys.of(role) = Some(process);
                let mark = if role == Role::Spare { 0 } else { process::INTRODUCED };
                self.board.set(role.cell(), pid.as_raw() as u64 | mark);
                tracing::debug!("{} {pid} started", role.word());
            }
            Err(errno) => {
                process.end();
                self.not_started(role, errno);
            }
        }
    }

    fn not_started(&mut self, role: Role, errno: Errno) {
        self.standbys.not_before = Some(Instant::now() + LATER);
        tracing::warn!("no {} can be started: {}", role.word(), errno.desc());
    }
}

/// The standby of the program that this one has replaced: its child still.
pub(super) struct Relief {
    old: Option<Process>,
}

impl Relief {
    /// The old reserve goes: it would not know whom it has to take over from.
    pub(super) fn begin(board: Board) -> Relief {
        let old = |role: Role| {
            let pid = board.get(role.cell()) & !process::INTRODUCED;
            (pid != 0).then(|| Process::child(Pid::from_raw(pid as i32)))
        };
        if let Some(reserve) = old(Role::Reserve) {
            reserve.end();
        }
        board.set(Role::Reserve.cell(), 0);
        Relief { old: old(Role::Standby) }
    }

    /// The old standby goes, when the new one stands or there is none.
    pub(super) fn end(self, board: Board) {
        let Some(old) = self.old else { return };
        let (begun, cell) = (Instant::now(), Role::Standby.cell());
        while board.get(cell) & process::INTRODUCED != 0 && begun.elapsed() < LATER {
            std::thread::sleep(SETTLE / 10);
        }
        old.end();
        if board.get(cell) == old.pid.as_raw() as u64 {
            board.set(cell, 0);
        }
    }
}

/// Whether this standby has to take over from `supervisor`, which is dead. Behind an upgrade it is
/// the one of the new version, from when it is on the board; one that is there, and does not stand
/// yet, dies with its supervisor.
fn is_called(board: Board, supervisor: u64) -> bool {
    let own = getpid().as_raw() as u64;
    let cell = || board.get(Cell::StandbyPid);
    let first = cell();
    loop {
        let now = cell();
        if now == own || now == own | process::INTRODUCED {
            return true;
        }
        let half_born = now == first && now & process::INTRODUCED != 0;
        if !half_born || board.get(Cell::SupervisorPid) != supervisor {
            return false;
        }
        let pid = Pid::from_raw((now & !process::INTRODUCED) as i32);
        if is_gone(pid) && cell() == first {
            return true;
        }
        std::thread::sleep(SETTLE / 10);
    }
}

/// Whether a process is dead, reaped or not.
fn is_gone(pid: Pid) -> bool {
    let Ok(pidfd) = clone::pidfd_open(pid) else { return true };
    let dead = process::is_dead(pidfd.number());
    pidfd.close();
    dead
}

/// Sleeps until this process has to take over.
pub(super) fn sleep(role: Role, board: Board) {
    let supervisor = board.get(Cell::SupervisorPid);
    wait_for_deaths(role);
    if role == Role::Standby && !is_called(board, supervisor) {
        clone::exit_now(0);
    }
}

fn wait_for_deaths(role: Role) {
    let (watched, nap): (&[i32], _) = match role {
        Role::Standby => (&[numbers::SUPERVISOR], PollTimeout::NONE),
        Role::Reserve => (&[numbers::SUPERVISOR, numbers::STANDBY], NAP.into()),
        // It sleeps in a way of its own.
        Role::Spare => return,
    };
    loop {
        let all_dead = || watched.iter().all(|number| process::is_dead(*number));
        // Twice, as one may have taken over, and another come to its number, meanwhile.
        if all_dead() && all_dead() {
            return;
        }
        if watched.iter().any(|number| process::is_dead(*number)) {
            std::thread::sleep(LOOK);
            continue;
        }
        let fds: Vec<Fd> = watched.iter().map(|number| Fd::from_number(*number)).collect();
        let mut polls: Vec<PollFd<'_>> =
            fds.iter().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)).collect();
        if poll(&mut polls, nap).is_err() {
            std::thread::sleep(LOOK);
        }
    }
}

/// Makes this process the supervisor; returns the standbys that it finds.
pub(super) fn promote(role: Role, board: Board) -> Standbys {
    points::reach(Point::Promoting);
    numbers::copy(role.pidfd(), numbers::SUPERVISOR);
    points::reach(Point::Numbered);
    let old = board.get(Cell::SupervisorPid);
    board.set(Cell::SupervisorPid, getpid().as_raw() as u64);
    board.add(Cell::SupervisorDeaths, 1);
    points::reach(Point::Promoted);
    // A name is a help for people.
    let _ = prctl::set_name(c"fusex");
    let mut standbys = Standbys::default();
    board.set(Cell::StandbyPid, 0);
    // It has died with its supervisor, or is the worker.
    board.set(Cell::SparePid, 0);
    if board.get(Cell::ReservePid) & process::INTRODUCED != 0 {
        // It is dying with its parent, or about to say that it is not.
        std::thread::sleep(SETTLE);
    }
    let reserve = board.get(Cell::ReservePid) & !process::INTRODUCED;
    if role == Role::Standby && reserve != 0 && !process::is_dead(numbers::RESERVE) {
        standbys.reserve = Some(Process::inherited(reserve, numbers::RESERVE));
    } else {
        board.set(Cell::ReservePid, 0);
    }
    tracing::warn!("supervisor {old} died: {} {} takes its place", role.word(), getpid());
    standbys
}

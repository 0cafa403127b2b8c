//! The loop of a supervisor.
//!
//! What a successor needs is on the board and in the fd table, not in [`Supervisor`], which a
//! standby makes anew when it takes over.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeSpec;
use nix::unistd::{Pid, getpid};

use crate::Errno;
use crate::recovery::board::{Board, Cell};
use crate::recovery::points::{self, Point};
use crate::sys::{Fd, clone};

use super::control::Control;
use super::standby::{Role, Standbys};
use super::stop::Stop;
use super::worker::Worker;
use super::{Config, SuperviseError, Work, numbers, process, standby};

/// What the loop does next.
pub(super) enum Turn {
    /// It goes on.
    Again,
    /// This is a child that was just made: it sleeps until it is needed.
    Sleep(Role),
    /// The mount is gone.
    Ended,
}

/// A supervisor.
pub(super) struct Supervisor<'a, W> {
    pub(super) work: &'a W,
    pub(super) board: Board,
    pub(super) config: &'a Config,
    /// This process.
    pub(super) pid: Pid,
    pub(super) worker: Worker,
    pub(super) standbys: Standbys,
    pub(super) stop: Option<Stop>,
    pub(super) control: Control,
    /// When the watchdog looks next.
    pub(super) watch: Instant,
    /// When [`Work::tick`] is due.
    tick: Option<Instant>,
}

impl<'a, W: Work> Supervisor<'a, W> {
    /// The first supervisor of a mount, with its descriptors; there is no worker yet.
    pub(super) fn start(
        work: &'a W,
        board: Board,
        config: &'a Config,
    ) -> Result<Supervisor<'a, W>, SuperviseError> {
        let system = |what| move |errno| SuperviseError::System { what, errno };
        if config.resumed {
            points::reach(Point::Attached);
        } else {
            numbers::reserve()?;
        }
        clone::expect_children().map_err(system("sigaction(2)"))?;
        let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD]
            .into_iter()
            .collect();
        let promotion = SigSet::from(process::PROMOTION);
        (signals | promotion).thread_block().map_err(system("sigprocmask(2)"))?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let signals = SignalFd::with_flags(&signals, flags).map_err(system("signalfd(2)"))?;
        clone::place(number_of(&signals), numbers::SIGNALS).map_err(system("dup3(2)"))?;
        drop(signals);
        let own = clone::pidfd_open(getpid()).map_err(system("pidfd_open(2)"))?;
        numbers::put(own, numbers::SUPERVISOR).map_err(system("dup3(2)"))?;
        board.set(Cell::SupervisorPid, getpid().as_raw() as u64);
        let control = Control::listen(config);
        Ok(Supervisor::new(work, board, config, Worker::none(), Standbys::default(), control))
    }

    fn new(
        work: &'a W,
        board: Board,
        config: &'a Config,
        worker: Worker,
        standbys: Standbys,
        control: Control,
    ) -> Supervisor<'a, W> {
        let watch = Instant::now();
        Supervisor {
            work,
            board,
            config,
            pid: getpid(),
            worker,
            standbys,
            stop: None,
            control,
            watch,
            tick: None,
        }
    }

    /// Supervises until the mount is gone.
    pub(super) fn run(mut self, ready: impl FnOnce()) -> Result<(), SuperviseError> {
        let mut ready = Some(ready);
        let mut turn = if self.config.resumed { self.relieve() } else { Turn::Again };
        if let Turn::Again = turn {
            self.spawn_worker();
        }
        loop {
            match turn {
                Turn::Again => {}
                Turn::Ended => break,
                Turn::Sleep(role) => {
                    standby::sleep(role, self.board);
                    self = self.promoted(role);
                }
            }
            turn = self.turn(&mut ready)?;
        }
        self.end();
        Ok(())
    }

    /// A standby that takes over: what it knows is as old as itself.
    fn promoted(self, role: Role) -> Supervisor<'a, W> {
        let Supervisor { work, board, config, control, .. } = self;
        let standbys = standby::promote(role, board);
        let worker = Worker::inherited(board, work.finished());
        points::reach(Point::Inherited);
        let control = control.inherited(board, config);
        points::reach(Point::Listening);
        read_signals();
        work.promoted();
        let mut supervisor = Supervisor::new(work, board, config, worker, standbys, control);
        if board.get(Cell::Stopping) == 1 {
            supervisor.begin_stop();
        }
        supervisor
    }

    fn turn(&mut self, ready: &mut Option<impl FnOnce()>) -> Result<Turn, SuperviseError> {
        self.sleep();
        for signal in read_signals() {
            if signal != Signal::SIGCHLD as u32 {
                tracing::debug!(signal, "asked to end");
                self.begin_stop();
            }
        }
        // First of all, as callers wait for it.
        if let Turn::Ended = self.check_worker()? {
            return Ok(Turn::Ended);
        }
        if self.notice_ready()
            && let Some(ready) = ready.take()
        {
            ready();
        }
        self.watch();
        if self.tick.is_none_or(|at| Instant::now() >= at) {
            self.tick = self.work.tick().map(|pause| Instant::now() + pause);
        }
        if let Turn::Ended = self.go_on_stopping() {
            return Ok(Turn::Ended);
        }
        self.serve_clients();
        Ok(self.check_standbys())
    }

    /// Waits for the next thing to happen.
    fn sleep(&self) {
        let mut numbers = vec![numbers::SIGNALS];
        if self.quiescent() && self.control.accepts() {
            numbers.push(numbers::LISTENER);
        }
        numbers.extend(self.control.reading());
        numbers.extend(self.worker.process().and_then(|process| process.pidfd));
        numbers.extend(self.standbys.strangers());
        let fds: Vec<Fd> = numbers.into_iter().map(Fd::from_number).collect();
        let mut polls: Vec<PollFd<'_>> =
            fds.iter().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)).collect();
        let timeout = self
            .deadline()
            .map(|at| TimeSpec::from_duration(at.saturating_duration_since(Instant::now())));
        match ppoll(&mut polls, timeout, None) {
            Ok(_) | Err(Errno::EINTR) => {}
            // No memory in the kernel: what is to be looked at is looked at a little later.
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }

    /// When something has to be done though nothing happens.
    fn deadline(&self) -> Option<Instant> {
        let watch = self.config.request_timeout.filter(|_| self.worker.is_ready());
        let own = [
            self.worker.deadline(),
            watch.map(|_| self.watch),
            self.stop.as_ref().map(Stop::deadline),
            self.control.deadline(),
            self.tick,
            self.standbys.deadline().filter(|_| self.quiescent()),
        ];
        own.into_iter().flatten().min()
    }

    /// Whether no worker is taking over, so that a descriptor may be made here.
    pub(super) fn quiescent(&self) -> bool {
        self.worker.process().is_none() || self.worker.is_ready()
    }

    /// The last steps of the last supervisor.
    pub(super) fn end(&mut self) {
        // No one is to take over now. The reserve first: it watches the standby too.
        self.standbys.end(self.board);
        if let Some(process) = self.worker.process() {
            process.end();
        }
        self.abort_if_it_hangs();
        if let Some(stop) = &self.stop {
            stop.end();
        }
        self.board.set(Cell::WorkerPid, 0);
        self.end_control();
    }
}

/// The signals that have come in, by number.
fn read_signals() -> Vec<u32> {
    // sizeof(struct signalfd_siginfo); the number is its first word.
    const SIZE: usize = 128;
    let mut signals = Vec::new();
    let mut buffer = [0; 8 * SIZE];
    while let Ok(length @ 1..) = nix::unistd::read(Fd::from_number(numbers::SIGNALS), &mut buffer) {
        let infos = buffer[..length].chunks_exact(SIZE);
        signals.extend(infos.map(|it| u32::from_ne_bytes([it[0], it[1], it[2], it[3]])));
    }
    signals
}

fn number_of(fd: &impl AsFd) -> Fd {
    use std::os::fd::AsRawFd;
    Fd::from_number(fd.as_fd().as_raw_fd())
}

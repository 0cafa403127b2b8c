//! Workers: start, death, restart, and the watchdog.
//!
//! Between the death of a worker and the clone of the next one nothing is done that takes time:
//! reaping, counting and logging come after it.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid};

use crate::Errno;
use crate::recovery::board::{Board, Cell};
use crate::recovery::points::{self, Point};
use crate::sys::clock::monotonic_ns;
use crate::sys::clone;

use super::backoff::{self, Life};
use super::process::{self, Process, Reason};
use super::standby::SETTLE;
use super::supervisor::{Supervisor, Turn};
use super::{Config, SuperviseError, Work, numbers};

/// A worker that does not serve after this time (or the request timeout) hangs.
const READY: Duration = Duration::from_secs(30);
/// How often a new worker is asked whether it serves: nobody tells the supervisor.
const LOOK: Duration = Duration::from_millis(1);
/// After a clone(2) that failed.
const AGAIN: Duration = Duration::from_millis(100);

/// Why a supervisor has killed its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Restart,
    Hangs,
    NotReady,
    Stop,
}

/// The worker, or the time until there is one.
#[derive(Debug)]
pub(super) enum Worker {
    Running(Running),
    Waiting { until: Instant },
}

/// A worker that has not been seen dead.
#[derive(Debug)]
pub(super) struct Running {
    process: Process,
    generation: u64,
    started: Instant,
    ready: bool,
    /// Requests finished before it.
    finished: u64,
    asked: Option<Asked>,
}

impl Worker {
    /// None yet.
    pub(super) fn none() -> Worker {
        Worker::Waiting { until: Instant::now() }
    }

    /// That of an earlier supervisor.
    pub(super) fn inherited(board: Board, finished: u64) -> Worker {
        if process::is_dead(numbers::WORKER) || board.get(Cell::WorkerPid) == 0 {
            std::thread::sleep(SETTLE);
        }
        let pid = board.get(Cell::WorkerPid);
        if pid == 0 {
            // Ended on purpose, or born half.
            return Worker::none();
        }
        let process = Process::inherited(pid, numbers::WORKER);
        Worker::Running(Running::new(process, board, finished))
    }

    /// Its process, if there is one.
    pub(super) fn process(&self) -> Option<Process> {
        self.running().map(|running| running.process)
    }

    fn running(&self) -> Option<&Running> {
        match self {
            Worker::Running(running) => Some(running),
            Worker::Waiting { .. } => None,
        }
    }

    /// Whether it serves.
    pub(super) fn is_ready(&self) -> bool {
        self.running().is_some_and(|running| running.ready)
    }

    /// Whether a worker serves that began after `generation`.
    pub(super) fn is_ready_after(&self, generation: u64) -> bool {
        self.running().is_some_and(|running| running.ready && running.generation > generation)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Worker::Running(running) => (!running.ready).then(|| Instant::now() + LOOK),
            Worker::Waiting { until } => Some(*until),
        }
    }
}

impl Running {
    fn new(process: Process, board: Board, finished: u64) -> Running {
        Running {
            process,
            generation: board.get(Cell::Generation),
            started: Instant::now(),
            ready: false,
            finished,
            asked: None,
        }
    }

    fn life(&self, board: Board, finished: u64, reason: Reason) -> Life {
        Life {
            ready: self.ready || board.get(Cell::ReadyGeneration) == self.generation + 1,
            finished: finished != self.finished,
            // Why a stranger ended is not known yet; most are killed.
            killed: self.asked.is_none()
                && matches!(reason, Reason::Signal(Signal::SIGKILL) | Reason::Unknown),
            lived: self.started.elapsed(),
        }
    }
}

impl<W: Work> Supervisor<'_, W> {
    /// Starts a worker of the board's generation.
    pub(super) fn spawn_worker(&mut self) {
        let finished = self.work.finished();
        if let Some(spare) = self.standbys.take_spare(self.board) {
            self.worker = Worker::Running(Running::new(spare, self.board, finished));
            return;
        }
        self.board.set(Cell::WorkerPid, 0);
        self.worker = match clone::share() {
            Ok(clone::Side::Child) => enter(self.work, self.board, self.config, self.pid),
            Ok(clone::Side::Parent(pid)) => {
                Worker::Running(Running::new(Process::child(pid), self.board, finished))
            }
            Err(errno) => {
                tracing::error!("a worker cannot be started: clone(2): {}", errno.desc());
                Worker::Waiting { until: Instant::now() + AGAIN }
            }
        };
    }

    /// Replaces a worker that has died.
    pub(super) fn check_worker(&mut self) -> Result<Turn, SuperviseError> {
        let ended = match &self.worker {
            Worker::Waiting { until } => {
                if Instant::now() >= *until {
                    self.spawn_worker();
                }
                None
            }
            Worker::Running(running) => running.process.ended(),
        };
        match ended {
            None => Ok(Turn::Again),
            Some(reason) => self.worker_died(reason),
        }
    }

    fn worker_died(&mut self, reason: Reason) -> Result<Turn, SuperviseError> {
        let board = self.board;
        let Worker::Running(old) = std::mem::replace(&mut self.worker, Worker::none()) else {
            return Ok(Turn::Again);
        };
        if board.get(Cell::Ended) == 1 || old.asked == Some(Asked::Stop) {
            old.process.reap();
            return Ok(Turn::Ended);
        }
        points::reach(Point::DeathSeen);
        board.set(Cell::DeathTime, monotonic_ns());
        board.add(Cell::Generation, 1);
        points::reach(Point::DeathNoted);
        if old.process.pidfd.is_some() {
            numbers::copy(numbers::WORKER, numbers::DEAD_WORKER);
        }
        let progress = old.life(board, self.work.finished(), reason).progress()
            || old.asked == Some(Asked::Restart);
        let failures = if progress { 0 } else { board.get(Cell::Failures) + 1 };
        board.set(Cell::Failures, failures);
        let ever_ready = board.get(Cell::ReadyGeneration) != 0;
        let limit = self.config.restart_limit;
        let delay = match backoff::delay(failures, limit, ever_ready) {
            // Nobody waits, so there is time.
            None if ever_ready && !self.work.is_busy() => Some(backoff::LONGEST),
            delay => delay,
        };
        match delay {
            Some(Duration::ZERO) => self.spawn_worker(),
            Some(delay) => self.worker = Worker::Waiting { until: Instant::now() + delay },
            None => board.set(Cell::WorkerPid, 0),
        }
        points::reach(Point::Replaced);
        self.record_death(&old, reason);
        points::reach(Point::Recorded);
        match delay {
            Some(_) => Ok(Turn::Again),
            None => Err(self.give_up(failures)),
        }
    }

    /// Reaps, counts and logs.
    fn record_death(&self, old: &Running, reason: Reason) {
        old.process.reap();
        let reason = match old.process.pidfd {
            Some(_) => Reason::of_stranger(numbers::DEAD_WORKER),
            None => reason,
        };
        numbers::clear(numbers::DEAD_WORKER);
        let (pid, generation) = (old.process.pid, old.generation);
        let cell = match (old.asked, reason) {
            (Some(Asked::Restart | Asked::Stop), _) => Cell::Restarts,
            (Some(Asked::Hangs | Asked::NotReady), _) => Cell::DeathsTimeout,
            (None, Reason::Exit(_)) => Cell::DeathsExit,
            (None, Reason::Signal(Signal::SIGKILL) | Reason::Unknown) => Cell::DeathsKilled,
            (None, Reason::Signal(_)) => Cell::DeathsSignal,
        };
        self.board.add(cell, 1);
        let worker = format!("worker {pid} (generation {generation})");
        match old.asked {
            Some(Asked::Restart | Asked::Stop) => tracing::info!("{worker} ended as asked"),
            Some(Asked::Hangs) => tracing::warn!("{worker} died: timeout: a request hung"),
            Some(Asked::NotReady) => tracing::warn!("{worker} died: timeout: it did not serve"),
            None => tracing::warn!("{worker} died: {reason}"),
        }
    }

    /// Ends the mount: no caller is to wait for a worker that never comes.
    fn give_up(&mut self, deaths: u64) -> SuperviseError {
        let mount_point = self.config.mount_point.as_ref();
        let mount_point = mount_point.map_or("(none)".into(), |path| path.display().to_string());
        let error = SuperviseError::GaveUp { mount_point, deaths };
        tracing::error!("{error}");
        self.board.set(Cell::Stopping, 1);
        self.work.abort();
        if self.config.mount_point.is_some() {
            // All callers have their errors, so that this does not wait for anything.
            self.work.unmount(true);
        }
        self.worker = Worker::none();
        self.end();
        error
    }

    /// Whether the worker has begun to serve since the last look.
    pub(super) fn notice_ready(&mut self) -> bool {
        let Worker::Running(running) = &mut self.worker else { return false };
        let serves = self.board.get(Cell::ReadyGeneration) == running.generation + 1;
        if running.ready || !serves {
            return false;
        }
        running.ready = true;
        tracing::info!("worker {} (generation {}) serves", running.process.pid, running.generation);
        true
    }

    /// Kills a worker that hangs, in a request or on its way to the first one.
    pub(super) fn watch(&mut self) {
        let Worker::Running(running) = &self.worker else { return };
        if running.asked.is_some() {
            return;
        }
        let limit = self.config.request_timeout;
        if !running.ready && running.started.elapsed() > limit.unwrap_or_default().max(READY) {
            self.kill_worker(Asked::NotReady);
            return;
        }
        // What is older than the worker hung in another one, until this one comes to it.
        let due =
            |limit: &Duration| running.started.elapsed() > *limit && Instant::now() >= self.watch;
        let Some(limit) = limit.filter(due) else { return };
        self.watch = Instant::now() + (limit / 8).max(Duration::from_millis(5));
        if self.work.stuck(limit) {
            self.kill_worker(Asked::Hangs);
        }
    }

    /// Kills the worker. What follows is done when it is dead.
    pub(super) fn kill_worker(&mut self, why: Asked) {
        if let Worker::Running(running) = &mut self.worker {
            running.asked = Some(why);
            running.process.kill();
        }
    }

    /// Ends the worker and puts the installed program in this one's place. Returns only when that
    /// fails, with the reason; there is a worker again then.
    pub(super) fn upgrade(&mut self, client: i32) -> String {
        points::reach(Point::Upgrading);
        if let Worker::Running(running) = &self.worker {
            running.process.end();
            self.board.set(Cell::WorkerPid, 0);
            self.board.add(Cell::Restarts, 1);
            self.board.set(Cell::DeathTime, monotonic_ns());
            self.board.add(Cell::Generation, 1);
            self.worker = Worker::none();
        }
        points::reach(Point::WorkerEnded);
        // It is of this version.
        self.standbys.end_spare(self.board);
        tracing::info!("upgrade: the installed program takes the place of this one");
        self.board.set(Cell::Upgrading, client as u64 + 1);
        let why = self.work.upgrade(Some(client));
        self.board.set(Cell::Upgrading, 0);
        tracing::error!("upgrade: {why}: the old version goes on");
        self.spawn_worker();
        why
    }

    /// Replaces the worker on purpose; returns the generation that ends.
    pub(super) fn restart_worker(&mut self) -> u64 {
        let generation = self.board.get(Cell::Generation);
        match &mut self.worker {
            Worker::Running(_) => self.kill_worker(Asked::Restart),
            Worker::Waiting { until } => *until = Instant::now(),
        }
        generation
    }
}

/// Makes a panic in any thread end the process. Where a program is built to unwind, as by default,
/// the thread alone would end, and the request that it serves would never be answered.
fn die_of_panics() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        told(panic);
        std::process::abort();
    }));
}

/// The life of a worker that is needed now.
fn enter<W: Work>(work: &W, board: Board, config: &Config, parent: Pid) -> ! {
    die_of_panics();
    let born = process::worker_birth(parent, board, config.core);
    live(work, board, born.map_err(not_born).and_then(|()| work.confine()))
}

/// The life of a worker that may be needed later.
pub(super) fn enter_spare<W: Work>(work: &W, board: Board, config: &Config, parent: Pid) -> ! {
    die_of_panics();
    let born = process::spare_birth(parent, config.core).map_err(not_born);
    let promoted = born
        .and_then(|()| work.confine())
        .map(|()| {
            warm_up();
            work.warm_up();
        })
        .and_then(|()| process::wait_for_promotion(board).map_err(not_born));
    live(work, board, promoted)
}

/// What the first thread of a process takes longer for than the second. (To map the program's code
/// here as well gains less than it costs: the more is mapped, the longer a death takes.)
fn warm_up() {
    let _ = std::thread::Builder::new().spawn(|| {}).map(std::thread::JoinHandle::join);
}

fn not_born(errno: Errno) -> String {
    format!("was not born: {}", errno.desc())
}

fn live<W: Work>(work: &W, board: Board, ready: Result<(), String>) -> ! {
    let code = match ready {
        Ok(()) => work.serve(board.get(Cell::Generation)),
        Err(error) => {
            tracing::error!("worker {}: {error}", getpid());
            1
        }
    };
    clone::exit_now(code)
}

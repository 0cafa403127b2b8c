//! Kills processes of one of our own mounts, at random moments.
//!
//! What a mount promises to survive is kept to: any two of its five processes die together, never
//! three; and no more than [`EARLY`] workers in a row are killed before they serve, as a supervisor
//! gives up when none gets anywhere.

use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::course::{Course, Stopped};
use super::{Kills, StormConfig};
use crate::crash::replay::{Death, Victim};
use crate::crash::target::{Process, SOON, Target};
use crate::crash::workload::Random;
use crate::recovery::board::Cell;

/// Workers in a row that are killed before they serve.
const EARLY: u32 = 3;
/// One in so many is.
const EARLY_ONE_IN: usize = 4;
/// The age that those come to, in microseconds.
const BIRTH: usize = 3000;
/// Every so many kills something has to be finished first.
const PROGRESS_EVERY: u64 = 10;
/// Deaths without progress, by the supervisor's count, behind which it has to be, too.
const FAILURES: u64 = 2;
/// Where the number of supervisors is not given, one in so many deaths is theirs.
const SUPERVISOR_ONE_IN: usize = 10;
/// Between the deaths of two that die together, in microseconds.
const TOGETHER: usize = 2000;
/// The pid on a standby's cell is marked so while it still dies with its parent.
const UNBORN: u64 = 1 << 63;

pub(super) struct Killer<'a> {
    target: &'a Target,
    config: &'a StormConfig,
    course: &'a Course,
    random: Random,
    /// The newest generation that was killed.
    killed: Option<u64>,
    /// In a row, before they served.
    early: u32,
    /// Processes that died since all five were there.
    missing: usize,
    deaths: Vec<Death>,
}

impl<'a> Killer<'a> {
    pub(super) fn new(target: &'a Target, config: &'a StormConfig, course: &'a Course) -> Self {
        let random = Random::new(!config.seed);
        let deaths = Vec::new();
        Killer { target, config, course, random, killed: None, early: 0, missing: 0, deaths }
    }

    /// Kills until all deaths are done that were asked for; says who died when.
    pub(super) fn run(mut self) -> Vec<Death> {
        while !self.course.is_over() {
            super::end_if_counted(self.config, self.course);
            let (workers, supervisors) = self.left();
            let done = match (workers, supervisors) {
                (0, 0) => break,
                (_, 0) => self.kill_worker(),
                (workers, supervisors) => match self.is_supervisors_turn(workers, supervisors) {
                    true => self.kill_supervisor(workers),
                    false => self.kill_worker(),
                },
            };
            if done.is_err() {
                break;
            }
        }
        self.deaths
    }

    /// How many of each are still to die.
    fn left(&self) -> (u64, u64) {
        let course = self.course;
        let left = |kills: Kills, done: u64| kills.left(done, course.is_ending());
        (
            left(self.config.kill_worker, course.worker_deaths.load(Ordering::Acquire)),
            left(self.config.kill_supervisor, course.supervisor_deaths.load(Ordering::Acquire)),
        )
    }

    fn is_supervisors_turn(&mut self, workers: u64, supervisors: u64) -> bool {
        if workers == u64::MAX || supervisors == u64::MAX {
            return workers == 0 || self.random.once_in(SUPERVISOR_ONE_IN);
        }
        let all = workers.saturating_add(supervisors) as usize;
        (self.random.below(all) as u64) < supervisors
    }

    fn kill_worker(&mut self) -> Result<(), Stopped> {
        if self.missing > 1 {
            self.wait_for_all()?;
        }
        let (process, generation) = self.worker()?;
        let count = self.course.worker_deaths.load(Ordering::Acquire);
        let board = self.target.board();
        let needs_progress = count.is_multiple_of(PROGRESS_EVERY)
            || board.get(Cell::Failures) > FAILURES
            || self.early >= EARLY;
        if !needs_progress && self.random.once_in(EARLY_ONE_IN) {
            self.early += 1;
            let age = self.random.below(BIRTH) as u64;
            std::thread::sleep(Duration::from_micros(age));
        } else {
            self.early = 0;
            self.wait("a new worker", "it serves", || {
                board.get(Cell::ReadyGeneration) > generation
            })?;
            if needs_progress {
                let before = self.course.operations();
                let answered = || self.course.operations() > before || self.course.is_ending();
                self.wait("a new worker", "an answer", answered)?;
            }
            let age = self.some_age();
            self.course.sleep(age);
        }
        if self.course.is_over() {
            return Err(Stopped);
        }
        let signal = self.signal();
        if self.kill(&[(Victim::Worker, process)], signal, Duration::ZERO)? {
            self.killed = Some(generation);
            self.missing += usize::from(self.missing > 0);
        }
        Ok(())
    }

    fn kill_supervisor(&mut self, workers: u64) -> Result<(), Stopped> {
        let age = self.some_age();
        self.course.sleep(age);
        self.wait_for_all()?;
        let mut victims = vec![Victim::Supervisor];
        match self.random.below(4) {
            0 if workers > 0 => victims.push(Victim::Worker),
            1 if workers > 0 => victims.insert(0, Victim::Worker),
            2 => victims.push(Victim::Standby),
            _ => {}
        }
        let together = self.random.once_in(2);
        let gap = if together { 0 } else { self.random.below(TOGETHER) };
        let generation = self.target.board().get(Cell::Generation);
        let mut found = Vec::new();
        for victim in victims {
            let cell = match victim {
                Victim::Worker => Cell::WorkerPid,
                Victim::Supervisor => Cell::SupervisorPid,
                Victim::Standby => Cell::StandbyPid,
            };
            // Gone meanwhile: another time.
            let Some(process) = self.target.process(cell) else { return Ok(()) };
            found.push((victim, process));
        }
        self.missing = found.len();
        if self.kill(&found, Signal::SIGKILL, Duration::from_micros(gap as u64))?
            && found.iter().any(|(victim, _)| *victim == Victim::Worker)
        {
            self.killed = Some(generation);
        }
        Ok(())
    }

    /// Kills all of them, `gap` after each other. False when the first was dead already: nobody is
    /// killed then.
    fn kill(
        &mut self,
        victims: &[(Victim, Process)],
        signal: Signal,
        gap: Duration,
    ) -> Result<bool, Stopped> {
        let after = self.course.by_thread();
        for (number, (victim, process)) in victims.iter().enumerate() {
            if number > 0 {
                std::thread::sleep(gap);
            }
            match (process.signal(signal), victim) {
                (false, _) if number == 0 => return Ok(false),
                (false, _) => {}
                (true, Victim::Worker) => self.course.note_death(),
                (true, Victim::Supervisor) => self.course.note_supervisor(),
                (true, Victim::Standby) => {}
            }
        }
        for (victim, process) in victims {
            self.course.wait_for_death(name(*victim), process, signal)?;
        }
        let victims = victims.iter().map(|(victim, _)| *victim).collect();
        let signal = signal.as_str().to_string();
        self.deaths.push(Death { after, victims, signal, point: None, opcode: None });
        Ok(true)
    }

    /// The worker that was not killed yet.
    fn worker(&self) -> Result<(Process, u64), Stopped> {
        let (board, mut found) = (self.target.board(), None);
        self.wait("a worker's death", "a new worker", || {
            let generation = board.get(Cell::Generation);
            if self.killed.is_some_and(|killed| killed >= generation) {
                return false;
            }
            found = self.target.process(Cell::WorkerPid).map(|process| (process, generation));
            // Still of the same generation: it is this one's process.
            found.is_some() && board.get(Cell::Generation) == generation
        })?;
        found.ok_or(Stopped)
    }

    /// Waits until all five processes are there and stand on their own.
    fn wait_for_all(&mut self) -> Result<(), Stopped> {
        let generation = || self.target.board().get(Cell::Generation);
        self.wait("deaths of a supervisor", "all five processes", || {
            self.killed.is_none_or(|killed| generation() > killed) && are_all_there(self.target)
        })?;
        self.missing = 0;
        Ok(())
    }

    /// Waits for something that comes soon, or is an anomaly.
    fn wait(&self, after: &str, expected: &str, done: impl FnMut() -> bool) -> Result<(), Stopped> {
        let log = || super::last_lines(&self.target.log());
        self.course.wait(after, expected, SOON.max(self.config.patience), log, done)
    }

    /// Around the mean that was asked for.
    fn some_age(&mut self) -> Duration {
        super::some_age(&mut self.random, self.config.every)
    }

    fn signal(&mut self) -> Signal {
        match self.config.signals.is_empty() {
            true => Signal::SIGKILL,
            false => self.random.pick(&self.config.signals),
        }
    }
}

/// Whether a worker serves, and all others are there and stand on their own.
pub(super) fn are_all_there(target: &Target) -> bool {
    let stands = |cell| target.board().get(cell) & UNBORN == 0 && target.process(cell).is_some();
    let others = [Cell::SupervisorPid, Cell::StandbyPid, Cell::ReservePid, Cell::SparePid];
    target.serves() && target.process(Cell::WorkerPid).is_some() && others.into_iter().all(stands)
}

/// What a process is called in a report.
pub(super) fn name(victim: Victim) -> &'static str {
    match victim {
        Victim::Worker => "worker",
        Victim::Supervisor => "supervisor",
        Victim::Standby => "standby",
    }
}

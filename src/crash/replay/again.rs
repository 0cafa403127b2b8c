//! Doing again what a trace says.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{Death, Trace, Victim, check};
use crate::crash::CrashError;
use crate::crash::report::Anomaly;
use crate::crash::target::{SOON, Target, wait_until};
use crate::crash::workload::{self, Abilities, Progress, Random, Setup, Watch};
use crate::recovery::board::Cell;
use crate::recovery::points::{Action, Armed};

/// A thread that is at one operation for so long hangs.
const HANGS: Duration = Duration::from_secs(30);
/// So much later a signal may come than the trace says: in the middle of what goes on then.
const LATE: usize = 400;

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Replayed {
    /// Calls that were made and checked.
    pub operations: u64,
    /// Deaths of workers and of supervisors, as the mount counts them.
    pub deaths: u64,
    /// What was found.
    pub anomalies: Vec<Anomaly>,
}

/// Does it once. `target` makes the mount: [`Trace::target`].
pub fn replay(
    trace: &Trace,
    target: impl Fn(&Trace) -> Result<Target, CrashError>,
) -> Result<Replayed, CrashError> {
    once(trace, 0, &target)
}

/// Does it until something is found, up to `tries` times. Returns how often, and the last one.
pub fn replay_until(
    trace: &Trace,
    tries: usize,
    target: impl Fn(&Trace) -> Result<Target, CrashError>,
) -> Result<(usize, Replayed), CrashError> {
    let mut run = 0;
    loop {
        let replayed = once(trace, run, &target)?;
        run += 1;
        if !replayed.anomalies.is_empty() || run >= tries {
            return Ok((run, replayed));
        }
    }
}

fn once(
    trace: &Trace,
    run: usize,
    target: &impl Fn(&Trace) -> Result<Target, CrashError>,
) -> Result<Replayed, CrashError> {
    let target = target(trace)?;
    let (point, lower) = (target.point(), target.lower());
    let setup = Setup {
        dir: &point,
        lower: lower.as_deref(),
        seed: trace.seed,
        threads: trace.threads,
        inodes: trace.inodes,
        kinds: trace.kinds()?,
        abilities: Abilities::all(),
        script: Some(&trace.script),
    };
    let player = Player::new(trace, &target, run)?;
    let outcome = std::thread::scope(|scope| {
        let killer = scope.spawn(|| player.kill());
        let outcome = workload::run(&setup, &player);
        player.over.store(true, Ordering::Relaxed);
        killer.join().map(|()| outcome)
    });
    let outcome = outcome.map_err(|_| CrashError::Failed("the killer panicked".into()))??;
    let board = target.board();
    let deaths = board.get(Cell::Generation) + board.get(Cell::SupervisorDeaths);
    let mut anomalies = player.own.into_inner().unwrap_or_default();
    anomalies.extend(outcome.anomalies);
    if anomalies.is_empty() {
        target.stop()?;
    }
    Ok(Replayed { operations: outcome.operations, deaths, anomalies })
}

/// One death, as it is to be.
struct Planned<'a> {
    death: &'a Death,
    /// When all threads together have begun so many operations.
    after: u64,
    signal: Signal,
    armed: Option<Armed>,
}

struct Player<'a> {
    target: &'a Target,
    progress: Progress,
    deaths: Vec<Planned<'a>>,
    /// The death that comes next.
    next: AtomicU64,
    over: AtomicBool,
    /// How long nothing may be begun: files are made beforehand, and compared in the end.
    patience: Duration,
    random: Mutex<Random>,
    /// What the workload does not see.
    own: Mutex<Vec<Anomaly>>,
}

impl<'a> Player<'a> {
    fn new(trace: &'a Trace, target: &'a Target, run: usize) -> Result<Player<'a>, CrashError> {
        let plan = |death: &'a Death| {
            let signal = check::signal(&death.signal)?;
            let armed = death.point.as_deref().map(check::point).transpose()?.map(|point| Armed {
                action: Action::Signal(signal),
                opcode: death.opcode,
                ..Armed::kill(point)
            });
            Ok(Planned { death, after: death.after.iter().sum(), signal, armed })
        };
        let deaths: Result<Vec<_>, String> = trace.deaths.iter().map(plan).collect();
        Ok(Player {
            target,
            progress: Progress::new(trace.threads),
            deaths: deaths.map_err(CrashError::Failed)?,
            next: AtomicU64::new(0),
            over: AtomicBool::new(false),
            patience: 2 * HANGS + Duration::from_millis(trace.inodes as u64),
            random: Mutex::new(Random::new(trace.seed ^ run as u64)),
            own: Mutex::default(),
        })
    }

    /// The next death, if it is time.
    fn due(&self) -> Option<&Planned<'a>> {
        let death = self.deaths.get(self.next.load(Ordering::Acquire) as usize)?;
        (self.progress.total_begun() >= death.after).then_some(death)
    }

    /// Whether the program is ahead of a death that is to be sent.
    fn is_late(&self) -> bool {
        let ahead = 2 * self.deaths.first().map_or(0, |it| it.death.after.len()) as u64;
        self.deaths.get(self.next.load(Ordering::Acquire) as usize).is_some_and(|death| {
            death.armed.is_none() && self.progress.total_begun() > death.after + ahead
        })
    }

    /// Kills until the program is over.
    fn kill(&self) {
        let mut last = (0, Instant::now());
        while !self.over.load(Ordering::Relaxed) {
            match self.due() {
                Some(death) if death.armed.is_none() => {
                    self.kill_now(death);
                    self.next.fetch_add(1, Ordering::AcqRel);
                }
                // Soon: what is missed by a millisecond is another storm.
                _ if self.next.load(Ordering::Acquire) < self.deaths.len() as u64 => {
                    std::thread::sleep(Duration::from_micros(20));
                }
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
            let begun = self.progress.total_begun();
            if begun != last.0 {
                last = (begun, Instant::now());
            }
            // Also before the first operation and behind the last one, which are none of a thread.
            let quiet = last.1.elapsed();
            let hang = (quiet > self.patience).then_some((0, quiet));
            if let Some((thread, time)) = self.progress.stuck(HANGS).first().copied().or(hang) {
                self.give_up(thread, time);
                return;
            }
        }
    }

    fn kill_now(&self, death: &Planned<'_>) {
        let late = self.random.lock().unwrap().below(LATE) as u64;
        std::thread::sleep(Duration::from_micros(late));
        let cells = death.death.victims.iter().map(|victim| cell_of(*victim));
        let mut victims = Vec::new();
        for cell in cells {
            // There may be none for the moment: the last one has died just now.
            wait_until(SOON, || {
                victims.extend(self.target.process(cell));
                !victims.is_empty() || self.over.load(Ordering::Relaxed)
            });
        }
        for victim in &victims {
            victim.signal(death.signal);
        }
        // Another one may not be sent to those that die already.
        for victim in victims {
            victim.wait(Duration::from_millis(500));
        }
    }

    /// Ends the mount, so that its callers return.
    fn give_up(&self, thread: usize, time: Duration) {
        self.own.lock().unwrap().push(Anomaly {
            operation: format!("thread t{thread} is at one operation for {time:.0?}"),
            path: String::new(),
            expected: "an answer".into(),
            got: "none: the mount hangs".into(),
            generation: self.generation(),
            before: Vec::new(),
        });
        while !self.over.load(Ordering::Relaxed) {
            let cells = [Cell::ReservePid, Cell::StandbyPid, Cell::SupervisorPid, Cell::WorkerPid];
            for process in cells.into_iter().filter_map(|cell| self.target.process(cell)) {
                process.signal(Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn cell_of(victim: Victim) -> Cell {
    match victim {
        Victim::Worker => Cell::WorkerPid,
        Victim::Supervisor => Cell::SupervisorPid,
        Victim::Standby => Cell::StandbyPid,
    }
}

impl Watch for Player<'_> {
    fn stop(&self, _: u64) -> bool {
        false
    }

    fn begun(&self, thread: usize, _: Instant) {
        // No further ahead than by what was under way when somebody was killed.
        while self.is_late() && !self.over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_micros(50));
        }
        self.progress.begun(thread);
        if let Some(death) = self.due()
            && let Some(armed) = death.armed
        {
            let next = self.next.load(Ordering::Acquire);
            // By one thread alone, before it begins the operation that the trace says.
            let mine =
                self.next.compare_exchange(next, next + 1, Ordering::AcqRel, Ordering::Relaxed);
            if mine.is_ok() {
                self.target.points().arm(armed, None, None);
            }
        }
    }

    fn ended(&self, thread: usize, _: Instant, _: Instant) {
        self.progress.ended(thread);
    }

    fn generation(&self) -> Option<u64> {
        Some(self.target.board().get(Cell::Generation))
    }
}

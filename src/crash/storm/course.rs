//! What goes on during a storm, shared by those who work, kill and watch.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::sys::signal::Signal;

use crate::crash::report::{Anomaly, Pauses};
use crate::crash::target::{Process, wait_until};
use crate::crash::workload::{Progress, Watch};
use crate::recovery::board::{Board, Cell};

/// Between two looks at whether it is over.
const STEP: Duration = Duration::from_millis(5);
/// The longest pause that is told apart: an hour, in nanoseconds.
const LONGEST: u64 = 3_600_000_000_000;
/// Digits of a pause that are kept.
const DIGITS: u8 = 3;
/// Of the histogram that is given out: the end of its first bucket in nanoseconds, from which each
/// is twice as long.
const FIRST_BUCKET: u64 = 1 << 14;

/// How often a signal is sent to one process: handlers of the language leave the first SEGV and
/// BUS that do not come from a bad access without effect.
const TRIES: usize = 5;
/// After each.
const DYING: Duration = Duration::from_millis(500);

/// Why somebody who kills ends early: there is an anomaly, or it is over.
pub(super) struct Stopped;

/// One storm under way.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) start: Instant,
    /// Of the threads of the workload, and of one more for what is done around it.
    pub(super) progress: Progress,
    threads: usize,
    /// Operations ended.
    operations: AtomicU64,
    /// When somebody who serves was killed last, in nanoseconds since the start.
    last_death: AtomicU64,
    pub(super) worker_deaths: AtomicU64,
    pub(super) supervisor_deaths: AtomicU64,
    wrong: AtomicU64,
    /// Since when the workload is to come to its end.
    ending: OnceLock<Instant>,
    /// Nobody is to be killed any more.
    over: AtomicBool,
    pauses: Mutex<Option<Histogram<u64>>>,
    found: Mutex<Vec<Anomaly>>,
    board: Option<Board>,
}

impl Course {
    pub(super) fn new(threads: usize, board: Option<Board>) -> Course {
        Course {
            start: Instant::now(),
            progress: Progress::new(threads + 1),
            threads,
            operations: AtomicU64::new(0),
            last_death: AtomicU64::new(0),
            worker_deaths: AtomicU64::new(0),
            supervisor_deaths: AtomicU64::new(0),
            wrong: AtomicU64::new(0),
            ending: OnceLock::new(),
            over: AtomicBool::new(false),
            // Fails for bounds alone that make no sense.
            pauses: Mutex::new(Histogram::new_with_bounds(1, LONGEST, DIGITS).ok()),
            found: Mutex::default(),
            board,
        }
    }

    pub(super) fn end(&self) {
        self.ending.get_or_init(Instant::now);
    }

    pub(super) fn stop_killing(&self) {
        self.end();
        self.over.store(true, Ordering::Release);
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.get().is_some()
    }

    /// How long the workload has been to come to its end; `None`: not yet.
    pub(super) fn ending_since(&self) -> Option<Duration> {
        self.ending.get().map(Instant::elapsed)
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Sleeps for `time`, or until it is over.
    pub(super) fn sleep(&self, time: Duration) {
        let end = Instant::now() + time;
        while !self.is_over() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(STEP));
        }
    }

    /// Operations ended so far.
    pub(super) fn operations(&self) -> u64 {
        self.operations.load(Ordering::Acquire)
    }

    pub(super) fn wrong(&self) -> u64 {
        self.wrong.load(Ordering::Acquire)
    }

    /// Somebody who serves was killed just now: who waits for an answer, waits for the next one.
    pub(super) fn note_death(&self) {
        self.last_death.store(self.since_start(Instant::now()), Ordering::Release);
        self.worker_deaths.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn note_supervisor(&self) {
        self.supervisor_deaths.fetch_add(1, Ordering::AcqRel);
    }

    /// Waits for something that comes within `limit`, or is an anomaly; `tell` says more then.
    pub(super) fn wait(
        &self,
        after: &str,
        expected: &str,
        limit: Duration,
        tell: impl Fn() -> String,
        mut done: impl FnMut() -> bool,
    ) -> Result<(), Stopped> {
        let in_time = wait_until(limit, || self.is_over() || done());
        if self.is_over() {
            return Err(Stopped);
        }
        if in_time {
            return Ok(());
        }
        self.find(after, expected, format!("not within {} s: {}", limit.as_secs(), tell()));
        Err(Stopped)
    }

    /// Waits until a process has died of the signal that it got.
    pub(super) fn wait_for_death(
        &self,
        name: &str,
        process: &Process,
        signal: Signal,
    ) -> Result<(), Stopped> {
        for _ in 0..TRIES {
            if process.wait(DYING) {
                return Ok(());
            }
            process.signal(signal);
        }
        let got = format!("process {} lives on", process.pid);
        self.find(&format!("{signal} to the {name}"), "it dies", got);
        Err(Stopped)
    }

    fn since_start(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.start).as_nanos() as u64
    }

    /// The same for what is done by the thread that runs the storm: watched like any other.
    pub(super) fn watched<T>(&self, work: impl FnOnce() -> T) -> T {
        self.progress.begun(self.threads);
        let result = work();
        self.progress.ended(self.threads);
        result
    }

    /// How many operations each thread of the workload has begun.
    pub(super) fn by_thread(&self) -> Vec<u64> {
        let mut all = self.progress.by_thread();
        all.truncate(self.threads);
        all
    }

    /// Whether a thread is the one that runs the storm.
    pub(super) fn is_own(&self, thread: usize) -> bool {
        thread == self.threads
    }

    /// Something is wrong with the mount as a whole.
    pub(super) fn find(&self, operation: &str, expected: &str, got: String) {
        let generation = self.generation();
        let anomaly = Anomaly {
            operation: operation.into(),
            path: String::new(),
            expected: expected.into(),
            got,
            generation,
            before: Vec::new(),
        };
        self.found.lock().unwrap().push(anomaly);
    }

    pub(super) fn found(&self) -> Vec<Anomaly> {
        self.found.lock().unwrap().clone()
    }

    /// What callers saw: in short, and as (upper end, count) in nanoseconds.
    pub(super) fn pauses(&self) -> (Pauses, Vec<(u64, u64)>) {
        let pauses = self.pauses.lock().unwrap();
        let Some(pauses) = pauses.as_ref().filter(|pauses| !pauses.is_empty()) else {
            return (Pauses::default(), Vec::new());
        };
        let short = Pauses {
            pauses: pauses.len(),
            pause_p50_ns: pauses.value_at_quantile(0.5),
            pause_p90_ns: pauses.value_at_quantile(0.9),
            pause_p99_ns: pauses.value_at_quantile(0.99),
            pause_max_ns: pauses.max(),
        };
        let buckets = pauses
            .iter_log(FIRST_BUCKET, 2.0)
            .map(|bucket| (bucket.value_iterated_to() + 1, bucket.count_since_last_iteration()));
        (short, buckets.skip_while(|(_, count)| *count == 0).collect())
    }
}

impl Watch for Course {
    fn stop(&self, _: u64) -> bool {
        self.is_ending()
    }

    fn begun(&self, thread: usize, _: Instant) {
        self.progress.begun(thread);
    }

    fn ended(&self, thread: usize, begun: Instant, ended: Instant) {
        self.progress.ended(thread);
        self.operations.fetch_add(1, Ordering::AcqRel);
        let death = self.last_death.load(Ordering::Acquire);
        if death == 0 || self.since_start(begun) > death {
            return;
        }
        if let Some(pauses) = self.pauses.lock().unwrap().as_mut() {
            pauses.saturating_record(ended.saturating_duration_since(begun).as_nanos() as u64);
        }
    }

    fn generation(&self) -> Option<u64> {
        // Asked when something is wrong.
        self.wrong.fetch_add(1, Ordering::AcqRel);
        self.board.map(|board| board.get(Cell::Generation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_counts_when_a_death_falls_into_it() {
        let course = Course::new(2, None);
        let at = |ms| course.start + Duration::from_millis(ms);
        course.ended(0, at(0), at(50));
        assert_eq!(course.pauses().0.pauses, 0, "nobody has died");
        std::thread::sleep(Duration::from_millis(2));
        course.note_death();
        let death = Instant::now();
        course.ended(0, death + Duration::from_micros(1), death + Duration::from_millis(1));
        assert_eq!(course.pauses().0.pauses, 0, "begun afterwards");
        course.ended(1, course.start, course.start + Duration::from_millis(8));
        course.ended(0, course.start, course.start + Duration::from_millis(2));
        let (short, buckets) = course.pauses();
        assert_eq!(short.pauses, 2);
        let near = |value: u64, expected: u64| value.abs_diff(expected) <= expected / 500;
        assert!(near(short.pause_max_ns, 8_000_000), "{short:?}");
        assert!(near(short.pause_p50_ns, 2_000_000), "{short:?}");
        assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), 2);
        assert_eq!(buckets.first(), Some(&(1 << 21, 1)), "{buckets:?}");
        assert_eq!(course.operations(), 4);
    }

    #[test]
    fn nobody_sleeps_when_it_is_over() {
        let course = Course::new(1, None);
        course.stop_killing();
        course.sleep(Duration::from_secs(60));
        assert!(course.start.elapsed() < Duration::from_secs(10));
    }
}

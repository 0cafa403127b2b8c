//! Which operations the threads do, and how far they are.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::abilities::Abilities;
use super::kinds::Kinds;
use super::random::Random;
use crate::crash::CrashError;

/// The operations of each thread, by number: spans of the first one and the one behind the last,
/// in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Script(pub Vec<Vec<(u64, u64)>>);

impl Script {
    /// How many operations.
    pub fn operations(&self) -> u64 {
        self.0.iter().flatten().map(|(first, behind)| behind.saturating_sub(*first)).sum()
    }

    /// Each operation: thread, number, and its kind where all can be done.
    pub fn steps(
        &self,
        seed: u64,
        kinds: &Kinds,
    ) -> Result<impl Iterator<Item = (usize, u64, &'static str)>, CrashError> {
        let possible = kinds.possible(&Abilities::all())?;
        let threads = 0..self.0.len();
        let all = threads.flat_map(|thread| {
            Script::numbers(Some(self), thread).map(move |number| (thread, number))
        });
        Ok(all.map(move |(thread, number)| {
            let mut random = Random::of_operation(seed, thread, number);
            (thread, number, possible.next(&mut random).name)
        }))
    }

    /// Each of a thread's; without a script there is no end.
    pub(super) fn numbers(
        script: Option<&Script>,
        thread: usize,
    ) -> Box<dyn Iterator<Item = u64> + '_> {
        let Some(script) = script else { return Box::new(1..) };
        let spans = script.0.get(thread).into_iter().flatten();
        Box::new(spans.flat_map(|(first, behind)| *first..*behind))
    }

    /// What was done when each thread ended before an operation.
    pub(super) fn of_run(script: Option<&Script>, next: impl Iterator<Item = u64>) -> Script {
        let whole = |next| if next > 1 { vec![(1, next)] } else { Vec::new() };
        let Some(script) = script else { return Script(next.map(whole).collect()) };
        let cut = |(thread, next): (usize, u64)| {
            let spans = script.0.get(thread).into_iter().flatten();
            let cut = spans.map(|(first, behind)| (*first, next.min(*behind)));
            cut.filter(|(first, behind)| first < behind).collect()
        };
        Script(next.enumerate().map(cut).collect())
    }
}

/// How far each thread is, for who implements [`Watch`](super::Watch).
#[derive(Debug)]
pub struct Progress {
    start: Instant,
    threads: Vec<Thread>,
}

#[derive(Debug, Default)]
struct Thread {
    begun: AtomicU64,
    /// Nanoseconds since the start at which it began what it does now, plus 1; 0: nothing.
    since: AtomicU64,
}

impl Progress {
    /// Of so many threads.
    pub fn new(threads: usize) -> Progress {
        let threads = (0..threads).map(|_| Thread::default()).collect();
        Progress { start: Instant::now(), threads }
    }

    /// A thread begins an operation.
    pub fn begun(&self, thread: usize) {
        let since = self.start.elapsed().as_nanos() as u64 + 1;
        self.threads[thread].since.store(since, Ordering::Relaxed);
        self.threads[thread].begun.fetch_add(1, Ordering::Relaxed);
    }

    /// It has ended it.
    pub fn ended(&self, thread: usize) {
        self.threads[thread].since.store(0, Ordering::Relaxed);
    }

    /// How many operations each thread has begun.
    pub fn by_thread(&self) -> Vec<u64> {
        self.threads.iter().map(|thread| thread.begun.load(Ordering::Relaxed)).collect()
    }

    /// How many they are together.
    pub fn total_begun(&self) -> u64 {
        self.by_thread().iter().sum()
    }

    /// The threads that have been at one operation for longer than `limit`, and for how long.
    pub fn stuck(&self, limit: Duration) -> Vec<(usize, Duration)> {
        let now = self.start.elapsed();
        let at_it = self.threads.iter().enumerate().filter_map(|(number, thread)| {
            let since = thread.since.load(Ordering::Relaxed).checked_sub(1)?;
            Some((number, now.saturating_sub(Duration::from_nanos(since))))
        });
        at_it.filter(|(_, time)| *time > limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_of_a_script_is_cut_where_the_threads_ended() {
        let script = Script(vec![vec![(1, 4), (9, 11)], vec![(5, 6)]]);
        assert_eq!(script.operations(), 6);
        let numbers: Vec<_> = Script::numbers(Some(&script), 0).collect();
        assert_eq!(numbers, [1, 2, 3, 9, 10]);
        assert_eq!(Script::numbers(Some(&script), 2).count(), 0);
        let done = Script::of_run(Some(&script), [10, 1].into_iter());
        assert_eq!(done, Script(vec![vec![(1, 4), (9, 10)], vec![]]));
        assert_eq!(Script::of_run(None, [7].into_iter()), Script(vec![vec![(1, 7)]]));
    }

    #[test]
    fn who_is_stuck() {
        let progress = Progress::new(2);
        progress.begun(0);
        progress.ended(0);
        progress.begun(1);
        std::thread::sleep(Duration::from_millis(20));
        let stuck = progress.stuck(Duration::from_millis(10));
        assert!(matches!(stuck[..], [(1, time)] if time >= Duration::from_millis(10)), "{stuck:?}");
        assert_eq!((progress.by_thread(), progress.total_begun()), (vec![1, 1], 2));
        assert!(progress.stuck(Duration::from_secs(100)).is_empty());
    }
}

//! Leaving out what a failure does not need.
//!
//! Whole threads first, then deaths, then operations: chunks of half of what there is, then of
//! half of that, down to single ones; again until nothing more can go. Operations mean the same
//! without the others, and the place of a death moves with those in front of it.

use std::time::{Duration, Instant};

use super::{Death, Trace};
use crate::crash::workload::Script;

/// When to be content.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// So many attempts at most.
    pub runs: usize,
    /// No new attempt after this.
    pub time: Duration,
}

/// What is left.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The last one that showed the failure.
    pub trace: Trace,
    /// Attempts that were made.
    pub runs: usize,
    /// Nothing more can go; otherwise the bound was reached.
    pub smallest: bool,
}

/// Leaves out of `trace`, which shows a failure, all that it shows the failure without.
pub fn shrink(trace: &Trace, bound: Bound, reproduces: impl FnMut(&Trace) -> bool) -> Shrunk {
    let end = Instant::now() + bound.time;
    let mut attempts = Attempts { reproduces, left: bound.runs, end, best: trace.clone() };
    loop {
        let before = (attempts.best.operations(), attempts.best.deaths.len());
        let done = attempts.without_threads().is_some()
            && attempts.without_deaths().is_some()
            && attempts.without_operations().is_some();
        let after = (attempts.best.operations(), attempts.best.deaths.len());
        if !done || before == after {
            let runs = bound.runs - attempts.left;
            return Shrunk { trace: attempts.best, runs, smallest: done };
        }
    }
}

struct Attempts<F> {
    reproduces: F,
    left: usize,
    end: Instant,
    best: Trace,
}

impl<F: FnMut(&Trace) -> bool> Attempts<F> {
    /// Whether it fails still; then it is the new best. `None`: the bound is reached.
    fn attempt(&mut self, trace: Trace) -> Option<bool> {
        if self.left == 0 || Instant::now() >= self.end {
            return None;
        }
        self.left -= 1;
        let fails = (self.reproduces)(&trace);
        if fails {
            self.best = trace;
        }
        Some(fails)
    }

    fn without_threads(&mut self) -> Option<()> {
        for thread in 0..self.best.threads {
            let mut spans = self.best.script.0.clone();
            if spans[thread].is_empty() {
                continue;
            }
            spans[thread].clear();
            let trace = with_script(&self.best, Script(spans));
            self.attempt(trace)?;
        }
        Some(())
    }

    fn without_deaths(&mut self) -> Option<()> {
        let (base, deaths) = (self.best.clone(), self.best.deaths.clone());
        chunks(deaths, |left| self.attempt(Trace { deaths: left.to_vec(), ..base.clone() }))
    }

    fn without_operations(&mut self) -> Option<()> {
        let base = self.best.clone();
        // By number, so that a chunk is what the threads did at about the same time.
        let mut all: Vec<(u64, usize)> = Vec::new();
        for (thread, spans) in base.script.0.iter().enumerate() {
            let numbers = spans.iter().flat_map(|(first, behind)| *first..*behind);
            all.extend(numbers.map(|number| (number, thread)));
        }
        all.sort_unstable();
        chunks(all, |left| self.attempt(with_script(&base, script_of(left, base.threads))))
    }
}

/// Leaves out chunks of `items` as long as `fails` is true without them.
fn chunks<T: Clone>(mut items: Vec<T>, mut fails: impl FnMut(&[T]) -> Option<bool>) -> Option<()> {
    let mut size = items.len().div_ceil(2);
    while size > 0 && !items.is_empty() {
        // From the end: what comes last depends on more than what comes first.
        let mut behind = items.len();
        while behind > 0 {
            let first = behind.saturating_sub(size);
            let left = [&items[..first], &items[behind..]].concat();
            if fails(&left)? {
                items = left;
            }
            behind = first;
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    Some(())
}

fn script_of(operations: &[(u64, usize)], threads: usize) -> Script {
    let mut spans: Vec<Vec<(u64, u64)>> = vec![Vec::new(); threads];
    for (number, thread) in operations {
        match spans[*thread].last_mut() {
            Some((_, behind)) if *behind == *number => *behind += 1,
            _ => spans[*thread].push((*number, number + 1)),
        }
    }
    Script(spans)
}

/// The same with fewer operations: each death comes behind those that are left of what was in
/// front of it.
fn with_script(trace: &Trace, script: Script) -> Trace {
    let moved = |death: &Death| {
        let threads = death.after.iter().enumerate();
        let after = threads
            .map(|(thread, begun)| left_of(*begun, &trace.script.0[thread], &script.0[thread]));
        Death { after: after.collect(), ..death.clone() }
    };
    let deaths = trace.deaths.iter().map(moved).collect();
    Trace { deaths, script, steps: Vec::new(), ..trace.clone() }
}

/// How many of the first `begun` operations in `before` are in `after`.
fn left_of(begun: u64, before: &[(u64, u64)], after: &[(u64, u64)]) -> u64 {
    let mut left = begun;
    let mut end = 0;
    for (first, behind) in before {
        if left == 0 {
            break;
        }
        let length = (behind - first).min(left);
        (end, left) = (first + length, left - length);
    }
    let within = after.iter().map(|(first, behind)| (*behind).min(end).saturating_sub(*first));
    within.sum()
}

#[cfg(test)]
mod tests {
    use super::super::{SCHEMA, Victim};
    use super::*;
    use crate::crash::target::FsKind;
    use crate::crash::workload::kinds;

    fn trace() -> Trace {
        let death = |after: [u64; 3]| Death {
            after: after.to_vec(),
            victims: vec![Victim::Worker],
            signal: "SIGKILL".into(),
            point: None,
            opcode: None,
        };
        Trace {
            schema: SCHEMA,
            program: "test".into(),
            seed: 1,
            threads: 3,
            inodes: 0,
            ops: kinds().into_iter().map(String::from).collect(),
            fs: FsKind::Mem,
            arguments: Vec::new(),
            off: Vec::new(),
            script: Script(vec![vec![(1, 1001)], vec![(1, 801)], vec![(1, 901)]]),
            steps: Vec::new(),
            deaths: (0..40).map(|n| death([n * 10, n * 11, n * 12])).collect(),
            anomalies: Vec::new(),
        }
    }

    fn has(trace: &Trace, thread: usize, number: u64) -> bool {
        let spans = &trace.script.0[thread];
        spans.iter().any(|(first, behind)| (*first..*behind).contains(&number))
    }

    const FAR: Bound = Bound { runs: 100_000, time: Duration::from_secs(60) };

    #[test]
    fn what_is_needed_is_left() {
        // Two operations of one thread with a death between them, behind one of another thread.
        let fails = |trace: &Trace| {
            let front = |death: &Death| {
                let done = |thread: usize, number| {
                    let before = Script(vec![trace.script.0[thread].clone()]);
                    let numbers: Vec<u64> = before.0[0].iter().flat_map(|(a, b)| *a..*b).collect();
                    let begun = death.after[thread] as usize;
                    numbers.iter().take(begun).any(|it| *it == number)
                };
                done(0, 120) && done(2, 40) && !done(0, 200)
            };
            has(trace, 0, 120)
                && has(trace, 0, 200)
                && has(trace, 2, 40)
                && trace.deaths.iter().any(front)
        };
        assert!(fails(&trace()), "there is something to be found");
        let shrunk = shrink(&trace(), FAR, fails);
        let left = [vec![(120, 121), (200, 201)], vec![], vec![(40, 41)]];
        assert_eq!(shrunk.trace.script.0, left);
        assert_eq!(shrunk.trace.deaths.len(), 1);
        assert_eq!(shrunk.trace.deaths[0].after, [1, 0, 1]);
        assert!(shrunk.smallest && shrunk.runs < 400, "{} runs", shrunk.runs);
    }

    #[test]
    fn a_bound_is_kept() {
        let mut asked = 0;
        let bound = Bound { runs: 17, ..FAR };
        let shrunk = shrink(&trace(), bound, |_| {
            asked += 1;
            false
        });
        assert_eq!((shrunk.runs, asked, shrunk.smallest), (17, 17, false));
        assert_eq!(shrunk.trace, trace());
        let at_once = Bound { time: Duration::ZERO, ..FAR };
        assert_eq!(shrink(&trace(), at_once, |_| true).runs, 0);
    }

    #[test]
    fn what_never_fails_again_stays_and_what_always_does_goes() {
        let whole = shrink(&trace(), FAR, |_| false);
        assert_eq!((whole.trace, whole.smallest), (trace(), true));
        let nothing = shrink(&trace(), FAR, |_| true).trace;
        assert_eq!((nothing.operations(), nothing.deaths.len()), (0, 0));
    }
}

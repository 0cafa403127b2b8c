//! Copy or splice: whichever was measured to take less CPU time, for each size of data.
//!
//! What pays depends on the machine, the lower file system and the size: splice(2) saves one of two
//! copies, and costs three system calls and the pipe's buffers. So the first requests of each size
//! go both ways in turn, and the thread's own CPU time is looked at; the winner serves from then
//! on, and is asked again once in a while. It has to win by a margin, as to copy is simpler. Below
//! [`LEAST`] bytes there is nothing to win on any machine seen so far.

use crate::sys::clock;

/// Data shorter than this is copied.
pub(super) const LEAST: usize = 32 << 10;
/// Sizes from [`LEAST`] on, each class twice the one before.
const CLASSES: usize = 8;
/// Requests that go each way before it is decided.
const TRIALS: usize = 9;
/// Requests for which a decision holds.
const LASTS: u32 = 16_384;

/// The way of a reply's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Through memory of this process.
    Copy,
    /// Through a pipe.
    Splice,
}

/// What is known of one size.
#[derive(Clone, Copy, Debug, Default)]
struct Class {
    /// CPU time of the trials, in nanoseconds: copied, spliced.
    trials: [[u64; TRIALS]; 2],
    done: [usize; 2],
    /// What was decided, and for how many more requests it holds.
    decided: Option<(bool, u32)>,
}

/// What one thread knows.
#[derive(Debug, Default)]
pub(super) struct Choice {
    classes: [Class; CLASSES],
}

/// A request that is being measured, from when it was begun.
#[derive(Debug)]
pub(super) struct Trial {
    class: usize,
    way: Way,
    begun: u64,
}

impl Choice {
    /// The way for `size` bytes; with a trial, which is to be ended behind the reply.
    pub(super) fn begin(&mut self, size: usize) -> (Way, Option<Trial>) {
        if size < LEAST {
            return (Way::Copy, None);
        }
        let index = class_of(size);
        let class = &mut self.classes[index];
        if let Some((splice, left @ 1..)) = &mut class.decided {
            *left -= 1;
            return (if *splice { Way::Splice } else { Way::Copy }, None);
        }
        class.decided = None;
        let way = if class.done[0] <= class.done[1] { Way::Copy } else { Way::Splice };
        (way, Some(Trial { class: index, way, begun: clock::thread_cpu_ns() }))
    }

    /// The reply is sent, the way that was meant.
    pub(super) fn end(&mut self, trial: Trial) {
        let taken = clock::thread_cpu_ns().saturating_sub(trial.begun);
        self.classes[trial.class].note(trial.way, taken);
    }
}

/// The class of a size from [`LEAST`] on.
fn class_of(size: usize) -> usize {
    ((size / LEAST).max(1).ilog2() as usize).min(CLASSES - 1)
}

impl Trial {
    /// Whether this size is what was tried.
    pub(super) fn is_of(&self, size: usize) -> bool {
        class_of(size) == self.class
    }
}

impl Class {
    fn note(&mut self, way: Way, taken: u64) {
        let way = way as usize;
        if self.done[way] < TRIALS {
            self.trials[way][self.done[way]] = taken;
            self.done[way] += 1;
        }
        if self.done == [TRIALS; 2] {
            let [copied, spliced] = self.trials.map(median);
            // By a tenth at least.
            self.decided = Some((spliced * 10 <= copied * 9, LASTS));
            self.done = [0, 0];
        }
    }
}

fn median(mut samples: [u64; TRIALS]) -> u64 {
    samples.sort_unstable();
    samples[TRIALS / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(copied: u64, spliced: u64) -> Option<bool> {
        let mut class = Class::default();
        for _ in 0..TRIALS {
            class.note(Way::Copy, copied);
            class.note(Way::Splice, spliced);
        }
        class.decided.map(|(splice, _)| splice)
    }

    #[test]
    fn splice_has_to_win_clearly() {
        assert_eq!(decide(100, 80), Some(true));
        assert_eq!(decide(100, 95), Some(false));
        assert_eq!(decide(100, 130), Some(false));
    }

    #[test]
    fn one_slow_trial_decides_nothing() {
        let mut class = Class::default();
        for index in 0..TRIALS as u64 {
            class.note(Way::Copy, 100);
            class.note(Way::Splice, if index == 3 { 100_000 } else { 50 });
        }
        assert_eq!(class.decided, Some((true, LASTS)));
    }

    #[test]
    fn both_ways_are_tried_and_then_one_is_taken_until_it_is_asked_again() {
        let mut choice = Choice::default();
        assert!(matches!(choice.begin(LEAST - 1), (Way::Copy, None)));
        let mut seen = [0, 0];
        for _ in 0..2 * TRIALS {
            let (way, trial) = choice.begin(LEAST);
            seen[way as usize] += 1;
            choice.classes[0].note(way, if way == Way::Copy { 100 } else { 50 });
            assert!(trial.is_some());
        }
        assert_eq!(seen, [TRIALS, TRIALS]);
        for _ in 0..LASTS {
            assert!(matches!(choice.begin(2 * LEAST - 1), (Way::Splice, None)));
        }
        assert!(matches!(choice.begin(LEAST), (Way::Copy, Some(_))), "once more");
        assert!(choice.begin(2 * LEAST).1.is_some(), "another size is another class");
        assert!(choice.begin(usize::MAX).1.is_some());
    }
}

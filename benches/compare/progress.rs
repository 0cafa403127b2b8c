//! What is printed meanwhile, on stderr: each sample, and how long it will take.

use std::time::{Duration, Instant};

use crate::workloads::Samples;

/// A run of so many measurements.
pub(crate) struct Progress {
    start: Instant,
    done: usize,
    total: usize,
}

impl Progress {
    pub(crate) fn of(total: usize) -> Progress {
        eprintln!("{total} measurements");
        Progress { start: Instant::now(), done: 0, total }
    }

    /// One more is done, by whom and with which outcome.
    pub(crate) fn step(&mut self, who: &str, outcome: &anyhow::Result<Samples>) {
        self.done += 1;
        let what = match outcome {
            Ok(samples) => {
                let rows: Vec<String> =
                    samples.iter().map(|(row, sample)| row.summary(sample)).collect();
                rows.join("; ")
            }
            Err(error) => format!("failed: {error:#}"),
        };
        let left = self.left().as_secs();
        let (done, total) = (self.done, self.total);
        eprintln!("{done}/{total}, {}:{:02} left: {who}: {what}", left / 60, left % 60);
    }

    /// As if all took the same time: they are interleaved, so that comes true within a round.
    fn left(&self) -> Duration {
        self.start.elapsed().mul_f64((self.total - self.done) as f64 / self.done as f64)
    }
}

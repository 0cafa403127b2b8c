//! The program of [`fusex::crash::workload`], as these tests use it.

use std::path::Path;

use fusex::crash::workload::{Abilities, Kinds, Outcome, Setup, Watch, run};

use crate::common::seed;

/// Files that are there from the start.
const INODES: usize = 50;

/// Four threads that do all of it, with what a local file system can do.
pub(crate) fn setup<'a>(dir: &'a Path, lower: Option<&'a Path>, own_seed: u64) -> Setup<'a> {
    Setup {
        dir,
        lower,
        seed: seed(own_seed),
        threads: 4,
        inodes: INODES,
        kinds: Kinds::all(),
        abilities: Abilities::all(),
        script: None,
    }
}

struct Until<F>(F);

impl<F: Fn(u64) -> bool + Sync> Watch for Until<F> {
    fn stop(&self, done_by_this_thread: u64) -> bool {
        (self.0)(done_by_this_thread)
    }
}

/// Runs the program until `stop`, given the number of operations that the asking thread has done,
/// is true for each thread. It has to find nothing.
pub(crate) fn finds_nothing(setup: &Setup<'_>, stop: impl Fn(u64) -> bool + Sync) -> Outcome {
    let outcome = run(setup, &Until(stop)).unwrap_or_else(|error| panic!("{error}"));
    assert!(outcome.anomalies.is_empty(), "seed {:#x}: {:#?}", setup.seed, outcome.anomalies);
    outcome
}

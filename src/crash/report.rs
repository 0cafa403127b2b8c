//! What a crash test finds, as it is printed and written to files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Counts changes of the form of these reports.
pub const SCHEMA: u32 = 1;

/// Something that should not have happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anomaly {
    /// What was done, with its arguments.
    pub operation: String,
    /// To what: a path below the mount point; empty where it is about the whole mount.
    pub path: String,
    /// What the model says.
    pub expected: String,
    /// What came.
    pub got: String,
    /// The worker's generation by then; `None`: not known there.
    pub generation: Option<u64>,
    /// What that thread had done before, the last one last.
    pub before: Vec<String>,
}

/// How long callers waited whose calls were under way at a death, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pauses {
    /// How many there were.
    pub pauses: u64,
    /// Half of them were shorter.
    pub pause_p50_ns: u64,
    /// Nine tenths were.
    pub pause_p90_ns: u64,
    /// All but one in a hundred were.
    pub pause_p99_ns: u64,
    /// The longest.
    pub pause_max_ns: u64,
}

/// How requests of dead workers were finished. Zero where the mount does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    /// Found in their slots.
    pub recovered_from_slots: u64,
    /// Sent again by the kernel.
    pub recovered_resent: u64,
    /// Answered with the stored reply.
    pub recovered_from_journal: u64,
    /// Of which the lower tree said that they had happened.
    pub recovered_probed: u64,
}

/// What a storm came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StormReport {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Calls that were made and checked.
    pub operations: u64,
    /// Workers killed.
    pub worker_deaths: u64,
    /// Supervisors killed.
    pub supervisor_deaths: u64,
    /// Deaths by what was killed and how: `worker SIGKILL`.
    pub deaths: BTreeMap<String, u64>,
    /// How many.
    pub anomalies: u64,
    /// Each of them.
    pub anomaly_list: Vec<Anomaly>,
    /// What callers saw.
    #[serde(flatten)]
    pub pauses: Pauses,
    /// Upper ends in nanoseconds, and how many pauses were that long: for a picture.
    pub pause_histogram: Vec<(u64, u64)>,
    /// How requests were finished.
    #[serde(flatten)]
    pub recovered: Recovered,
    /// Lookup counts kept though nobody may know them.
    pub leaked_lookups: u64,
    /// What it was begun with.
    pub seed: u64,
    /// The mount: its options, or where it is.
    pub mount: String,
    /// How long it ran, in nanoseconds.
    pub duration_ns: u64,
    /// What could not be checked here, and why.
    pub unchecked: Vec<String>,
    /// The file to replay it from, if one was written.
    pub trace: Option<String>,
}

/// Where a cell of the matrix stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As without a crash.
    Ok,
    /// Not.
    Wrong,
    /// The point was not passed, though it should be.
    Unreached,
}

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// The mount: `passthrough one-thread resend`.
    pub mount: String,
    /// What was done.
    pub operation: String,
    /// The first crash.
    pub point: String,
    /// The second one, in the takeover of the first.
    pub second: Option<String>,
    /// What came of it.
    pub verdict: Verdict,
    /// Why, where it is not ok.
    pub why: Option<String>,
}

/// What a matrix came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatrixReport {
    /// [`SCHEMA`].
    pub schema: u32,
    /// All cells.
    pub cells: u64,
    /// As without a crash.
    pub ok: u64,
    /// Not.
    pub wrong: u64,
    /// The point was never passed.
    pub unreached: u64,
    /// Workers killed.
    pub worker_deaths: u64,
    /// Supervisors killed.
    pub supervisor_deaths: u64,
    /// How long it ran, in nanoseconds.
    pub duration_ns: u64,
    /// All cells, in the order in which they were run.
    pub cell_list: Vec<Cell>,
}

/// What one fault other than a death came to: `--hang`, `--poison`, `--oom`, `--core`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultReport {
    /// [`SCHEMA`].
    pub schema: u32,
    /// `hang`, `poison`, `oom`, `core`.
    pub fault: String,
    /// What was expected of the mount, and what was seen, step by step: (step, seen, right).
    pub steps: Vec<(String, String, bool)>,
    /// Why it could not be tried here.
    pub skipped: Option<String>,
    /// How many steps were wrong.
    pub anomalies: u64,
}

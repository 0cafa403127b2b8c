//! The other faults: workers that hang, that die of one request again and again, that take all
//! memory, and that leave a core dump.
//!
//! | file | what |
//! | --- | --- |
//! | `hang` | a request that never ends |
//! | `poison` | a request that kills every worker |
//! | `oom` | a worker that the kernel ends for its memory |
//! | `core` | what a dead worker leaves |
//! | `calls` | callers: the one that is hit, and its neighbour |
//! | `group` | a memory cgroup |
//!
//! Each has mounts of its own, which go with it, and comes to a list of steps: what was expected,
//! what was seen, and whether that is right. Kill points bring the faults about.

mod calls;
mod core;
mod group;
mod hang;
mod oom;
mod poison;

use std::path::Path;
use std::time::Duration;

use super::CrashError;
use super::report::{FaultReport, SCHEMA};
use super::target::{FsKind, Target};
use crate::recovery::board::{Board, Cell};
use crate::recovery::points::Point;

/// A fault other than a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A request hangs, and its worker lives.
    Hang,
    /// A request kills every worker that carries it out.
    Poison,
    /// A worker takes memory until the kernel ends it.
    Oom,
    /// A dead worker leaves a core dump.
    Core,
}

impl Fault {
    /// All of them.
    pub const ALL: &[Fault] = &[Fault::Hang, Fault::Poison, Fault::Oom, Fault::Core];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Hang => "hang",
            Fault::Poison => "poison",
            Fault::Oom => "oom",
            Fault::Core => "core",
        }
    }
}

/// Brings a fault about on mounts of this program. `arguments` are of `fusex mount`; one that the
/// fault needs itself, such as `--request-timeout`, is left out where it is among them.
///
/// # Errors
/// The mount did not come to be, or did not stay as long as it was needed.
pub fn run(fault: Fault, kind: FsKind, arguments: &[String]) -> Result<FaultReport, CrashError> {
    let program = std::env::current_exe().map_err(CrashError::io("/proc/self/exe"))?;
    run_program(&program, fault, kind, arguments)
}

/// The same with another program.
pub fn run_program(
    program: &Path,
    fault: Fault,
    kind: FsKind,
    arguments: &[String],
) -> Result<FaultReport, CrashError> {
    let setup = Setup { program, kind, arguments };
    let mut steps = Steps::default();
    let skipped = match fault {
        Fault::Hang => hang::run(&setup, &mut steps).map(|()| None),
        Fault::Poison => poison::run(&setup, &mut steps).map(|()| None),
        Fault::Oom => oom::run(&setup, &mut steps),
        Fault::Core => core::run(&setup, &mut steps),
    }?;
    let anomalies = steps.0.iter().filter(|(_, _, right)| !right).count() as u64;
    let fault = fault.name().to_string();
    Ok(FaultReport { schema: SCHEMA, fault, steps: steps.0, skipped, anomalies })
}

/// What is mounted for a fault.
struct Setup<'a> {
    program: &'a Path,
    kind: FsKind,
    arguments: &'a [String],
}

impl Setup<'_> {
    /// A mount on which each call comes to the server, with these arguments beside its own. An
    /// option that it has already stays as it is.
    fn start(&self, own: &[&str]) -> Result<Target, CrashError> {
        let mut all = vec!["-o", "nopassthrough"];
        let mut rest = own.iter().copied().peekable();
        while let Some(option) = rest.next() {
            let value = rest.next_if(|next| !next.starts_with('-'));
            if !self.has(option) {
                all.extend([option].into_iter().chain(value));
            }
        }
        all.extend(self.arguments.iter().map(String::as_str));
        Target::start_program(self.program, self.kind, &all)
    }

    /// Whether an option was given: `-s`, `--name` or `--name=value`.
    fn has(&self, option: &str) -> bool {
        let is = |given: &String| {
            given.strip_prefix(option).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        };
        self.arguments.iter().any(is)
    }

    /// Where a name has just been made: in memory it is the commit that makes it.
    fn made(&self) -> Result<Point, CrashError> {
        match self.kind {
            FsKind::Passthrough => Ok(Point::Called),
            FsKind::Mem => Ok(Point::Committed),
            FsKind::Merge => {
                let why = "merge: nothing can be changed there: the matrix alone tests it";
                Err(CrashError::Failed(why.into()))
            }
        }
    }

    /// Whether a request that hangs holds up all others.
    fn one_thread(&self) -> bool {
        self.has("-s") || self.has("--single-threaded")
    }
}

/// What was expected, what was seen, and whether that is right.
#[derive(Debug, Default)]
struct Steps(Vec<(String, String, bool)>);

impl Steps {
    fn see(&mut self, expected: impl Into<String>, seen: impl Into<String>, right: bool) {
        self.0.push((expected.into(), seen.into(), right));
    }

    /// A number that is to be another one.
    fn count(&mut self, what: &str, seen: u64, expected: u64) {
        self.see(format!("{what}: {expected}"), seen.to_string(), seen == expected);
    }

    /// The end of a mount.
    fn stop(&mut self, target: Target) {
        let ended = target.stop();
        let seen = ended.as_ref().map_or_else(ToString::to_string, |()| "they have".into());
        self.see("the mount goes, and all its processes end", seen, ended.is_ok());
    }
}

/// All deaths of workers that nobody asked for.
fn deaths(board: Board) -> u64 {
    let causes = [Cell::DeathsKilled, Cell::DeathsSignal, Cell::DeathsExit, Cell::DeathsTimeout];
    causes.into_iter().map(|cell| board.get(cell)).sum()
}

/// For people: `612.4 ms`.
fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

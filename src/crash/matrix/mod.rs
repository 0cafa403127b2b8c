//! The matrix: every operation, killed at every point that its requests pass.
//!
//! | file | what |
//! | --- | --- |
//! | `steps` | the operations, one small scene each |
//! | `scene` | where a step plays, and what it saw |
//! | `tree` | what a directory holds, for comparison |
//! | `flavour` | the mounts |
//! | `attempt` | one run of one step, with or without a crash |
//! | `bench` | a mount on which attempts are made, its neighbours and its replacement |
//! | `neighbours` | others that use the mount meanwhile |
//! | `singles` | one crash, and pairs of them |
//! | `supervisors` | crashes of supervisors, standbys and upgrades |
//!
//! A step is run once without a crash; then once for each point that its requests passed there,
//! or have to pass. What its caller saw, what open files show afterwards and the tree, through the
//! mount and below it, have to be the same. A point that does not come is *unreached*: the test
//! has failed.

mod attempt;
mod bench;
mod flavour;
mod neighbours;
mod scene;
mod singles;
mod steps;
mod supervisors;
mod tree;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use self::bench::Bench;
pub use self::flavour::Threads;
use self::flavour::{Flavour, flavours};
use self::steps::Step;
use super::CrashError;
use super::report::{Cell, MatrixReport, SCHEMA, Verdict};
use super::target::FsKind;
use crate::recovery::points::{Point, Protection};

/// How much of the matrix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Size {
    /// Every operation at every point, and a sample of pairs.
    #[default]
    Short,
    /// All pairs too.
    Full,
}

/// Which cells are run.
#[derive(Clone, Debug, Default)]
pub struct MatrixConfig {
    /// How many of them.
    pub size: Size,
    /// Names of steps or opcodes; empty: all.
    pub operations: Vec<String>,
    /// The first crash; empty: all.
    pub points: Vec<Point>,
    /// Empty: all.
    pub file_systems: Vec<FsKind>,
    /// Empty: both.
    pub threads: Vec<Threads>,
    /// Whether the kernel is asked to send again; empty: both.
    pub resend: Vec<bool>,
    /// A protection that is switched off: the matrix has to go wrong.
    pub without: Option<Protection>,
    /// Which pairs the short matrix takes.
    pub seed: u64,
}

/// The names of all steps.
pub fn step_names() -> Vec<&'static str> {
    steps::all().iter().map(|step| step.name).collect()
}

/// Runs the matrix; `progress` gets each cell, how many there were, and how many are known to
/// come: that grows while pairs are found. When `stop` is set it ends with an error.
pub fn run(
    config: &MatrixConfig,
    stop: &AtomicBool,
    mut progress: impl FnMut(&Cell, u64, u64),
) -> Result<MatrixReport, CrashError> {
    let start = Instant::now();
    crate::sys::process::install_wake_handler().map_err(CrashError::system("sigaction(2)"))?;
    let mut cells = Cells { stop, list: Vec::new(), planned: 0, progress: &mut progress };
    let mut deaths = [0, 0];
    for flavour in flavours(config) {
        let steps: Vec<Step> =
            steps::all().into_iter().filter(|step| is_asked(config, step, flavour)).collect();
        if steps.is_empty() {
            continue;
        }
        let mut bench = Bench::new(flavour, config.without)?;
        singles::run(config, &mut bench, &steps, &mut cells)?;
        supervisors::run(config, &mut bench, &steps, &mut cells)?;
        bench.finish(&mut cells)?;
        deaths = [0, 1].map(|which| deaths[which] + bench.deaths[which]);
    }
    if cells.list.is_empty() {
        return Err(CrashError::Failed(
            "no cell is left of the matrix: see --list-points and the names of operations".into(),
        ));
    }
    let count = |verdict| cells.list.iter().filter(|cell| cell.verdict == verdict).count() as u64;
    Ok(MatrixReport {
        schema: SCHEMA,
        cells: cells.list.len() as u64,
        ok: count(Verdict::Ok),
        wrong: count(Verdict::Wrong),
        unreached: count(Verdict::Unreached),
        worker_deaths: deaths[0],
        supervisor_deaths: deaths[1],
        duration_ns: start.elapsed().as_nanos() as u64,
        cell_list: cells.list,
    })
}

/// Whether a step is run on a mount at all.
fn is_asked(config: &MatrixConfig, step: &Step, flavour: Flavour) -> bool {
    let opcode = step.opcode.info().name;
    let named = |name: &String| name == step.name || name.eq_ignore_ascii_case(opcode);
    let asked = config.operations.is_empty() || config.operations.iter().any(named);
    asked && step.is_for(flavour)
}

/// The cells as they come.
struct Cells<'a> {
    stop: &'a AtomicBool,
    list: Vec<Cell>,
    planned: u64,
    progress: &'a mut dyn FnMut(&Cell, u64, u64),
}

impl Cells<'_> {
    /// Whether it goes on at all.
    fn go_on(&self) -> Result<(), CrashError> {
        match self.stop.load(Ordering::Acquire) {
            true => Err(CrashError::Failed("the matrix was interrupted".into())),
            false => Ok(()),
        }
    }

    /// So many more will come.
    fn plan(&mut self, more: usize) {
        self.planned += more as u64;
    }

    /// One will not come.
    fn leave_out(&mut self) {
        self.planned -= 1;
    }

    fn add(&mut self, cell: Cell) {
        let done = self.list.len() as u64 + 1;
        self.planned = self.planned.max(done);
        (self.progress)(&cell, done, self.planned);
        self.list.push(cell);
    }
}

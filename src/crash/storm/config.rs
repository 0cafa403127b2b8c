//! What a storm is to do.

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::crash::target::FsKind;
use crate::crash::workload::Kinds;
use crate::recovery::points::Protection;

/// The mean pause between deaths, where none is given.
pub const EVERY: Duration = Duration::from_millis(4);
/// How long a storm takes whose deaths are not counted.
pub const DURATION: Duration = Duration::from_secs(10);
/// Threads of the workload.
pub const THREADS: usize = 4;
/// Files made beforehand.
pub const INODES: usize = 100;
/// After so long a call hangs.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What a worker may die of.
pub const DEADLY: &[Signal] = &[
    Signal::SIGKILL,
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGABRT,
    Signal::SIGFPE,
    Signal::SIGTERM,
];

/// What the storm goes over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// A mount of this program, made for it.
    Own {
        /// What is mounted.
        kind: FsKind,
        /// Arguments of `fusex mount`.
        arguments: Vec<String>,
    },
    /// Any FUSE mount that is there.
    Other {
        /// Where it is mounted.
        mount: PathBuf,
        /// Who serves it.
        server: Server,
    },
}

/// The server of a mount that is not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// This process. It can be killed once.
    Pid(i32),
    /// The one that this shell command prints the number of, asked anew after each death.
    Command(String),
}

/// How many are to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kills {
    /// None.
    Never,
    /// So many.
    Times(u64),
    /// As many as come to it, until the storm ends for another reason.
    UntilTheEnd,
}

impl Kills {
    /// How many are still to die after `done` of them.
    pub(super) fn left(self, done: u64, ending: bool) -> u64 {
        match self {
            Kills::Never => 0,
            Kills::Times(_) if ending => 0,
            Kills::Times(times) => times.saturating_sub(done),
            Kills::UntilTheEnd => u64::MAX,
        }
    }
}

/// A storm.
#[derive(Clone, Debug)]
pub struct StormConfig {
    /// What it goes over.
    pub target: MountKind,
    /// What serves a mount of ours; `None`: this program.
    pub program: Option<PathBuf>,
    /// Workers; of a mount that is not ours, its server.
    pub kill_worker: Kills,
    /// Supervisors: alone, with the worker, or with the standby.
    pub kill_supervisor: Kills,
    /// What workers die of, one of them each time; none: SIGKILL.
    pub signals: Vec<Signal>,
    /// The mean pause between deaths.
    pub every: Duration,
    /// The storm ends then at the latest. `None`: with the deaths that are counted, or after
    /// [`DURATION`] where none are.
    pub duration: Option<Duration>,
    /// Of all that is random.
    pub seed: u64,
    /// Threads of the workload.
    pub threads: usize,
    /// Files made beforehand.
    pub inodes: usize,
    /// What the workload does.
    pub kinds: Kinds,
    /// Protections to switch off, of a mount of ours.
    pub without: Vec<Protection>,
    /// After so long a call hangs.
    pub patience: Duration,
}

impl StormConfig {
    /// Workers die until the storm is over, all else is as usual.
    pub fn new(target: MountKind, seed: u64) -> StormConfig {
        StormConfig {
            target,
            program: None,
            kill_worker: Kills::UntilTheEnd,
            kill_supervisor: Kills::Never,
            signals: Vec::new(),
            every: EVERY,
            duration: None,
            seed,
            threads: THREADS,
            inodes: INODES,
            kinds: Kinds::all(),
            without: Vec::new(),
            patience: PATIENCE,
        }
    }

    /// Whether it is the deaths that end it.
    pub(super) fn counts(&self) -> bool {
        [self.kill_worker, self.kill_supervisor].iter().any(|it| matches!(it, Kills::Times(_)))
    }

    /// When it ends at the latest.
    pub(super) fn limit(&self) -> Option<Duration> {
        self.duration.or((!self.counts()).then_some(DURATION))
    }
}

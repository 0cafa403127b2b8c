//! Which CPUs a benchmark's client and server run on.

use anyhow::Context;
use clap::ValueEnum;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Which CPUs client and server run on: where the scheduler puts them decides more than
/// anything else about a small request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pin {
    /// Wherever the scheduler likes
    None,
    /// Both on one CPU
    Same,
    /// Each on its own CPU
    Cross,
}

impl Pin {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Pin::None => "none",
            Pin::Same => "same",
            Pin::Cross => "cross",
        }
    }

    /// The CPUs of client and server; `None` for all of them.
    pub(crate) fn cpus(self) -> anyhow::Result<Option<(usize, usize)>> {
        let cpus = allowed_cpus()?;
        let first = *cpus.first().context("no CPU is allowed")?;
        match self {
            Pin::None => Ok(None),
            Pin::Same => Ok(Some((first, first))),
            Pin::Cross => {
                Ok(Some((first, *cpus.get(1).context("--pin cross: only one CPU is allowed")?)))
            }
        }
    }
}

/// The CPUs that the calling thread may run on.
pub(crate) fn allowed_cpus() -> anyhow::Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect())
}

/// Keeps the calling thread, and what it starts from here on, on one CPU.
pub(crate) fn pin(cpu: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

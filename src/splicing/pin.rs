//! Which CPUs client and server run on.

use clap::ValueEnum;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde::Serialize;

use super::{BenchError, Result};

/// Which CPUs client and server run on: where the scheduler puts them decides more than
/// anything else about a small request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Pin {
    /// Wherever the scheduler likes
    None,
    /// Both on one CPU
    Same,
    /// Each on its own CPU
    Cross,
}

impl Pin {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Pin::None => "none",
            Pin::Same => "same",
            Pin::Cross => "cross",
        }
    }

    /// The CPUs of client and server; `None` for all of them.
    ///
    /// # Errors
    /// There are not so many CPUs.
    pub fn cpus(self) -> Result<Option<(usize, usize)>> {
        let cpus = allowed_cpus()?;
        let missing = |what: &str| BenchError::Failed(what.to_string());
        let first = *cpus.first().ok_or_else(|| missing("no CPU is allowed"))?;
        let second = || {
            let second = cpus.get(1).copied();
            second.ok_or_else(|| missing("--pin cross: only one CPU is allowed: use --pin same"))
        };
        match self {
            Pin::None => Ok(None),
            Pin::Same => Ok(Some((first, first))),
            Pin::Cross => Ok(Some((first, second()?))),
        }
    }
}

/// The CPUs that the calling thread may run on.
///
/// # Errors
/// The kernel does not tell.
pub fn allowed_cpus() -> Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0)).map_err(BenchError::system("CPUs"))?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect())
}

/// Keeps the calling thread, and what it starts from here on, on one CPU.
///
/// # Errors
/// It may not be used.
pub fn pin(cpu: usize) -> Result<()> {
    allow(&[cpu])
}

/// The same with several CPUs.
///
/// # Errors
/// None of them may be used.
pub(super) fn allow(cpus: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    cpus.iter()
        .try_for_each(|cpu| set.set(*cpu))
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .map_err(BenchError::system(format!("running on CPUs {cpus:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_runs_where_it_is_told_to() {
        let pinned = std::thread::spawn(|| {
            let all = allowed_cpus().unwrap();
            let last = *all.last().unwrap();
            pin(last).unwrap();
            assert_eq!(allowed_cpus().unwrap(), [last]);
            allow(&all).unwrap();
            assert_eq!(allowed_cpus().unwrap(), all);
            assert!(pin(CpuSet::count()).is_err());
        });
        pinned.join().unwrap();
    }

    #[test]
    fn which_cpus() {
        let all = allowed_cpus().unwrap();
        assert_eq!(Pin::None.cpus().unwrap(), None);
        assert_eq!(Pin::Same.cpus().unwrap(), Some((all[0], all[0])));
        match all.get(1) {
            Some(second) => assert_eq!(Pin::Cross.cpus().unwrap(), Some((all[0], *second))),
            None => assert!(Pin::Cross.cpus().unwrap_err().to_string().contains("--pin same")),
        }
    }
}

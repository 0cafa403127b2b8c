//! How long a caller waits when the worker is killed.
//!
//! Each kill is a separate event: the worker serves, the window of the kill before is over, and so
//! is one in which nobody is killed. What the longest call takes in that quiet window is what the
//! machine adds by itself.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use fusex::supervise::protocol::Status;
use serde::Serialize;

use crate::calls::{Call, Caller, Calling, UNCACHED};
use crate::mount::{Mount, Place, check_stopped};
use crate::tree;

/// From a kill to where the longest call is read: many times the pause.
const WINDOW: Duration = Duration::from_millis(10);

/// What a mount knows when its worker is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Setup {
    /// Inodes that the kernel knows, about.
    pub(crate) inodes: usize,
    pub(crate) open_files: usize,
}

/// The first is what the others are compared with.
pub(crate) const SETUPS: [Setup; 3] = [
    Setup { inodes: 10, open_files: 0 },
    Setup { inodes: 100_000, open_files: 0 },
    Setup { inodes: 100_000, open_files: 1_000 },
];

/// Some durations in microseconds, by rank.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Ranks {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Ranks {
    /// Of one or more.
    fn of(mut times: Vec<Duration>) -> Ranks {
        times.sort_unstable();
        let rank = |share: f64| {
            let index = (times.len() as f64 * share).ceil() as usize;
            times[index.clamp(1, times.len()) - 1].as_secs_f64() * 1e6
        };
        Ranks { p50: rank(0.5), p90: rank(0.9), p99: rank(0.99), max: rank(1.0) }
    }
}

/// What some kills of one mount's worker came to.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Pauses {
    pub(crate) call: Call,
    pub(crate) kills: u32,
    /// The longest call around each kill.
    pub(crate) pause_us: Ranks,
    /// From the death, as the supervisor sees it, to where the next worker serves.
    pub(crate) takeover_us: Ranks,
    /// The longest call in as long a window without a kill.
    pub(crate) quiet_us: Ranks,
}

/// The calls whose pauses are measured.
pub(crate) const CALLS: [Call; 2] = [Call::Stat, Call::Write];

/// Both calls on one fresh mount.
pub(crate) fn measure(parent: &Path, setup: Setup, kills: u32) -> anyhow::Result<Vec<Pauses>> {
    let place = Place::new(parent)?;
    tree::make(&place.lower(), setup.inodes)?;
    let mount = place.mount(&UNCACHED)?;
    let found = tree::look(&mount.point())?;
    ensure!(found == setup.inodes, "{found} files of {}", setup.inodes);
    let open = tree::open(&mount.point(), setup.open_files)?;
    let known = mount.settled()?;
    ensure!(known.inodes >= setup.inodes as u64, "only {} inodes are known", known.inodes);
    ensure!(known.open_files >= open.len() as u64, "only {} files are open", known.open_files);
    CALLS.into_iter().map(|call| kill_under(&mount, call, kills)).collect()
}

/// Kills the worker again and again under a caller.
pub(crate) fn kill_under(mount: &Mount, call: Call, kills: u32) -> anyhow::Result<Pauses> {
    let mut calling = Calling::start(Caller::new(&mount.point())?, call);
    let mut status = mount.settled()?;
    let (mut pauses, mut takeovers, mut quiets) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..kills {
        check_stopped()?;
        quiets.push(calling.longest(WINDOW, || Ok(()))?);
        pauses.push(calling.longest(WINDOW, || mount.kill_worker(&status))?);
        status = replaced(mount, &status)?;
        takeovers.push(Duration::from_nanos(status.last_takeover_ns));
    }
    calling.end()?;
    Ok(Pauses {
        call,
        kills,
        pause_us: Ranks::of(pauses),
        takeover_us: Ranks::of(takeovers),
        quiet_us: Ranks::of(quiets),
    })
}

/// The status behind a kill, of which there was exactly one.
fn replaced(mount: &Mount, before: &Status) -> anyhow::Result<Status> {
    let status = mount.settled()?;
    ensure!(
        status.worker_deaths == before.worker_deaths + 1 && status.worker_pid != before.worker_pid,
        "the worker was killed once and died {} times",
        status.worker_deaths - before.worker_deaths
    );
    Ok(status)
}

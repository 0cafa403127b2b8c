//! What it costs that a worker can be replaced, while none dies: the same calls on a supervised
//! mount and on one without a supervisor.
//!
//! Both mounts are there at the same time and take turns, some milliseconds each, so that what else
//! the machine does hits both. Ratios are taken between neighbours.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;

use crate::calls::{Call, Caller, UNCACHED};
use crate::common::pin::pin;
use crate::common::spread::Spread;
use crate::mount::{Mount, Place, check_stopped};

/// The calls that are measured.
pub(crate) const CALLS: [Call; 3] = [Call::Stat, Call::CreateUnlink, Call::Write];
/// One turn of one mount.
const TURN: Duration = Duration::from_millis(10);
/// Calls between two looks at the clock.
const BATCH: u32 = 20;

/// One call in one round.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Cost {
    pub(crate) call: Call,
    /// Medians over the turns, microseconds a call.
    pub(crate) supervised_us: f64,
    pub(crate) alone_us: f64,
    /// Supervised to alone, the median over neighbours.
    pub(crate) ratio: f64,
}

/// All calls on a fresh pair of mounts; `cpus` are those of client and server, and `swapped` says
/// which of the two is mounted first.
pub(crate) fn measure(
    parent: &Path,
    cpus: Option<(usize, usize)>,
    turns: u32,
    swapped: bool,
) -> anyhow::Result<Vec<Cost>> {
    let supervised = || start(parent, &[], cpus);
    let alone = || start(parent, &["--no-supervise"], cpus);
    let (supervised, alone) = if swapped {
        let alone = alone()?;
        (supervised()?, alone)
    } else {
        (supervised()?, alone()?)
    };
    supervised.settled()?;
    let callers = [Caller::new(&supervised.point())?, Caller::new(&alone.point())?];
    CALLS.into_iter().map(|call| compare(&callers, call, turns)).collect()
}

fn start(parent: &Path, arguments: &[&str], cpus: Option<(usize, usize)>) -> anyhow::Result<Mount> {
    // A server inherits its CPU from the thread that starts it.
    cpus.map_or(Ok(()), |(_, cpu)| pin(cpu))?;
    let mount = Place::new(parent)?.mount(&[&UNCACHED, arguments].concat())?;
    cpus.map_or(Ok(()), |(cpu, _)| pin(cpu))?;
    Ok(mount)
}

fn compare(callers: &[Caller; 2], call: Call, turns: u32) -> anyhow::Result<Cost> {
    let mut times = [Vec::new(), Vec::new()];
    for turn in 0..turns {
        check_stopped()?;
        // The first one changes from turn to turn.
        let first = turn as usize % 2;
        for which in [first, 1 - first] {
            times[which].push(take_turn(&callers[which], call)?);
        }
    }
    let [supervised, alone] = times;
    let ratios = supervised.iter().zip(&alone).map(|(supervised, alone)| supervised / alone);
    let ratio = median(ratios)?;
    Ok(Cost { call, supervised_us: median(supervised)?, alone_us: median(alone)?, ratio })
}

fn median(values: impl IntoIterator<Item = f64>) -> anyhow::Result<f64> {
    Ok(Spread::of(values).context("nothing was measured")?.median)
}

/// Microseconds a call.
fn take_turn(caller: &Caller, call: Call) -> anyhow::Result<f64> {
    // The server's thread, asleep since its last turn, is awake behind these.
    for _ in 0..BATCH {
        caller.call(call)?;
    }
    let (mut calls, start) = (0, Instant::now());
    while start.elapsed() < TURN {
        for _ in 0..BATCH {
            caller.call(call)?;
        }
        calls += BATCH;
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(calls))
}

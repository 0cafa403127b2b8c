//! What a trace has to keep to. A file may come from anybody, and what it says is done as root.

use nix::sys::signal::Signal;

use super::{Death, Trace, protection_names};
use crate::recovery::points::{Point, Protection};

/// More than any storm has.
const THREADS: usize = 1024;
const INODES: usize = 10_000_000;
const OPERATIONS: u64 = 1 << 32;

/// One line on what is wrong.
pub(super) fn check(trace: &Trace) -> Result<(), String> {
    limit("threads", trace.threads as u64, THREADS as u64)?;
    limit("inodes", trace.inodes as u64, INODES as u64)?;
    trace.kinds().map_err(|error| error.to_string())?;
    trace.off.iter().try_for_each(|name| protection(name).map(drop))?;
    trace.arguments.iter().try_for_each(|argument| harmless(argument))?;
    if trace.script.0.len() != trace.threads {
        let scripts = trace.script.0.len();
        return Err(format!("{} threads, and operations for {scripts}", trace.threads));
    }
    for spans in &trace.script.0 {
        let mut last = 1;
        for (first, behind) in spans {
            if *first < last || behind <= first || *behind > OPERATIONS {
                return Err(format!("operations {first} to {behind} are not in order"));
            }
            last = *behind;
        }
    }
    limit("operations", trace.operations(), OPERATIONS)?;
    trace.deaths.iter().try_for_each(|one| death(one, trace))?;
    same_steps(trace)
}

fn limit(what: &str, value: u64, most: u64) -> Result<(), String> {
    if value <= most { Ok(()) } else { Err(format!("{value} {what}, and {most} is the most")) }
}

/// The mount of a trace is in a directory of its own: its arguments name no other.
fn harmless(argument: &str) -> Result<(), String> {
    match argument.contains(['/', '\0']) {
        true => Err(format!("the argument '{argument}' names a file: not of a storm")),
        false => Ok(()),
    }
}

fn death(death: &Death, trace: &Trace) -> Result<(), String> {
    if death.after.len() != trace.threads {
        let count = death.after.len();
        return Err(format!("a death counts the operations of {count} threads"));
    }
    signal(&death.signal)?;
    match &death.point {
        Some(name) => point(name).map(drop),
        None if death.victims.is_empty() => Err("a death of nobody".into()),
        None => Ok(()),
    }
}

/// Kinds are found again by the seed: another version may have others.
fn same_steps(trace: &Trace) -> Result<(), String> {
    let steps = trace.first_steps().map_err(|error| error.to_string())?;
    match steps.iter().zip(&trace.steps).find(|(own, theirs)| own != theirs) {
        None => Ok(()),
        Some((own, theirs)) => {
            let by = &trace.program;
            Err(format!(
                "operation {}.{} is '{}' and here '{}': replay it with fusex {by}, which wrote it",
                theirs.0, theirs.1, theirs.2, own.2
            ))
        }
    }
}

/// The protection of a name.
pub(super) fn protection(name: &str) -> Result<Protection, String> {
    let found = Protection::ALL.iter().copied().find(|it| it.name() == name);
    found.ok_or_else(|| format!("no protection '{name}': there are {}", protection_names()))
}

/// The signal of a name; one that a process can die of.
pub(super) fn signal(name: &str) -> Result<Signal, String> {
    let signal = name.parse().map_err(|_| format!("no signal '{name}'"))?;
    match signal {
        Signal::SIGSTOP | Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU => {
            Err(format!("{name} ends nobody"))
        }
        signal => Ok(signal),
    }
}

/// The point of a name.
pub(super) fn point(name: &str) -> Result<Point, String> {
    Point::named(name).ok_or_else(|| format!("no kill point '{name}': see --list-points"))
}

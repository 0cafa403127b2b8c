//! A request that kills every worker that carries it out: it alone gets an error.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::calls::{Caller, Deed, Neighbour, Outcome};
use super::{Setup, Steps, deaths};
use crate::Errno;
use crate::crash::CrashError;
use crate::crash::target::{SOON, Target, wait_until};
use crate::recovery::board::Cell;
use crate::recovery::points::{Action, Armed, Point};

/// The error is to come sooner.
const LIMIT: Duration = Duration::from_secs(10);
/// Deaths that are one request's own doing, before it is given up.
const DEATHS: u64 = 3;
/// Nobody can tell who called for SIGKILL: such a death counts a fifth.
const KILLS: u64 = 5 * DEATHS;

pub(super) fn run(setup: &Setup<'_>, steps: &mut Steps) -> Result<(), CrashError> {
    let number = DEATHS.to_string();
    let target = setup.start(&["--poison-after", &number])?;
    let cases = [
        (Signal::SIGSEGV, Deed::Write),
        (Signal::SIGSEGV, Deed::Mkdir),
        (Signal::SIGKILL, Deed::Read),
    ];
    for (count, (signal, deed)) in (1..).zip(cases) {
        if !poison(&target, steps, signal, deed, count)? {
            break;
        }
    }
    steps.stop(target);
    Ok(())
}

/// One request is the death of every worker. False when it goes on for ever, or the mount is of no
/// use afterwards.
fn poison(
    target: &Target,
    steps: &mut Steps,
    signal: Signal,
    deed: Deed,
    count: u64,
) -> Result<bool, CrashError> {
    let (name, board) = (deed.name(), target.board());
    let (before, logged) = (deaths(board), target.log().len());
    let neighbour = Neighbour::start(target)?;
    let caller = Caller::new(target, deed, &format!("poison-{count}"))?;
    let armed =
        Armed { action: Action::Signal(signal), again: true, ..Armed::kill(Point::Dispatched) };
    let outcome = caller.call(target, armed, LIMIT, || {});
    let fired = target.points().fired()[0];
    let refused = is_refused(&outcome);
    let expected = format!("a {name} that brings each worker {signal} gets EIO");
    steps.see(expected, format!("{}, {fired} workers later", outcome.seen()), refused);
    if deed != Deed::Read {
        let done = outcome.is_done(target);
        steps.see(
            format!("this {name} is not done"),
            if done { "it is" } else { "it is not" },
            !done,
        );
    }
    steps.count("requests answered EIO", board.get(Cell::Poisoned), count);
    // The last one is counted when its successor is on its way.
    wait_until(SOON, || deaths(board) - before >= fired);
    let died = deaths(board) - before;
    let (expected, right) = match signal {
        Signal::SIGKILL => {
            (format!("{DEATHS} to {KILLS} workers died of it"), (DEATHS..=KILLS).contains(&died))
        }
        _ => (format!("{DEATHS} workers died of it"), died == DEATHS),
    };
    steps.see(expected, died.to_string(), right);
    let says = line_of(target.log().get(logged..).unwrap_or_default(), name, outcome.caller);
    let expected = format!("the log names {name}, its node and process {}", outcome.caller);
    steps.see(expected, says.clone().unwrap_or_else(|| "no such line".into()), says.is_some());
    let rounds = neighbour.end();
    let seen = rounds.as_ref().map_or_else(Clone::clone, |rounds| format!("{rounds} rounds"));
    steps.see("others write and read what they wrote, all the while", seen, rounds.is_ok());
    if rounds.is_err() {
        return Ok(false);
    }
    let again = Caller::new(target, deed, &format!("cured-{count}"))?;
    let answered = again.call(target, harmless(), SOON, || {});
    let right = answered.is_right(target);
    steps.see(format!("a {name} without the fault is answered and done"), answered.seen(), right);
    Ok(refused && right)
}

fn is_refused(outcome: &Outcome) -> bool {
    let Some(Err(error)) = &outcome.result else { return false };
    error.raw_os_error() == Some(Errno::EIO as i32)
}

/// The line about a request that was given up, from its name on.
fn line_of(log: &str, name: &str, caller: i32) -> Option<String> {
    let lines = log.lines().filter_map(|line| line.split_once("workers died again and again of "));
    let mut lines = lines.map(|(_, rest)| rest);
    let is_it = |line: &&str| {
        let node = line.strip_prefix(name).and_then(|rest| rest.strip_prefix(" on node "));
        let node = node.and_then(|rest| rest.split_once(' '));
        node.is_some_and(|(node, rest)| {
            node.parse::<u64>().is_ok() && rest == format!("by process {caller}: answered EIO")
        })
    };
    lines.find(is_it).map(String::from)
}

/// A signal without effect.
fn harmless() -> Armed {
    Armed { action: Action::Signal(Signal::SIGCONT), ..Armed::kill(Point::Dispatched) }
}

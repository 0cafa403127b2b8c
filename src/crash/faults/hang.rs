//! A request that never ends: the supervisor replaces its worker, and the next one answers.

use std::time::Duration;

use super::calls::{Caller, Deed, Neighbour};
use super::{Setup, Steps};
use crate::crash::CrashError;
use crate::crash::target::{SOON, Target, wait_until};
use crate::recovery::board::Cell;
use crate::recovery::points::{Action, Armed, Point};

/// For `--request-timeout`, in seconds: longer than any request takes that does not hang.
const TIMEOUT: &str = "1";
/// No request is to take longer.
const LIMIT: Duration = Duration::from_secs(6);

pub(super) fn run(setup: &Setup<'_>, steps: &mut Steps) -> Result<(), CrashError> {
    let target = setup.start(&["--request-timeout", TIMEOUT])?;
    let made = setup.made()?;
    let places =
        [(Deed::Mkdir, made), (Deed::Read, Point::Dispatched), (Deed::Write, Point::Called)];
    for (deed, point) in places {
        // Nobody else needs what it holds.
        let meanwhile = deed == Deed::Read && !setup.one_thread();
        if !hang(&target, steps, deed, point, meanwhile)? {
            break;
        }
    }
    let board = target.board();
    steps.count("requests answered EIO", board.get(Cell::Poisoned), 0);
    steps.stop(target);
    Ok(())
}

/// One request hangs at a point. `meanwhile`: others are answered while it does. False when hangs
/// do not end here.
fn hang(
    target: &Target,
    steps: &mut Steps,
    deed: Deed,
    point: Point,
    meanwhile: bool,
) -> Result<bool, CrashError> {
    let (name, place) = (deed.name(), point.name());
    let deaths = || target.board().get(Cell::DeathsTimeout);
    let before = deaths();
    let neighbour = Neighbour::start(target)?;
    let caller = Caller::new(target, deed, &format!("hangs-{name}"))?;
    let armed = Armed { action: Action::Hang, ..Armed::kill(point) };
    let mut served = None;
    let outcome = caller.call(target, armed, LIMIT, || {
        let hangs = wait_until(SOON, || target.points().fired()[0] > 0);
        if hangs && meanwhile {
            // None has died when they are: it was this one that served them.
            served = Some(neighbour.goes_on(LIMIT) && deaths() == before);
        }
    });
    let fired = target.points().fired()[0];
    steps.see(
        format!("a {name} hangs at {place}"),
        if fired > 0 { "it does" } else { "it does not" },
        fired > 0,
    );
    let right = outcome.is_right(target);
    let expected = format!("this {name} is answered within {} s, and done", LIMIT.as_secs());
    steps.see(expected, outcome.seen(), right);
    if let Some(served) = served {
        let seen = if served { "they are" } else { "they wait" };
        steps.see("others are answered while it hangs", seen, served);
    }
    // It is counted when the successor is on its way; on a slow machine others hang too.
    wait_until(LIMIT, || deaths() > before || !right);
    let died = deaths() - before;
    steps.see("workers replaced as a request hung: 1 at least", died.to_string(), died > 0);
    let rounds = neighbour.end();
    let seen = rounds.as_ref().map_or_else(Clone::clone, |rounds| format!("{rounds} rounds"));
    steps.see("others write and read what they wrote, before and after", seen, rounds.is_ok());
    Ok(right)
}

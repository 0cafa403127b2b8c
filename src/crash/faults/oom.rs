//! A worker that takes memory until the kernel ends it.

use super::calls::{Caller, Deed, Neighbour};
use super::group::Group;
use super::{Setup, Steps, deaths};
use crate::crash::CrashError;
use crate::crash::target::{Process, SOON, Target, wait_until};
use crate::recovery::board::Cell;
use crate::recovery::points::{Action, Armed, Point};

/// For all processes of the mount together, in bytes.
const LIMIT: u64 = 256 << 20;

/// All processes of a mount that is in order.
const PROCESSES: [Cell; 5] =
    [Cell::WorkerPid, Cell::SupervisorPid, Cell::StandbyPid, Cell::ReservePid, Cell::SparePid];

/// Returns why it could not be tried.
pub(super) fn run(setup: &Setup<'_>, steps: &mut Steps) -> Result<Option<String>, CrashError> {
    let group = match Group::new(LIMIT) {
        Ok(group) => group,
        Err(reason) => return Ok(Some(reason)),
    };
    let target = setup.start(&[])?;
    let mut processes = Vec::new();
    // Nobody may be on the way, outside the group.
    wait_until(SOON, || {
        processes = PROCESSES.iter().filter_map(|cell| target.process(*cell)).collect();
        processes.len() == PROCESSES.len()
    });
    if processes.len() < PROCESSES.len() {
        return Err(CrashError::Failed(format!("processes are missing: {}", target.log())));
    }
    processes.iter().try_for_each(|process| group.add(process))?;
    let point = setup.made()?;
    for (count, (deed, point)) in (1..).zip([(Deed::Mkdir, point), (Deed::Read, Point::Dispatched)])
    {
        exhaust(&target, &group, steps, deed, point, count)?;
    }
    let lives = |process: &Process| !process.wait(std::time::Duration::ZERO);
    let others = processes.iter().skip(1).filter(|process| lives(process)).count();
    // The spare of the beginning is the worker of the first death, and died in the second.
    steps.count("supervisor, standby and reserve that are alive", others as u64, 3);
    steps.count("supervisors that died", target.board().get(Cell::SupervisorDeaths), 0);
    steps.stop(target);
    let removed = group.remove();
    steps.see(
        "its memory cgroup can go",
        if removed { "it has gone" } else { "it is in use" },
        removed,
    );
    Ok(None)
}

/// One request takes all memory, for the `count`th time.
fn exhaust(
    target: &Target,
    group: &Group,
    steps: &mut Steps,
    deed: Deed,
    point: Point,
    count: u64,
) -> Result<(), CrashError> {
    let (name, board) = (deed.name(), target.board());
    let neighbour = Neighbour::start(target)?;
    let caller = Caller::new(target, deed, &format!("exhausts-{count}"))?;
    let armed = Armed { action: Action::Exhaust, ..Armed::kill(point) };
    let outcome = caller.call(target, armed, SOON, || {});
    let right = outcome.is_right(target);
    let expected =
        format!("a {name} whose worker takes all memory at {} is answered and done", point.name());
    steps.see(expected, outcome.seen(), right);
    steps.count("processes that the kernel ended for it", group.kills().unwrap_or(0), count);
    wait_until(SOON, || deaths(board) >= count);
    steps.count("workers that died", deaths(board), count);
    steps.count("of them by SIGKILL", board.get(Cell::DeathsKilled), count);
    let rounds = neighbour.end();
    let seen = rounds.as_ref().map_or_else(Clone::clone, |rounds| format!("{rounds} rounds"));
    steps.see("others write and read what they wrote, before and after", seen, rounds.is_ok());
    Ok(())
}

//! Crashes of those who look after the worker: a supervisor that replaces a worker, a standby that
//! takes its place, and an upgrade, each with a request under way.

use std::path::Path;

use nix::sys::signal::Signal;

use super::attempt::Crash;
use super::bench::Bench;
use super::singles::{cell, judge, reference};
use super::steps::Step;
use super::{Cells, MatrixConfig, Size};
use crate::crash::CrashError;
use crate::crash::target::{SOON, Target, wait_until};
use crate::recovery::board::Cell as Number;
use crate::recovery::points::{Armed, Part, Point};
use crate::supervise::client;
use crate::supervise::protocol::Request;

/// The steps that are taken for all: of each way of recovering one.
const STEPS: [&str; 8] = ["mkdir", "append", "write", "rename", "open", "flock", "read", "pieces"];
/// Of these the short matrix takes one for each mount.
const FEW: usize = 1;

/// All cells of a mount.
pub(super) fn run(
    config: &MatrixConfig,
    bench: &mut Bench,
    steps: &[Step],
    cells: &mut Cells<'_>,
) -> Result<(), CrashError> {
    let most = if config.size == Size::Full { STEPS.len() } else { FEW };
    let parts = [Part::Replacement, Part::Promotion, Part::Upgrade];
    let is_due = |point: &Point| {
        parts.contains(&point.part()) && (config.points.is_empty() || config.points.contains(point))
    };
    let points: Vec<Point> = Point::ALL.iter().copied().filter(is_due).collect();
    if points.is_empty() {
        return Ok(());
    }
    for step in steps.iter().filter(|step| STEPS.contains(&step.name)).take(most) {
        let Some(reference) = reference(bench, step, cells)? else { continue };
        cells.plan(points.len());
        for point in &points {
            bench.wait_for_all();
            one(bench, step, &reference.seen, *point, cells)?;
        }
    }
    bench.wait_for_all();
    Ok(())
}

fn one(
    bench: &mut Bench,
    step: &Step,
    expected: &[String],
    point: Point,
    cells: &mut Cells<'_>,
) -> Result<(), CrashError> {
    // Of all requests that are served the last moment at which nobody has an answer.
    let called = step.must_pass(bench.flavour).contains(&Point::Called);
    let worker = if called { Point::Called } else { Point::Finished };
    let first = step.kill(worker);
    let (mut nothing, mut supervisor) = (|_: &Target| (), kill_supervisor);
    let mut upgrade = |target: &Target| begin_upgrade(&target.point());
    let then = Some(Armed::kill(point));
    let crash = match point.part() {
        Part::Replacement => Crash { first, second: then, anybody: false, meanwhile: &mut nothing },
        Part::Promotion => {
            Crash { first, second: then, anybody: false, meanwhile: &mut supervisor }
        }
        _ => Crash {
            first: Armed::kill(point),
            second: None,
            anybody: false,
            meanwhile: &mut upgrade,
        },
    };
    let second = crash.second.is_some();
    let outcome = bench.attempt(step, Some(crash))?;
    let (verdict, why) = judge(&outcome, expected, [true, second]);
    let (point, second) = if second { (worker, Some(point)) } else { (point, None) };
    cells.add(cell(bench, step, point, second, verdict, why));
    Ok(())
}

/// Ends the supervisor as soon as the worker has died.
fn kill_supervisor(target: &Target) {
    wait_until(SOON, || target.points().fired()[0] > 0);
    if let Some(supervisor) = target.process(Number::SupervisorPid) {
        supervisor.signal(Signal::SIGKILL);
    }
}

/// Asks for an upgrade, and does not wait for it: whoever would answer may die.
fn begin_upgrade(point: &Path) {
    let point = point.to_path_buf();
    std::thread::spawn(move || {
        // An upgrade that does not begin is noticed by its point, which does not come.
        let socket = client::find(&point).ok();
        socket.map(|socket| client::ask(&socket, Request::Upgrade))
    });
}

//! One crash at each point, and pairs of which the second falls into the takeover of the first.

use super::attempt::{Crash, Outcome};
use super::bench::Bench;
use super::flavour::in_sample;
use super::steps::Step;
use super::{Cells, MatrixConfig};
use crate::crash::CrashError;
use crate::crash::report::{Cell, Verdict};
use crate::recovery::points::{Action, Armed, Part, Point};

/// A point that does not come may come the next time: on a busy machine threads take turns in
/// another way.
const TRIES: usize = 5;
/// So often a point has to be passed behind a crash to be one that must be.
const ALWAYS: usize = 10;

/// All cells of a mount.
pub(super) fn run(
    config: &MatrixConfig,
    bench: &mut Bench,
    steps: &[Step],
    cells: &mut Cells<'_>,
) -> Result<(), CrashError> {
    let asked = |point: &Point| config.points.is_empty() || config.points.contains(point);
    for step in steps {
        let Some(Reference { seen: expected, passed }) = reference(bench, step, cells)? else {
            continue;
        };
        let must = step.must_pass(bench.flavour);
        let is_due = |point: &Point| {
            point.part() == Part::Request && (passed.contains(point) || must.contains(point))
        };
        let points: Vec<Point> = Point::ALL.iter().copied().filter(is_due).filter(asked).collect();
        cells.plan(points.len());
        for point in points {
            let behind = single(bench, step, &expected, point, cells)?;
            let seconds: Vec<Point> = behind
                .into_iter()
                .filter(|second| matches!(second.part(), Part::Request | Part::Takeover))
                .filter(|second| !step.is_another(*second))
                .filter(|second| in_sample(config, &key(bench, step, point, *second)))
                .collect();
            cells.plan(seconds.len());
            for second in seconds {
                pair(bench, step, &expected, [point, second], cells)?;
            }
        }
    }
    Ok(())
}

fn key(bench: &Bench, step: &Step, point: Point, second: Point) -> String {
    format!("{} {} {} {}", bench.flavour.name(), step.name, point.name(), second.name())
}

/// A step without a crash.
pub(super) struct Reference {
    pub(super) seen: Vec<String>,
    passed: Vec<Point>,
}

/// The step without a crash: what is seen then, and the points passed.
///
/// It is run twice: what is not the same is no measure for others. A thread that is started for a
/// request, or a table that grows, is there the second time; the points on that way are no cells.
pub(super) fn reference(
    bench: &mut Bench,
    step: &Step,
    cells: &mut Cells<'_>,
) -> Result<Option<Reference>, CrashError> {
    cells.go_on()?;
    let [first, second] = [bench.attempt(step, None)?, bench.attempt(step, None)?];
    let passed = |outcome: &Outcome| -> Vec<Point> { outcome.passed.concat() };
    let (mut both, others) = (passed(&first), passed(&second));
    both.retain(|point| others.contains(point));
    let why = match (first.seen, second.seen) {
        (Ok(one), Ok(other)) => match difference(&one, &other) {
            None => return Ok(Some(Reference { seen: one, passed: both })),
            Some(why) => format!("not the same twice: {why}"),
        },
        (Err(why), _) | (_, Err(why)) => why,
    };
    cells.add(Cell {
        mount: bench.flavour.name(),
        operation: step.name.into(),
        point: "without a crash".into(),
        second: None,
        verdict: Verdict::Wrong,
        why: Some(why),
    });
    Ok(None)
}

/// One crash; returns the points that were passed behind it.
fn single(
    bench: &mut Bench,
    step: &Step,
    expected: &[String],
    point: Point,
    cells: &mut Cells<'_>,
) -> Result<Vec<Point>, CrashError> {
    let kill = step.kill(point);
    let (first, second) = match step.stalls {
        None => (kill, None),
        Some((opcode, at, skip)) => {
            let stall = Armed { action: Action::Hang, skip, ..Armed::kill(at).of(opcode as u32) };
            (stall, Some(kill))
        }
    };
    let (verdict, why, behind) = crashed(bench, step, expected, [Some(first), second])?;
    cells.add(cell(bench, step, point, None, verdict, why));
    // What is behind a hanging thread is not behind a crash.
    let follows = verdict == Verdict::Ok && step.stalls.is_none();
    Ok(if follows { behind } else { Vec::new() })
}

fn pair(
    bench: &mut Bench,
    step: &Step,
    expected: &[String],
    [point, second]: [Point; 2],
    cells: &mut Cells<'_>,
) -> Result<(), CrashError> {
    let armed = [point, second].map(|point| Some(step.kill(point)));
    let (verdict, why, _) = crashed(bench, step, expected, armed)?;
    if verdict == Verdict::Unreached && comes_by_chance(bench, step, expected, [point, second])? {
        cells.leave_out();
        return Ok(());
    }
    cells.add(cell(bench, step, point, Some(second), verdict, why));
    Ok(())
}

/// Whether the second point is passed behind the first crash at some times and not at others, as it
/// depends on who is faster: the successor, or whoever lets a lock go. Then it is no cell.
fn comes_by_chance(
    bench: &mut Bench,
    step: &Step,
    expected: &[String],
    [point, second]: [Point; 2],
) -> Result<bool, CrashError> {
    for _ in 0..ALWAYS {
        let (.., behind) = crashed(bench, step, expected, [Some(step.kill(point)), None])?;
        if !behind.contains(&second) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Runs the step with these crashes; the points that were passed behind the first one too.
fn crashed(
    bench: &mut Bench,
    step: &Step,
    expected: &[String],
    [first, second]: [Option<Armed>; 2],
) -> Result<(Verdict, Option<String>, Vec<Point>), CrashError> {
    let mut last = (Verdict::Unreached, Some("too many calls hung before".into()), Vec::new());
    let Some(first) = first else { return Ok(last) };
    for _ in 0..TRIES {
        if bench.gave_up() {
            break;
        }
        let anybody = step.stalls.is_some();
        let crash = Crash { first, second, anybody, meanwhile: &mut |_| () };
        let outcome = bench.attempt(step, Some(crash))?;
        let (verdict, why) = judge(&outcome, expected, [true, second.is_some()]);
        last = (verdict, why, outcome.passed[1].clone());
        if verdict != Verdict::Unreached {
            break;
        }
    }
    Ok(last)
}

pub(super) fn cell(
    bench: &Bench,
    step: &Step,
    point: Point,
    second: Option<Point>,
    verdict: Verdict,
    why: Option<String>,
) -> Cell {
    Cell {
        mount: bench.flavour.name(),
        operation: step.name.into(),
        point: point.name().into(),
        second: second.map(|second| second.name().into()),
        verdict,
        why,
    }
}

/// Compares with what is to be seen. `due`: which crashes had to come.
pub(super) fn judge(
    outcome: &Outcome,
    expected: &[String],
    due: [bool; 2],
) -> (Verdict, Option<String>) {
    let wrong = match &outcome.seen {
        Err(why) => Some(why.clone()),
        Ok(seen) => difference(expected, seen),
    };
    if wrong.is_some() {
        return (Verdict::Wrong, wrong);
    }
    let missing = (0..2).find(|which| due[*which] && outcome.fired[*which] == 0);
    match missing {
        Some(which) => {
            let which = ["first", "second"][which];
            (Verdict::Unreached, Some(format!("the {which} crash did not come")))
        }
        None => (Verdict::Ok, None),
    }
}

/// The first line that is not as expected.
fn difference(expected: &[String], seen: &[String]) -> Option<String> {
    let longest = expected.len().max(seen.len());
    let nothing = "nothing".to_string();
    (0..longest).find_map(|at| {
        let [wanted, got] = [expected, seen].map(|lines| lines.get(at).unwrap_or(&nothing));
        (wanted != got).then(|| format!("expected {wanted:?}, got {got:?}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(seen: &[&str], fired: [u64; 2]) -> Outcome {
        let seen = Ok(seen.iter().map(ToString::to_string).collect());
        Outcome { seen, hangs: false, passed: Default::default(), fired }
    }

    #[test]
    fn verdicts() {
        let expected = ["mkdir: ()".to_string()];
        let verdict = |outcome: &Outcome, due| judge(outcome, &expected, due).0;
        let right = outcome(&["mkdir: ()"], [1, 0]);
        assert_eq!(verdict(&right, [true, false]), Verdict::Ok);
        assert_eq!(verdict(&right, [true, true]), Verdict::Unreached);
        for lines in [&["mkdir: EEXIST"][..], &[], &["mkdir: ()", "more"]] {
            assert_eq!(verdict(&outcome(lines, [1, 1]), [true, true]), Verdict::Wrong);
        }
        // A wrong answer is no less wrong where the crash did not come.
        assert_eq!(verdict(&outcome(&[], [0, 0]), [true, false]), Verdict::Wrong);
    }
}

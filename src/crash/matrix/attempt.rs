//! One run of one step.
//!
//! The step plays on a thread of its own, in four acts: the scene is set, it acts, it looks, and
//! the scene is taken away. Between them the crash is armed and waited for. What does not come
//! back in time hangs.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::scene::{Scene, errno};
use super::steps::Step;
use super::tree;
use crate::crash::target::{Target, wait_until};
use crate::recovery::board::Cell;
use crate::recovery::points::{Armed, Part, Point};

/// A call that takes longer hangs.
const HANGS: Duration = Duration::from_secs(20);
/// A point that is not passed by then will not be. What the kernel lets go comes late.
const COMES: Duration = Duration::from_secs(2);

/// A request leaves its slot by then, most of the time.
const REST: Duration = Duration::from_millis(1);

/// What is done to the mount while a step acts.
pub(super) struct Crash<'a> {
    pub(super) first: Armed,
    pub(super) second: Option<Armed>,
    /// Any request counts, not only the step's own.
    pub(super) anybody: bool,
    /// Done at the same time.
    pub(super) meanwhile: &'a mut dyn FnMut(&Target),
}

/// What came of a run.
pub(super) struct Outcome {
    /// What was seen; the error: why nothing was.
    pub(super) seen: Result<Vec<String>, String>,
    /// A call did not come back: the mount is of no use any more.
    pub(super) hangs: bool,
    /// Points passed before and behind the first crash.
    pub(super) passed: [Vec<Point>; 2],
    /// How often the first and second crash have come.
    pub(super) fired: [u64; 2],
}

/// The step's thread.
struct Player {
    cues: Sender<()>,
    done: Receiver<Act>,
}

enum Act {
    Prepared(i32, Result<usize, String>),
    Acted,
    Looked(Result<Vec<String>, String>),
    Left(Result<(), String>),
}

/// What is to come of a crash.
struct Expected {
    second: bool,
    next_worker: bool,
}

/// Runs `step` in the new directory `name`.
pub(super) fn play(
    target: &Target,
    step: &Step,
    name: &str,
    settle: impl FnOnce(usize),
    crash: Option<Crash<'_>>,
) -> Outcome {
    let points = target.points();
    let player = Player::new(step.clone(), target, name);
    let mut outcome = Outcome {
        seen: Err("no run".into()),
        hangs: false,
        passed: Default::default(),
        fired: [0; 2],
    };
    let caller = match player.next() {
        Some(Act::Prepared(caller, Ok(files))) => {
            settle(files);
            caller
        }
        Some(Act::Prepared(_, Err(error))) => {
            outcome.seen = Err(format!("the scene could not be set: {error}"));
            return outcome;
        }
        _ => return outcome.hung("before the crash"),
    };
    let generation = target.board().get(Cell::Generation);
    let expects = crash.as_ref().map(|crash| Expected {
        second: crash.second.is_some(),
        // A supervisor may die without its worker.
        next_worker: crash.first.point.part() != Part::Upgrade,
    });
    let caller = (!crash.as_ref().is_some_and(|crash| crash.anybody)).then_some(caller);
    points.record(Some(step.opcode as u32), caller);
    let meanwhile = crash.map(|crash| {
        points.arm(crash.first, crash.second, caller);
        crash.meanwhile
    });
    player.cue();
    if let Some(meanwhile) = meanwhile {
        meanwhile(target);
    }
    let acted = player.next();
    // What needs another request to hang sends nothing where none does.
    if acted.is_some() && (expects.is_some() || step.stalls.is_none()) {
        wait_for_crash(target, expects, generation);
    }
    outcome.passed = points.recorded();
    outcome.fired = points.fired();
    points.disarm();
    if acted.is_none() {
        return outcome.hung("the call");
    }
    player.cue();
    let Some(Act::Looked(seen)) = player.next() else { return outcome.hung("looking afterwards") };
    player.cue();
    match player.next() {
        Some(Act::Left(Ok(()))) => outcome.seen = seen,
        Some(Act::Left(Err(error))) => {
            outcome.seen = Err(format!("removing the directory afterwards: {error}"));
        }
        _ => return outcome.hung("removing the directory afterwards"),
    }
    outcome
}

/// Waits until what is armed has fired and somebody serves again; without a crash until the
/// request is finished.
fn wait_for_crash(target: &Target, expects: Option<Expected>, generation: u64) {
    let (points, board) = (target.points(), target.board());
    let Some(Expected { second, next_worker }) = expects else {
        // Those that send nothing say so by the points that are missing then.
        wait_until(COMES, || points.recorded().iter().any(|all| all.contains(&Point::Cleared)));
        return;
    };
    wait_until(COMES, || points.fired()[0] > 0 && (!second || points.fired()[1] > 0));
    if points.fired()[0] > 0 {
        let is_new = || !next_worker || board.get(Cell::Generation) > generation;
        let serves = || target.serves() && is_new();
        wait_until(COMES, serves);
    }
}

impl Outcome {
    fn hung(mut self, what: &str) -> Outcome {
        self.hangs = true;
        self.seen = Err(format!("{what} hangs: no answer within {} s", HANGS.as_secs()));
        self
    }
}

impl Player {
    fn new(step: Step, target: &Target, name: &str) -> Player {
        let scene = Scene::new(target, name);
        let ((cues, cue), (tell, done)) = (channel(), channel());
        std::thread::spawn(move || {
            // Nobody listens any more where the run was given up.
            let _ = perform(&step, scene, &cue, &tell);
        });
        Player { cues, done }
    }

    fn cue(&self) {
        // A thread that has died is noticed by the act that does not come.
        let _ = self.cues.send(());
    }

    fn next(&self) -> Option<Act> {
        self.done.recv_timeout(HANGS).ok()
    }
}

/// A request that has its answer is still in its slot for a moment. It must not be taken for the
/// step's.
fn come_to_rest(dir: &Path) -> std::io::Result<()> {
    std::fs::symlink_metadata(dir)?;
    std::thread::sleep(REST);
    Ok(())
}

/// All four acts; `None`: nobody waits for them any more.
fn perform(step: &Step, mut scene: Scene, cue: &Receiver<()>, tell: &Sender<Act>) -> Option<()> {
    let caller = crate::sys::process::thread_id().as_raw();
    let prepared = scene
        .set()
        .and_then(|()| (step.prepare)(&mut scene))
        .and_then(|()| come_to_rest(&scene.dir));
    let failed = prepared.is_err();
    let files = prepared.map(|()| scene.files.len()).map_err(|error| errno(&error));
    tell.send(Act::Prepared(caller, files)).ok()?;
    if failed {
        return None;
    }
    cue.recv().ok()?;
    (step.act)(&mut scene);
    tell.send(Act::Acted).ok()?;
    cue.recv().ok()?;
    if let Some(helper) = scene.helper.take() {
        scene.files.extend(helper.join().ok().flatten());
    }
    scene.look_at_files();
    (step.look)(&mut scene);
    let mut seen = std::mem::take(&mut scene.said);
    for (what, root) in [("mount", Some(&scene.dir)), ("below", scene.lower.as_ref())] {
        let Some(root) = root else { continue };
        match tree::tree(root) {
            Ok(lines) => seen.extend(lines.into_iter().map(|line| format!("{what}: {line}"))),
            Err(error) => seen.push(format!("{what}: {}", errno(&error))),
        }
    }
    tell.send(Act::Looked(scene.fault.take().map_or(Ok(seen), Err))).ok()?;
    cue.recv().ok()?;
    scene.files.clear();
    let left = scene.strike().map_err(|error| errno(&error));
    tell.send(Act::Left(left)).ok()
}

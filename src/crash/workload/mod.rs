//! A program of many operations that knows what each of them has to come to.
//!
//! Each thread has a directory of its own, and all of them one in which each has names of his
//! own. What a thread does depends on the seed alone: operation `n` of thread `t` has random
//! numbers of its own, and what it chooses from is chosen by names that stay, so that it means the
//! same where other operations are left out. Each result, error, byte, attribute and lock is
//! compared with the thread's `Model`, which is never read from the file system. So what is done
//! twice shows (a second mkdir says EEXIST, a second append is longer), what is not done at all,
//! and what is done wrong. At the end whole trees are compared, in the mount and below it.
//!
//! | file | what |
//! | --- | --- |
//! | `actor` | one thread, and what it chooses |
//! | `kinds` | the operations by name |
//! | `names` `files` `data` `attrs` `listing` `locks` `mapped` `kept` | operations of one thread |
//! | `contend` `lines` | operations in which all threads meet |
//! | `model` `check` `tree` | what has to be there, and the comparison |
//! | `abilities` `probe` | what a file system cannot do |
//! | `script` | who did what, and how far they are |

mod abilities;
mod actor;
mod attrs;
mod check;
mod common;
mod contend;
mod data;
mod files;
mod kept;
mod kinds;
mod lines;
mod listing;
mod locks;
mod mapped;
mod model;
mod names;
mod probe;
mod random;
mod script;
mod tree;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use actor::Actor;
use check::Wrong;
use common::Common;
use kinds::Possible;

pub use abilities::{Abilities, Ability};
pub use kinds::{Kinds, kinds};
pub use probe::probe;
pub use random::Random;
pub use script::{Progress, Script};

use super::CrashError;
use super::report::Anomaly;

/// The umask of the program's threads.
const UMASK: u32 = 0o022;

/// Where the program runs, and what it does.
#[derive(Clone)]
pub struct Setup<'a> {
    /// An empty directory.
    pub dir: &'a Path,
    /// The same directory below the mount, if it can be seen.
    pub lower: Option<&'a Path>,
    /// Where its numbers begin.
    pub seed: u64,
    /// Threads.
    pub threads: usize,
    /// Files that are made beforehand, looked at in between and compared at the end.
    pub inodes: usize,
    /// Which operations.
    pub kinds: Kinds,
    /// What the file system can do.
    pub abilities: Abilities,
    /// These operations only.
    pub script: Option<&'a Script>,
}

/// Who looks on.
pub trait Watch: Sync {
    /// Asked by each thread before each operation; with true it ends.
    fn stop(&self, done_by_this_thread: u64) -> bool;
    /// A thread begins an operation.
    fn begun(&self, _thread: usize, _at: Instant) {}
    /// It has ended it.
    fn ended(&self, _thread: usize, _begun: Instant, _ended: Instant) {}
    /// The generation of who serves now, for what is told of an anomaly.
    fn generation(&self) -> Option<u64> {
        None
    }
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Calls that were made and checked.
    pub operations: u64,
    /// What was not as expected: the first of each thread, or what differs at the end.
    pub anomalies: Vec<Anomaly>,
    /// Operations by kind.
    pub by_kind: BTreeMap<&'static str, u64>,
    /// What each thread did.
    pub script: Script,
}

/// How one thread ended.
struct End {
    actor: Option<Actor>,
    anomaly: Option<Anomaly>,
    by_kind: BTreeMap<&'static str, u64>,
    /// The first operation that it did not begin.
    next: u64,
}

/// Runs the program until `watch` stops it, or the first anomaly does.
///
/// It returns when each thread has ended. One that hangs in a mount does so when the mount goes.
pub fn run(setup: &Setup<'_>, watch: &impl Watch) -> Result<Outcome, CrashError> {
    let possible = setup.kinds.possible(&setup.abilities)?;
    let begun = std::thread::scope(|scope| {
        // In a thread of its own, for the umask.
        scope.spawn(|| begin(setup)).join()
    });
    let failed = AtomicBool::new(false);
    let common = match begun.map_err(|_| CrashError::Failed("the start panicked".into()))?? {
        Ok(common) => Arc::new(common),
        Err(wrong) if wrong.got.contains("ENOSPC") => {
            let why = format!("no room for {} files beforehand: ask for fewer", setup.inodes);
            return Err(CrashError::Failed(why));
        }
        Err(wrong) => return Ok(failed_at_start(setup, wrong, watch)),
    };
    let one = |thread| one_thread(setup, watch, &common, &possible, thread, &failed);
    let ends: Vec<End> = std::thread::scope(|scope| {
        let one = &one;
        let threads: Vec<_> = (0..setup.threads).map(|n| scope.spawn(move || one(n))).collect();
        let all = threads.into_iter().map(|thread| thread.join());
        all.collect::<Result<Result<Vec<End>, CrashError>, _>>()
    })
    .map_err(|_| CrashError::Failed("a thread of the program panicked".into()))??;
    Ok(outcome(setup, watch, ends))
}

fn own_umask() -> Result<(), CrashError> {
    let unshared = nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS);
    unshared.map_err(CrashError::system("a thread with a umask of its own"))?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_retain(UMASK));
    Ok(())
}

fn begin(setup: &Setup<'_>) -> Result<Result<Common, Wrong>, CrashError> {
    own_umask()?;
    let shared = std::fs::create_dir(setup.dir.join(tree::SHARED));
    let shared = shared.map_err(|error| Wrong {
        got: error.to_string(),
        expected: format!("a new directory {}", tree::SHARED),
    });
    let make = |()| Common::start(setup.dir, setup.seed, setup.threads, setup.inodes);
    Ok(shared.and_then(make))
}

/// What went wrong before anything was begun.
fn at_start(wrong: Wrong, watch: &impl Watch) -> Anomaly {
    Anomaly {
        operation: "at the start".into(),
        path: String::new(),
        expected: wrong.expected,
        got: wrong.got,
        generation: watch.generation(),
        before: Vec::new(),
    }
}

fn failed_at_start(setup: &Setup<'_>, wrong: Wrong, watch: &impl Watch) -> Outcome {
    let script = Script::of_run(None, (0..setup.threads).map(|_| 1));
    Outcome { anomalies: vec![at_start(wrong, watch)], script, ..Outcome::default() }
}

fn one_thread(
    setup: &Setup<'_>,
    watch: &impl Watch,
    common: &Arc<Common>,
    possible: &Possible,
    thread: usize,
    failed: &AtomicBool,
) -> Result<End, CrashError> {
    own_umask()?;
    let mut end = End { actor: None, anomaly: None, by_kind: BTreeMap::new(), next: 1 };
    let mut actor = match Actor::start(setup, common, thread) {
        Ok(actor) => actor,
        Err(wrong) => {
            failed.store(true, Ordering::Relaxed);
            return Ok(End { anomaly: Some(at_start(wrong, watch)), ..end });
        }
    };
    let mut numbers = Script::numbers(setup.script, thread);
    while !failed.load(Ordering::Relaxed) && !watch.stop(actor.count()) {
        let Some(number) = numbers.next() else { break };
        end.next = number + 1;
        actor.random = Random::of_operation(setup.seed, thread, number);
        actor.number = number;
        actor.model.begin(number);
        let kind = possible.next(&mut actor.random);
        let (begun, count) = (Instant::now(), actor.count());
        watch.begun(thread, begun);
        let result = (kind.run)(&mut actor);
        watch.ended(thread, begun, Instant::now());
        *end.by_kind.entry(kind.name).or_default() += actor.count() - count;
        if let Err(wrong) = result {
            failed.store(true, Ordering::Relaxed);
            end.anomaly = Some(actor.anomaly(wrong, watch.generation()));
            break;
        }
    }
    Ok(End { actor: Some(actor), ..end })
}

fn outcome(setup: &Setup<'_>, watch: &impl Watch, ends: Vec<End>) -> Outcome {
    let mut outcome = Outcome {
        script: Script::of_run(setup.script, ends.iter().map(|end| end.next)),
        ..Outcome::default()
    };
    let mut actors = Vec::new();
    for end in ends {
        end.by_kind.into_iter().for_each(|(kind, count)| {
            *outcome.by_kind.entry(kind).or_default() += count;
        });
        outcome.anomalies.extend(end.anomaly);
        actors.extend(end.actor);
    }
    outcome.operations = actors.iter().map(Actor::count).sum();
    if outcome.anomalies.is_empty() {
        outcome.anomalies = tree::differences(setup, &mut actors, watch.generation());
    }
    outcome
}

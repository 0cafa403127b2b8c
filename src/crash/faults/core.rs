//! What a dead worker leaves: nothing, unless `--core` is given; then a core dump without the arena,
//! which delays its successor.
//!
//! The kernel writes a dump where `/proc/sys/kernel/core_pattern` says. Only where that is the
//! working directory of the mount under test, which goes with it, is this tried.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;

use super::calls::{Caller, Deed, WRITTEN, block};
use super::{Setup, Steps, millis};
use crate::crash::CrashError;
use crate::crash::target::{SOON, Target};
use crate::recovery::points::{Action, Armed, Point};

const PATTERN: &str = "/proc/sys/kernel/core_pattern";
/// Deaths of each kind, for a median.
const DEATHS: usize = 5;
/// Bytes of a core dump without the arena, at the very most. An arena reserves far more.
const LONGEST: u64 = 1 << 30;

/// Returns why it could not be tried.
pub(super) fn run(setup: &Setup<'_>, steps: &mut Steps) -> Result<Option<String>, CrashError> {
    if let Some(reason) = why_not()? {
        return Ok(Some(reason));
    }
    let mut pauses = Vec::new();
    for own in [&[][..], &["--core"]] {
        let target = with_cores(|| setup.start(own))?;
        pauses.push(die(&target, steps, !own.is_empty())?);
        steps.stop(target);
    }
    let seen = format!("{} without, {} with --core", millis(pauses[0]), millis(pauses[1]));
    let in_time = pauses.iter().all(|pause| *pause < SOON);
    steps.see(
        format!("what a caller waits at a death, in half of {DEATHS}, is measured"),
        seen,
        in_time,
    );
    Ok(None)
}

/// Why dumps are not found here.
fn why_not() -> Result<Option<String>, CrashError> {
    let pattern = fs::read_to_string(PATTERN).map_err(CrashError::io(PATTERN))?;
    let pattern = pattern.trim();
    if pattern.is_empty() {
        return Ok(Some(format!("{PATTERN} is empty: no core dumps are written here")));
    }
    if pattern.starts_with('|') || pattern.contains('/') {
        return Ok(Some(format!(
            "{PATTERN} is '{pattern}': core dumps go elsewhere: this needs a plain name"
        )));
    }
    let (_, hard) = limits()?;
    Ok((hard == 0).then(|| "the hard limit of core dumps is 0: see 'ulimit -H -c'".to_string()))
}

fn limits() -> Result<(u64, u64), CrashError> {
    getrlimit(Resource::RLIMIT_CORE).map_err(CrashError::system("getrlimit(2)"))
}

/// With core dumps allowed, which is passed on to what `start` starts.
fn with_cores<T>(start: impl FnOnce() -> Result<T, CrashError>) -> Result<T, CrashError> {
    let (soft, hard) = limits()?;
    let set = |soft| setrlimit(Resource::RLIMIT_CORE, soft, hard);
    set(hard).map_err(CrashError::system("setrlimit(2)"))?;
    let started = start();
    set(soft).map_err(CrashError::system("setrlimit(2)"))?;
    started
}

/// Lets workers die in the middle of a WRITE; returns the median of what its callers waited.
fn die(target: &Target, steps: &mut Steps, core: bool) -> Result<Duration, CrashError> {
    let before = files(target);
    let (mut pauses, mut answered, mut dumps) = (Vec::new(), true, Vec::new());
    for round in 0..DEATHS {
        let caller = Caller::new(target, Deed::Write, &format!("dumped-{round}"))?;
        let armed = Armed { action: Action::Signal(Signal::SIGSEGV), ..Armed::kill(Point::Called) };
        let outcome = caller.call(target, armed, SOON, || {});
        answered &= outcome.is_right(target) && target.points().fired()[0] == 1;
        pauses.push(outcome.took);
        for file in files(target).into_iter().filter(|file| !before.contains(file)) {
            dumps.push(look_into(&file).map_err(CrashError::io(file.display().to_string()))?);
            fs::remove_file(&file).map_err(CrashError::io(file.display().to_string()))?;
        }
        if dumps.iter().any(|dump| dump.has_arena) {
            // Each of them takes long.
            break;
        }
    }
    pauses.sort_unstable();
    let how = if core { "with --core" } else { "without --core" };
    let seen = if answered { "they are" } else { "they are not" };
    steps.see(format!("{how}: {DEATHS} WRITEs are answered and done"), seen, answered);
    let expected = if core { DEATHS } else { 0 };
    steps.count(&format!("{how}: core dumps"), dumps.len() as u64, expected as u64);
    if core {
        let with = dumps.iter().filter(|dump| dump.has_arena).count();
        let longest = dumps.iter().map(|dump| dump.length).max().unwrap_or(0) >> 10;
        let seen = format!("{with} of {} have it; the longest has {longest} KiB", dumps.len());
        let right = with == 0 && dumps.iter().all(|dump| dump.is_whole);
        steps.see("core dumps are whole, and leave out the arena and its requests", seen, right);
    }
    Ok(pauses[pauses.len() / 2])
}

/// What a worker has left.
struct Dump {
    /// In bytes.
    length: u64,
    /// It begins as a core dump does.
    is_whole: bool,
    /// The request of the caller is in it, or it is as long as if it were.
    has_arena: bool,
}

fn look_into(file: &Path) -> std::io::Result<Dump> {
    let length = fs::metadata(file)?.len();
    if length > LONGEST {
        return Ok(Dump { length, is_whole: true, has_arena: true });
    }
    let (dump, written) = (fs::read(file)?, block(WRITTEN));
    let has_arena = dump.windows(written.len()).any(|part| part == written);
    Ok(Dump { length, is_whole: dump.starts_with(b"\x7fELF"), has_arena })
}

fn files(target: &Target) -> Vec<PathBuf> {
    let names = fs::read_dir(target.root()).into_iter().flatten().flatten();
    names.map(|entry| entry.path()).collect()
}

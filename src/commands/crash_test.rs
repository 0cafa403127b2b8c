//! `fusex crash-test`.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use nix::unistd::{AccessFlags, access};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tempfile::NamedTempFile;

use super::print;
use crate::cli::crash_test::{Asked, CrashTest, Tests};
use crate::crash::CrashError;
use crate::crash::faults;
use crate::crash::matrix::{self, MatrixConfig};
use crate::crash::replay::{self, Bound, Trace};
use crate::crash::report::{MatrixReport, SCHEMA, StormReport};
use crate::crash::storm::{self, MountKind, StormConfig};
use crate::crash::target::FsKind;
use crate::doctor::{self, Level};
use crate::exit::Exit;
use crate::output::Look;
use crate::output::crash::progress::{Bar, is_bad};
use crate::output::crash::{Findings, html, json, points, text};

/// A trace is run again so often until something is wrong: chance has a part in it.
const TRIES: usize = 20;
/// The same for each attempt to leave something out.
const TRIES_SMALLER: usize = 3;
/// As long as a trace is made smaller.
const SHRINKING: Bound = Bound { runs: 500, time: Duration::from_secs(300) };

/// Runs what is asked for and prints what it came to.
///
/// # Errors
/// A test cannot be run, or something cannot be written.
pub fn run(test: &CrashTest) -> anyhow::Result<Exit> {
    let page = test.report.as_deref().map(Page::begin).transpose()?;
    let findings = match &test.asked {
        Asked::ListPoints => {
            let text = if test.json { points::json()? } else { points::list(Look::of_stdout()) };
            print(&text).map_err(CrashError::io("stdout"))?;
            return Ok(Exit::Success);
        }
        Asked::Replay { file, smaller } => {
            check_machine()?;
            Findings { storm: Some(replay(file, smaller.as_deref())?), ..Findings::default() }
        }
        Asked::Tests(tests) => run_tests(tests)?,
    };
    if let Some(why) = findings.why_nothing() {
        return Err(CrashError::Unsupported(why).into());
    }
    if let Some(page) = page {
        page.end(&findings, test.asked.seed())?;
    }
    let text = match test.json {
        true => json::json(&findings)?,
        false => text::text(&findings, Look::of_stdout()),
    };
    print(&text).map_err(CrashError::io("stdout"))?;
    Ok(if findings.anomalies() == 0 { Exit::Success } else { Exit::Anomaly })
}

/// Whether mounts of our own can be made and looked into.
fn check_machine() -> Result<(), CrashError> {
    let unsupported = |why: String| Err(CrashError::Unsupported(why));
    if !nix::unistd::geteuid().is_root() {
        return unsupported("crash-test needs root: it mounts, and kills who serves".into());
    }
    match doctor::examine().into_iter().find(|check| check.level == Level::Fail) {
        Some(check) => unsupported(format!("{}: {}: {}", check.what, check.detail, check.cure)),
        None => Ok(()),
    }
}

/// Set by the signals that end programs: then the mounts are taken away first.
fn interrupted() -> Result<Arc<AtomicBool>, CrashError> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let registered = signal_hook::flag::register(signal, stop.clone());
        registered.map_err(CrashError::io("signals"))?;
    }
    Ok(stop)
}

fn run_tests(tests: &Tests) -> Result<Findings, CrashError> {
    let target = tests.storm.as_ref().map(|storm| &storm.target);
    if !matches!(target, Some(MountKind::Other { .. })) {
        check_machine()?;
    }
    if let Some(trace) = &tests.trace {
        writable(trace, "--trace")?;
    }
    let stop = interrupted()?;
    let mut findings = Findings::default();
    if let Some(config) = &tests.matrix {
        findings.matrix = Some(run_matrix(config, &stop)?);
    }
    if let Some(config) = &tests.storm {
        findings.storm = Some(run_storm(config, tests.trace.as_deref(), &stop)?);
    }
    let fs = tests.fs.unwrap_or(FsKind::Passthrough);
    for fault in &tests.faults {
        go_on(&stop)?;
        let bar = Bar::new("fault");
        bar.doing(fault.name());
        findings.faults.push(faults::run(*fault, fs, &tests.arguments)?);
    }
    Ok(findings)
}

fn go_on(stop: &AtomicBool) -> Result<(), CrashError> {
    match stop.load(Ordering::Acquire) {
        true => Err(CrashError::Failed("interrupted".into())),
        false => Ok(()),
    }
}

fn run_matrix(config: &MatrixConfig, stop: &AtomicBool) -> Result<MatrixReport, CrashError> {
    let bar = Bar::new("matrix");
    let mut bad = 0;
    matrix::run(config, stop, |cell, done, total| {
        bad += u64::from(is_bad(cell));
        bar.matrix(cell, bad, done, total);
    })
}

fn run_storm(
    config: &StormConfig,
    trace: Option<&Path>,
    stop: &AtomicBool,
) -> Result<StormReport, CrashError> {
    let bar = Bar::new("storm");
    let storm = storm::run(config, stop, &|progress| bar.storm(config, &progress))?;
    let mut report = storm.report;
    if let MountKind::Own { kind, arguments } = &config.target {
        report.mount = mounted(*kind, arguments);
    }
    if let (Some(found), Some(path)) = (storm.trace, trace) {
        found.save(path)?;
        report.trace = Some(path.display().to_string());
    }
    Ok(report)
}

/// What was mounted, as the options of this command say it.
fn mounted(kind: FsKind, arguments: &[String]) -> String {
    std::iter::once(kind.name())
        .chain(arguments.iter().map(String::as_str))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Runs a trace until something is wrong, and makes it smaller if there is a file for that.
fn replay(file: &Path, smaller: Option<&Path>) -> Result<StormReport, CrashError> {
    if let Some(smaller) = smaller {
        writable(smaller, "--trace")?;
    }
    let (trace, stop) = (Trace::load(file)?, interrupted()?);
    let target = |trace: &Trace| go_on(&stop).and_then(|()| trace.target());
    let bar = Bar::new("replay");
    bar.doing(&format!("{} operations, up to {TRIES} times", trace.operations()));
    let begun = Instant::now();
    let (runs, replayed) = replay::replay_until(&trace, TRIES, target)?;
    let mut report = StormReport {
        schema: SCHEMA,
        operations: replayed.operations,
        worker_deaths: replayed.deaths,
        anomalies: replayed.anomalies.len() as u64,
        anomaly_list: replayed.anomalies,
        seed: trace.seed,
        mount: mounted(trace.fs, &trace.arguments),
        duration_ns: begun.elapsed().as_nanos() as u64,
        unchecked: vec![format!("pauses: a replay does not measure them (run {runs} of {TRIES})")],
        ..StormReport::default()
    };
    if let Some(path) = smaller.filter(|_| report.anomalies > 0) {
        bar.doing("making it smaller");
        let again = |trace: &Trace| {
            let runs = replay::replay_until(trace, TRIES_SMALLER, target);
            runs.is_ok_and(|(_, replayed)| !replayed.anomalies.is_empty())
        };
        replay::shrink(&trace, SHRINKING, again).trace.save(path)?;
        report.trace = Some(path.display().to_string());
    }
    Ok(report)
}

/// Sees beforehand whether a file can be written later.
fn writable(path: &Path, option: &str) -> Result<(), CrashError> {
    beside(path, option).map(drop)
}

/// A temporary file beside `path`, which can take its place.
fn beside(path: &Path, option: &str) -> Result<NamedTempFile, CrashError> {
    let failed = |why: String| CrashError::Failed(format!("{option}: {}: {why}", path.display()));
    if std::fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_file()) {
        return Err(failed("there is something else than a file".into()));
    }
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    access(&dir.join("."), AccessFlags::W_OK).map_err(|errno| failed(errno.desc().into()))?;
    let permissions = PermissionsExt::from_mode(0o666);
    let file = tempfile::Builder::new().permissions(permissions).tempfile_in(dir);
    // The error itself names the temporary file, which says nothing to anybody.
    file.map_err(|error| failed(error.kind().to_string()))
}

/// The page while it is not written: nobody finds out at the end that there is no place for it.
struct Page {
    file: NamedTempFile,
    path: PathBuf,
}

impl Page {
    fn begin(path: &Path) -> Result<Page, CrashError> {
        Ok(Page { file: beside(path, "--report")?, path: path.to_path_buf() })
    }

    fn end(mut self, findings: &Findings, seed: Option<u64>) -> anyhow::Result<()> {
        let kernel = nix::sys::utsname::uname().map_err(CrashError::system("uname"))?;
        let words: Vec<String> =
            std::env::args_os().map(|word| quoted(&word.to_string_lossy())).collect();
        let occasion = html::Occasion {
            command: words.join(" "),
            seed: seed.or(findings.storm.as_ref().map(|storm| storm.seed)),
            date: SystemTime::now(),
            kernel: format!("{} {}", kernel.sysname().display(), kernel.release().display()),
        };
        let failed = || CrashError::io(format!("--report: {}", self.path.display()));
        self.file.write_all(html::html(findings, &occasion).as_bytes()).map_err(failed())?;
        self.file.persist(&self.path).map_err(|error| failed()(error.error))?;
        Ok(())
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-=,./:@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_string();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_a_shell() {
        assert_eq!(quoted("--seed=1"), "--seed=1");
        assert_eq!(quoted("pgrep -f 'x'"), "'pgrep -f '\\''x'\\'''");
        assert_eq!(quoted(""), "''");
    }
}

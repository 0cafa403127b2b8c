//! Storms: workers and supervisors die at random moments, while a workload checks every result.
//!
//! | file | what |
//! | --- | --- |
//! | `config` | what it is to do |
//! | `course` | what is under way: pauses, hangs, anomalies |
//! | `killer` | who dies when, of our own mounts |
//! | `other` | any other FUSE mount and its server |
//! | `watcher` | its time, and calls that hang |
//! | `rest` | what has to be left when all is over: nothing |
//!
//! A storm ends with the deaths that were asked for, with its time, with the first anomaly of the
//! workload, or when it is told to. Then the tree is compared, and what is left is counted. A
//! thread of its own looks for calls that hang; the connection is aborted then, so that every storm
//! ends.

mod config;
mod course;
mod killer;
mod other;
mod rest;
mod watcher;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::CrashError;
use super::replay::{self, Death, Trace};
use super::report::{Anomaly, Recovered, SCHEMA, StormReport};
use super::target::Target;
use super::workload::{self, Outcome, Setup};
use crate::recovery::board::Cell;
pub use config::{
    DEADLY, DURATION, EVERY, INODES, Kills, MountKind, PATIENCE, Server, StormConfig, THREADS,
};
use course::Course;
use other::Other;
use watcher::Watcher;
use workload::Random;

/// How many deaths a request is answered EIO after.
const POISON: &str = "--poison-after";
/// Lines of a server's log that are told.
const TOLD: usize = 5;

/// How far a storm has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Calls made and checked.
    pub operations: u64,
    /// Workers killed.
    pub worker_deaths: u64,
    /// Supervisors killed.
    pub supervisor_deaths: u64,
    /// What was not as expected.
    pub anomalies: u64,
    /// Since the start.
    pub elapsed: Duration,
}

/// What a storm came to.
#[derive(Clone, Debug)]
pub struct Storm {
    /// What was found.
    pub report: StormReport,
    /// How to do it again; `None` where nothing was wrong, or the mount was not ours.
    pub trace: Option<Trace>,
}

/// What a storm goes over.
enum Under {
    Own(Target),
    Other(Other),
}

/// Runs a storm. It ends early when `stop` is set; `progress` is told now and then, by another
/// thread.
///
/// # Errors
/// It could not be begun. What it finds is in the report.
pub fn run(
    config: &StormConfig,
    stop: &AtomicBool,
    progress: &(impl Fn(Progress) + Sync),
) -> Result<Storm, CrashError> {
    let under = match &config.target {
        MountKind::Own { kind, arguments } => {
            let arguments = all_arguments(arguments);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let target = match &config.program {
                None => Target::start(*kind, &arguments),
                Some(program) => Target::start_program(program, *kind, &arguments),
            }?;
            config.without.iter().for_each(|it| target.points().switch_off(*it));
            Under::Own(target)
        }
        MountKind::Other { mount, server } => Under::Other(Other::new(mount, server, config)?),
    };
    let board = match &under {
        Under::Own(target) => Some(target.board()),
        Under::Other(_) => None,
    };
    let course = Course::new(config.threads, board);
    let done = AtomicBool::new(false);
    let (results, hung) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let watcher = Watcher { config, course: &course, under: &under, stop };
            watcher.until(&done, progress)
        });
        let results = match &under {
            Under::Own(target) => over_own(config, &course, target),
            Under::Other(other) => over_other(config, &course, other),
        };
        course.stop_killing();
        done.store(true, Ordering::Release);
        (results, watching.join().unwrap_or(true))
    });
    let mut results = results?;
    if hung {
        // What came of the abort is not the mount's doing.
        results.outcome.anomalies.retain(|it| !ABORTED.iter().any(|no| it.got.contains(no)));
    }
    Ok(finish(config, &course, under, results))
}

/// What a mount gets beside what it was given. A request that takes long is under way at many deaths
/// here, and is not their cause.
fn all_arguments(given: &[String]) -> Vec<String> {
    let mut all = given.to_vec();
    if !all.iter().any(|argument| argument.starts_with(POISON)) {
        all.push(format!("{POISON}=0"));
    }
    all
}

/// What callers are told of a connection that was aborted.
const ABORTED: &[&str] = &["ENOTCONN", "ECONNABORTED"];

/// What comes of one storm.
struct Results {
    outcome: Outcome,
    deaths: Vec<Death>,
    unchecked: Vec<String>,
}

fn over_own(config: &StormConfig, course: &Course, target: &Target) -> Result<Results, CrashError> {
    let (dir, lower) = (target.point(), target.lower());
    let before = rest::Before::of(target)?;
    let killer = || killer::Killer::new(target, config, course).run();
    let results = work(config, course, &dir, lower.as_deref(), killer)?;
    // Of a mount that is lost nothing more can be told.
    if course.found().is_empty() {
        course.watched(|| before.compare(target, config, course));
    }
    Ok(results)
}

fn over_other(config: &StormConfig, course: &Course, other: &Other) -> Result<Results, CrashError> {
    let dir = course.watched(|| other.make_dir())?;
    let mut results = work(config, course, dir.path(), None, || other.kill(config, course))?;
    results.unchecked.extend(other.unchecked(config));
    results.unchecked.extend(course.watched(|| other::remove(dir)));
    Ok(results)
}

/// The workload in `dir` while `killer` kills.
fn work(
    config: &StormConfig,
    course: &Course,
    dir: &Path,
    lower: Option<&Path>,
    killer: impl FnOnce() -> Vec<Death> + Send,
) -> Result<Results, CrashError> {
    let abilities = course.watched(|| workload::probe(dir))?;
    let missing = abilities.missing().into_iter();
    let unchecked = missing.map(|(what, why)| format!("{what}: {why}")).collect();
    let setup = Setup {
        dir,
        lower,
        seed: config.seed,
        threads: config.threads,
        inodes: config.inodes,
        kinds: config.kinds.clone(),
        abilities,
        script: None,
    };
    let (outcome, deaths) = std::thread::scope(|scope| {
        let killing = scope.spawn(|| {
            let deaths = killer();
            course.end();
            deaths
        });
        let outcome = workload::run(&setup, course);
        course.stop_killing();
        (outcome, killing.join().unwrap_or_default())
    });
    Ok(Results { outcome: outcome?, deaths, unchecked })
}

/// Brings the workload to its end when all deaths that are counted are done, and everybody has come
/// to see the last one.
fn end_if_counted(config: &StormConfig, course: &Course) {
    let done = [
        config.kill_worker.left(course.worker_deaths.load(Ordering::Acquire), false),
        config.kill_supervisor.left(course.supervisor_deaths.load(Ordering::Acquire), false),
    ];
    let done = done.iter().all(|left| [0, u64::MAX].contains(left));
    if !config.counts() || !done || course.is_ending() {
        return;
    }
    let enough = course.operations() + 2 * config.threads as u64;
    while course.operations() < enough && !course.is_ending() && !course.is_over() {
        std::thread::sleep(Duration::from_millis(1));
    }
    course.end();
}

/// The report, and the end of the mount.
fn finish(config: &StormConfig, course: &Course, under: Under, results: Results) -> Storm {
    let Results { outcome, deaths, unchecked } = results;
    let (pauses, pause_histogram) = course.pauses();
    let mut report = StormReport {
        schema: SCHEMA,
        operations: outcome.operations,
        worker_deaths: course.worker_deaths.load(Ordering::Acquire),
        supervisor_deaths: course.supervisor_deaths.load(Ordering::Acquire),
        pauses,
        pause_histogram,
        seed: config.seed,
        duration_ns: course.start.elapsed().as_nanos() as u64,
        unchecked,
        ..StormReport::default()
    };
    let own = matches!(under, Under::Own(_));
    for death in &deaths {
        for victim in &death.victims {
            let name = if own { killer::name(*victim) } else { "server" };
            *report.deaths.entry(format!("{name} {}", death.signal)).or_default() += 1;
        }
    }
    match under {
        Under::Other(other) => report.mount = other.mount().display().to_string(),
        Under::Own(target) => {
            let board = target.board();
            report.mount = target.arguments()[1..].join(" ");
            report.leaked_lookups = board.get(Cell::LeakedLookups);
            report.recovered = Recovered {
                recovered_from_slots: board.get(Cell::RecoveredFromSlots),
                recovered_resent: board.get(Cell::RecoveredResent),
                recovered_from_journal: board.get(Cell::RecoveredFromJournal),
                recovered_probed: board.get(Cell::RecoveredProbed),
            };
            if let Err(left) = target.stop() {
                course.find("unmount", "no process is left", left.to_string());
            }
        }
    }
    report.anomaly_list = outcome.anomalies;
    report.anomaly_list.extend(course.found());
    report.anomalies = report.anomaly_list.len() as u64;
    let wrong = report.anomalies > 0;
    let script = outcome.script;
    let trace = wrong.then(|| trace(config, script, deaths, report.anomaly_list.clone())).flatten();
    Storm { report, trace }
}

/// How to do it again.
fn trace(
    config: &StormConfig,
    script: workload::Script,
    deaths: Vec<Death>,
    anomalies: Vec<Anomaly>,
) -> Option<Trace> {
    let MountKind::Own { kind, arguments } = &config.target else { return None };
    let names = |names: Vec<&'static str>| names.into_iter().map(String::from).collect();
    Some(Trace {
        schema: replay::SCHEMA,
        program: env!("CARGO_PKG_VERSION").into(),
        seed: config.seed,
        threads: config.threads,
        inodes: config.inodes,
        ops: names(config.kinds.names()),
        fs: *kind,
        arguments: all_arguments(arguments),
        off: names(config.without.iter().map(|it| it.name()).collect()),
        script,
        // Made when it is written.
        steps: Vec::new(),
        deaths,
        anomalies,
    })
}

/// Around a mean pause: up to twice as long.
fn some_age(random: &mut Random, mean: Duration) -> Duration {
    let micros = usize::try_from(2 * mean.as_micros()).unwrap_or(usize::MAX);
    Duration::from_micros(random.below(micros.max(1)) as u64)
}

/// The end of a log, in one line.
fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(TOLD)..].join("; ")
}

//! Storms over real mounts: those of a whole program have no anomaly, and one with a part switched
//! off has.

#[path = "common/mod.rs"]
mod common;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fusex::crash::report::StormReport;
use fusex::crash::storm::{DEADLY, Kills, MountKind, Server, StormConfig, run};
use fusex::crash::target::FsKind;
use fusex::recovery::points::Protection;
use nix::sys::signal::Signal;

use crate::common::{DEFAULT, Mount};

const FUSEX: &str = env!("CARGO_BIN_EXE_fusex");
/// A storm that has found nothing by then finds nothing.
const LONG_ENOUGH: Duration = Duration::from_secs(30);

fn own(kind: FsKind, arguments: &[&str]) -> StormConfig {
    let arguments = arguments.iter().map(|it| it.to_string()).collect();
    let mut config = StormConfig::new(MountKind::Own { kind, arguments }, 1);
    config.program = Some(PathBuf::from(FUSEX));
    config.patience = Duration::from_secs(10);
    config
}

/// A storm that nothing but its deaths ends.
fn report(config: &StormConfig) -> StormReport {
    let storm = run(config, &AtomicBool::new(false), &|_| {}).unwrap_or_else(|e| panic!("{e}"));
    storm.report
}

fn deaths(config: &mut StormConfig, workers: u64, supervisors: u64) {
    config.kill_worker = Kills::Times(workers);
    config.kill_supervisor = Kills::Times(supervisors);
}

/// A short storm, which finds nothing, and in which as many die as were asked for.
fn finds_nothing(mut config: StormConfig) {
    need_mounts!();
    deaths(&mut config, 60, 3);
    let found = report(&config);
    assert_eq!(found.anomaly_list, [], "{found:#?}");
    assert_eq!((found.worker_deaths, found.supervisor_deaths, found.anomalies), (60, 3, 0));
    let by_name: u64 =
        found.deaths.iter().filter(|(it, _)| !it.starts_with("standby")).map(|it| it.1).sum();
    assert_eq!(by_name, 63, "{:?}", found.deaths);
    assert!(found.operations > 100 && found.recovered.recovered_from_slots > 0, "{found:?}");
    let pauses = found.pauses;
    let ordered = [pauses.pause_p50_ns, pauses.pause_p90_ns, pauses.pause_p99_ns];
    assert!(pauses.pauses >= 20 && ordered.is_sorted() && ordered[0] > 10_000, "{pauses:?}");
    assert!(pauses.pause_max_ns >= ordered[2] && pauses.pause_max_ns < found.duration_ns);
    let told: u64 = found.pause_histogram.iter().map(|(_, count)| count).sum();
    assert_eq!(told, pauses.pauses);
    assert!(found.pause_histogram.iter().map(|(end, _)| end).is_sorted());
}

#[test]
fn mounted_as_usual() {
    finds_nothing(own(FsKind::Passthrough, &[]));
}

#[test]
fn mounted_in_memory() {
    finds_nothing(own(FsKind::Mem, &["-s"]));
}

#[test]
fn workers_die_of_many_signals() {
    let mut config = own(FsKind::Passthrough, &["--no-resend", "-o", "nopassthrough"]);
    config.signals = DEADLY.to_vec();
    finds_nothing(config);
}

/// A storm that goes on until something is wrong: with a part switched off it soon is.
fn finds_that_is_off(part: Protection, kind: FsKind, arguments: &[&str]) {
    need_mounts!();
    let mut config = own(kind, arguments);
    config.without = vec![part];
    config.duration = Some(LONG_ENOUGH);
    let storm = run(&config, &AtomicBool::new(false), &|_| {}).unwrap_or_else(|e| panic!("{e}"));
    let found = storm.report;
    assert!(found.anomalies > 0, "{part:?}: {} deaths", found.worker_deaths);
    assert_eq!(found.anomalies, found.anomaly_list.len() as u64);
    let trace = storm.trace.expect("how to do it again");
    assert_eq!((trace.seed, &trace.anomalies), (config.seed, &found.anomaly_list));
    assert_eq!(trace.off, [part.name()]);
    assert!(!trace.deaths.is_empty() || part == Protection::Append);
    assert!(trace.deaths.iter().all(|death| death.after.len() == config.threads));
}

#[test]
fn a_journal_that_is_off_is_found() {
    finds_that_is_off(Protection::Journal, FsKind::Passthrough, &["-o", "nopassthrough"]);
}

#[test]
fn slots_that_are_off_are_found() {
    finds_that_is_off(Protection::Slots, FsKind::Passthrough, &["--no-resend"]);
}

#[test]
fn appending_below_is_found() {
    finds_that_is_off(Protection::Append, FsKind::Passthrough, &["-o", "nopassthrough"]);
}

#[test]
fn it_ends_when_it_is_told_to() {
    need_mounts!();
    let (config, stop) = (own(FsKind::Passthrough, &[]), AtomicBool::new(false));
    let most = AtomicU64::new(0);
    let storm = run(&config, &stop, &|progress| {
        most.fetch_max(progress.operations, Ordering::Relaxed);
        if progress.operations > 50 {
            stop.store(true, Ordering::Relaxed);
        }
    });
    let found = storm.unwrap_or_else(|error| panic!("{error}")).report;
    assert_eq!(found.anomaly_list, []);
    assert!(most.load(Ordering::Relaxed) > 50 && found.worker_deaths > 0);
}

#[test]
fn a_call_that_hangs_is_found() {
    need_mounts!();
    // Nobody replaces a server that is stopped.
    let mount = Mount::new(&["--no-supervise"]);
    let server = Server::Pid(mount.pid() as i32);
    let target = MountKind::Other { mount: mount.point(), server };
    let mut config = StormConfig::new(target, 1);
    config.signals = vec![Signal::SIGSTOP];
    config.patience = Duration::from_secs(1);
    let found = report(&config);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(mount.pid() as i32), Signal::SIGCONT)
        .unwrap();
    let told = |what: &str| found.anomaly_list.iter().any(|it| it.got.contains(what));
    assert!(told("it hangs: the connection is aborted"), "{found:#?}");
}

#[test]
fn a_mount_given_by_its_place_is_stormed() {
    need_mounts!();
    let mount = Mount::new(DEFAULT);
    let command = format!(
        "{FUSEX} supervise status --json {} | \
        grep -o '\"worker_pid\": *[0-9]*' | grep -o '[0-9]*$'",
        mount.point().display()
    );
    let target = MountKind::Other { mount: mount.point(), server: Server::Command(command) };
    let mut config = StormConfig::new(target, 1);
    config.kill_worker = Kills::Times(10);
    let found = report(&config);
    assert_eq!(found.anomaly_list, [], "{found:#?}");
    assert_eq!((found.worker_deaths, found.deaths["server SIGKILL"]), (10, 10));
    assert!(found.unchecked.iter().any(|it| it.starts_with("leaks")), "{:?}", found.unchecked);
    assert_eq!(std::fs::read_dir(mount.point()).unwrap().count(), 0, "what it made is removed");
}

#[test]
fn a_server_that_nobody_replaces_is_found() {
    need_mounts!();
    let mut mount = Mount::new(&["--no-supervise"]);
    mount.expect_killed();
    let server = Server::Pid(mount.pid() as i32);
    let target = MountKind::Other { mount: mount.point(), server };
    let found = report(&StormConfig::new(target, 1));
    let lost = |got: &str| got.contains("ENOTCONN") || got.contains("ECONNABORTED");
    assert!(found.anomaly_list.iter().any(|it| lost(&it.got)), "{found:#?}");
    assert_eq!(found.worker_deaths, 1);
    assert!(found.unchecked.iter().any(|it| it.contains("is left behind")), "{found:#?}");
}

#[test]
fn only_mounts_are_stormed() {
    let target = MountKind::Other { mount: "/tmp".into(), server: Server::Pid(1) };
    let error = run(&StormConfig::new(target, 1), &AtomicBool::new(false), &|_| {}).unwrap_err();
    assert!(error.to_string().contains("no FUSE mount"), "{error}");
}

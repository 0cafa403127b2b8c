//! The program of [`fusex::crash::workload`] while the servers are ended every few milliseconds: it has to
//! find nothing.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fusex::crash::storm::DEADLY;
use nix::sys::signal::Signal;

use crate::common::{DEFAULT, Mode, Mount, NEVER, SERVED, SINGLE, WRITEBACK};
use crate::kills::{Killer, Victims, descriptors, wait_for_rest};
use crate::need_mounts;
use crate::program::{self, setup};

const KILL: &[Signal] = &[Signal::SIGKILL];
/// The program runs this long at least.
const TIME: Duration = Duration::from_secs(3);
/// Descriptors that more threads may have than there were at the start.
const MORE: usize = 16;

/// Runs the program until there were `least` ends, each at an age of up to `pause` ms.
fn finds_nothing(mode: Mode, victims: Victims, pause: usize, least: u64) {
    let mut mount = Mount::new(mode);
    if victims != Victims::Worker {
        mount.expect_killed();
    }
    let (point, lower, before) = (mount.point(), mount.source(), descriptors(&mount));
    let lower = (!mode.contains(&"mem")).then_some(lower.as_path());
    let setup = setup(&point, lower, least ^ pause as u64);
    let signals = if victims == Victims::Worker { DEADLY } else { KILL };
    let (over, kills, start) = (AtomicBool::new(false), AtomicU64::new(0), Instant::now());
    let (found, killed) = std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            let mut killer = Killer::new(&mount, victims, signals);
            let killed = killer.kill_until(pause, |count| {
                kills.store(count, Ordering::Relaxed);
                over.load(Ordering::Relaxed)
            });
            over.store(true, Ordering::Relaxed);
            killed
        });
        let enough = || start.elapsed() >= TIME && kills.load(Ordering::Relaxed) >= least;
        // What it compares at the end, it compares while they still die.
        let stop = |_| over.load(Ordering::Relaxed) || enough();
        let found = catch_unwind(AssertUnwindSafe(|| program::finds_nothing(&setup, stop)));
        over.store(true, Ordering::Relaxed);
        (found, killer.join().expect("the killing thread"))
    });
    killed.unwrap_or_else(|error| panic!("{error}"));
    let operations = found.unwrap_or_else(|panic| resume_unwind(panic)).operations;
    let kills = kills.load(Ordering::Relaxed);
    eprintln!("{mode:?}, {victims:?}: {operations} operations, {kills} kills");
    assert!(kills >= least, "only {kills}");
    at_rest(&mount, before);
}

/// Nothing is left of what was open and known.
fn at_rest(mount: &Mount, before: usize) {
    for entry in std::fs::read_dir(mount.point()).unwrap() {
        std::fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
    wait_for_rest(mount, 1);
    let after = descriptors(mount);
    assert!(after <= before + MORE, "{before} descriptors before, {after} after");
}

fn worker_dies(mode: Mode) {
    finds_nothing(mode, Victims::Worker, 8, 50);
}

#[test]
fn mounted_as_usual() {
    need_mounts!();
    worker_dies(DEFAULT);
}

#[test]
fn mounted_with_one_thread() {
    need_mounts!();
    worker_dies(SINGLE);
}

#[test]
fn mounted_without_passthrough() {
    need_mounts!();
    worker_dies(SERVED);
}

#[test]
fn mounted_with_writeback() {
    need_mounts!();
    worker_dies(WRITEBACK);
}

#[test]
fn mounted_without_caches() {
    need_mounts!();
    worker_dies(NEVER);
}

#[test]
fn mounted_in_memory() {
    need_mounts!();
    worker_dies(&["-t", "mem"]);
}

#[test]
fn without_the_kernels_help() {
    need_mounts!();
    worker_dies(&["--no-resend", "-o", "nopassthrough"]);
}

#[test]
fn without_the_kernels_help_and_with_one_thread() {
    need_mounts!();
    worker_dies(&["--no-resend", "-s"]);
}

#[test]
fn the_supervisor_dies() {
    need_mounts!();
    finds_nothing(SERVED, Victims::Supervisor, 100, 15);
}

#[test]
fn supervisor_and_worker_die() {
    need_mounts!();
    finds_nothing(SERVED, Victims::SupervisorAndWorker, 100, 15);
}

#[test]
fn supervisor_and_standby_die() {
    need_mounts!();
    finds_nothing(DEFAULT, Victims::SupervisorAndStandby, 100, 15);
}

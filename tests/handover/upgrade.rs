//! A new version of the program takes the place of the old one, while the mount is in use.

use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::{Mode, Mount, SERVED};
use crate::need_mounts;
use crate::program::{finds_nothing, setup};
use crate::unit::Unit;

/// Upgrades while the load goes on.
const UPGRADES: u64 = 4;

/// Operations that each thread of the load does at least.
const LEAST: u64 = 200;

/// The inode of the program that a process runs.
fn program_of(pid: i32) -> u64 {
    std::fs::metadata(format!("/proc/{pid}/exe")).unwrap().ino()
}

/// Installs another copy of the program and upgrades to it.
fn upgrade(unit: &Unit) {
    unit.install(env!("CARGO_BIN_EXE_fusex"));
    let installed = std::fs::metadata(&unit.program).unwrap().ino();
    let before = unit.until_serving();
    let generation = unit.number("generation");
    // Of a mount that was killed as a whole before, some may have died in another's place.
    let deaths = || unit.number("worker_deaths") + unit.number("supervisor_deaths");
    let died = deaths();
    assert!(before.iter().all(|pid| program_of(*pid) != installed));
    let output = unit.ask(&["upgrade"]);
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}: {}", unit.log());
    assert!(unit.number("generation") > generation);
    let after = unit.until_serving();
    assert_eq!(before[0], after[0], "the supervisor's process id stays");
    assert!(after.iter().all(|pid| program_of(*pid) == installed), "{after:?}");
    assert_eq!(deaths(), died, "none died");
}

fn no_call_fails(mode: Mode) {
    let arguments = [&["-o", "allow_other,suid,dev"], mode].concat();
    let unit = Unit::alone(&arguments);
    let (point, lower, over) = (unit.place.point(), unit.place.source(), AtomicBool::new(false));
    let lower = (!mode.contains(&"mem")).then_some(lower.as_path());
    let setup = setup(&point, lower, 7);
    let stop = |count| count > LEAST && over.load(Ordering::Relaxed);
    let found = std::thread::scope(|scope| {
        let load = scope.spawn(|| finds_nothing(&setup, stop));
        let upgraded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..UPGRADES {
                upgrade(&unit);
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        }));
        over.store(true, Ordering::Relaxed);
        let found = load.join();
        upgraded.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        found.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let operations = found.operations;
    eprintln!("{mode:?}: {operations} operations");
    assert_eq!(unit.number("damaged_records"), 0);
}

#[test]
fn no_call_fails_meanwhile() {
    need_mounts!();
    no_call_fails(&[]);
}

#[test]
fn no_call_fails_meanwhile_without_passthrough() {
    need_mounts!();
    no_call_fails(SERVED);
}

#[test]
fn no_call_fails_meanwhile_in_memory() {
    need_mounts!();
    no_call_fails(&["-t", "mem"]);
}

#[test]
fn no_call_fails_meanwhile_in_a_sandbox_and_with_writeback() {
    need_mounts!();
    no_call_fails(&["--sandbox", "-o", "writeback"]);
}

#[test]
fn open_files_and_locks_stay() {
    need_mounts!();
    for way in [&[][..], SERVED] {
        let unit = Unit::alone(way);
        let (mut caller, mut other) = (unit.caller(), unit.caller());
        caller.all(&["make named a", "write named 0123456789", "seek named 4"]);
        caller.all(&["make nameless b", "write nameless abc", "unlink b"]);
        caller.all(&["posix named w 0 5", "ofd nameless w 0 0", "flock named ex"]);
        caller.all(&["open twice a", "ofd twice r 20 5"]);
        other.all(&["open it a", "ofd it w 100 5"]);
        let mut waiting = unit.caller();
        waiting.all(&["open it a"]);
        waiting.tell("posixw it r 2 1");
        for round in 1..=2 {
            upgrade(&unit);
            assert_eq!(caller.ask("read named 2"), ["ok 45", "ok 67"][round - 1]);
            caller.all(&["write nameless d"]);
            assert_eq!(caller.ask("size nameless"), format!("ok {}", 3 + round));
            assert_eq!(caller.ask("links nameless"), "ok 0");
            let asked = ["posix it r 4 1", "flock it sh", "ofd it w 24 1"];
            assert_eq!(asked.map(|line| other.ask(line)), ["EAGAIN"; 3]);
            assert_eq!(caller.ask("posix named r 104 1"), "EAGAIN");
            assert!(!waiting.has_answer(), "{}", waiting.answer());
        }
        caller.all(&["seek nameless 0"]);
        assert_eq!(caller.ask("read nameless 9"), "ok abcdd");
        caller.all(&["posix named u 0 0", "flock named un"]);
        assert_eq!(waiting.answer(), "ok");
        other.all(&["flock it ex"]);
    }
}

#[test]
fn a_service_is_upgraded_and_goes_on_from_what_is_stored() {
    need_mounts!();
    let mut unit = Unit::managed(SERVED, None);
    let mut caller = unit.caller();
    caller.all(&["make file file", "write file 0", "mkdir load", "load load"]);
    for round in 1..=2 {
        unit.manager().forget_heard();
        upgrade(&unit);
        unit.manager().wait_for("READY=1");
        unit.kill_all();
        unit.restart();
        unit.until_serving();
        caller.all(&[&format!("write file {round}")]);
    }
    upgrade(&unit);
    assert_eq!(caller.ask("get file"), "ok 012");
    let answer = caller.ask("unload");
    assert!(answer.starts_with("ok ") && answer != "ok 0", "{answer}");
}

#[test]
fn what_is_no_supervised_mount_is_not_upgraded() {
    need_mounts!();
    let mount = Mount::new(&["--no-supervise"]);
    let place = mount.place();
    place.tmpfs(&place.plain(), "size=1m");
    for path in [mount.point(), place.plain(), mount.source(), place.path("nothing")] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_fusex"));
        let output = command.args(["supervise", "upgrade"]).arg(&path).output().unwrap();
        let path = path.display();
        let expected =
            format!("fusex: {path}: not a supervised fusex mount: see 'fusex supervise list'\n");
        assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(32), 0), "{path}");
    }
}

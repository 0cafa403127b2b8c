//! What the service manager hears of a mount, and when.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{SERVED, SOON, wait_until};
use crate::need_mounts;
use crate::unit::Unit;

const NAMES: [&str; 2] = ["fusex-arena", "fusex-device"];
/// The manager takes a service for dead that has not pinged for so long, in microseconds.
const WATCHDOG: u64 = 4_000_000;

#[test]
fn it_is_ready_when_it_can_be_used_and_stored_by_then() {
    need_mounts!();
    let mut unit = Unit::managed(SERVED, None);
    for round in 0..3 {
        if round > 0 {
            unit.kill_all();
            unit.restart();
        }
        let supervisor = unit.until_serving()[0];
        assert_eq!(unit.manager().wait_for("READY=1"), supervisor, "{round}");
        let heard: Vec<String> = unit.manager().heard().into_iter().map(|it| it.line).collect();
        let at = |line: &str| heard.iter().position(|it| it == line);
        for name in NAMES {
            let stored = at(&format!("FDNAME={name}"));
            assert!(stored.is_some() && stored < at("READY=1"), "{round}: {heard:?}");
        }
        let status =
            format!("{} on {}", unit.place.source().display(), unit.place.point().display());
        assert!(at(&format!("STATUS={status}")).is_some(), "{round}: {heard:?}");
        assert!(!heard.iter().any(|line| line.starts_with("WATCHDOG")), "{round}: {heard:?}");
        assert_eq!(unit.manager().names(), NAMES);
    }
}

#[test]
fn after_a_stop_nothing_is_kept() {
    need_mounts!();
    let mut unit = Unit::managed(SERVED, None);
    unit.kill_all();
    unit.restart();
    unit.until_serving();
    let stopped = unit.ask(&["stop"]);
    assert!(stopped.status.success(), "{stopped:?}");
    assert!(unit.ended().is_some_and(|status| status.success()), "{}", unit.log());
    unit.manager().wait_for("STOPPING=1");
    let forgotten = wait_until(SOON, || unit.manager().names().is_empty());
    assert!(forgotten, "{:?}", unit.manager().names());
    assert_eq!(unit.fuse_mounts(), [0; 0]);
    // The next start is a new mount.
    unit.restart();
    unit.until_serving();
    assert_eq!((unit.number("generation"), unit.fuse_mounts().len()), (0, 1));
}

/// Hears the pings of one process for as long as the manager would wait: none may be late.
fn pings(unit: &Unit, pid: i32) {
    let limit = Duration::from_micros(WATCHDOG);
    unit.manager().forget_heard();
    let mut heard = Vec::new();
    let enough = wait_until(SOON, || {
        heard = unit.manager().heard();
        heard.retain(|it| it.line == "WATCHDOG=1" && it.pid == pid);
        heard.last().is_some_and(|last| last.at - heard[0].at >= limit)
    });
    assert!(enough, "process {pid}: {:?}", unit.manager().heard());
    for pair in heard.windows(2) {
        assert!(pair[1].at - pair[0].at < limit, "{heard:?}");
    }
}

#[test]
fn the_watchdog_is_fed_by_whoever_supervises() {
    need_mounts!();
    let mut unit = Unit::managed(SERVED, Some(WATCHDOG));
    let first = unit.until_serving();
    assert_eq!(unit.manager().wait_for("WATCHDOG=1"), first[0]);
    kill(Pid::from_raw(first[0]), Signal::SIGKILL).unwrap();
    assert_eq!(unit.manager().wait_for(&format!("MAINPID={}", first[1])), first[1]);
    let second = unit.until_serving();
    assert_eq!(second[0], first[1], "the standby");
    pings(&unit, second[0]);
    unit.kill_all();
    unit.restart();
    let third = unit.until_serving();
    pings(&unit, third[0]);
}

//! Supervisors and standbys that die, alone and with others, by the command line's account:
//! whoever slept takes over, and there are sleepers again.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::common::{DEFAULT, Mount, SERVED, sys};
use crate::line::{number, status, stop, until};
use crate::load::under_load;
use crate::need_mounts;

const WORKER: &str = "worker_pid";
const SUPERVISOR: &str = "supervisor_pid";
const STANDBY: &str = "standby_pid";
const RESERVE: &str = "reserve_pid";
const FOUR: [&str; 4] = [WORKER, SUPERVISOR, STANDBY, RESERVE];

fn pids(status: &Value) -> [u64; 4] {
    FOUR.map(|key| number(status, key))
}

/// Whether there are four processes, and none of these.
fn are_four_without(status: &Value, dead: &[u64]) -> bool {
    let mut now = pids(status).to_vec();
    let gone = now.iter().all(|pid| *pid != 0 && !dead.contains(pid));
    now.sort_unstable();
    now.dedup();
    gone && now.len() == FOUR.len()
}

/// Kills these together under load; the status before, and when all four run again.
fn kill_and_see(mount: &Mount, victims: &[&str]) -> (Value, Value) {
    let point = mount.point();
    under_load(&point, || {
        let before = until(&point, "four processes", |it| are_four_without(it, &[]));
        let dead: Vec<u64> = victims.iter().map(|key| number(&before, key)).collect();
        let processes: Vec<_> =
            dead.iter().map(|pid| sys::pidfd(*pid as i32).expect("it runs")).collect();
        // Opened, and still what the mount says that it is: nobody else has the number.
        assert_eq!(pids(&status(&point)), pids(&before), "nobody died meanwhile");
        for process in &processes {
            sys::signal_pidfd(process, Signal::SIGKILL).unwrap();
        }
        let after = until(&point, "four again", |it| are_four_without(it, &dead));
        (before, after)
    })
}

/// Deaths of supervisors, deaths of workers, the number of the worker.
fn counted(status: &Value) -> [u64; 3] {
    ["supervisor_deaths", "worker_deaths", "generation"].map(|key| number(status, key))
}

#[test]
fn the_standby_takes_the_place_of_the_supervisor() {
    need_mounts!();
    for mode in [DEFAULT, SERVED] {
        let mut mount = Mount::new(mode);
        mount.expect_killed();
        for deaths in 1..=3 {
            let (before, after) = kill_and_see(&mount, &[SUPERVISOR]);
            assert_eq!(after[SUPERVISOR], before[STANDBY], "{mode:?}");
            assert_eq!(after[WORKER], before[WORKER], "{mode:?}: the same worker serves on");
            assert_eq!(counted(&after), [deaths, 0, 0], "{mode:?}");
            assert!(sys::pidfd(number(&after, STANDBY) as i32).is_ok(), "the new standby lives");
        }
        stop(&mount);
    }
}

#[test]
fn supervisor_and_worker_die_together() {
    need_mounts!();
    let mut mount = Mount::new(SERVED);
    mount.expect_killed();
    for deaths in 1..=2 {
        let (before, after) = kill_and_see(&mount, &[SUPERVISOR, WORKER]);
        assert_eq!(after[SUPERVISOR], before[STANDBY]);
        assert_eq!(counted(&after), [deaths; 3]);
        assert_ne!(after["last_takeover_ns"], 0);
    }
    stop(&mount);
}

#[test]
fn supervisor_and_standby_die_together() {
    need_mounts!();
    let mut mount = Mount::new(DEFAULT);
    mount.expect_killed();
    for _ in 0..2 {
        let (before, after) = kill_and_see(&mount, &[SUPERVISOR, STANDBY]);
        assert_eq!(after[SUPERVISOR], before[RESERVE]);
        assert_eq!(after[WORKER], before[WORKER], "the same worker serves on");
        assert_eq!(counted(&after)[1..], [0, 0]);
    }
    assert_ne!(number(&status(&mount.point()), "supervisor_deaths"), 0);
    stop(&mount);
}

#[test]
fn sleepers_that_die_are_replaced() {
    need_mounts!();
    let mount = Mount::new(DEFAULT);
    let (before, after) = kill_and_see(&mount, &[STANDBY, RESERVE]);
    assert_eq!((&after[SUPERVISOR], &after[WORKER]), (&before[SUPERVISOR], &before[WORKER]));
    assert_eq!(counted(&after), [0; 3]);
    stop(&mount);
}

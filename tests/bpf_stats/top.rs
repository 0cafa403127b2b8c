//! Who asks most, and for what; who answers.

use std::collections::BTreeMap;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::caller::Caller;
use crate::common::{DEFAULT, Mount, SOON, finish, wait_until};
use crate::servers::{TRUSTED, bindfs};
use crate::watch::{OFTEN, Watch, find};
use crate::{FUSEX, need, need_counts};

/// Sums of a table of a connection over reports, by its key.
fn sums(reports: &[Value], connection: u64, table: &str, key: &str) -> BTreeMap<u64, u64> {
    let mut sums = BTreeMap::new();
    for found in reports.iter().filter_map(|it| find(it, connection)) {
        for row in found[table].as_array().unwrap() {
            *sums.entry(row[key].as_u64().unwrap()).or_default() += row["count"].as_u64().unwrap();
        }
    }
    sums
}

#[test]
fn callers_and_nodes() {
    need_counts!();
    let served = need!(bindfs(TRUSTED));
    for dir in ["dir", "other"] {
        std::fs::create_dir(served.source().join(dir)).unwrap();
        assert!(served.point().join(dir).exists());
    }
    let known = served.said();
    let mut watch = Watch::start(&[OFTEN, &["--top", "10"]].concat());
    let first = watch.reports.len();
    let absent = |dir: &str, count: usize| -> Vec<_> {
        (0..count).map(|number| served.point().join(format!("{dir}/{number}"))).collect()
    };
    let mut callers = [Caller::stat(absent("dir", 40)), Caller::stat(absent("other", 15))];
    callers.iter_mut().for_each(Caller::wait);
    let said = served.said().behind(&known);
    let (by_pid, by_node) = (said.by(|it| it.pid.into()), said.by(|it| it.node));
    let pids = callers.each_ref().map(|caller| u64::from(caller.pid()));
    assert_eq!(by_pid, [(pids[0], 40), (pids[1], 15)].into());

    let connection = served.connection();
    let counted = |reports: &[Value]| sums(reports, connection, "callers", "pid");
    for _ in 0..20 {
        watch.report();
        if counted(&watch.reports[first..]) == by_pid {
            break;
        }
    }
    watch.report();
    assert_eq!(counted(&watch.reports[first..]), by_pid);
    assert_eq!(sums(&watch.reports[first..], connection, "nodes", "node"), by_node);
    for found in watch.reports.iter().filter_map(|it| find(it, connection)) {
        for table in ["callers", "nodes"] {
            let rows = found[table].as_array().unwrap();
            let counts = rows.iter().map(|row| row["count"].as_u64().unwrap());
            assert!(counts.is_sorted_by(|one, next| one >= next), "most first: {found}");
        }
        for caller in found["callers"].as_array().unwrap() {
            assert_eq!(caller["command"], "stat");
        }
    }
}

/// What `fusex supervise status` says is the worker.
fn worker(mount: &Mount) -> Option<u64> {
    let mut status = std::process::Command::new(FUSEX);
    let output = finish(status.args(["supervise", "status", "--json"]).arg(mount.point()));
    let status: Value = serde_json::from_slice(&output.stdout).ok()?;
    status["worker_pid"].as_u64().filter(|pid| *pid != 0)
}

#[test]
fn the_server_is_who_answers() {
    need_counts!();
    let mut mount = Mount::new(DEFAULT);
    mount.expect_killed();
    let connection = mount.connection().into();
    let mut watch = Watch::start(OFTEN);
    let mut before = 0;
    for _ in 0..3 {
        let next = || worker(&mount).filter(|pid| *pid != before);
        assert!(wait_until(SOON, || next().is_some()), "no worker follows");
        let worker = next().unwrap();
        assert!(!mount.point().join("absent").exists());
        watch.until("served by the worker", |report| {
            find(report, connection).is_some_and(|it| it["server_pid"] == worker)
        });
        kill(Pid::from_raw(worker as i32), Signal::SIGKILL).unwrap();
        before = worker;
    }
    assert!(!mount.point().join("absent").exists());
}

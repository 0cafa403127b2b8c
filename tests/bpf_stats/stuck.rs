//! Requests that are not answered: they are seen while they wait, with who asked for what.

use std::time::{Duration, Instant};

use fusex::wire::opcode::Opcode;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::caller::Caller;
use crate::common::Place;
use crate::servers::{TRUSTED, bindfs, bindfs_at};
use crate::watch::{Count, OFTEN, Watch, find};
use crate::{SAMPLE, is_sampled, need, need_counts, skip, why_no_split};

/// The requests in flight of a connection.
fn in_flight(report: &Value, connection: u64) -> Vec<Value> {
    let found = find(report, connection);
    found.map_or(Vec::new(), |it| it["in_flight_requests"].as_array().unwrap().clone())
}

fn is_lookup_by(request: &Value, caller: &Caller, command: &str) {
    assert_eq!(request["opcode"], "LOOKUP", "{request}");
    assert_eq!(request["node"], 1, "{request}");
    assert_eq!(request["caller_pid"], caller.pid(), "{request}");
    assert_eq!(request["caller_command"], command, "{request}");
}

#[test]
fn a_stopped_server_is_stuck() {
    need_counts!();
    let served = need!(bindfs(TRUSTED));
    let (connection, point) = (served.connection(), served.point());
    let mut watch = Watch::start(OFTEN);
    let mut lines = Watch::spawn(&["--stuck", "0.5", point.to_str().unwrap()]);
    served.pause();
    let mut caller = Caller::stat([point.join("absent")]);
    let line = lines.line();
    let stuck = &line["stuck"];
    assert_eq!(
        (line["schema"].as_u64(), stuck["connection"].as_u64()),
        (Some(1), Some(connection))
    );
    assert_eq!(stuck["mount_point"].as_str(), point.to_str());
    assert!(stuck["total_ns"].as_u64().unwrap() >= 500_000_000, "{line}");
    assert_eq!(stuck["older"], false, "{line}");
    is_lookup_by(stuck, &caller, "stat");
    if why_no_split().is_none() {
        assert_eq!(stuck["read_by_server"], false, "{line}");
    }
    let report = watch.until("in flight for long", |it| {
        find(it, connection).is_some_and(|it| it["oldest_s"].as_f64() >= Some(0.5))
    });
    assert_eq!(find(report, connection).unwrap()["in_flight"], 1, "{report}");
    is_lookup_by(&in_flight(report, connection)[0], &caller, "stat");
    assert!(caller.hangs());
    // It is told of once.
    for _ in 0..5 {
        watch.report();
    }
    assert!(lines.is_silent());

    served.signal(Signal::SIGCONT);
    caller.wait();
    let report = watch.until("answered", |it| in_flight(it, connection).is_empty());
    assert_eq!(find(report, connection).unwrap()["in_flight"], 0);
    assert_eq!(lines.interrupt(), Some(0));
}

#[test]
fn a_server_that_waits_for_another_has_read_its_request() {
    need_counts!();
    if let Some(reason) = why_no_split() {
        skip!(reason);
    }
    // Two mounts, one of the other: the upper one has read what it cannot answer.
    let lower = need!(bindfs(TRUSTED));
    let place = Place::new();
    let mount = nix::mount::MsFlags::MS_BIND;
    nix::mount::mount(Some(&lower.point()), &place.source(), None::<&str>, mount, None::<&str>)
        .unwrap();
    let upper = need!(bindfs_at(place, TRUSTED));
    let mut watch = Watch::start(OFTEN);
    lower.pause();
    let mut caller = Caller::stat([upper.point().join("absent")]);
    let both = [upper.connection(), lower.connection()];
    let report = watch
        .until("stuck twice", |report| both.iter().all(|it| in_flight(report, *it).len() == 1));
    let [upper_request, lower_request] = both.map(|it| in_flight(report, it).remove(0));
    is_lookup_by(&upper_request, &caller, "stat");
    assert_eq!(lower_request["caller_pid"], upper.pid(), "{lower_request}");
    assert_eq!(lower_request["caller_command"], "bindfs", "{lower_request}");
    assert!(lower_request["queue_ns"].is_null(), "{lower_request}");
    lower.signal(Signal::SIGCONT);
    caller.wait();
    if !upper_request["queue_ns"].is_u64() {
        assert!(is_sampled(), "{upper_request}");
        skip!(SAMPLE);
    }
}

#[test]
fn one_look_at_a_request_from_before() {
    need_counts!();
    let served = need!(bindfs(TRUSTED));
    let point = served.point();
    let look = |expected| {
        let mut look = Watch::spawn(&["--once", "--stuck", "0.2", point.to_str().unwrap()]);
        assert_eq!(look.wait(), Some(expected));
        look
    };
    look(0);
    served.pause();
    let start = Instant::now();
    let mut caller = Caller::stat([point.join("absent")]);
    std::thread::sleep(Duration::from_millis(300));
    let line = look(1).line();
    is_lookup_by(&line["stuck"], &caller, "stat");
    let age = Duration::from_nanos(line["stuck"]["total_ns"].as_u64().unwrap());
    // By the kernel's ticks, of 10 ms at the most; not known to all kernels.
    let longest = start.elapsed() + Duration::from_millis(10);
    assert!(age >= Duration::from_millis(200) && age <= longest, "{line}");
    // Answered, it is not counted: nobody knows since when it waited.
    let mut watch = Watch::start(OFTEN);
    let connection = served.connection();
    assert_eq!(in_flight(&watch.reports[0], connection).len(), 1, "{}", watch.reports[0]);
    served.signal(Signal::SIGCONT);
    caller.wait();
    let report = watch.until("answered", |it| in_flight(it, connection).is_empty());
    assert_eq!(find(report, connection).unwrap()["in_flight"], 0);
    let earlier: u64 = watch.reports.iter().filter_map(|it| it["lost"]["earlier"].as_u64()).sum();
    assert!(earlier >= 1, "{}", watch.reports.last().unwrap());
    look(0);
}

/// How many requests have got no answer, by all reports together.
fn unanswered(reports: &[Value], connection: u64) -> u64 {
    let found = reports.iter().filter_map(|it| find(it, connection));
    found.map(|it| it["unanswered"].as_u64().unwrap()).sum()
}

#[test]
fn a_caller_that_is_killed_is_unanswered_and_not_stuck() {
    need_counts!();
    let served = need!(bindfs(TRUSTED));
    let (connection, point) = (served.connection(), served.point());
    let mut watch = Watch::start(OFTEN);
    let first = watch.reports.len();
    served.pause();
    for turn in 1..=3 {
        let mut caller = Caller::stat([point.join("absent")]);
        watch.until("in flight", |it| in_flight(it, connection).len() == 1);
        caller.kill();
        // Its request was not read: the kernel takes it back, and no server hears of it.
        caller.wait();
        let report = watch.until("given up", |it| in_flight(it, connection).is_empty());
        assert_eq!(find(report, connection).unwrap()["in_flight"], 0, "{report}");
        // Noticed while a report was made, it is in the next one.
        watch.report();
        assert_eq!(unanswered(&watch.reports[first..], connection), turn);
    }
    served.signal(Signal::SIGCONT);
    assert!(!point.join("answered").exists());
    let lookup = Count { count: 1, errors: [("ENOENT".to_string(), 1)].into(), bytes: 0 };
    watch.agrees(connection, first, &[(Opcode::FUSE_LOOKUP as u32, lookup)].into());
}

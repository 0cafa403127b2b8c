//! Connections that end: nothing is left of them, and a successor with the same id starts at
//! nothing.

use std::fs;

use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;

use crate::caller::Caller;
use crate::common::{SOON, wait_until};
use crate::served::Served;
use crate::servers::{TRUSTED, bindfs};
use crate::watch::{OFTEN, Watch, find};
use crate::{need, need_counts, skip};

/// The maps with entries about connections, and where in an entry the connection's number is, the
/// key and the value taken together. How often a number was used stays known.
const ABOUT: [(&str, usize); 5] =
    [("operation_keys", 4 + 4), ("errors", 0), ("callers", 8), ("nodes", 8), ("flights", 4 + 32)];

/// How many entries about a connection are in the maps of `fusex bpf-stats`.
fn entries(watch: &Watch, connection: u64) -> usize {
    let (mut entries, mut found) = (0, Vec::new());
    for fdinfo in fs::read_dir(format!("/proc/{}/fdinfo", watch.pid())).unwrap().flatten() {
        let text = fs::read_to_string(fdinfo.path()).unwrap_or_default();
        let id = text.lines().find_map(|line| line.strip_prefix("map_id:"));
        let Some(id) = id.and_then(|id| id.trim().parse().ok()) else { continue };
        let map = MapHandle::from_map_id(id).unwrap();
        let name = map.name().to_string_lossy().into_owned();
        if let Some((name, at)) = ABOUT.iter().find(|(about, _)| *about == name) {
            entries += map.keys().filter(|key| is_about(&map, key, *at, connection)).count();
            found.push(*name);
        }
    }
    found.sort();
    assert_eq!(found, ["callers", "errors", "flights", "nodes", "operation_keys"]);
    entries
}

fn is_about(map: &MapHandle, key: &[u8], at: usize, connection: u64) -> bool {
    // Gone meanwhile.
    let Ok(Some(value)) = map.lookup(key, MapFlags::ANY) else { return false };
    // Places of an array that are free begin with a zero.
    let free = map.map_type() == MapType::Array && value[..8] == [0; 8];
    !free && [key, &value].concat()[at..at + 4] == (connection as u32).to_ne_bytes()
}

/// Aborts a connection, by a fusectl of our own.
fn abort(served: &Served) {
    let control = served.place().plain();
    let fusectl = Some("fusectl");
    mount(fusectl, &control, fusectl, MsFlags::empty(), None::<&str>).unwrap();
    fs::write(control.join(served.connection().to_string()).join("abort"), "1").unwrap();
    umount2(&control, MntFlags::empty()).unwrap();
}

/// Three callers wait when the server goes: nothing is in flight then, and when the mount has gone
/// too nothing is known of it.
fn ends_without_a_trace(served: Served, end: impl Fn(&Served)) {
    let connection = served.connection();
    let mut watch = Watch::start(&[OFTEN, &["--top", "10"]].concat());
    assert_eq!(entries(&watch, connection), 0, "nothing was asked yet");
    // Not all servers let names of one directory be looked up at the same time.
    let dirs: Vec<_> = (0..3).map(|number| format!("dir-{number}")).collect();
    for dir in &dirs {
        fs::create_dir(served.source().join(dir)).unwrap();
        assert!(served.point().join(dir).exists());
    }
    served.pause();
    let absent = |dir| Caller::stat([served.point().join(dir).join("absent")]);
    let mut callers: Vec<Caller> = dirs.iter().map(absent).collect();
    let in_flight = |count: u64| {
        move |report: &serde_json::Value| {
            find(report, connection).is_some_and(|it| it["in_flight"] == count)
        }
    };
    watch.until("three in flight", in_flight(3));
    assert!(entries(&watch, connection) > 0);
    end(&served);
    callers.iter_mut().for_each(Caller::wait);
    let report = watch.until("none in flight", in_flight(0));
    let found = find(report, connection).unwrap();
    assert_eq!(found["in_flight_requests"].as_array().unwrap().len(), 0, "{report}");
    drop(served);
    watch.until("gone", |report| find(report, connection).is_none());
    let left = || entries(&watch, connection);
    assert!(wait_until(SOON, || left() == 0), "{} entries are left", left());
}

#[test]
fn a_server_that_is_killed() {
    need_counts!();
    ends_without_a_trace(need!(bindfs(TRUSTED)), |served| served.signal(Signal::SIGKILL));
}

#[test]
fn a_connection_that_is_aborted() {
    need_counts!();
    ends_without_a_trace(need!(bindfs(TRUSTED)), abort);
}

fn look_up(served: &Served, absent: usize) {
    for number in 0..absent {
        assert!(!served.point().join(format!("absent-{number}")).exists());
    }
}

/// Mounts a second time behind a first one that has gone; false when the second has another
/// number, for another test was faster.
fn use_again(interval: &[&str]) -> Result<bool, String> {
    let served = bindfs(TRUSTED)?;
    let connection = served.connection();
    let mut watch = Watch::start(interval);
    look_up(&served, 10);
    drop(served);
    if interval == OFTEN {
        watch.until("gone", |report| find(report, connection).is_none());
    }
    let first = watch.reports.len();
    let served = bindfs(TRUSTED)?;
    if served.connection() != connection {
        return Ok(false);
    }
    look_up(&served, 5);
    // From its INIT on.
    let expected = served.said().counts();
    watch.agrees_at(&served.point(), first, &expected);
    has_not_read(&served, &mut watch);
    Ok(true)
}

/// A request that waits has a number that the predecessor used: it has been read then, and not now.
fn has_not_read(served: &Served, watch: &mut Watch) {
    let connection = served.connection();
    served.pause();
    let mut caller = Caller::stat([served.point().join("absent")]);
    let report = watch.until("in flight for long", |report| {
        find(report, connection).is_some_and(|it| it["oldest_s"].as_f64() >= Some(0.7))
    });
    let request = &find(report, connection).unwrap()["in_flight_requests"][0];
    assert_eq!(request["caller_pid"], caller.pid(), "{report}");
    assert_ne!(request["read_by_server"], true, "{report}");
    served.signal(Signal::SIGCONT);
    caller.wait();
}

#[test]
fn a_number_that_is_used_again_starts_at_nothing() {
    need_counts!();
    // With reports in between, and without.
    for interval in [OFTEN, &["-i", "2"]] {
        let mut tries = 0;
        while !need!(use_again(interval)) {
            tries += 1;
            if tries == 20 {
                skip!("other mounts take the connection's number");
            }
        }
    }
}

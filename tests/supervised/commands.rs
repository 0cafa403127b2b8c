//! `fusex supervise` with mounts that are as usual: what it prints and what it does.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fusex::crash::workload::Random;
use nix::errno::Errno;
use serde_json::Value;

use crate::common::{Mount, NEVER, Place, SOON, errno, sum, wait_until};
use crate::kept::new_file;
use crate::line::{
    fusex, goes, mount, nothing_left, number, said, socket, status, stop, supervise, until,
};
use crate::need_mounts;

const KEYS: &str = "schema mount_point connection generation worker_pid supervisor_pid standby_pid \
    worker_deaths supervisor_deaths last_takeover_ns recovered_from_slots recovered_resent \
    recovered_from_journal recovered_probed leaked_lookups inodes open_files";

/// Whether all keys are there, with numbers where there are numbers.
fn is_whole(status: &Value, place: &Place) {
    for key in KEYS.split_whitespace() {
        let value = status.get(key).unwrap_or_else(|| panic!("no {key}: {status}"));
        assert!(value.is_u64() || key == "mount_point", "{key}: {status}");
    }
    assert_eq!(number(status, "schema"), 1);
    assert_eq!(status["mount_point"].as_str(), place.point().to_str());
    assert_eq!(number(status, "connection"), u64::from(place.mounts()[0].minor));
}

/// The name of a process.
fn name_of(pid: u64) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_string()
}

#[test]
fn a_mount_is_supervised_unless_told_otherwise() {
    need_mounts!();
    let place = Place::new();
    mount(&[], &place.source(), &place.point());
    let all = |it: &Value| number(it, "standby_pid") != 0 && number(it, "reserve_pid") != 0;
    let told = until(&place.point(), "standbys", all);
    is_whole(&told, &place);
    let pids = ["supervisor_pid", "worker_pid", "standby_pid", "reserve_pid"];
    let names = pids.map(|key| name_of(number(&told, key)));
    assert_eq!(names, ["fusex", "fusex-worker", "fusex-standby", "fusex-reserve"]);
    let human = said(supervise("status", &place.point()));
    let worker = format!("worker:            {}, generation 0\n", told["worker_pid"]);
    assert!(human.contains(&worker), "{human}");
    let socket = socket(place.mounts()[0].minor);
    assert!(socket.exists());
    assert_eq!(said(supervise("stop", &place.point())), "");
    goes(&socket);
    nothing_left(&place);

    mount(&["--no-supervise"], &place.source(), &place.point());
    let servers = place.servers();
    let names: Vec<_> = servers.iter().map(|pid| name_of(pid.as_raw() as u64)).collect();
    assert_eq!(names, ["fusex"], "one process");
    assert_eq!(supervise("status", &place.point()).status.code(), Some(32));
}

#[test]
fn numbers_of_a_status() {
    need_mounts!();
    let mount = Mount::new(NEVER);
    let point = mount.point();
    fs::create_dir(point.join("dir")).unwrap();
    let files: Vec<File> = (0..5).map(|n| new_file(&point.join(format!("dir/{n}")))).collect();
    // The root, a directory and the files; each file is open.
    until(&point, "all counted", |it| (number(it, "inodes"), number(it, "open_files")) == (7, 5));
    drop(files);
    until(&point, "closed", |it| number(it, "open_files") == 0);
}

#[test]
fn a_list_of_several() {
    need_mounts!();
    let places: Vec<Place> = (0..3).map(|_| Place::new()).collect();
    for (place, options) in places.iter().zip([&[][..], &["-t", "mem"], &["--no-supervise"]]) {
        mount(options, &place.source(), &place.point());
    }
    let list = said(fusex(&["supervise", "list"]));
    let json: Value = serde_json::from_str(&said(fusex(&["supervise", "list", "--json"]))).unwrap();
    for (place, wanted) in places.iter().zip([1, 1, 0]) {
        let point = place.point().into_os_string().into_string().unwrap();
        let lines: Vec<_> = list.lines().filter(|it| it.ends_with(&format!(" {point}"))).collect();
        assert_eq!(lines.len(), wanted, "{list}");
        let all = json.as_array().unwrap();
        let told: Vec<_> = all.iter().filter(|it| it["mount_point"] == *point).collect();
        assert_eq!(told.len(), wanted, "{json}");
        told.into_iter().for_each(|status| is_whole(status, place));
        assert!(lines.iter().all(|line| line.contains("  generation     0  deaths     0  ")));
    }
    assert_eq!(said(supervise("stop", &places[0].point())), "");
    let list = said(fusex(&["supervise", "list"]));
    assert!(!list.contains(places[0].point().to_str().unwrap()), "{list}");
    assert!(list.contains(places[1].point().to_str().unwrap()), "{list}");
}

#[test]
fn a_restart_under_a_reading_caller() {
    need_mounts!();
    let mount = Mount::new(NEVER);
    let (point, data) = (mount.point(), Random::new(9).bytes(1 << 20));
    fs::write(mount.source().join("file"), &data).unwrap();
    let (over, rounds, expected) = (AtomicBool::new(false), AtomicU64::new(0), sum(&data));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let file = File::open(point.join("file")).unwrap();
            let mut seen = vec![0; data.len()];
            while !over.load(Ordering::Relaxed) {
                file.read_exact_at(&mut seen, 0).unwrap();
                assert_eq!(sum(&seen), expected);
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mut outputs = Vec::new();
        for _ in 0..5 {
            outputs.push(supervise("restart", &point));
            let before = rounds.load(Ordering::Relaxed);
            let more = || rounds.load(Ordering::Relaxed) > before || reader.is_finished();
            wait_until(SOON, more);
        }
        over.store(true, Ordering::Relaxed);
        reader.join().unwrap();
        outputs.into_iter().for_each(|output| assert_eq!(said(output), ""));
    });
    let told = status(&point);
    let numbers = ["generation", "restarts", "worker_deaths"].map(|key| number(&told, key));
    assert_eq!(numbers, [5, 5, 0]);
    assert!(rounds.into_inner() >= 5);
    stop(&mount);
}

#[test]
fn a_busy_mount_is_stopped_all_the_same() {
    need_mounts!();
    let mount = Mount::new(NEVER);
    let file = new_file(&mount.point().join("file"));
    file.write_all_at(b"written", 0).unwrap();
    stop(&mount);
    // It is gone for whoever still has a file open, or goes under the call.
    let written = file.write_at(b"x", 0).map_err(errno);
    assert!(matches!(written, Err(Errno::ENOTCONN | Errno::ECONNABORTED)), "{written:?}");
    assert_eq!(fs::read(mount.source().join("file")).unwrap(), b"written");
    nothing_left(mount.place());
}

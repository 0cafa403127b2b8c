//! What many deaths leave behind: nothing. Descriptors, memory, inodes and open files are as
//! before once everything is closed and the kernel has dropped its caches.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use fusex::crash::target::{FsKind, Target};
use fusex::recovery::board::Cell;
use fusex::recovery::fds::FIRST;
use fusex::recovery::points::{Armed, Point};
use nix::sys::signal::Signal;

use crate::common::{DEFAULT, Mode, Mount, SERVED, SINGLE, SOON, wait_until};
use crate::kept::new_file;
use crate::kills::{Killer, Victims, resident, supervisor};
use crate::line::{number, status, stop, until};
use crate::load::under_load;
use crate::need_mounts;

const DEATHS: u64 = 150;
/// Memory has settled after so many.
const EARLY: u64 = 30;
/// Memory that may be used for other reasons, in KiB.
const MORE: u64 = 2048;

/// The numbers that clients of the control socket have (`src/supervise/numbers.rs`).
const CLIENTS: std::ops::Range<u32> = 50..58;

/// What the processes of a mount have open, and how often; without the devices, of which each
/// serving thread has one.
pub(crate) fn descriptors(mount: &Mount) -> BTreeMap<String, usize> {
    let path = format!("/proc/{}/fd", supervisor(mount));
    let (mut all, mut talks) = (BTreeMap::new(), true);
    // The talk that has just told the pid may not be over yet.
    wait_until(SOON, || {
        (all, talks) = (BTreeMap::new(), false);
        for entry in fs::read_dir(&path).unwrap().flatten() {
            // Closed meanwhile.
            let Ok(link) = fs::read_link(entry.path()) else { continue };
            let link = link.display().to_string();
            let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
            talks |= link.starts_with("socket:") && CLIENTS.contains(&number.unwrap_or(0));
            if link != "/dev/fuse" {
                *all.entry(link).or_default() += 1;
            }
        }
        !talks
    });
    assert!(!talks, "clients of the control socket are left: {all:?}");
    all
}

/// Devices of the serving threads.
fn devices(mount: &Mount) -> usize {
    let path = format!("/proc/{}/fd", supervisor(mount));
    let links = fs::read_dir(path).unwrap().flatten().map(|entry| fs::read_link(entry.path()));
    links.flatten().filter(|link| link == Path::new("/dev/fuse")).count()
}

/// Lets the kernel forget all inodes that nobody uses, and waits until the mount knows the root
/// alone. No caller is killed here, so that the kernel has seen every answer: also what counts as
/// leaked, because the worker could not tell, is given back.
fn rest(mount: &Mount) {
    fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
    until(&mount.point(), "one inode, no files", |it| {
        number(it, "inodes") == 1 && number(it, "open_files") == 0
    });
}

/// A few calls around one death, with files that are open in it.
fn around_a_death(dir: &Path, round: u64, killer: &mut Killer<'_>) {
    let paths: Vec<_> = (0..4).map(|number| dir.join(format!("{round}-{number}"))).collect();
    let files: Vec<File> = paths.iter().map(|path| new_file(path)).collect();
    fs::create_dir(dir.join(format!("dir-{round}"))).unwrap();
    let listing = fs::read_dir(dir).unwrap();
    killer.kill().unwrap_or_else(|error| panic!("{error}"));
    files[1].write_all_at(b"written", 0).unwrap();
    assert!(fs::metadata(dir.join("not there")).is_err());
    assert_eq!(fs::read(&paths[1]).unwrap(), b"written");
    assert!(listing.count() >= 5);
    paths.iter().for_each(|path| fs::remove_file(path).unwrap());
    fs::remove_dir(dir.join(format!("dir-{round}"))).unwrap();
}

fn nothing_leaks(mode: Mode, load: bool) {
    let mount = Mount::new(mode);
    let point = mount.point();
    rest(&mount);
    let before = descriptors(&mount);
    let mut killer = Killer::new(&mount, Victims::Worker, &[Signal::SIGKILL, Signal::SIGTERM]);
    let mut deaths = |to: u64| {
        let mut all = || {
            (killer.count..to).for_each(|round| around_a_death(&point, round, &mut killer));
        };
        if load {
            under_load(&point, all)
        } else {
            all()
        }
        rest(&mount);
        resident(number(&status(&point), "worker_pid") as i32)
    };
    let early = deaths(EARLY);
    let late = deaths(DEATHS);
    assert!(late <= early + MORE, "{mode:?}: memory of the worker in KiB: {early}, then {late}");
    let told = until(&point, "all deaths", |it| number(it, "worker_deaths") >= DEATHS);
    eprintln!("{mode:?}: {early} KiB, then {late}; {}", told["leaked_lookups"]);
    let same = wait_until(SOON, || descriptors(&mount) == before);
    assert!(same, "{mode:?}: before {before:?}, after {:?}", descriptors(&mount));
    // One a thread, and the mount's own.
    assert!(devices(&mount) <= 17, "{mode:?}: {} devices", devices(&mount));
    stop(&mount);
}

#[test]
fn nothing_leaks_with_one_thread() {
    need_mounts!();
    nothing_leaks(SINGLE, false);
}

#[test]
fn nothing_leaks_with_several() {
    need_mounts!();
    nothing_leaks(DEFAULT, false);
}

#[test]
fn nothing_leaks_under_load() {
    need_mounts!();
    nothing_leaks(SERVED, true);
}

/// The pipes that are open in the table of a mount, and how many ends of each.
fn pipes(target: &Target) -> BTreeMap<String, usize> {
    let supervisor = target.process(Cell::SupervisorPid).unwrap().pid;
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{supervisor}/fd")).unwrap().flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let link = fs::read_link(entry.path()).unwrap_or_default().display().to_string();
        if number >= Some(FIRST) && link.starts_with("pipe:") {
            *all.entry(link).or_default() += 1;
        }
    }
    all
}

#[test]
fn a_pipe_that_is_let_go_is_closed_whoever_dies_meanwhile() {
    need_mounts!();
    let mode = ["-s", "-o", "nopassthrough,cache=never", "--transport", "splice"];
    let program = Path::new(env!("CARGO_BIN_EXE_fusex"));
    let target = Target::start_program(program, FsKind::Passthrough, &mode).unwrap();
    let (path, data) = (target.point().join("file"), vec![7; 100_000]);
    fs::write(target.lower().unwrap().join("file"), &data).unwrap();
    assert!(fs::read(&path).unwrap() == data);
    // Another one was open before, such as that for its output, which has its other end elsewhere.
    let (other, mut known): (BTreeMap<_, _>, BTreeMap<_, _>) =
        pipes(&target).into_iter().partition(|(_, ends)| *ends == 1);
    assert_eq!(known.values().copied().collect::<Vec<_>>(), [2], "{known:?} beside {other:?}");
    for round in 0..3 {
        // The reply is in the pipe, and whoever takes over has to let it go.
        let (filled, parted) = (Armed::kill(Point::PipeFilled), Armed::kill(Point::PipeParted));
        target.points().arm(filled, Some(parted), None);
        assert!(fs::read(&path).unwrap() == data, "round {round}");
        assert_eq!(target.points().fired(), [1, 1], "round {round}");
        target.points().disarm();
        let mut now = pipes(&target);
        now.retain(|pipe, _| !other.contains_key(pipe));
        assert_eq!(now.values().copied().collect::<Vec<_>>(), [2], "round {round}: {now:?}");
        assert_ne!(now, known, "round {round}: it had to be another one");
        known = now;
    }
    target.stop().unwrap();
}

//! One thing at a time across the ends of workers.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use fusex::crash::workload::Random;
use nix::sys::signal::Signal;

use crate::common::sys::{Map, Stream};
use crate::common::{DEFAULT, Mode, Mount, NEVER, SERVED, sum};
use crate::kills::{Killer, Victims, descriptors, number, resident, supervisor, wait_for_rest};
use crate::need_mounts;

const MEM: Mode = &["-t", "mem"];

fn killer(mount: &Mount) -> Killer<'_> {
    Killer::new(mount, Victims::Worker, &[Signal::SIGKILL, Signal::SIGFPE])
}

fn kill(killer: &mut Killer<'_>) {
    killer.kill().unwrap_or_else(|error| panic!("{error}"));
}

fn new_file(path: &std::path::Path) -> File {
    OpenOptions::new().read(true).write(true).create_new(true).open(path).unwrap()
}

#[test]
fn cat_of_a_big_file() {
    need_mounts!();
    for mode in [DEFAULT, SERVED, NEVER] {
        let mount = Mount::new(mode);
        let data = Random::new(1).bytes(32 << 20);
        fs::write(mount.source().join("big"), &data).unwrap();
        let mut cat = Command::new("cat");
        cat.arg(mount.point().join("big")).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut cat = cat.spawn().unwrap();
        let (mut output, mut seen) = (cat.stdout.take().unwrap(), Vec::new());
        let (mut part, mut killer) = (vec![0; 64 << 10], killer(&mount));
        loop {
            let done = output.read(&mut part).unwrap();
            seen.extend(&part[..done]);
            if done == 0 {
                break;
            }
            // cat is in the middle of a read: its pipe is full, or about to be.
            if seen.len() as u64 > killer.count << 20 {
                kill(&mut killer);
            }
        }
        drop(output);
        let ended = cat.wait_with_output().unwrap();
        assert!(ended.status.success() && ended.stderr.is_empty(), "{mode:?}: {ended:?}");
        assert_eq!(sum(&seen), sum(&data), "{mode:?}");
        assert!(killer.count >= 32);
    }
}

#[test]
fn an_open_directory() {
    need_mounts!();
    for mode in [DEFAULT, NEVER, MEM] {
        let mount = Mount::new(mode);
        let dir = mount.point().join("dir");
        fs::create_dir(&dir).unwrap();
        let names: BTreeSet<_> = (0..1000).map(|n| format!("{n:04}{}", "n".repeat(30))).collect();
        names.iter().for_each(|name| drop(new_file(&dir.join(name))));
        let (mut killer, mut stream) = (killer(&mount), Stream::open(&dir).unwrap());
        let mut next = |count| -> Vec<_> {
            (0..count).map_while(|_| stream.entry().unwrap()).map(|(name, _)| name).collect()
        };
        let mut listed = next(100);
        for _ in 0..9 {
            kill(&mut killer);
            listed.extend(next(100));
        }
        assert!(next(1).is_empty(), "{mode:?}: the end");
        let seen: BTreeSet<_> = listed.iter().map(|name| name.to_str().unwrap().into()).collect();
        assert_eq!((listed.len(), seen), (1000, names), "{mode:?}");
        // Back to a position of an earlier worker.
        let mut stream = Stream::open(&dir).unwrap();
        let first: Vec<_> = (0..500).map(|_| stream.entry().unwrap().unwrap().0).collect();
        let position = stream.tell();
        assert_eq!(stream.rest().unwrap().len(), 500);
        kill(&mut killer);
        stream.seek(position);
        assert_eq!(stream.rest().unwrap(), listed[500..], "{mode:?}");
        assert_eq!(first, listed[..500], "{mode:?}");
    }
}

#[test]
fn an_unlinked_file() {
    need_mounts!();
    for mode in [DEFAULT, SERVED, MEM] {
        let mount = Mount::new(mode);
        let path = mount.point().join("file");
        let file = new_file(&path);
        fs::remove_file(&path).unwrap();
        let (mut killer, mut random, mut expected) = (killer(&mount), Random::new(2), Vec::new());
        for round in 0..20 {
            kill(&mut killer);
            let more = random.bytes(5000);
            assert_eq!(file.write_at(&more, expected.len() as u64).unwrap(), 5000);
            expected.extend(more);
            if round % 5 == 4 {
                expected.truncate(7777);
                file.set_len(7777).unwrap();
            }
            kill(&mut killer);
            let meta = file.metadata().unwrap();
            assert_eq!((meta.nlink(), meta.len()), (0, expected.len() as u64), "{mode:?}");
            let mut seen = vec![0; expected.len()];
            file.read_exact_at(&mut seen, 0).unwrap();
            assert_eq!(sum(&seen), sum(&expected), "{mode:?}, round {round}");
        }
        drop(file);
        wait_for_rest(&mount, 1);
    }
}

#[test]
fn mapped_memory() {
    need_mounts!();
    const LENGTH: usize = 1 << 20;
    for mode in [DEFAULT, SERVED, MEM] {
        let mount = Mount::new(mode);
        let file = new_file(&mount.point().join("file"));
        let (mut killer, mut random) = (killer(&mount), Random::new(3));
        let mut expected = random.bytes(LENGTH);
        file.write_all_at(&expected, 0).unwrap();
        let map = Map::new(&file, LENGTH, true, true).unwrap();
        for round in 0..20 {
            let (bytes, at) = (random.bytes(3000), random.below(LENGTH - 3000));
            map.write(at, &bytes).unwrap();
            expected[at..at + 3000].copy_from_slice(&bytes);
            kill(&mut killer);
            map.sync().unwrap();
            kill(&mut killer);
            // The same mapping, a new one, and read(2).
            let again = Map::new(&file, LENGTH, false, true).unwrap();
            let mut seen = vec![0; LENGTH];
            file.read_exact_at(&mut seen, 0).unwrap();
            let all = [map.read(0, LENGTH).unwrap(), again.read(0, LENGTH).unwrap(), seen];
            all.iter().for_each(|seen| assert_eq!(sum(seen), sum(&expected), "{mode:?}, {round}"));
        }
    }
}

/// Makes, writes, renames and removes files until `over`.
fn churn(dir: &std::path::Path, over: &AtomicBool) -> u64 {
    let (one, other) = (dir.join("one"), dir.join("other"));
    let mut rounds = 0;
    while !over.load(Ordering::Relaxed) {
        let file = new_file(&one);
        assert_eq!(file.write_at(b"something", rounds % 5000).unwrap(), 9);
        fs::rename(&one, &other).unwrap();
        assert_eq!(fs::metadata(&other).unwrap().len(), rounds % 5000 + 9);
        fs::remove_file(&other).unwrap();
        rounds += 1;
    }
    rounds
}

/// Descriptors, and memory of supervisor and worker in KiB, when nobody uses the mount.
fn used(mount: &Mount) -> (usize, u64, u64) {
    wait_for_rest(mount, 1);
    let worker = number(mount, "worker_pid") as i32;
    (descriptors(mount), resident(supervisor(mount)), resident(worker))
}

#[test]
fn a_thousand_ends() {
    need_mounts!();
    let mount = Mount::new(SERVED);
    let mut killer = killer(&mount);
    let mut at_work_until = |kills: u64| {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let churning = scope.spawn(|| churn(&mount.point(), &over));
            let killed = killer.kill_until(1, |count| count >= kills);
            over.store(true, Ordering::Relaxed);
            killed.unwrap_or_else(|error| panic!("{error}"));
            assert!(churning.join().unwrap() > kills / 20, "the mount hardly answered");
        });
        used(&mount)
    };
    let early = at_work_until(100);
    let late = at_work_until(1000);
    eprintln!("after 100: {early:?}, after 1000: {late:?}");
    assert!(late.0 <= early.0 + 8, "descriptors: {early:?}, {late:?}");
    assert!(late.1 <= early.1 + 512, "memory of the supervisor in KiB: {early:?}, {late:?}");
    assert!(late.2 <= early.2 + 2048, "memory of the worker in KiB: {early:?}, {late:?}");
    assert!(number(&mount, "worker_deaths") >= 1000);
}

//! Readers see nothing of workers that die, nor of a new version of the program.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fusex::crash::workload::Random;
use fusex::fs::merge::frame::Checksum;
use fusex::fs::merge::server::{Sending, ServerConfig};
use nix::sys::signal::Signal;

use crate::common::finish;
use crate::kills::{Killer, Victims, descriptors, number};
use crate::need_mounts;
use crate::world::{World, file, open, read, shape, write_manifest};

#[test]
fn every_read_is_right_however_often_workers_die() {
    need_mounts!();
    let config = ServerConfig {
        shape: shape(Checksum::Header),
        packet: 20_000,
        align: 4096,
        sending: Sending::Sendfile,
        fragment: 3000,
    };
    let mut world = World::new(config);
    let mixed = world.mixed();
    let mount = world.mount(&[&mixed], &["--transport", "splice"]);
    let path = mount.point().join("deep/dir/mixed");
    let (done, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (path, expected, done, reads) = (&path, &mixed.expected, &done, &reads);
            scope.spawn(move || {
                let (file, mut random) = (open(path, true), Random::new(thread));
                while !done.load(Ordering::Relaxed) {
                    let from = random.below(expected.len());
                    let end = (from + 1 + random.below(100_000)).min(expected.len());
                    let seen = read(&file, from as u64, end - from);
                    let seen = seen.unwrap_or_else(|error| panic!("{from} to {end}: {error}"));
                    assert!(seen == expected[from..end], "{from} to {end}");
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut killer = Killer::new(&mount, Victims::Worker, &[Signal::SIGKILL]);
        let until = Instant::now() + Duration::from_secs(3);
        let killed = killer.kill_until(30, |_| Instant::now() > until);
        done.store(true, Ordering::Relaxed);
        killed.unwrap();
        assert!(killer.count > 20, "{} kills", killer.count);
    });
    let (reads, asked) = (reads.load(Ordering::Relaxed), world.server.requests());
    assert!(reads > 20 && asked > reads / 2, "{reads} reads, {asked} requests");
    assert_eq!(number(&mount, "poisoned"), 0);
    // No descriptor is lost: a connection for each thread at the most.
    let counted = descriptors(&mount);
    assert!(counted < 200, "{counted} descriptors after the kills");
}

#[test]
fn an_idle_connection_is_used_again_by_the_successor() {
    need_mounts!();
    let mut world = World::new(ServerConfig::default());
    let made = file("file", [world.framed("one", 0, 100_000)]);
    let mount = world.mount(&[&made], &[]);
    let file = open(&mount.point().join("file"), true);
    let mut killer = Killer::new(&mount, Victims::Worker, &[Signal::SIGKILL]);
    for turn in 0..5 {
        assert!(read(&file, turn * 10_000, 1000).unwrap().len() == 1000);
        assert_eq!(world.server.connections(), 1, "turn {turn}");
        // Until it is noted that the answer has gone out: else the successor reads once more.
        std::thread::sleep(Duration::from_millis(20));
        killer.kill().unwrap();
    }
    assert!(read(&file, 0, 100_000).unwrap() == made.expected);
}

#[test]
fn a_new_version_goes_on_with_what_was_mounted() {
    need_mounts!();
    let mut world = World::new(ServerConfig::default());
    let whole = file("whole", [world.local("b", 0, None)]);
    let mixed = world.mixed();
    let other = file("other", [world.local("a", 0, None)]);
    let place = world.place.take().unwrap();
    write_manifest(&place.path("manifest.json"), &[&whole, &mixed]);
    let fusex = |arguments: &[&str], paths: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fusex"));
        let paths = paths.iter().map(|name| place.path(name));
        let output = finish(command.args(arguments).args(paths));
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    };
    fusex(&["mount", "-t", "merge"], &["manifest.json", "point"]);
    let opened = open(&place.point().join("deep/dir/mixed"), true);
    assert!(read(&opened, 0, 100_000).unwrap() == mixed.expected[..100_000]);
    write_manifest(&place.path("manifest.json"), &[&other]);
    std::fs::rename(place.path("b"), place.path("moved")).unwrap();
    std::fs::write(place.path("b"), "another file").unwrap();
    std::fs::remove_file(place.path("a")).unwrap();
    let made = world.server.connections();
    for _ in 0..2 {
        fusex(&["supervise", "upgrade"], &["point"]);
        assert!(read(&opened, 0, mixed.expected.len()).unwrap() == mixed.expected);
        assert!(std::fs::read(place.point().join("whole")).unwrap() == whole.expected);
        assert!(!place.point().join("other").exists());
    }
    // What was idle is handed down as well.
    assert!(world.server.connections() <= made + 2, "{} connections", world.server.connections());
    std::fs::remove_file(place.path("manifest.json")).unwrap();
    fusex(&["supervise", "upgrade"], &["point"]);
    assert!(read(&opened, 0, mixed.expected.len()).unwrap() == mixed.expected);
    drop(opened);
    fusex(&["umount"], &["point"]);
}

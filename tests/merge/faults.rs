//! A server that does not behave: EIO for who reads what it has, and for nobody else.

use std::time::{Duration, Instant};

use fusex::fs::merge::frame::Checksum;
use fusex::fs::merge::server::{Fault, Sending, ServerConfig};

use crate::common::Mount;
use crate::need_mounts;
use crate::world::{Made, World, file, open, read, shape};

/// What each is, and whether a checksum of the header alone shows it.
const FAULTS: [(Fault, bool); 16] = [
    (Fault::Close(0), true),
    (Fault::Close(50), true),
    (Fault::Close(102), true),
    (Fault::Close(30_000), true),
    (Fault::Stall(0), true),
    (Fault::Stall(102), true),
    (Fault::Stall(50_000), true),
    (Fault::Longer, true),
    (Fault::Shorter, true),
    (Fault::Huge, true),
    (Fault::Checksum, true),
    (Fault::Payload, false),
    (Fault::Id, true),
    (Fault::Offset, true),
    (Fault::Early, true),
    (Fault::Garbage, true),
];

const SPLICE: &[&str] = &["--transport", "splice"];

fn is_eio(result: std::io::Result<Vec<u8>>) -> bool {
    result.is_err_and(|error| error.raw_os_error() == Some(libc::EIO))
}

fn start(config: ServerConfig, mode: &[&str]) -> (World, Mount, Made) {
    let mut world = World::new(config);
    let made = file(
        "file",
        [world.local("a", 0, None), world.framed("one", 0, 100_000), world.local("c", 0, None)],
    );
    let mount = world.mount(&[&made], mode);
    (world, mount, made)
}

#[test]
fn every_fault_is_an_error_and_the_mount_goes_on() {
    need_mounts!();
    for (checksum, sending, transport) in [
        (Checksum::Header, Sending::Sendfile, "splice"),
        (Checksum::Header, Sending::Writev, "dev"),
        (Checksum::Payload, Sending::Writev, "auto"),
    ] {
        let config = ServerConfig {
            shape: shape(checksum),
            packet: 40_000,
            sending,
            ..ServerConfig::default()
        };
        let (world, mount, made) = start(config, &["--transport", transport]);
        let file = open(&mount.point().join("file"), true);
        let whole = made.expected.len();
        for (fault, seen_by_header) in FAULTS {
            // To wait takes the same time whichever way data goes.
            let stalls = matches!(fault, Fault::Stall(_)) && transport == "dev";
            if checksum == Checksum::Header && !seen_by_header || stalls {
                continue;
            }
            world.server.set_fault(Some(fault), 1);
            let began = Instant::now();
            let result = read(&file, 0, whole);
            let took = began.elapsed();
            assert!(is_eio(result), "{checksum:?}, {fault:?}: no EIO; {}", mount.log());
            assert!(took < Duration::from_secs(3), "{fault:?} took {took:?}");
            assert!(read(&file, 0, 10_000).unwrap() == made.expected[..10_000], "{fault:?}");
            world.server.set_fault(None, 1);
            assert!(read(&file, 0, whole).unwrap() == made.expected, "behind {fault:?}");
        }
    }
}

#[test]
fn an_error_of_the_server_is_eio_whatever_it_is() {
    need_mounts!();
    let mut world = World::new(ServerConfig::default());
    let made = file("file", [world.framed("one", 0, 1000)]);
    let none = file("none", [world.framed("three", 0, 1000)]);
    let long = file("long", [world.framed("two", 69_000, 2_000)]);
    let mount = world.mount(&[&made, &none, &long], &[]);
    for number in [libc::ENOENT, libc::EACCES, 12345, -1] {
        world.server.set_fault(Some(Fault::Error(number)), 1);
        assert!(is_eio(read(&open(&mount.point().join("file"), true), 0, 10)), "{number}");
    }
    world.server.set_fault(None, 1);
    assert!(is_eio(read(&open(&mount.point().join("none"), true), 0, 10)));
    let long_file = open(&mount.point().join("long"), true);
    assert!(is_eio(read(&long_file, 0, 2_000)), "the source ends before");
    assert!(read(&long_file, 0, 1_000).unwrap() == long.expected[..1_000]);
    assert!(read(&open(&mount.point().join("file"), true), 0, 1000).unwrap() == made.expected);
}

#[test]
fn now_and_then_a_fault_never_a_wrong_byte() {
    need_mounts!();
    let (world, mount, made) =
        start(ServerConfig { packet: 5_000, ..ServerConfig::default() }, SPLICE);
    let path = mount.point().join("file");
    let (mut good, mut bad) = (0, 0);
    for fault in [Fault::Close(7_000), Fault::Longer, Fault::Id, Fault::Garbage, Fault::Checksum] {
        world.server.set_fault(Some(fault), 3);
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..4_u64)
                .map(|thread| {
                    let (path, expected) = (&path, &made.expected);
                    scope.spawn(move || {
                        let (file, mut counts) = (open(path, true), (0, 0));
                        for turn in 0..12_u64 {
                            let from = ((thread * 7 + turn * 13) % 100) * 1000;
                            match read(&file, from, 9_000) {
                                Ok(seen) => {
                                    let end = (from as usize + 9_000).min(expected.len());
                                    assert!(seen == expected[from as usize..end], "{fault:?}");
                                    counts.0 += 1;
                                }
                                result => {
                                    assert!(is_eio(result));
                                    counts.1 += 1;
                                }
                            }
                        }
                        counts
                    })
                })
                .collect();
            for reader in readers {
                let counts = reader.join().unwrap();
                (good, bad) = (good + counts.0, bad + counts.1);
            }
        });
    }
    assert!(good > 50 && bad > 20, "{good} good, {bad} bad");
}

#[test]
fn a_server_that_was_started_anew_is_found_again() {
    need_mounts!();
    let (world, mount, made) = start(ServerConfig::default(), &[]);
    let file = open(&mount.point().join("file"), true);
    for turn in 1..=3 {
        assert!(read(&file, 0, 50_000).unwrap() == made.expected[..50_000], "{turn}");
        assert_eq!(world.server.connections(), turn);
        world.server.hang_up();
    }
    // Closed when it is asked, each second time: an old connection is replaced once.
    assert!(read(&file, 0, 50_000).unwrap() == made.expected[..50_000]);
    let asked = world.server.requests();
    world.server.set_fault(Some(Fault::Close(0)), 2);
    for turn in 0..4 {
        assert!(read(&file, 0, 50_000).unwrap() == made.expected[..50_000], "{turn}");
    }
    assert!(world.server.requests() > asked + 6, "no fault was met");
    drop(world);
    assert!(is_eio(read(&file, 0, 50_000)), "nobody is there");
    assert!(read(&file, 0, 10_000).unwrap() == made.expected[..10_000]);
}

#[test]
fn a_slow_server_does_not_stop_the_rest() {
    need_mounts!();
    let (world, mount, made) = start(ServerConfig::default(), &[]);
    let slow = open(&mount.point().join("file"), true);
    let quick = open(&mount.point().join("file"), true);
    world.server.set_fault(Some(Fault::Slow(Duration::from_millis(600))), 1);
    let (expected, begun) = (made.expected.clone(), Instant::now());
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (slow, expected) = (slow.try_clone().unwrap(), expected.clone());
            std::thread::spawn(move || {
                assert!(read(&slow, 20_000, 1000).unwrap() == expected[20_000..21_000]);
                begun.elapsed()
            })
        })
        .collect();
    // All of them are under way.
    assert!(crate::common::wait_until(crate::common::SOON, || world.server.requests() >= 3));
    let before = begun.elapsed();
    for _ in 0..20 {
        assert!(read(&quick, 0, 5_000).unwrap() == made.expected[..5_000]);
    }
    let after = begun.elapsed();
    let ends: Vec<Duration> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    assert!(ends.iter().all(|end| *end > after), "{before:?} to {after:?}, slow: {ends:?}");
}

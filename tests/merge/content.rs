//! What is read is what the pieces have.

use std::fs;
use std::sync::mpsc::channel;
use std::time::Duration;

use fusex::fs::merge::frame::{Checksum, FOOTER_MIN, HEADER_MIN, Shape};
use fusex::fs::merge::server::{Sending, ServerConfig};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::seed;
use crate::kills::number as told;
use crate::need_mounts;
use crate::world::{World, compare, file, open, read, shape};

#[test]
fn pieces_of_every_kind_and_server() {
    need_mounts!();
    let small = Shape { header: HEADER_MIN, footer: FOOTER_MIN, checksum: Checksum::Payload };
    let plain = ServerConfig { shape: shape(Checksum::Header), ..ServerConfig::default() };
    let configs = [
        (false, plain),
        (true, ServerConfig { sending: Sending::Sendfile, ..plain }),
        (true, ServerConfig { shape: small, packet: 10_000, align: 4096, ..plain }),
        (false, ServerConfig { packet: 4096, align: 65536, fragment: 1448, ..plain }),
        (false, ServerConfig { shape: shape(Checksum::None), packet: 1 << 20, ..plain }),
        (true, ServerConfig { shape: shape(Checksum::Payload), packet: 777, align: 3, ..plain }),
    ];
    for (number, (tcp, config)) in (0..).zip(configs) {
        let mut world = if tcp { World::tcp(config) } else { World::new(config) };
        let mixed = world.mixed();
        let modes: [&[&str]; 4] = [
            &["--transport", "splice"],
            &["-s"],
            &["--no-supervise", "--transport", "splice"],
            &["--transport", "dev"],
        ];
        let mount = world.mount(&[&mixed], modes[number as usize % 4]);
        let path = mount.point().join("deep/dir/mixed");
        let files = [open(&path, false), open(&path, true)];
        compare(&files, &mixed.expected, 60, seed(number));
        let (asked, made) = (world.server.requests(), world.server.connections());
        assert!(asked > 30, "{config:?}: {asked}");
        assert!(made < asked / 3, "{config:?}: {made} connections for {asked} requests");
        assert!(fs::read(&path).unwrap() == mixed.expected, "{config:?}");
        if modes[number as usize % 4] == ["--transport", "splice"] {
            assert!(told(&mount, "spliced") > 10, "{config:?}: {}", mount.log());
        }
    }
}

#[test]
fn every_place_around_the_borders() {
    need_mounts!();
    for transport in ["dev", "splice"] {
        around_the_borders(transport);
    }
}

fn around_the_borders(transport: &str) {
    let mut world = World::new(ServerConfig { align: 16, ..ServerConfig::default() });
    let made = file(
        "file",
        [
            world.local("a", 5, Some(7)),
            world.framed("one", 3, 5),
            world.local("c", 0, None),
            world.framed("two", 100, 6),
            world.framed("two", 90, 4),
            world.local("b", 0, Some(3)),
        ],
    );
    let mount = world.mount(&[&made], &["--transport", transport]);
    let file = open(&mount.point().join("file"), true);
    let length = made.expected.len();
    for from in 0..=length + 1 {
        for size in 1..=length + 2 {
            let seen = read(&file, from as u64, size).unwrap();
            let expected = &made.expected[from.min(length)..(from + size).min(length)];
            assert_eq!(seen, expected, "{size} bytes from {from}");
        }
    }
}

#[test]
fn what_a_server_sends_beyond_is_not_asked_for_again() {
    need_mounts!();
    let config = ServerConfig { align: 100_000, packet: 100_000, ..ServerConfig::default() };
    let mut world = World::new(config);
    let made = file("file", [world.framed("one", 0, 400_000)]);
    let mount = world.mount(&[&made], &[]);
    let file = open(&mount.point().join("file"), true);
    for offset in (0..400_000).step_by(10_000) {
        let seen = read(&file, offset, 10_000).unwrap();
        assert!(seen == made.expected[offset as usize..offset as usize + 10_000], "{offset}");
    }
    assert_eq!(world.server.requests(), 4, "one for each block");
    assert_eq!(world.server.connections(), 1);
}

#[test]
fn a_whole_local_file_does_not_need_the_server() {
    need_mounts!();
    let mut world = World::new(ServerConfig::default());
    let whole = file("whole", [world.local("b", 0, None)]);
    let part = file("part", [world.local("b", 1, None)]);
    let mount = world.mount(&[&whole, &part], &["--no-supervise"]);
    if !mount.report.contains("FUSE_PASSTHROUGH") {
        crate::skip!("the kernel has no FUSE_PASSTHROUGH");
    }
    let (whole_file, part_file) =
        (open(&mount.point().join("whole"), false), open(&mount.point().join("part"), false));
    let server = Pid::from_raw(mount.pid() as i32);
    kill(server, Signal::SIGSTOP).unwrap();
    let (sender, receiver) = channel();
    let expected = whole.expected.clone();
    let first = std::thread::spawn({
        let sender = sender.clone();
        move || sender.send(("whole", read(&whole_file, 0, 400_000).unwrap() == expected)).unwrap()
    });
    let seen = receiver.recv_timeout(Duration::from_secs(5));
    let second = std::thread::spawn(move || {
        let seen = read(&part_file, 0, 400_000).unwrap() == part.expected;
        sender.send(("part", seen)).unwrap();
    });
    let none = receiver.recv_timeout(Duration::from_millis(100));
    kill(server, Signal::SIGCONT).unwrap();
    assert_eq!(seen, Ok(("whole", true)));
    assert!(none.is_err(), "a part is served: {none:?}");
    assert_eq!(receiver.recv_timeout(Duration::from_secs(5)), Ok(("part", true)));
    first.join().unwrap();
    second.join().unwrap();
    let files = [open(&mount.point().join("whole"), false)];
    compare(&files, &whole.expected, 20, seed(1));
}

#[test]
fn a_local_file_that_becomes_shorter_is_an_error() {
    need_mounts!();
    for transport in ["dev", "splice"] {
        let mut world = World::new(ServerConfig::default());
        let made = file("file", [world.local("c", 0, None), world.local("b", 0, None)]);
        let mount = world.mount(&[&made], &["--transport", transport]);
        let lower = fs::OpenOptions::new().write(true).open(mount.place().path("b")).unwrap();
        lower.set_len(100_000).unwrap();
        let file = open(&mount.point().join("file"), true);
        assert!(read(&file, 0, 100_001).unwrap() == made.expected[..100_001], "{transport}");
        let error = read(&file, 100_000, 10).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EIO), "{transport}");
    }
}

//! What is known of mounts without BPF, on real ones: also where servers and callers are stuck.

mod common;

use std::fs::{self, File};
use std::io::{BufRead, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use fusex::stats::Connection;
use fusex::stats::machine::Machine;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use common::sys::Map;
use common::{Mount, SOON, wait_until};

/// What the machine says of a mount, and that it says so at once.
fn seen(machine: &mut Machine, mount: &Mount) -> Connection {
    let begun = Instant::now();
    let connections = machine.connections().unwrap();
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    let point = mount.point();
    let of_it = |it: &Connection| it.mount_point.as_deref() == Some(&point);
    connections.into_iter().find(of_it).unwrap()
}

/// The number of the server, once it is one that is not `old`.
fn server(machine: &mut Machine, mount: &Mount, old: u32) -> u32 {
    let mut pid = 0;
    let found = wait_until(SOON, || {
        pid = seen(machine, mount).server.map_or(0, |server| server.pid);
        pid != 0 && pid != old
    });
    assert!(found, "no server but {old}: {:?}", machine.missing());
    pid
}

/// Whether the kernel tells to which connection a `/dev/fuse` belongs; says so if not.
fn why_no_servers() -> Option<String> {
    let device = File::options().read(true).write(true).open("/dev/fuse").unwrap();
    let mount = Mount::new(&["--no-supervise"]);
    let open = fs::read_dir(format!("/proc/{}/fdinfo", mount.pid())).unwrap().flatten();
    let named = open.filter_map(|file| fs::read_to_string(file.path()).ok());
    let named = named.filter(|info| info.contains("fuse_connection:")).count();
    drop(device);
    (named == 0).then(|| "no fuse_connection in /proc/PID/fdinfo (Linux 6.18 has it)".to_string())
}

#[test]
fn a_mount_and_its_server() {
    need_mounts!();
    if let Some(reason) = why_no_servers() {
        skip!(reason);
    }
    let mount = Mount::new(&["--no-supervise", "-o", "fsname=a b"]);
    let mut machine = Machine::new();
    let connection = seen(&mut machine, &mount);
    assert_eq!(u64::from(connection.id), fs::metadata(mount.point()).unwrap().dev());
    assert_eq!((&*connection.fs_type, &*connection.source), ("fuse", "a b"));
    let server = connection.server.unwrap();
    assert_eq!(server.pid, mount.pid());
    assert!(server.command.contains("mount -f -v"), "{server:?}");
    // It may still be starting some.
    let counted = wait_until(SOON, || {
        let threads = fs::read_dir(format!("/proc/{}/task", server.pid)).unwrap().count();
        seen(&mut machine, &mount).server.unwrap().threads == Some(threads as u64)
    });
    assert!(counted, "{server:?}");
}

#[test]
fn the_worker_that_serves_now() {
    need_mounts!();
    if let Some(reason) = why_no_servers() {
        skip!(reason);
    }
    let mount = Mount::new(&[]);
    let mut machine = Machine::new();
    let first = server(&mut machine, &mount, 0);
    assert_ne!(first, mount.pid(), "the supervisor answers nothing");
    let name = fs::read_to_string(format!("/proc/{first}/comm")).unwrap();
    assert_eq!(name, "fusex-worker\n");
    kill(Pid::from_raw(first as i32), Signal::SIGKILL).unwrap();
    fs::metadata(mount.point()).unwrap();
    let second = server(&mut machine, &mount, first);
    let name = fs::read_to_string(format!("/proc/{second}/comm")).unwrap();
    assert_eq!(name, "fusex-worker\n");
}

/// A process that is stopped; it goes on when this goes.
struct Stopped(Pid);

impl Stopped {
    fn new(pid: u32) -> Stopped {
        let pid = Pid::from_raw(pid as i32);
        kill(pid, Signal::SIGSTOP).unwrap();
        Stopped(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // Ended already, if that was wanted.
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

#[test]
fn a_server_that_hangs_is_shown_like_any_other() {
    need_mounts!();
    let mount = Mount::new(&["--no-supervise", "-o", "cache=never,nopassthrough"]);
    // Its threads are not compared: it may still be starting some.
    let who = |it: Connection| (it.id, it.server.map(|server| (server.pid, server.command)));
    let before = who(seen(&mut Machine::new(), &mount));
    let stopped = Stopped::new(mount.pid());
    let point = mount.point();
    let caller = std::thread::spawn(move || fs::metadata(point.join("x")).unwrap_err());
    let mut machine = Machine::new();
    for _ in 0..3 {
        assert_eq!(who(seen(&mut machine, &mount)), before);
    }
    drop(stopped);
    assert_eq!(caller.join().unwrap().kind(), std::io::ErrorKind::NotFound);
}

const STUCK: &str = "FUSEX_TEST_STUCK";

/// Keeps its memory locked for as long as the server of a file does not take its pages, with a
/// thread that waits for that lock: then nobody can read its command line.
#[test]
#[ignore = "the other process of another test, which starts it"]
fn stuck_process() {
    let Some(path) = std::env::var_os(STUCK).map(PathBuf::from) else { return };
    let mut options = File::options();
    let file = options.read(true).write(true).create_new(true).open(&path).unwrap();
    file.set_len(1 << 20).unwrap();
    let map = Map::new(&file, 1 << 20, true, true).unwrap();
    map.write(0, b"to be written back").unwrap();
    let other = tempfile::tempfile().unwrap();
    eprintln!("ready");
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(200));
            Map::new(&other, 4096, false, true).unwrap();
        });
        drop(map);
    });
}

/// Starts it; it gets stuck when a line comes.
fn start_stuck(file: PathBuf) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "stuck_process", "--ignored", "--nocapture"]).env(STUCK, file);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let errors = std::io::BufReader::new(child.stderr.take().unwrap());
    assert!(errors.lines().any(|line| line.unwrap() == "ready"));
    child
}

#[test]
fn a_process_whose_command_line_cannot_be_read() {
    need_mounts!();
    let mount = Mount::new(&["--no-supervise", "-o", "nopassthrough,writeback"]);
    let mut child = start_stuck(mount.point().join("file"));
    let pid = child.id();
    let stopped = Stopped::new(mount.pid());
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    std::thread::sleep(Duration::from_millis(600));
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let read = fs::read(format!("/proc/{pid}/cmdline"));
        let _ = sender.send(read.is_ok());
    });
    let stuck = receiver.recv_timeout(Duration::from_millis(200)).is_err();
    let begun = Instant::now();
    let server = Machine::new().server(pid).unwrap();
    let took = begun.elapsed();
    drop(stopped);
    assert!(child.wait().unwrap().success());
    if !stuck {
        skip!("this kernel does not keep the memory locked");
    }
    assert!(server.command.starts_with("[stats_machine"), "{server:?}");
    assert!(took < SOON, "{took:?}");
}

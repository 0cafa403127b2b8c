//! `fusex mount` of a directory, its workers ended by every signal while callers read, and its
//! opens blocked by a lease of somebody else.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::callers::Call;
use crate::common::{Mode, NEVER, Place, SOON, errno, wait_until};
use crate::fault::Cause;
use crate::server::Server;
use crate::{need_mounts, skip};

/// Each signal, how its death is counted, and how it is logged.
const SIGNALS: [(Signal, Cause, &str); 7] = [
    (Signal::SIGSEGV, Cause::Signal, "signal 11 (SIGSEGV)"),
    (Signal::SIGBUS, Cause::Signal, "signal 7 (SIGBUS)"),
    (Signal::SIGABRT, Cause::Signal, "signal 6 (SIGABRT)"),
    (Signal::SIGFPE, Cause::Signal, "signal 8 (SIGFPE)"),
    (Signal::SIGILL, Cause::Signal, "signal 4 (SIGILL)"),
    (Signal::SIGKILL, Cause::Killed, "signal 9 (SIGKILL)"),
    (Signal::SIGTERM, Cause::Signal, "signal 15 (SIGTERM)"),
];
const BLOCK: usize = 4096;
const BLOCKS: u64 = 256;

fn block(number: u64) -> Vec<u8> {
    (0..BLOCK as u64).map(|at| (number * 31 + at * 7) as u8).collect()
}

/// Reads all of the file again and again, each block to be what it was.
fn read_until(over: &AtomicBool, file: &std::path::Path, count: &AtomicU64) {
    let mut bytes = vec![0; BLOCK];
    while !over.load(Ordering::Relaxed) {
        let file = File::open(file).expect("opening");
        for number in 0..BLOCKS {
            file.read_exact_at(&mut bytes, number * BLOCK as u64).expect("reading");
            assert!(bytes == block(number), "block {number} is wrong");
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What `fusex supervise status --json` says of the deaths.
fn told(server: &Server, cause: Cause) -> u64 {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fusex"));
    let output =
        command.args(["supervise", "status", "--json"]).arg(server.place().point()).output();
    let output = output.unwrap();
    let status: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}: {}", server.log()));
    let key = match cause {
        Cause::Signal => "deaths_signal",
        Cause::Exit => "deaths_exit",
        Cause::Killed => "deaths_killed",
        Cause::Timeout => "deaths_timeout",
    };
    status[key].as_u64().unwrap()
}

fn is_read_on(mode: Mode) {
    let place = Place::new();
    std::fs::write(place.path("source/file"), (0..BLOCKS).flat_map(block).collect::<Vec<u8>>())
        .unwrap();
    let server = Server::program(place, &[&["mount", "-f"], mode].concat());
    let (over, count, path) = (AtomicBool::new(false), AtomicU64::new(0), server.file("file"));
    let goes_on = || {
        let before = count.load(Ordering::Relaxed);
        assert!(wait_until(SOON, || count.load(Ordering::Relaxed) > before + 2), "callers wait");
    };
    std::thread::scope(|scope| {
        let readers: Vec<_> =
            (0..2).map(|_| scope.spawn(|| read_until(&over, &path, &count))).collect();
        let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut deaths = [0; 4];
            for (signal, cause, logged) in SIGNALS {
                goes_on();
                let before = server.log().len();
                kill(Pid::from_raw(server.status().worker_pid as i32), signal).unwrap();
                deaths[cause.index()] += 1;
                server.wait_for_deaths(deaths);
                assert_eq!(told(&server, cause), deaths[cause.index()]);
                let log = server.log()[before..].to_string();
                assert!(log.contains(&format!("died: {logged}")), "{signal}: {log}");
                goes_on();
            }
        }));
        over.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(|reader| reader.join().expect("a reader"));
        killed.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    assert_eq!((server.status().poisoned, server.status().damaged_records), (0, 0));
}

#[test]
fn callers_read_on_whatever_a_worker_is_sent() {
    need_mounts!();
    is_read_on(NEVER);
}

#[test]
fn callers_read_on_whatever_the_only_thread_is_sent() {
    need_mounts!();
    is_read_on(&["-s", "-o", "nopassthrough,cache=never"]);
}

#[test]
fn callers_read_on_past_the_worker() {
    need_mounts!();
    is_read_on(&[]);
}

/// A process that has a lease on a file: who opens it for writing has to wait for long.
struct Lease(Child);

impl Lease {
    fn take(file: &std::path::Path) -> Option<Lease> {
        // SIGIO says that somebody waits.
        let script = "import fcntl, signal, sys\n\
            signal.signal(signal.SIGIO, signal.SIG_IGN)\n\
            file = open(sys.argv[1])\n\
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)\n\
            print('leased', flush=True)\n\
            sys.stdin.read()";
        let mut command = Command::new("python3");
        command.args(["-c", script]).arg(file).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut lease = Lease(command.spawn().ok()?);
        let mut line = String::new();
        BufReader::new(lease.0.stdout.take()?).read_line(&mut line).ok()?;
        (line == "leased\n").then_some(lease)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Ended already, or not: its lease goes with it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A mount with a file that cannot be opened for writing for now, and a call that tries to.
fn blocked() -> Option<(Server, Lease, Call<File>)> {
    let place = Place::new();
    std::fs::write(place.path("source/file"), "leased").unwrap();
    std::fs::write(place.path("source/other"), "free").unwrap();
    let arguments = ["mount", "-f", "--request-timeout", "1"];
    let server = Server::program(place, &arguments);
    let lease = Lease::take(&server.path("source/file"))?;
    let path = server.file("file");
    let call = Call::new(move || File::options().write(true).open(path));
    Some((server, lease, call))
}

#[test]
fn an_open_that_hangs_once_succeeds() {
    need_mounts!();
    let Some((server, lease, call)) = blocked() else { skip!("python3 with leases is missing") };
    // Nobody is answered while a worker finishes what the last one had begun: the log tells.
    let hung = || server.log().contains("timeout: a request hung");
    assert!(wait_until(SOON, hung), "{}", server.log());
    drop(lease);
    call.end(&server).unwrap();
    assert_eq!(server.status().poisoned, 0);
    assert!(server.deaths()[Cause::Timeout.index()] > 0);
}

#[test]
fn an_open_that_hangs_each_time_is_answered_eio() {
    need_mounts!();
    let Some((server, _lease, call)) = blocked() else { skip!("python3 with leases is missing") };
    assert_eq!(errno(call.end(&server).unwrap_err()), Errno::EIO);
    assert!(server.log().contains("died again and again of OPEN"), "{}", server.log());
    assert!(server.deaths()[Cause::Timeout.index()] >= 3);
    assert_eq!(server.status().poisoned, 1);
    // The others are served as before.
    assert_eq!(std::fs::read_to_string(server.file("other")).unwrap(), "free");
}

//! Real mounts for tests.
//!
//! Each test has a [`Place`], a private directory with everything it mounts below it. When the
//! place goes, also because the test panicked, its mounts are taken away and its servers ended,
//! each by its own pid; a server that did not end by itself fails the test. A watchdog ends the
//! servers of a test that takes too long: what hangs in the mount then fails instead.
//!
//! Where no mount is possible a test is skipped, with the reason on stderr and, where
//! `FUSEX_SKIP_LOG` names a file, in that file.

// Each test binary uses its own part of this.
#![allow(dead_code)]

pub(crate) mod place;
pub(crate) mod sys;
pub(crate) mod uring;

use std::fmt::Debug;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

pub(crate) use place::Place;

/// How long anything may take that should be quick.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The arguments of a mount, beside those that all have.
pub(crate) type Mode = &'static [&'static str];

/// Data straight to the lower file.
pub(crate) const DEFAULT: Mode = &[];
/// Data through the server.
pub(crate) const SERVED: Mode = &["-o", "nopassthrough"];
/// Data through the server's pipes.
pub(crate) const SPLICED: Mode = &["-o", "nopassthrough", "--transport", "splice"];
/// Writes gathered in the kernel.
pub(crate) const WRITEBACK: Mode = &["-o", "writeback"];
/// No data kept in the kernel.
pub(crate) const NEVER: Mode = &["-o", "nopassthrough,cache=never"];
/// All kept for long: for tests in which nobody changes the lower directory.
pub(crate) const ALWAYS: Mode = &["-o", "nopassthrough,cache=always"];
/// One serving thread.
pub(crate) const SINGLE: Mode = &["-s"];
/// Every way of data and threads.
pub(crate) const ALL: &[Mode] = &[DEFAULT, SERVED, SPLICED, WRITEBACK, NEVER, ALWAYS, SINGLE];

/// What all mounts of a test program have in their arguments.
pub(crate) const TRANSPORT: Mode = &[];

/// Ends a test that cannot be run here, and says why.
#[macro_export]
macro_rules! skip {
    ($reason:expr) => {{
        fn here() {}
        $crate::common::log_skip(std::any::type_name_of_val(&here), &$reason);
        return;
    }};
}

/// Ends a test that cannot mount.
#[macro_export]
macro_rules! need_mounts {
    () => {
        if let Some(reason) = $crate::common::why_no_mounts() {
            $crate::skip!(reason);
        }
    };
}

/// Why this process cannot mount, if it cannot.
pub(crate) fn why_no_mounts() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("needs root".to_string());
    }
    let device = std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse");
    device.err().map(|error| format!("/dev/fuse: {error}"))
}

/// What the macro `skip!` does before it returns.
pub(crate) fn log_skip(function: &str, reason: &str) {
    let line = format!("SKIP: {}: {reason}\n", function.trim_end_matches("::here"));
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os("FUSEX_SKIP_LOG") {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(path);
        log.unwrap().write_all(line.as_bytes()).unwrap();
    }
}

/// The errno of a failure.
pub(crate) fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or_else(|| panic!("no errno: {error}")))
}

/// What a call came to, without its result.
pub(crate) fn code<T>(result: std::io::Result<T>) -> Result<(), Errno> {
    result.map(drop).map_err(errno)
}

/// A number for data that would be too long to show.
pub(crate) fn sum(data: &[u8]) -> (usize, u64) {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    (data.len(), data.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

/// Waits until `done` is true; false when it was not in time.
pub(crate) fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if done() {
            return true;
        }
        if start.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A directory served by a server in the foreground.
pub(crate) struct Mount {
    place: Place,
    server: Child,
    /// What `-v` printed.
    pub(crate) report: String,
    arguments: Vec<String>,
    killed: bool,
}

impl Mount {
    /// Mounts `source` of a new place on its `point`, for all users.
    pub(crate) fn new(mode: Mode) -> Mount {
        Mount::at(Place::new(), mode, None)
    }

    /// As [`Mount::new`], in a place made ready before and with a limit of open files.
    pub(crate) fn at(place: Place, mode: &[&str], files: Option<u32>) -> Mount {
        Mount::of(place, "source", mode, files)
    }

    /// As [`Mount::at`], of another directory of the place.
    pub(crate) fn of(place: Place, source: &str, mode: &[&str], files: Option<u32>) -> Mount {
        let mut arguments = vec!["mount", "-f", "-v", "-o", "allow_other,suid,dev"];
        arguments.extend(mode);
        arguments.extend(crate::common::TRANSPORT);
        let _offered = arguments.contains(&"uring").then(uring::Offered::new);
        let mut command = match files {
            None => Command::new(env!("CARGO_BIN_EXE_fusex")),
            Some(files) => {
                let mut shell = Command::new("sh");
                let script = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
                shell.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_fusex"));
                shell
            }
        };
        command.args(&arguments).arg(place.path(source)).arg(place.point());
        let log = std::fs::File::create(place.path("server.log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).env_remove("RUST_LOG");
        let mut server = command.spawn().unwrap();
        let report = read_report(&mut server);
        let arguments = arguments.iter().map(|argument| argument.to_string()).collect();
        let mount = Mount { place, server, report, arguments, killed: false };
        assert!(mount.report.contains("flags: "), "not mounted: {}", mount.log());
        mount
    }

    /// The mount point.
    pub(crate) fn point(&self) -> PathBuf {
        self.place.point()
    }

    /// What lies under the mount.
    pub(crate) fn source(&self) -> PathBuf {
        self.place.source()
    }

    /// A directory like the source that is not served, for comparison.
    pub(crate) fn plain(&self) -> PathBuf {
        self.place.plain()
    }

    /// The place that it is in.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// The connection's number.
    pub(crate) fn connection(&self) -> u32 {
        self.place.mounts().last().unwrap().minor
    }

    /// The server's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.server.id()
    }

    /// The test ends the server itself: how it ended is no failure.
    pub(crate) fn expect_killed(&mut self) {
        self.killed = true;
    }

    /// What the server wrote to stderr.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.place.path("server.log")).unwrap_or_default()
    }
}

/// Reads what `-v` prints, which comes once the mount answers. Ends at the end of the output.
fn read_report(server: &mut Child) -> String {
    let mut output = server.stdout.take().unwrap();
    let mut report = Vec::new();
    let deadline = Instant::now() + SOON;
    while !String::from_utf8_lossy(&report).contains("flags: ") || !report.ends_with(b"\n") {
        let left = deadline.saturating_duration_since(Instant::now()).as_millis() as u16;
        let mut wait = [PollFd::new(output.as_fd(), PollFlags::POLLIN)];
        if left == 0 || poll(&mut wait, left).unwrap() == 0 {
            break;
        }
        let mut bytes = [0; 4096];
        match std::io::Read::read(&mut output, &mut bytes).unwrap() {
            0 => break,
            length => report.extend(&bytes[..length]),
        }
    }
    String::from_utf8_lossy(&report).into_owned()
}

impl Drop for Mount {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("with fusex {}; its log: {}", self.arguments.join(" "), self.log());
        }
        self.place.unmount_all();
        let ended = wait_until(SOON, || self.server.try_wait().unwrap().is_some());
        if !ended {
            self.server.kill().unwrap();
            self.server.wait().unwrap();
        }
        let status = self.server.wait().unwrap();
        if !std::thread::panicking() {
            assert!(ended, "the server goes on after the unmount");
            assert!(
                status.success() || self.killed,
                "the server ended with {status}: {}",
                self.log()
            );
        }
    }
}

/// Runs `body` below a mount in each of the modes, and the same in a directory beside the
/// source: what it returns must be equal.
pub(crate) fn as_below<T: PartialEq + Debug>(modes: &[Mode], body: impl Fn(&Path) -> T) {
    for mode in modes {
        let mount = Mount::new(mode);
        let expected = body(&mount.plain());
        let seen = body(&mount.point());
        assert_eq!(seen, expected, "left: mounted with {mode:?}, right: the lower directory");
    }
}

/// The seed of a test: its own, or what `FUSEX_TEST_SEED` says, to do again what was reported.
pub(crate) fn seed(own: u64) -> u64 {
    let Ok(given) = std::env::var("FUSEX_TEST_SEED") else { return own };
    let hexadecimal = given.strip_prefix("0x").unwrap_or(&given);
    u64::from_str_radix(hexadecimal, 16).expect("FUSEX_TEST_SEED is a hexadecimal number")
}

/// Who a test acts as.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: &'static [u32],
    pub(crate) umask: u32,
}

/// A user who is in one more group.
pub(crate) const USER: Caller = Caller { uid: 1234, gid: 2345, groups: &[3456], umask: 0o022 };

/// Root, for what only a thread can have for itself: a umask, a working directory.
pub(crate) const ROOT: Caller = Caller { uid: 0, gid: 0, groups: &[], umask: 0o022 };

impl Caller {
    /// Runs `f` as this user, in a thread of its own.
    pub(crate) fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let ran = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                sys::become_caller(self);
                f()
            });
            thread.join()
        });
        ran.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Runs a command to its end, which must come soon.
pub(crate) fn finish(command: &mut Command) -> Output {
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let ended = wait_until(SOON, || child.try_wait().unwrap().is_some());
    if !ended {
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert!(ended, "{command:?} did not end: {output:?}");
    output
}

//! The mount under test: one of our own, in a private directory, that goes with the value.
//!
//! Its arena is mapped here too, so that kill points can be armed and the board read. Only
//! processes that it started are ever ended: each is opened (pidfd) and then looked at before it
//! gets a signal.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::mount::{MntFlags, umount2};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::CrashError;
use super::pieces::Pieces;
use crate::mount::mountinfo;
use crate::recovery::arena::{Arena, Origin};
use crate::recovery::board::{Board, Cell};
use crate::recovery::points::Points;
use crate::sys::Fd;
use crate::sys::clone::{pidfd_open, pidfd_signal};

/// How long anything may take that should be quick.
pub const SOON: Duration = Duration::from_secs(20);

/// What is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum FsKind {
    /// A directory of this machine.
    #[value(name = "dir")]
    Passthrough,
    /// Files in memory, gone with the mount.
    Mem,
    /// Files made of pieces: see [`pieces`](super::pieces). Nothing can be changed there.
    Merge,
}

impl FsKind {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            FsKind::Passthrough => "dir",
            FsKind::Mem => "mem",
            FsKind::Merge => "merge",
        }
    }
}

/// A mount of this program, for a test.
#[derive(Debug)]
pub struct Target {
    server: Child,
    arguments: Vec<String>,
    board: Board,
    points: Points,
    kind: FsKind,
    pieces: Option<Arc<Pieces>>,
    dir: TempDir,
}

impl Target {
    /// Mounts in a directory of its own, with these arguments of `fusex mount` beside those that
    /// every target has (`-f -v -o allow_other`).
    pub fn start(kind: FsKind, arguments: &[&str]) -> Result<Target, CrashError> {
        let program = std::env::current_exe().map_err(CrashError::io("/proc/self/exe"))?;
        Target::start_program(&program, kind, arguments)
    }

    /// The same for the calling user alone: then the kernel leaves permissions to a served
    /// directory, and sends ACCESS.
    pub fn start_private(kind: FsKind, arguments: &[&str]) -> Result<Target, CrashError> {
        let program = std::env::current_exe().map_err(CrashError::io("/proc/self/exe"))?;
        Target::begin(&program, kind, "suid,dev", arguments)
    }

    /// The same with another program.
    pub fn start_program(
        program: &Path,
        kind: FsKind,
        arguments: &[&str],
    ) -> Result<Target, CrashError> {
        Target::begin(program, kind, "allow_other,suid,dev", arguments)
    }

    fn begin(
        program: &Path,
        kind: FsKind,
        options: &str,
        arguments: &[&str],
    ) -> Result<Target, CrashError> {
        let dir = tempfile::Builder::new()
            .prefix("fusex-crash-")
            .tempdir()
            .map_err(CrashError::io("a directory for the test"))?;
        for name in ["source", "point"] {
            std::fs::create_dir(dir.path().join(name)).map_err(CrashError::io(name))?;
        }
        let mut all: Vec<String> = ["mount", "-f", "-v", "-o", options]
            .into_iter()
            .chain(arguments.iter().copied())
            .map(String::from)
            .collect();
        if kind != FsKind::Passthrough {
            all.extend(["-t".into(), kind.name().into()]);
        }
        let pieces = match kind {
            FsKind::Merge => Some(Arc::new(Pieces::new(dir.path())?)),
            FsKind::Passthrough | FsKind::Mem => None,
        };
        let log = File::create(dir.path().join("server.log")).map_err(CrashError::io("its log"))?;
        let mut command = Command::new(program);
        command.args(&all);
        match &pieces {
            Some(pieces) => drop(command.arg(pieces.manifest())),
            None if kind == FsKind::Passthrough => drop(command.arg(dir.path().join("source"))),
            None => {}
        }
        command.arg(dir.path().join("point")).stdin(Stdio::null()).stdout(Stdio::piped());
        // What it may leave in its working directory goes with the rest.
        command.stderr(log).env_remove("RUST_LOG").current_dir(dir.path());
        // What a terminal's keys send is for the test, which then takes the mount away.
        command.process_group(0);
        let mut server = command.spawn().map_err(CrashError::io(program.display().to_string()))?;
        let mounted = read_report(&mut server);
        let arena = if mounted { arena_of(server.id() as i32) } else { Err(not_mounted()) };
        let attached = arena.and_then(|arena| {
            let points = Points::of(&arena).map_err(|error| CrashError::Failed(error.to_string()));
            Ok((arena.board(), points?))
        });
        match attached {
            Ok((board, points)) => {
                Ok(Target { server, arguments: all, board, points, kind, pieces, dir })
            }
            Err(error) => {
                let log = std::fs::read_to_string(dir.path().join("server.log"));
                take_away(dir.path(), &mut server);
                Err(CrashError::Failed(format!("{error}: {}", log.unwrap_or_default().trim())))
            }
        }
    }

    /// The mount point.
    pub fn point(&self) -> PathBuf {
        self.dir.path().join("point")
    }

    /// What lies below the mount; `None` where that is nothing alike.
    pub fn lower(&self) -> Option<PathBuf> {
        (self.kind == FsKind::Passthrough).then(|| self.dir.path().join("source"))
    }

    /// The directory that all of it is in.
    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// What is mounted.
    pub fn kind(&self) -> FsKind {
        self.kind
    }

    /// What a mount of pieces is made of.
    pub fn pieces(&self) -> Option<Arc<Pieces>> {
        self.pieces.clone()
    }

    /// The arguments of its server.
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// The numbers that its processes share.
    pub fn board(&self) -> Board {
        self.board
    }

    /// Its kill points.
    pub fn points(&self) -> Points {
        self.points
    }

    /// What its processes wrote to stderr.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("server.log")).unwrap_or_default()
    }

    /// The process whose pid stands in a cell of the board, opened; `None`: there is none now.
    pub fn process(&self, cell: Cell) -> Option<Process> {
        // The upper bits of some cells have marks.
        let pid = Pid::from_raw((self.board.get(cell) & 0x7fff_ffff) as i32);
        if pid.as_raw() <= 0 {
            return None;
        }
        let process = Process::open(pid)?;
        // Looked at after it was opened: it is still the one that has this number.
        let is_still = self.board.get(cell) & 0x7fff_ffff == pid.as_raw() as u64;
        (is_still && has_argument(pid, self.dir.path())).then_some(process)
    }

    /// Whether the process of a cell lives and stands by itself.
    pub fn stands(&self, cell: Cell) -> bool {
        // Marked while it is not yet known whether it outlives its parent.
        self.board.get(cell) >> 63 == 0
            && self.process(cell).is_some_and(|process| !process.wait(Duration::ZERO))
    }

    /// Waits until a worker of a generation above `generation` serves; false when none does soon.
    pub fn wait_for_worker(&self, generation: u64) -> bool {
        wait_until(SOON, || self.board.get(Cell::ReadyGeneration) > generation + 1)
    }

    /// Whether the worker of the newest generation serves.
    pub fn serves(&self) -> bool {
        self.board.get(Cell::ReadyGeneration) == self.board.get(Cell::Generation) + 1
    }

    /// Takes the mount away; the error says what did not end as it should.
    pub fn stop(mut self) -> Result<(), CrashError> {
        self.points.disarm();
        let left = take_away(self.dir.path(), &mut self.server);
        match left {
            None => Ok(()),
            Some(left) => Err(CrashError::Failed(format!("{left}: {}", self.log()))),
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.points.disarm();
        take_away(self.dir.path(), &mut self.server);
    }
}

/// One process, whoever has its number later.
#[derive(Debug)]
pub struct Process {
    /// Its number.
    pub pid: Pid,
    fd: OwnedFd,
}

impl Process {
    /// The process with this number; `None`: there is none.
    pub fn open(pid: Pid) -> Option<Process> {
        Some(Process { pid, fd: pidfd_open(pid).ok()?.into_owned() })
    }

    /// Sends it a signal; false when it is dead already.
    pub fn signal(&self, signal: Signal) -> bool {
        pidfd_signal(fd_of(&self.fd), signal).is_ok()
    }

    /// Waits until it is dead; false when it is not by then.
    pub fn wait(&self, limit: Duration) -> bool {
        let mut wait = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        let millis = u16::try_from(limit.as_millis()).unwrap_or(u16::MAX);
        poll(&mut wait, millis).is_ok_and(|ready| ready > 0)
    }
}

fn fd_of(fd: &OwnedFd) -> Fd {
    use std::os::fd::AsRawFd;
    Fd::from_number(fd.as_raw_fd())
}

/// Waits until `done` is true; false when it was not in time.
pub fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    let mut pause = Duration::from_micros(50);
    while !done() {
        if start.elapsed() > limit {
            return false;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
    true
}

fn not_mounted() -> CrashError {
    CrashError::Failed("the mount under test did not come to be".into())
}

/// Reads what `-v` prints, which comes once the mount answers.
fn read_report(server: &mut Child) -> bool {
    let Some(mut output) = server.stdout.take() else { return false };
    let (mut report, deadline) = (Vec::new(), Instant::now() + SOON);
    loop {
        let text = String::from_utf8_lossy(&report);
        if text.contains("flags: ") && text.ends_with('\n') {
            return true;
        }
        let left = deadline.saturating_duration_since(Instant::now()).as_millis() as u16;
        let mut wait = [PollFd::new(output.as_fd(), PollFlags::POLLIN)];
        let mut bytes = [0; 4096];
        match poll(&mut wait, left) {
            Ok(1..) => match output.read(&mut bytes) {
                Ok(length @ 1..) => report.extend(&bytes[..length]),
                _ => return false,
            },
            _ => return false,
        }
    }
}

/// The arena of a process of ours, which stays mapped as long as this process.
fn arena_of(pid: i32) -> Result<Arena, CrashError> {
    let dir = format!("/proc/{pid}/fd");
    let names = std::fs::read_dir(&dir).map_err(CrashError::io(&dir))?.flatten();
    for name in names {
        let path = name.path();
        let target = std::fs::read_link(&path).unwrap_or_default();
        if !target.to_string_lossy().starts_with("/memfd:fusex arena") {
            continue;
        }
        let opened = nix::fcntl::open(&path, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty());
        let fd = opened.map_err(CrashError::system(path.display().to_string()))?;
        return Arena::attach(Fd::from_owned(fd), Origin::Inherited)
            .map_err(|error| CrashError::Failed(error.to_string()));
    }
    Err(CrashError::Failed(format!("process {pid} has no arena")))
}

fn has_argument(pid: Pid, root: &Path) -> bool {
    let needle = root.as_os_str().as_encoded_bytes();
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.windows(needle.len()).any(|part| part == needle)
}

/// The processes that have a path below `root` as an argument.
fn servers(root: &Path) -> Vec<Pid> {
    let names = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = names.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.map(Pid::from_raw).filter(|pid| has_argument(*pid, root)).collect()
}

/// Unmounts what is below `root` and waits for its servers; what did not end by itself is ended,
/// and named.
fn take_away(root: &Path, server: &mut Child) -> Option<String> {
    let mounts = mountinfo::read().unwrap_or_default();
    for entry in mounts.iter().rev().filter(|entry| entry.mount_point.starts_with(root)) {
        if umount2(&entry.mount_point, MntFlags::empty()).is_err() {
            // In use: it disappears now and ends with the last user.
            let _ = umount2(&entry.mount_point, MntFlags::MNT_DETACH);
        }
    }
    let ended = |server: &mut Child| {
        let _ = server.try_wait();
        servers(root).is_empty()
    };
    if wait_until(SOON, || ended(server)) {
        return None;
    }
    let left = servers(root);
    wait_until(SOON, || {
        // Those that take the place of others meanwhile, too.
        for pid in servers(root) {
            // Ended by itself meanwhile.
            let _ = kill(pid, Signal::SIGKILL);
        }
        ended(server)
    });
    Some(format!("processes {left:?} go on after the unmount"))
}

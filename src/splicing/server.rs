//! A mount for a measurement: `fusex mount` as a child process, waited for, and taken away again
//! whatever happens.
//!
//! Dropping a `Server` unmounts and reaps. A signal kills the server first: that ends the
//! connection, which frees a reader that is stuck in a request, and the reader then fails and
//! drops the `Server` on its way out.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

use super::{BenchError, Result};
use crate::mount::{self, MountError};

/// How long a server may take to mount, and to end once unmounted.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(2);

/// The servers that run now: the process that was started of each.
static SERVING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

fn serving() -> MutexGuard<'static, Vec<Pid>> {
    SERVING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends all servers at once, for when a signal ends the run.
pub fn kill_all() {
    // Held meanwhile: a server that is reaped now could leave its number to somebody else.
    for root in serving().iter() {
        kill_family(*root);
    }
}

fn kill_family(root: Pid) {
    for pid in family(root) {
        // Gone already: as wanted.
        let _ = kill(pid, Signal::SIGKILL);
    }
}

/// One mount and the processes that serve it.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    mountpoint: PathBuf,
    log: PathBuf,
    /// The child and its descendants.
    pids: Vec<Pid>,
}

impl Server {
    /// Runs `fusex mount -f -v` with these arguments and the mount point behind them; `log` is
    /// for what it prints.
    pub(super) fn start(arguments: &[OsString], mountpoint: &Path, log: &Path) -> Result<Server> {
        let place = || BenchError::io(mountpoint.display().to_string());
        let program = std::env::current_exe().map_err(BenchError::io("/proc/self/exe"))?;
        let device = mountpoint.metadata().map_err(place())?.dev();
        let file = File::create(log).map_err(BenchError::io("the server's log"))?;
        let copy = file.try_clone().map_err(BenchError::io("the server's log"))?;
        let mut command = Command::new(&program);
        command.args(["mount", "-f", "-v"]).args(arguments).arg(mountpoint);
        command.stdin(Stdio::null()).stdout(copy).stderr(file).env_remove("RUST_LOG");
        // What a terminal's keys send is for the bench, which then takes the mount away.
        command.process_group(0);
        let mut serving = serving();
        let child = command.spawn().map_err(BenchError::io(program.display().to_string()))?;
        serving.push(Pid::from_raw(child.id().cast_signed()));
        drop(serving);
        let (mountpoint, log) = (mountpoint.to_path_buf(), log.to_path_buf());
        let mut server = Server { child, mountpoint, log, pids: Vec::new() };
        server.wait_for_mount(device)?;
        server.pids = family(server.root());
        Ok(server)
    }

    fn root(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// What it has printed.
    pub(super) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn wait_for_mount(&mut self, device_before: u64) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().map_err(BenchError::io("the server"))? {
                let said = self.said();
                let last = said.trim().lines().last().map(str::to_string);
                return Err(BenchError::Failed(last.unwrap_or(format!("it ended: {status}"))));
            }
            let there = self.mountpoint.metadata().is_ok_and(|meta| meta.dev() != device_before);
            // What was negotiated is printed once it can be used.
            if there && self.said().contains("flags: ") {
                return Ok(());
            }
            sleep(PAUSE);
        }
        Err(BenchError::Failed(format!("not mounted after {} s", PATIENCE.as_secs())))
    }

    /// Whether one of its processes has both ends of a pipe, as one that splices must.
    pub(super) fn has_pipe(&self) -> bool {
        self.pids.iter().any(|pid| {
            let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
            let links = entries.flatten().filter_map(|it| std::fs::read_link(it.path()).ok());
            let mut pipes: Vec<PathBuf> =
                links.filter(|link| link.to_string_lossy().starts_with("pipe:")).collect();
            pipes.sort();
            pipes.windows(2).any(|pair| pair[0] == pair[1])
        })
    }

    /// The bytes that its processes have got by read and its like so far: what the kernel reads for
    /// a caller by itself is not among them.
    pub(super) fn bytes_read(&self) -> Result<u64> {
        let of = |pid: &Pid| {
            let path = format!("/proc/{pid}/io");
            let text = std::fs::read_to_string(&path).map_err(BenchError::io(path))?;
            let read = text.lines().find_map(|line| line.strip_prefix("rchar: ")?.parse().ok());
            Ok(read.unwrap_or(0u64))
        };
        self.pids.iter().map(of).sum()
    }

    /// User and system time so far, of all its processes and their threads, also of threads that
    /// have ended: the figure of /proc/PID/stat, in nanoseconds rather than in ticks.
    pub(super) fn cpu(&self) -> Result<Duration> {
        cpu_of(&self.pids)
    }
}

/// The time that these processes have had of the CPUs.
///
/// # Errors
/// One of them is gone.
pub fn cpu_of(pids: &[Pid]) -> Result<Duration> {
    let clock = |pid: &Pid| clock_gettime(clock_getcpuclockid(*pid)?).map(Duration::from);
    let times: nix::Result<Vec<Duration>> = pids.iter().map(clock).collect();
    Ok(times.map_err(BenchError::system("the server's CPU clock"))?.iter().sum())
}

impl Drop for Server {
    fn drop(&mut self) {
        let root = self.root();
        if !unmounted(&self.mountpoint) {
            // Nothing tells such a server to end.
            kill_family(root);
        }
        let start = Instant::now();
        let mut ended = false;
        while !ended && start.elapsed() < PATIENCE {
            // Not reaped while somebody may kill it by its number.
            let mut serving = serving();
            ended = self.child.try_wait().is_ok_and(|status| status.is_some());
            if ended {
                serving.retain(|pid| *pid != root);
            } else {
                drop(serving);
                sleep(PAUSE);
            }
        }
        if !ended {
            tracing::warn!("server {root}: it had to be killed");
            let mut serving = serving();
            kill_family(root);
            let _ = self.child.wait();
            serving.retain(|pid| *pid != root);
        }
        // One that was killed while it mounted.
        unmounted(&self.mountpoint);
    }
}

/// Takes away what is mounted there; false when nothing is, or it cannot be.
fn unmounted(mountpoint: &Path) -> bool {
    match mount::unmount(mountpoint, false) {
        Ok(()) => true,
        Err(MountError::Busy { .. }) => mount::unmount(mountpoint, true).is_ok(),
        Err(MountError::NotMounted { .. }) => false,
        Err(error) => {
            tracing::warn!("{error}");
            false
        }
    }
}

/// The process and all that descend from it.
pub fn family(root: Pid) -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let parents: Vec<(Pid, Pid)> = entries
        .filter_map(|entry| Some((pid_of(&entry.file_name())?, parent_of(&entry.path())?)))
        .collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        let children = parents.iter().filter(|(_, parent)| *parent == pid);
        found.extend(children.map(|(child, _)| *child));
        next += 1;
    }
    found
}

fn pid_of(name: &OsStr) -> Option<Pid> {
    name.to_str()?.parse().ok().map(Pid::from_raw)
}

/// The parent's id, the second field after the name in `/proc/PID/stat`.
fn parent_of(process: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(process.join("stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok().map(Pid::from_raw)
}

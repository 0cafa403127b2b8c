//! The mount of any server: started, waited for, and taken away again whatever happens.
//!
//! Dropping a [`Server`] unmounts and reaps. A signal kills the server first, by its process
//! ids: that aborts the connection, which frees a workload stuck in a request, and the workload
//! then fails and drops the [`Server`] on the way out.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use fusex::splicing::server::{cpu_of, family};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// How long a server may take to mount, and to end once unmounted.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(2);

static STOPPED: AtomicBool = AtomicBool::new(false);
/// The processes that serve now.
static SERVING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

fn serving() -> MutexGuard<'static, Vec<Pid>> {
    SERVING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From here on SIGINT, SIGTERM and SIGHUP end the run cleanly.
pub(crate) fn end_on_signals() -> anyhow::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            STOPPED.store(true, Ordering::Relaxed);
            kill_all(&serving());
        }
    });
    Ok(())
}

/// Whether a signal asked for the end.
pub(crate) fn stopped() -> bool {
    STOPPED.load(Ordering::Relaxed)
}

fn kill_all(pids: &[Pid]) {
    for pid in pids {
        // Gone already: as wanted.
        let _ = kill(*pid, Signal::SIGKILL);
    }
}

/// One mount and the processes that serve it.
pub(crate) struct Server {
    child: Child,
    mountpoint: PathBuf,
    /// The child and its descendants.
    pids: Vec<Pid>,
}

impl Server {
    /// Mounts `lower` on `mountpoint`; `LOWER` and `MOUNT` in the arguments stand for the two.
    /// What the server prints goes to the file `log`.
    pub(crate) fn start(
        program: &Path,
        arguments: &[&str],
        lower: &Path,
        mountpoint: &Path,
        log: &Path,
    ) -> anyhow::Result<Server> {
        let device = mountpoint.metadata()?.dev();
        let file = File::create(log)?;
        let (lower, mount) = (lower.to_string_lossy(), mountpoint.to_string_lossy());
        let child = Command::new(program)
            .args(
                arguments.iter().map(|word| word.replace("LOWER", &lower).replace("MOUNT", &mount)),
            )
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| program.display().to_string())?;
        let pid = Pid::from_raw(child.id().cast_signed());
        let mut server = Server { child, mountpoint: mountpoint.into(), pids: vec![pid] };
        serving().clone_from(&server.pids);
        server.wait_for_mount(device, log)?;
        server.pids = family(pid);
        serving().clone_from(&server.pids);
        Ok(server)
    }

    fn wait_for_mount(&mut self, device_before: u64, log: &Path) -> anyhow::Result<()> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                let text = std::fs::read_to_string(log).unwrap_or_default();
                bail!("server ended: {status}: {}", text.trim().lines().last().unwrap_or("silent"));
            }
            if self.mountpoint.metadata()?.dev() != device_before {
                return Ok(());
            }
            sleep(PAUSE);
        }
        bail!("not mounted after {} s", PATIENCE.as_secs())
    }

    /// User and system time so far, of all threads, also of those that have ended: the figure
    /// of `/proc/PID/stat`, in nanoseconds rather than in ticks of 10 ms.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        Ok(cpu_of(&self.pids)?)
    }

    fn reap(&mut self) -> anyhow::Result<()> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            sleep(PAUSE);
        }
        kill_all(&self.pids);
        self.child.wait()?;
        bail!("it had to be killed")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let unmounted = umount2(&self.mountpoint, MntFlags::MNT_DETACH);
        // EINVAL: never mounted, or unmounted by the server itself.
        if !matches!(unmounted, Ok(()) | Err(Errno::EINVAL)) {
            eprintln!("{}: {unmounted:?}", self.mountpoint.display());
        }
        if unmounted.is_err() {
            // Nothing tells such a server to end.
            kill_all(&self.pids);
        }
        // Once reaped, the process ids may be somebody else's.
        let mut serving = serving();
        if let Err(error) = self.reap() {
            eprintln!("server {}: {error:#}", self.child.id());
        }
        serving.clear();
    }
}

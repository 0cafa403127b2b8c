//! A mount of fusex: started, asked how it does, its worker killed, and taken away again whatever
//! happens.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use fusex::supervise::client;
use fusex::supervise::protocol::{Request, Status};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tempfile::TempDir;

/// How long a server may take to mount, and to end once unmounted.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(2);

static STOPPED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From here on SIGINT, SIGTERM and SIGHUP end the run cleanly.
pub(crate) fn end_on_signals() -> anyhow::Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, STOPPED.clone())?;
    }
    Ok(())
}

/// An error once a signal has asked for the end.
pub(crate) fn check_stopped() -> anyhow::Result<()> {
    ensure!(!STOPPED.load(Ordering::Relaxed), "stopped by a signal");
    Ok(())
}

/// A lower directory and a mount point, empty at first, gone in the end.
pub(crate) struct Place {
    base: TempDir,
}

impl Place {
    pub(crate) fn new(parent: &Path) -> anyhow::Result<Place> {
        let base = tempfile::Builder::new().prefix("fusex-recovery-").tempdir_in(parent)?;
        let place = Place { base };
        std::fs::create_dir(place.lower())?;
        std::fs::create_dir(place.point())?;
        Ok(place)
    }

    pub(crate) fn lower(&self) -> PathBuf {
        self.base.path().join("lower")
    }

    pub(crate) fn point(&self) -> PathBuf {
        self.base.path().join("mount")
    }

    /// Mounts the lower directory, with further arguments of 'fusex mount'.
    pub(crate) fn mount(self, arguments: &[&str]) -> anyhow::Result<Mount> {
        let log = self.base.path().join("log");
        let file = File::create(&log)?;
        let child = Command::new(env!("CARGO_BIN_EXE_fusex"))
            .args(["mount", "-f"])
            .args(arguments)
            .args([self.lower(), self.point()])
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()?;
        let mut mount = Mount { child, place: self };
        mount.wait_for_mount(&log)?;
        Ok(mount)
    }
}

/// One mount and the processes that serve it.
pub(crate) struct Mount {
    child: Child,
    place: Place,
}

impl Mount {
    pub(crate) fn point(&self) -> PathBuf {
        self.place.point()
    }

    fn wait_for_mount(&mut self, log: &Path) -> anyhow::Result<()> {
        use std::os::unix::fs::MetadataExt;
        let outside = self.place.base.path().metadata()?.dev();
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                let text = std::fs::read_to_string(log).unwrap_or_default();
                bail!("server ended: {status}: {}", text.trim().lines().last().unwrap_or("silent"));
            }
            if self.point().metadata()?.dev() != outside {
                return Ok(());
            }
            sleep(PAUSE);
        }
        bail!("not mounted after {} s", PATIENCE.as_secs())
    }

    /// What `fusex supervise status` says. It is answered while a worker serves only.
    pub(crate) fn status(&self) -> anyhow::Result<Status> {
        Ok(client::ask(&client::find(&self.point())?, Request::Status)?)
    }

    /// The status as soon as all five processes are there.
    pub(crate) fn settled(&self) -> anyhow::Result<Status> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            // There is no socket before the first supervisor is ready.
            if let Ok(status) = self.status()
                && is_complete(&status)
            {
                return Ok(status);
            }
            check_stopped()?;
            sleep(PAUSE);
        }
        bail!("no worker, standby and reserve after {} s", PATIENCE.as_secs())
    }

    /// Kills the worker that `status` names.
    pub(crate) fn kill_worker(&self, status: &Status) -> anyhow::Result<()> {
        let pid = Pid::from_raw(i32::try_from(status.worker_pid)?);
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        ensure!(name.trim_end() == "fusex-worker", "process {pid} is no worker: {name}");
        kill(pid, Signal::SIGKILL).with_context(|| format!("killing worker {pid}"))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // By force, so that a call which hangs ends with an error.
        let flags = MntFlags::MNT_DETACH | MntFlags::MNT_FORCE;
        if let Err(errno) = umount2(&self.point(), flags) {
            eprintln!("recovery: {}: {errno}", self.point().display());
        }
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            sleep(PAUSE);
        }
        let pid = self.child.id();
        eprintln!("recovery: server {pid} is still there after {} s", PATIENCE.as_secs());
    }
}

/// Whether the worker can be killed: who would take its place is there.
fn is_complete(status: &Status) -> bool {
    let Status { worker_pid, standby_pid, reserve_pid, spare_pid, .. } = status;
    [worker_pid, standby_pid, reserve_pid, spare_pid].into_iter().all(|pid| *pid > 0)
}

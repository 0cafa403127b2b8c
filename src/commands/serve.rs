//! Serving a mount: what `fusex mount` and `fusex supervise` have in common.
//!
//! The file system is made, mounted, and INIT answered in one process with one thread. That one
//! is then the supervisor and starts workers, or, with `--no-supervise`, serves itself.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::signal::{SigSet, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::supervised;
use crate::cli::mount::{FsType, MountConfig};
use crate::exit::{Exit, Failure};
use crate::fs::Filesystem;
use crate::fs::mem::{Mem, MemConfig};
use crate::fs::merge::{Merge, MergeConfig};
use crate::fs::passthrough::{self, Passthrough};
use crate::mount::{self, MountError, Mounted, Mountpoint, mountinfo};
use crate::recovery::arena::Arena;
use crate::recovery::board::Cell;
use crate::recovery::fds::FIRST;
use crate::session::{Session, SessionConfig, SessionError};
use crate::supervise::handover::{Handover, STORED_DEVICE};
use crate::sys::{Fd, device, file};

/// How long calls under way may take after a lazy unmount before the server ends.
const GRACE: Duration = Duration::from_secs(1);

/// An error of a system call that must not fail.
pub(super) fn system(what: &'static str) -> impl Fn(nix::Error) -> MountError {
    move |errno| MountError::System { what, errno }
}

/// Mounts and serves until the mount is gone. `ready` is told when it can be used, and the
/// terminal left then.
pub(super) fn serve(config: &MountConfig, ready: Option<OwnedFd>) -> anyhow::Result<()> {
    let arena = match &config.handover {
        Some(handover) => Arena::attach(Fd::from_number(handover.arena), handover.origin())?,
        None => Arena::create()?,
    };
    match config.fs_type {
        FsType::Dir => {
            let source = config.source.as_deref().ok_or(MountError::NoSource)?;
            let fs = Passthrough::new(source, &passthrough_config(config), &arena)
                .with_context(|| format!("source {}", source.display()))?;
            serve_fs(config, &arena, fs, ready)
        }
        FsType::Mem => {
            // Mem has owners and modes but no rights of its own to check them with.
            let mut config = config.clone();
            config.options.default_permissions = true;
            let fs = Mem::new(mem_config(&config), &arena)?;
            serve_fs(&config, &arena, fs, ready)
        }
        FsType::Merge => {
            let mut config = config.clone();
            config.options.default_permissions = true;
            config.options.flags |= MsFlags::MS_RDONLY;
            let manifest = config.source.as_deref().ok_or(MountError::NoSource)?;
            let fs = Merge::new(manifest, merge_config(&config), &arena).map_err(|error| {
                let message = format!("manifest {}: {error}", manifest.display());
                Failure { exit: Exit::Mount, message }
            })?;
            serve_fs(&config, &arena, fs, ready)
        }
    }
}

fn passthrough_config(config: &MountConfig) -> passthrough::Config {
    let options = &config.options;
    let mountpoint = match &config.mountpoint {
        Mountpoint::Path(path) => Some(path.clone()),
        Mountpoint::Fd(_) => None,
    };
    passthrough::Config {
        cache: options.cache,
        entry_timeout: options.entry_timeout,
        attr_timeout: options.attr_timeout,
        negative_timeout: options.negative_timeout,
        writeback: options.writeback,
        passthrough: options.passthrough,
        kernel_checks: options.kernel_checks() || mountpoint.is_none(),
        blksize: options.blksize,
        durable: config.is_durable(),
        reserved_fds: if config.supervision.is_some() { FIRST as u64 } else { 0 },
        mountpoint,
    }
}

fn mem_config(config: &MountConfig) -> MemConfig {
    let (options, default) = (&config.options, MemConfig::default());
    MemConfig {
        entry_timeout: options.entry_timeout.unwrap_or(default.entry_timeout),
        attr_timeout: options.attr_timeout.unwrap_or(default.attr_timeout),
        negative_timeout: options.negative_timeout.unwrap_or(default.negative_timeout),
        ..default
    }
}

fn merge_config(config: &MountConfig) -> MergeConfig {
    let (options, default) = (&config.options, MergeConfig::default());
    MergeConfig {
        entry_timeout: options.entry_timeout.unwrap_or(default.entry_timeout),
        attr_timeout: options.attr_timeout.unwrap_or(default.attr_timeout),
        negative_timeout: options.negative_timeout.unwrap_or(default.negative_timeout),
        passthrough: options.passthrough,
    }
}

fn session_config(config: &MountConfig) -> SessionConfig {
    let (options, default) = (&config.options, SessionConfig::default());
    // Without the kernel's checks a process that has taken on another user's file-system id
    // must not get in with the rights of this one.
    let unchecked = config.fs_type == FsType::Dir && !options.kernel_checks();
    let only_user =
        options.allow_root || unchecked && matches!(config.mountpoint, Mountpoint::Path(_));
    SessionConfig {
        single_threaded: config.single_threaded,
        max_threads: options.max_threads.map_or(default.max_threads, |n| n as usize),
        max_write: options.max_write,
        max_readahead: options.max_readahead,
        max_background: options.max_background.unwrap_or(default.max_background),
        congestion_threshold: options.congestion_threshold,
        time_gran: options.time_gran.unwrap_or(default.time_gran),
        spin: default.spin,
        one_device: config.is_durable(),
        transport: config.transport,
        follow: config.follow,
        only_user: only_user.then(|| nix::unistd::geteuid().as_raw()),
    }
}

/// Takes the mount away again unless all went well.
struct Unmount(Option<PathBuf>);

impl Drop for Unmount {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Gone already where somebody else unmounted.
            if let Err(MountError::System { .. }) = mount::unmount(path, true) {
                // Without a descriptor left the mount table cannot be read.
                let _ = umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
            }
        }
    }
}

/// What is mounted, and INIT answered.
pub(super) struct Served<F> {
    pub(super) session: Session<F>,
    pub(super) mountpoint: Option<PathBuf>,
    pub(super) connection: Option<u32>,
    pub(super) device: Fd,
}

fn serve_fs<F: Filesystem>(
    config: &MountConfig,
    arena: &Arena,
    fs: F,
    ready: Option<OwnedFd>,
) -> anyhow::Result<()> {
    // Held back from here on, so that a signal cannot end the server and leave the mount.
    let ends: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect();
    ends.thread_block().map_err(system("sigprocmask(2)"))?;
    if let Some(handover) = &config.handover {
        return resume(config, handover, arena, fs);
    }
    let Mounted { device, mountpoint, auto_unmount, connection, .. } =
        mount::mount(&config.mountpoint, &config.label(), &config.options)?;
    let mut unmount = Unmount(mountpoint.clone());
    let id = mountpoint.as_deref().and_then(file::mount_id);
    let device = Fd::from_owned(device);
    arena.board().set(Cell::Connection, connection.map_or(0, |id| u64::from(id) + 1));
    let session = Session::start_in(arena, device, fs, session_config(config))?;
    let served = Served { session, mountpoint, connection, device };
    match config.supervision {
        Some(supervision) => supervised::serve(config, supervision, served, arena, ready)?,
        None => serve_alone(config, served, &ends, ready)?,
    }
    if !is_still_mounted(&unmount, connection, id) {
        unmount.0 = None;
    }
    drop(auto_unmount);
    Ok(())
}

/// Goes on with a mount that another program has made.
fn resume<F: Filesystem>(
    config: &MountConfig,
    handover: &Handover,
    arena: &Arena,
    fs: F,
) -> anyhow::Result<()> {
    let (device, board) = (Fd::from_number(handover.device), arena.board());
    if handover.stored {
        // What was on the board was of processes that are gone.
        board.add(Cell::Generation, 1);
        if !device::is_connected(device) {
            let message =
                format!("the stored {STORED_DEVICE} is no /dev/fuse of a mount: mount anew");
            return Err(Failure { exit: Exit::Mount, message }.into());
        }
        let pids = [Cell::WorkerPid, Cell::StandbyPid, Cell::ReservePid, Cell::SparePid];
        let others = [Cell::Stopping, Cell::DeathTime, Cell::Sandbox, Cell::Upgrading];
        pids.into_iter().chain(others).for_each(|cell| board.set(cell, 0));
    }
    let session = Session::resume(arena, device, fs, session_config(config))?;
    let mountpoint = match &config.mountpoint {
        Mountpoint::Path(path) => Some(path.clone()),
        Mountpoint::Fd(_) => None,
    };
    let connection = board.get(Cell::Connection).checked_sub(1).map(|id| id as u32);
    let mut unmount = Unmount(None);
    let served = Served { session, mountpoint: mountpoint.clone(), connection, device };
    let supervision = config.supervision.ok_or(SessionError::NotStarted)?;
    let id = mountpoint.as_deref().and_then(file::mount_id);
    supervised::serve(config, supervision, served, arena, None)?;
    unmount.0 = mountpoint;
    if !is_still_mounted(&unmount, connection, id) {
        unmount.0 = None;
    }
    Ok(())
}

/// In this process, with threads.
fn serve_alone<F: Filesystem>(
    config: &MountConfig,
    served: Served<F>,
    ends: &SigSet,
    ready: Option<OwnedFd>,
) -> anyhow::Result<()> {
    let Served { session, mountpoint, .. } = served;
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    ends.thread_unblock().map_err(system("sigprocmask(2)"))?;
    let session = Arc::new(session);
    let serving = {
        let session = session.clone();
        std::thread::spawn(move || session.serve())
    };
    if let Some(path) = &mountpoint {
        let named = || format!("mount point {}: the new mount does not answer", path.display());
        std::fs::symlink_metadata(path).with_context(named)?;
    }
    report_ready(config, &session, ready)?;
    on_signal(signals, mountpoint);
    let result: Result<(), SessionError> = serving
        .join()
        .map_err(|_| Failure { exit: Exit::Internal, message: "the serving thread died".into() })?;
    Ok(result?)
}

/// The mount can be used: says so to whoever waits for it.
pub(super) fn report_ready<F: Filesystem>(
    config: &MountConfig,
    session: &Session<F>,
    ready: Option<OwnedFd>,
) -> anyhow::Result<()> {
    if config.verbose
        && let Err(error) = report(config, session)
        // That nobody reads it is no reason to end a mount.
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        return Err(error.into());
    }
    ready.map_or(Ok(()), leave_terminal)
}

/// Whether our connection is still what is mounted: an administrator has aborted it, and the dead
/// mount has to go. By its unique id: the next mount there may have the same number already, which
/// is all that kernels before 6.8 tell.
fn is_still_mounted(unmount: &Unmount, connection: Option<u32>, id: Option<u64>) -> bool {
    let (Some(path), Some(connection)) = (&unmount.0, connection) else { return false };
    let table = mountinfo::read().unwrap_or_default();
    let entry = mountinfo::find(&table, path);
    let alike = entry.is_some_and(|entry| entry.is_fuse() && entry.minor == connection);
    alike && (id.is_none() || file::mount_id(path) == id)
}

/// What was mounted and negotiated, on stdout.
fn report<F: Filesystem>(config: &MountConfig, session: &Session<F>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match &config.mountpoint {
        Mountpoint::Path(path) => {
            writeln!(out, "fusex: {} mounted on {}", config.label(), path.display())?;
        }
        Mountpoint::Fd(fd) => writeln!(out, "fusex: {} served on /dev/fd/{fd}", config.label())?,
    }
    write!(out, "{}", session.negotiated())?;
    out.flush()?;
    Ok(())
}

/// Ready: tells the waiting process and lets go of its terminal and session.
fn leave_terminal(ready: OwnedFd) -> anyhow::Result<()> {
    nix::unistd::setsid().map_err(system("setsid(2)"))?;
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null).map_err(system("dup2(2)"))?;
    nix::unistd::dup2_stdout(&null).map_err(system("dup2(2)"))?;
    nix::unistd::dup2_stderr(&null).map_err(system("dup2(2)"))?;
    // The waiting process may have been killed: that does not concern the mount.
    let _ = std::fs::File::from(ready).write_all(&[1]);
    Ok(())
}

/// SIGTERM, SIGINT and SIGHUP unmount, and the session then ends by itself.
fn on_signal(mut signals: Signals, mountpoint: Option<PathBuf>) {
    std::thread::spawn(move || {
        for _ in signals.forever() {
            stop(mountpoint.as_deref());
        }
    });
}

fn stop(mountpoint: Option<&Path>) {
    let Some(path) = mountpoint else { std::process::exit(0) };
    match mount::unmount(path, false) {
        Ok(()) => return,
        Err(MountError::Busy { .. }) => {}
        Err(error) => tracing::warn!("{error}"),
    }
    // In use: it disappears now, and who still holds a file sees the connection end.
    let _ = mount::unmount(path, true);
    std::thread::sleep(GRACE);
    std::process::exit(0);
}

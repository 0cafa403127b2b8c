//! `fusex mount`: open the source, mount, answer INIT, serve.
//!
//! In the background the first process waits until the mount answers a stat, so that a
//! failure reaches the terminal and the exit status. The serving process is forked before
//! there is any thread, and leaves the terminal once it is ready.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, umount2};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, pipe2};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::mount::{FsType, MountConfig};
use crate::exit::{Exit, Failure};
use crate::fs::Filesystem;
use crate::fs::mem::{Mem, MemConfig};
use crate::fs::passthrough::{self, Passthrough};
use crate::mount::{self, MountError, Mounted, Mountpoint, mountinfo};
use crate::session::{Session, SessionConfig, SessionError};
use crate::sys::process;

/// How long calls under way may take after a lazy unmount before the server ends.
const GRACE: Duration = Duration::from_secs(1);

/// Mounts and serves; returns when the mount is gone, or in the background's first process
/// when it can be used.
///
/// # Errors
/// Anything in the way of the mount; nothing is left mounted then.
pub fn run(config: MountConfig) -> anyhow::Result<Exit> {
    if config.fake {
        return Ok(Exit::Success);
    }
    if config.foreground {
        return serve(&config, None).map(|()| Exit::Success);
    }
    let (theirs, ours) = pipe2(OFlag::O_CLOEXEC).map_err(system("pipe2(2)"))?;
    match process::fork().map_err(system("fork(2)"))? {
        ForkResult::Parent { child } => {
            drop(ours);
            wait_for(theirs, child)
        }
        ForkResult::Child => {
            drop(theirs);
            // Before there are threads with a directory of their own. Every path is absolute.
            nix::unistd::chdir("/").map_err(system("chdir(2)"))?;
            serve(&config, Some(ours)).map(|()| Exit::Success)
        }
    }
}

fn system(what: &'static str) -> impl Fn(nix::Error) -> MountError {
    move |errno| MountError::System { what, errno }
}

/// Waits until the serving process is ready, or has ended: it has said why.
fn wait_for(ready: OwnedFd, child: Pid) -> anyhow::Result<Exit> {
    let mut byte = [0];
    if std::fs::File::from(ready).read_exact(&mut byte).is_ok() {
        return Ok(Exit::Success);
    }
    match waitpid(child, None).map_err(system("waitpid(2)"))? {
        WaitStatus::Exited(_, code) => Ok(Exit::from_code(code)),
        status => {
            let message =
                format!("the serving process died before the mount was ready: {status:?}");
            Err(Failure { exit: Exit::Internal, message }.into())
        }
    }
}

fn serve(config: &MountConfig, ready: Option<OwnedFd>) -> anyhow::Result<()> {
    match config.fs_type {
        FsType::Dir => {
            let source = config.source.as_deref().ok_or(MountError::NoSource)?;
            let fs = Passthrough::new(source, &passthrough_config(config))
                .with_context(|| format!("source {}", source.display()))?;
            serve_fs(config, fs, ready)
        }
        FsType::Mem => {
            // Mem has owners and modes but no rights of its own to check them with.
            let mut config = config.clone();
            config.options.default_permissions = true;
            serve_fs(&config, Mem::new(mem_config(&config)), ready)
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

fn serve_fs<F: Filesystem>(
    config: &MountConfig,
    fs: F,
    ready: Option<OwnedFd>,
) -> anyhow::Result<()> {
    // Noted from here on, so that a signal cannot end the server and leave the mount.
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let Mounted { device, mountpoint, auto_unmount, connection, .. } =
        mount::mount(&config.mountpoint, &config.label(), &config.options)?;
    let mut unmount = Unmount(mountpoint.clone());
    let session = Session::start(device, fs, session_config(config))?;
    let session = Arc::new(session);
    let serving = {
        let session = session.clone();
        std::thread::spawn(move || session.serve())
    };
    if let Some(path) = &mountpoint {
        let named = || format!("mount point {}: the new mount does not answer", path.display());
        std::fs::symlink_metadata(path).with_context(named)?;
    }
    if config.verbose {
        report(config, &session)?;
    }
    on_signal(signals, mountpoint);
    if let Some(ready) = ready {
        leave_terminal(ready)?;
    }
    let result: Result<(), SessionError> = serving
        .join()
        .map_err(|_| Failure { exit: Exit::Internal, message: "the serving thread died".into() })?;
    if result.is_ok() && !is_still_mounted(&unmount, connection) {
        unmount.0 = None;
    }
    drop(auto_unmount);
    Ok(result?)
}

/// Whether our connection is still what is mounted: an administrator has aborted it, and the dead
/// mount has to go.
fn is_still_mounted(unmount: &Unmount, connection: Option<u32>) -> bool {
    let (Some(path), Some(connection)) = (&unmount.0, connection) else { return false };
    let table = mountinfo::read().unwrap_or_default();
    let entry = mountinfo::find(&table, path);
    entry.is_some_and(|entry| entry.is_fuse() && entry.minor == connection)
}

/// What was mounted and negotiated, on stdout.
fn report<F: Filesystem>(config: &MountConfig, session: &Session<F>) -> anyhow::Result<()> {
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

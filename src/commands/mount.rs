//! `fusex mount`: open the source, mount, answer INIT, serve.
//!
//! In the background the first process waits until the mount answers a stat, so that a
//! failure reaches the terminal and the exit status. The serving process is forked before
//! there is any thread, and leaves the terminal once it is ready.

use std::io::Read;
use std::os::fd::OwnedFd;

use nix::fcntl::OFlag;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, pipe2};

use super::serve::{serve, system};
use crate::cli::mount::MountConfig;
use crate::exit::{Exit, Failure};
use crate::sys::process;

/// Mounts and serves; returns when the mount is gone, or in the background's first process
/// when it can be used.
///
/// # Errors
/// Anything in the way of the mount; nothing is left mounted then.
pub fn run(config: MountConfig) -> anyhow::Result<Exit> {
    if config.fake {
        return Ok(Exit::Success);
    }
    if config.foreground || config.handover.is_some() {
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

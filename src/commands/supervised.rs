//! A mount that outlives its server.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sys::wait::{WaitStatus, waitpid};

use super::serve::{Served, report_ready};
use crate::cli::mount::{FsType, MountConfig, Supervision};
use crate::exit::{Exit, Failure};
use crate::fs::Filesystem;
use crate::recovery::arena::Arena;
use crate::recovery::board::{Board, Cell};
use crate::recovery::fds::FIRST;
use crate::session::TakeoverConfig;
use crate::supervise::confine::{self, Confinement};
use crate::supervise::{self, Service};
use crate::sys::{Fd, clone};

/// Supervises `served` until its mount is gone.
pub(super) fn serve<F: Filesystem>(
    config: &MountConfig,
    supervision: Supervision,
    served: Served<F>,
    arena: &Arena,
    ready: Option<OwnedFd>,
) -> anyhow::Result<()> {
    let sandbox = match &config.source {
        Some(source) if supervision.sandbox && config.fs_type == FsType::Dir => {
            Some(make_sandbox(source, served.mountpoint.as_deref(), arena.board())?)
        }
        _ => None,
    };
    let takeover =
        TakeoverConfig { resend: supervision.resend, max_deaths: supervision.poison_after };
    let service = Service {
        connection: served.connection,
        takeover,
        confinement: Some(Confinement { sandbox, protect_below: FIRST }),
        ..Service::new(served.session, arena, served.mountpoint)
    };
    let supervisor = supervise::Config {
        request_timeout: supervision.request_timeout,
        restart_limit: supervision.restart_limit,
        core: supervision.core,
        ..supervise::Config::default()
    };
    let mut reported = Ok(());
    let report = || reported = report_ready(config, &service.session, ready);
    service
        .run(arena, supervisor, report)
        .map_err(|error| Failure { exit: error.exit(), message: error.to_string() })?;
    reported
}

/// Makes the mount namespace that all workers live in: a child goes there and leaves a
/// descriptor of it in the shared table.
fn make_sandbox(source: &Path, mountpoint: Option<&Path>, board: Board) -> Result<Fd, Failure> {
    let failed = |message| Failure { exit: Exit::System, message };
    let status = match clone::share() {
        Ok(clone::Side::Child) => {
            let made = confine::make_sandbox(source, mountpoint);
            clone::exit_now(match made {
                Ok(fd) => {
                    board.set(Cell::Sandbox, fd.number() as u64 + 1);
                    0
                }
                Err(error) => {
                    tracing::error!("{error}");
                    1
                }
            })
        }
        Ok(clone::Side::Parent(child)) => waitpid(child, None),
        Err(errno) => Err(errno),
    };
    match (status, board.get(Cell::Sandbox)) {
        (Ok(WaitStatus::Exited(_, 0)), number @ 1..) => Ok(Fd::from_number(number as i32 - 1)),
        _ => Err(failed("--sandbox: no mount namespace: the log says why".into())),
    }
}

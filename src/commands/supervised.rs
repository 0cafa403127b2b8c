//! A mount that outlives its server.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sys::wait::{WaitStatus, waitpid};

use super::serve::{Served, report_ready};
use crate::cli::mount::{FsType, MountConfig, Supervision};
use crate::exit::{Exit, Failure};
use crate::fs::Filesystem;
use crate::recovery::arena::{Arena, Origin};
use crate::recovery::board::{Board, Cell};
use crate::recovery::fds::FIRST;
use crate::recovery::kernel_bugs::{Version, known_bugs};
use crate::session::TakeoverConfig;
use crate::supervise::confine::{self, Confinement};
use crate::supervise::handover::{Handover, STORED_ARENA, STORED_DEVICE};
use crate::supervise::notify::Notifier;
use crate::supervise::{self, Service};
use crate::sys::{Fd, clone};

/// Says what the running kernel may do wrong while requests are sent again.
fn warn_of_kernel() {
    let Some(version) = Version::running() else { return };
    for bug in known_bugs(version) {
        let (id, what) = (bug.id, bug.what);
        tracing::warn!("Linux {version}: {id}: {what}: update the kernel, or use --no-resend");
    }
}

/// Supervises `served` until its mount is gone.
pub(super) fn serve<F: Filesystem>(
    config: &MountConfig,
    supervision: Supervision,
    served: Served<F>,
    arena: &Arena,
    ready: Option<OwnedFd>,
) -> anyhow::Result<()> {
    let Served { session, mountpoint, connection, device } = served;
    let notifier = Notifier::from_env();
    let sandbox = match &config.source {
        Some(source) if supervision.sandbox && config.fs_type == FsType::Dir => {
            Some(make_sandbox(source, mountpoint.as_deref(), arena.board())?)
        }
        _ => None,
    };
    if supervision.resend {
        warn_of_kernel();
    }
    let takeover =
        TakeoverConfig { resend: supervision.resend, max_deaths: supervision.poison_after };
    let handover = Handover {
        arena: arena.fd().number(),
        device: device.number(),
        source: config.source.clone(),
        mount_point: mountpoint.clone(),
        client: None,
        stored: false,
    };
    let service = Service {
        connection,
        takeover,
        confinement: Some(Confinement { sandbox, protect_below: FIRST }),
        handover: Some(handover),
        notifier,
        ..Service::new(session, arena, mountpoint)
    };
    let supervisor = supervise::Config {
        request_timeout: supervision.request_timeout,
        restart_limit: supervision.restart_limit,
        core: supervision.core,
        resumed: arena.origin() == Origin::Inherited,
        client: config.handover.as_ref().and_then(|handover| handover.client),
        ..supervise::Config::default()
    };
    let mut reported = Ok(());
    let report = || {
        if config.is_durable() {
            service.notifier.store(STORED_DEVICE, device);
            service.notifier.store(STORED_ARENA, arena.fd());
        }
        let what = format!("{} on {}", config.label(), name_of(&service));
        service.notifier.ready(&what);
        reported = report_ready(config, &service.session, ready);
    };
    service
        .run(arena, supervisor, report)
        .map_err(|error| Failure { exit: error.exit(), message: error.to_string() })?;
    service.notifier.stopping();
    // Of the mount that is gone nothing is to be picked up again.
    [STORED_DEVICE, STORED_ARENA].into_iter().for_each(|name| service.notifier.forget(name));
    reported
}

fn name_of<F>(service: &Service<F>) -> String {
    service.mount_point.as_ref().map_or("/dev/fd".into(), |path| path.display().to_string())
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

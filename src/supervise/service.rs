//! A session that is kept alive: what every mount does in its worker and its supervisor.

use std::path::PathBuf;
use std::time::Duration;

use nix::mount::{MntFlags, umount2};

use super::confine::{self, Confinement};
use super::handover::Handover;
use super::notify::Notifier;
use super::{Config, SuperviseError, Work, control_path, run};
use crate::Errno;
use crate::fs::Filesystem;
use crate::mount::{self, MountError};
use crate::recovery::arena::{Arena, Origin};
use crate::recovery::board::{Board, Cell};
use crate::recovery::fds::{FIRST, Fds};
use crate::recovery::points::{self, Point};
use crate::session::{Session, TakeoverConfig};
use crate::sys::clock::monotonic_ns;
use crate::sys::{Fd, device};

/// One mount: its session, and where it is.
pub struct Service<F> {
    /// INIT is answered, and nothing served yet.
    pub session: Session<F>,
    /// Where it is mounted; `None` where somebody else has mounted it.
    pub mount_point: Option<PathBuf>,
    /// The connection's id, where the kernel tells it.
    pub connection: Option<u32>,
    /// How a worker takes over.
    pub takeover: TakeoverConfig,
    /// What workers give up; `None`: nothing.
    pub confinement: Option<Confinement>,
    /// That of the arena which `session` was started in.
    pub board: Board,
    /// The arena's descriptor marks.
    pub fds: Fds,
    /// What the service manager is told.
    pub notifier: Notifier,
    /// What the next version of the program is handed, but for who waits; `None`: there is none.
    pub handover: Option<Handover>,
}

impl<F: Filesystem> Service<F> {
    /// A session that was started in `arena`, mounted on `mount_point`. Workers are not confined.
    pub fn new(session: Session<F>, arena: &Arena, mount_point: Option<PathBuf>) -> Service<F> {
        Service {
            session,
            mount_point,
            connection: None,
            takeover: TakeoverConfig::default(),
            confinement: None,
            board: arena.board(),
            fds: arena.fds(),
            notifier: Notifier::default(),
            handover: None,
        }
    }

    /// Serves until the mount is gone, however often its worker dies. `ready` is called when it can
    /// be used. Mount point, connection and control socket of `config` are filled in from here.
    /// See [`run`].
    ///
    /// # Errors
    /// See [`run`].
    pub fn run(
        &self,
        arena: &Arena,
        config: Config,
        ready: impl FnOnce(),
    ) -> Result<(), SuperviseError> {
        if arena.origin() != Origin::Inherited {
            keep_what_is_open(arena.fds());
        }
        let config = Config {
            mount_point: self.mount_point.clone(),
            connection: self.connection,
            control: self.connection.and_then(control_path),
            ..config
        };
        run(self, self.board, &config, ready)
    }

    fn take_over(&self, generation: u64) {
        let session = &self.session;
        let resend = self.takeover.resend && generation > 0;
        session.take_over(TakeoverConfig { resend, ..self.takeover });
        let died = self.board.get(Cell::DeathTime);
        if generation > 0 && died > 0 {
            let pause = Duration::from_nanos(monotonic_ns().saturating_sub(died));
            self.board.set(Cell::LastTakeover, pause.as_nanos() as u64);
        }
        points::reach(Point::Ready);
        self.board.set(Cell::ReadyGeneration, generation + 1);
    }
}

/// Whatever is open now was open before there was a worker: a takeover leaves it alone.
fn keep_what_is_open(fds: Fds) {
    let names = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers: Vec<i32> =
        names.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for number in numbers.into_iter().filter(|number| *number >= FIRST) {
        fds.keep_inherited(Fd::from_number(number));
    }
}

impl<F: Filesystem> Work for Service<F> {
    fn serve(&self, generation: u64) -> i32 {
        self.take_over(generation);
        match self.session.serve() {
            Ok(()) => {
                self.board.set(Cell::Ended, 1);
                0
            }
            Err(error) => {
                tracing::error!("worker {}: {error}", std::process::id());
                1
            }
        }
    }

    fn stuck(&self, limit: Duration) -> bool {
        let old = self
            .session
            .slots()
            .older_than(Duration::from_nanos(monotonic_ns()).saturating_sub(limit));
        // In a takeover those that nobody has come to yet are old as well.
        let hanging = old.filter(|journal| journal.is_carried_out());
        hanging.map(|journal| journal.accuse()).count() > 0
    }

    fn promoted(&self) {
        self.notifier.main_pid(std::process::id());
    }

    fn tick(&self) -> Option<Duration> {
        self.notifier.watchdog();
        self.notifier.watchdog_interval()
    }

    fn upgrade(&self, client: Option<i32>) -> String {
        let Some(handover) = &self.handover else {
            return "this program does not do that".to_string();
        };
        Handover { client, ..handover.clone() }.exec(self.fds)
    }

    fn is_busy(&self) -> bool {
        let slots = self.session.slots();
        // What no worker has read yet waits in the connection's queue, which all devices share.
        let queued = |device| device::readable(device, 0) == Ok(true);
        slots.older_than(Duration::MAX).next().is_some()
            || slots.journal(0).device().is_some_and(queued)
    }

    fn finished(&self) -> u64 {
        self.session.slots().finished()
    }

    fn unmount(&self, lazy: bool) -> bool {
        let Some(path) = &self.mount_point else { return true };
        match mount::unmount(path, lazy) {
            Err(MountError::Busy { .. }) => false,
            // An abort may have taken it away already.
            Err(MountError::NotMounted { .. }) => true,
            Err(error) => {
                tracing::warn!("{error}");
                false
            }
            Ok(()) => true,
        }
    }

    fn abort(&self) {
        if let Some(connection) = self.connection
            && std::fs::write(format!("/sys/fs/fuse/connections/{connection}/abort"), "1").is_ok()
        {
            return;
        }
        // Without that file system, or as an ordinary user: forcing an unmount aborts first.
        let Some(path) = &self.mount_point else { return };
        let flags = MntFlags::MNT_FORCE | MntFlags::UMOUNT_NOFOLLOW;
        match umount2(path, flags) {
            // In use: aborted, and still there.
            Ok(()) | Err(Errno::EBUSY) => {}
            Err(errno) => {
                let (path, why) = (path.display(), errno.desc());
                tracing::error!("{path}: {why}: the connection is not aborted: use 'umount -f'");
            }
        }
    }

    fn counts(&self) -> (u64, u64) {
        self.session.fs().counts()
    }

    fn warm_up(&self) {
        self.session.warm_up();
    }

    fn confine(&self) -> Result<(), String> {
        let Some(confinement) = &self.confinement else { return Ok(()) };
        confine::apply(confinement).map_err(|error| error.to_string())
    }
}

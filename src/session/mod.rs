//! Serving one connection: INIT, then requests until the mount is gone.
//!
//! INIT is answered in [`Session::start`], before any serving thread runs: who starts the
//! session can say whether the mount works before anything else happens. [`Session::serve`]
//! then answers requests until the connection ends.
//!
//! * `negotiate`: what INIT agreed on
//! * `dispatch`: from a decoded request to a method of the file system and back
//! * `splicing`, `choice`: data of a READ, by memory or by a pipe
//! * `patience`: looking for the next request before going to sleep
//! * `reply`: answers, and taking back what never reached the kernel
//! * `takeover`: finishing what a dead worker had begun
//! * `threads`, `watcher`: who reads the device next
//! * `uring`: the same over io_uring
//! * `waiting`, `parked`: SETLKW and INTERRUPT

mod choice;
mod dispatch;
mod follow;
mod negotiate;
mod parked;
mod patience;
mod reply;
mod splicing;
mod takeover;
mod threads;
mod uring;
mod waiting;
mod watcher;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

pub use negotiate::{Negotiated, Negotiation};
pub use takeover::TakeoverConfig;
pub use threads::about_to_block;

use crate::Errno;
use crate::buffer::Pipe;
use crate::channel::uring::Unavailable;
use crate::channel::{Connection, Transport};
use crate::fs::Filesystem;
use crate::recovery::arena::{Arena, ArenaError, Origin};
use crate::recovery::board::{Board, Cell};
use crate::recovery::fds::{Fds, Kind};
use crate::recovery::points::{self, Point};
use crate::recovery::slot::{Slot, Slots};
use crate::recovery::{fault, journal};
use crate::sys::fd::make_room;
use crate::sys::{Fd, device, process};
use crate::wire::{DecodeError, Opcode, decode};
use follow::Follower;
use patience::Patience;
use splicing::Splicing;
use uring::Rings;

/// How to serve.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// One thread does everything.
    pub single_threaded: bool,
    /// At most so many serving threads, 1 or more.
    pub max_threads: usize,
    /// Bytes a WRITE may carry at the most; `None`: as many as the kernel allows.
    pub max_write: Option<u32>,
    /// Bytes to read ahead at the most; `None`: as the kernel offers.
    pub max_readahead: Option<u32>,
    /// Background requests (readahead, writeback, asynchronous I/O) under way at the most.
    pub max_background: u16,
    /// Background requests from which the kernel calls the mount congested; `None`: three
    /// quarters of `max_background`.
    pub congestion_threshold: Option<u16>,
    /// Granularity of the file system's time stamps, in nanoseconds.
    pub time_gran: u32,
    /// How long a thread looks for the next request before it sleeps, while requests come
    /// thick and fast; zero: it sleeps at once.
    pub spin: Duration,
    /// All threads read the mount's own /dev/fuse, none a clone: for who keeps that one
    /// descriptor while all processes are gone. What was read from a clone ends with it, and what
    /// is in a pipe too: requests are read into their slots alone.
    pub one_device: bool,
    /// How requests and replies travel.
    pub transport: Transport,
    /// A caller that is alone is served on its own CPU, with several threads.
    pub follow: bool,
    /// Only this user and root are served (`allow_root`).
    pub only_user: Option<u32>,
}

impl Default for SessionConfig {
    fn default() -> Self {
        SessionConfig {
            single_threaded: false,
            max_threads: 16,
            max_write: None,
            max_readahead: None,
            max_background: 64,
            congestion_threshold: None,
            time_gran: 1,
            spin: Duration::from_micros(50),
            one_device: false,
            transport: Transport::Auto,
            follow: false,
            only_user: None,
        }
    }
}

/// Why a session did not start or ended early.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The kernel's protocol is too old or is another one.
    #[error("the kernel speaks FUSE {major}.{minor}; fusex needs 7.31 or newer (Linux 5.4)")]
    Protocol {
        /// The kernel's major version.
        major: u32,
        /// The kernel's minor version.
        minor: u32,
    },
    /// The first request was not INIT, or not readable.
    #[error("the first request on /dev/fuse is not a valid INIT: is another server using it?")]
    NotInit,
    /// No INIT came.
    #[error("no INIT on /dev/fuse: it is not mounted, or another server has answered it")]
    NoInit,
    /// A system call on /dev/fuse failed.
    #[error("{what} /dev/fuse: {errno}")]
    Device {
        /// Which one.
        what: &'static str,
        /// Its error.
        errno: Errno,
    },
    /// io_uring was asked for and cannot be had.
    #[error(transparent)]
    NoUring(#[from] Unavailable),
    /// An arena without what INIT agreed on.
    #[error("the arena is of a mount that was never started: mount anew")]
    NotStarted,
    /// No arena, or one that does not fit.
    #[error(transparent)]
    Arena(#[from] ArenaError),
}

/// Counters of a session.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests that could not be decoded and were answered EIO or ENOSYS.
    pub undecodable: AtomicU64,
}

/// A connection whose INIT is answered.
pub struct Session<F> {
    shared: Arc<Shared<F>>,
}

/// What the serving threads share.
struct Shared<F> {
    fs: F,
    connection: Connection,
    config: SessionConfig,
    /// How many CPUs there are for this program: asked once, as that takes a dozen calls.
    cpus: usize,
    negotiated: Negotiated,
    counters: Counters,
    waiting: waiting::Waiting,
    slots: Slots,
    fds: Fds,
    board: Board,
    /// Requests of a dead worker that serving threads have to finish first.
    deferred: AtomicUsize,
    /// With requests over io_uring.
    rings: Option<uring::Rings>,
}

type Prepared = (Slots, waiting::Waiting);

/// Descriptors that the table has room for from the start: half a mebibyte.
const ROOM: usize = 1 << 16;

/// What threads serve with, before any of them runs: a mount whose server lacks the memory must
/// not come to be.
fn prepare(
    arena: &Arena,
    device: Fd,
    config: &SessionConfig,
    negotiated: &Negotiated,
) -> Result<Prepared, SessionError> {
    let one = config.single_threaded || config.transport == Transport::Uring;
    let threads = if one { 1 } else { config.max_threads.max(1) };
    make_room(device, arena.fds().limit().min(ROOM));
    let slots = Slots::new(arena, threads, negotiated.max_data())?;
    slots.reserve_memory(0);
    Ok((slots, waiting::Waiting::new(arena)?))
}

impl<F: Filesystem> Session<F> {
    /// Answers INIT on `device`, a mounted /dev/fuse. Blocks until the kernel has sent it,
    /// which it does within mount(2).
    pub fn start(device: OwnedFd, fs: F, config: SessionConfig) -> Result<Self, SessionError> {
        let arena = Arena::create()?;
        Session::start_in(&arena, Fd::from_owned(device), fs, config)
    }

    /// As [`Session::start`], with requests read into `arena`, where a successor of this process
    /// finds them. The descriptor stays open as long as the process's table.
    pub fn start_in(
        arena: &Arena,
        device: Fd,
        fs: F,
        config: SessionConfig,
    ) -> Result<Self, SessionError> {
        let connection = Connection::new(device);
        let prepare = |negotiated: &Negotiated| {
            negotiated.store(arena)?;
            prepare(arena, device, &config, negotiated)
        };
        let (negotiated, prepared) = negotiate::answer_init(connection, &fs, &config, prepare)?;
        Session::over(arena, connection, fs, config, negotiated, prepared)
    }

    /// Goes on with a connection whose INIT another process has answered, in `arena`: a new
    /// version of the program, or one that a service manager started with stored descriptors.
    /// [`Session::take_over`] has to come next. The number of threads is that of the start.
    pub fn resume(
        arena: &Arena,
        device: Fd,
        fs: F,
        config: SessionConfig,
    ) -> Result<Self, SessionError> {
        let connection = Connection::new(device);
        let negotiated = Negotiated::load(arena)?.ok_or(SessionError::NotStarted)?;
        let prepared = prepare(arena, device, &config, &negotiated)?;
        if arena.origin() == Origin::Stored {
            let (slots, waiting) = &prepared;
            slots.move_to(device);
            waiting.move_to(connection);
        }
        fs.resume(&negotiated);
        Session::over(arena, connection, fs, config, negotiated, prepared)
    }

    fn over(
        arena: &Arena,
        connection: Connection,
        fs: F,
        config: SessionConfig,
        negotiated: Negotiated,
        (slots, waiting): Prepared,
    ) -> Result<Self, SessionError> {
        process::install_wake_handler()
            .map_err(|errno| SessionError::Device { what: "signal handler for", errno })?;
        fs.started(connection);
        points::install(arena)?;
        let rings = (config.transport == Transport::Uring).then(|| Rings::new(config.max_threads));
        let shared = Shared {
            fs,
            connection,
            config,
            cpus: std::thread::available_parallelism().map_or(1, |n| n.get()),
            negotiated,
            counters: Counters::default(),
            waiting,
            slots,
            fds: arena.fds(),
            board: arena.board(),
            deferred: AtomicUsize::new(0),
            rings,
        };
        let shared = Arc::new(shared);
        if let Some(rings) = &shared.rings {
            uring::start(&shared, rings)?;
        }
        Ok(Session { shared })
    }

    /// The file system.
    pub fn fs(&self) -> &F {
        &self.shared.fs
    }

    /// The slots: what is under way.
    pub fn slots(&self) -> &Slots {
        &self.shared.slots
    }

    /// In a worker that may be needed later: what would take time then.
    pub fn warm_up(&self) {
        self.shared.slots.touch(0);
    }

    /// What INIT agreed on.
    pub fn negotiated(&self) -> &Negotiated {
        &self.shared.negotiated
    }

    /// The session's counters.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Serves until the mount is gone.
    pub fn serve(&self) -> Result<(), SessionError> {
        fault::install();
        let result = if let Some(rings) = &self.shared.rings {
            uring::serve(&self.shared, rings)
        } else if self.shared.config.single_threaded {
            self.serve_alone()
        } else {
            threads::serve(&self.shared)
        };
        self.shared.waiting.interrupt_all();
        self.shared.fs.destroy();
        result
    }

    fn serve_alone(&self) -> Result<(), SessionError> {
        let shared = &self.shared;
        shared.fs.thread_started();
        let connection = shared.device(0)?;
        let Some(mut server) = shared.server(0, connection) else { return Ok(()) };
        server.enter();
        server.finish_deferred(shared);
        while server.receive()? {
            server.handle(shared);
        }
        Ok(())
    }
}

impl<F: Filesystem> Shared<F> {
    /// What one thread needs to serve: slot `index`, if it is free, and `connection`, its clone
    /// of the device.
    fn server(&self, index: usize, connection: Connection) -> Option<Server> {
        let slot = self.slots.take(index)?;
        let patience = self.patience();
        let room = slot.room();
        let place = (slot.journal(), index);
        let (transport, into_slots) = (self.config.transport, self.config.one_device);
        let splicing = Splicing::new(transport, into_slots, place, self.fds, self.board, room);
        let (length, incoming, follower) = (0, None, None);
        Some(Server { connection, slot, length, incoming, patience, splicing, follower })
    }

    fn patience(&self) -> Patience {
        Patience::new(if self.cpus > 1 { self.config.spin } else { Duration::ZERO })
    }

    /// The device that slot `index` reads: the mount's own for the first, so that one is enough,
    /// else a clone, which an earlier worker may have made.
    fn device(&self, index: usize) -> Result<Connection, SessionError> {
        let journal = self.slots.journal(index);
        if let Some(device) = journal.device() {
            return Ok(Connection::new(device));
        }
        if index == 0 || self.config.one_device {
            journal.set_device(self.connection.device());
            return Ok(self.connection);
        }
        let failed = |errno| SessionError::Device { what: "cloning", errno };
        let connection = self.connection.clone_device().map_err(failed)?;
        let record = index as u32;
        if let Err(errno) = self.fds.begin(connection.device(), Kind::Device, record) {
            connection.device().close();
            return Err(failed(errno));
        }
        journal.set_device(connection.device());
        self.fds.keep(connection.device(), Kind::Device, record);
        Ok(connection)
    }
}

/// One thread's way to the kernel: its clone of the device and its slot.
struct Server {
    connection: Connection,
    slot: Slot,
    length: usize,
    /// Where a WRITE's data is, if not in the slot.
    incoming: Option<Pipe>,
    patience: Patience,
    splicing: Splicing,
    /// With a watcher to set it free.
    follower: Option<Follower>,
}

impl Server {
    /// Makes the slot the calling thread's.
    fn enter(&mut self) {
        self.slot.fault_in();
        journal::attach(Some(self.slot.journal()));
        fault::accuse(self.slot.journal());
    }

    /// Waits for a request; false when the mount is gone.
    fn receive(&mut self) -> Result<bool, SessionError> {
        if !self.follower.as_ref().is_some_and(Follower::follows) {
            self.patience.wait(self.connection.device());
        }
        loop {
            match self.read_request() {
                // /dev/fuse has no end of file: this is another one.
                Ok(0) => return Err(SessionError::Device { what: "reading", errno: Errno::EIO }),
                Ok(length) => {
                    self.length = length;
                    return Ok(true);
                }
                // Unmounted, or aborted by an administrator.
                Err(Errno::ENODEV | Errno::ECONNABORTED) => return Ok(false),
                // ENOENT: the caller was killed while its request was being read.
                Err(Errno::ENOENT | Errno::EINTR) => {}
                // Handed down in non-blocking mode.
                Err(Errno::EAGAIN) => drop(device::readable(self.connection.device(), -1)),
                Err(errno) => return Err(SessionError::Device { what: "reading", errno }),
            }
        }
    }

    fn read_request(&mut self) -> Result<usize, Errno> {
        let device = self.connection.device();
        self.incoming = None;
        let Some(pipe) = self.splicing.expect() else { return self.slot.receive(device) };
        let (length, stays) = self.slot.receive_by(device, pipe)?;
        self.incoming = stays.then_some(pipe);
        Ok(length)
    }

    /// Answers the request in the slot.
    fn handle<F: Filesystem>(&mut self, shared: &Arc<Shared<F>>) {
        let journal = self.slot.journal();
        let (opcode, pid) = self.slot.asked();
        journal.carry_out(opcode, pid as u32);
        if let Some(follower) = &mut self.follower {
            let is_read = opcode == Opcode::FUSE_READ as u32;
            let bytes = if is_read { self.slot.read_size() as usize } else { self.length };
            follower.asked(pid as u32, bytes);
        }
        let (bytes, data) = self.slot.parts(self.length);
        match decode::decode(bytes, &shared.negotiated.protocol) {
            Ok(request) => {
                if request.header.unique.is_resend() {
                    shared.board.add(Cell::RecoveredResent, 1);
                }
                let splicing = Some(&mut self.splicing);
                let (connection, incoming) = (self.connection, self.incoming);
                let place = dispatch::Place { connection, journal, data, splicing, incoming };
                dispatch::dispatch(shared, &request, place);
            }
            Err(error) => undecodable(shared, self.connection, &error),
        }
        self.splicing.answered(opcode, self.length, self.incoming.is_some());
        points::reach(Point::Clearing);
        self.slot.clear();
        points::reach(Point::Cleared);
        if let Some(follower) = &mut self.follower {
            follower.answered();
        }
    }
}

/// A request that makes no sense is counted and answered; it never ends the session.
fn undecodable<F>(shared: &Shared<F>, connection: Connection, error: &DecodeError) {
    shared.counters.undecodable.fetch_add(1, Ordering::Relaxed);
    tracing::debug!("request not understood: {error}");
    if let Some(unique) = error.unique() {
        // ENOENT: nobody waits for it any more.
        let _ = connection.reply_error(unique, error.errno());
    }
}

//! Serving one connection: INIT, then requests until the mount is gone.
//!
//! INIT is answered in [`Session::start`], before any serving thread runs: who starts the
//! session can say whether the mount works before anything else happens. [`Session::serve`]
//! then answers requests until the connection ends.
//!
//! * `negotiate`: what INIT agreed on
//! * `dispatch`: from a decoded request to a method of the file system and back
//! * `patience`: looking for the next request before going to sleep
//! * `reply`: answers, and taking back what never reached the kernel
//! * `threads`, `watcher`: who reads the device next
//! * `waiting`: SETLKW and INTERRUPT

mod dispatch;
mod negotiate;
mod patience;
mod reply;
mod threads;
mod waiting;
mod watcher;

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use negotiate::{Negotiated, Negotiation};
pub use threads::about_to_block;

use crate::Errno;
use crate::channel::Connection;
use crate::fs::Filesystem;
use crate::recovery::slot::Slot;
use crate::sys::{Fd, device, process};
use crate::wire::{DecodeError, decode};
use patience::Patience;

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
    /// No memory for request buffers.
    #[error("request buffers of {bytes} bytes: {errno}: try a smaller -o max_write=")]
    Memory {
        /// The size that was asked for.
        bytes: usize,
        /// Its error.
        errno: Errno,
    },
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
    negotiated: Negotiated,
    counters: Counters,
    waiting: waiting::Waiting,
    /// What the first thread serves with, got before INIT is answered: a mount whose server
    /// lacks the memory must not come to be.
    first: Mutex<Option<Server>>,
}

impl<F: Filesystem> Session<F> {
    /// Answers INIT on `device`, a mounted /dev/fuse. Blocks until the kernel has sent it,
    /// which it does within mount(2).
    pub fn start(device: OwnedFd, fs: F, config: SessionConfig) -> Result<Self, SessionError> {
        let connection = Connection::new(Fd::from_owned(device));
        let (negotiated, first) = negotiate::answer_init(connection, &fs, &config)?;
        process::install_wake_handler()
            .map_err(|errno| SessionError::Device { what: "signal handler for", errno })?;
        fs.started(connection);
        let waiting = waiting::Waiting::default();
        let counters = Counters::default();
        let first = Mutex::new(Some(first));
        let shared = Shared { fs, connection, config, negotiated, counters, waiting, first };
        Ok(Session { shared: Arc::new(shared) })
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
        let result = if self.shared.config.single_threaded {
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
        let Some(mut server) = shared.first.lock().unwrap().take() else { return Ok(()) };
        while server.receive()? {
            server.handle(shared);
        }
        Ok(())
    }
}

impl<F: Filesystem> Shared<F> {
    /// What one thread needs to serve `connection`, its clone of the device.
    fn server(&self, connection: Connection) -> Result<Server, SessionError> {
        Server::new(connection, self.negotiated.max_data(), self.config.spin)
    }
}

/// One thread's way to the kernel: its clone of the device and its slot.
struct Server {
    connection: Connection,
    slot: Slot,
    length: usize,
    /// Directory entries of the reply under way.
    entries: Vec<u8>,
    patience: Patience,
}

impl Server {
    fn new(connection: Connection, bytes: usize, spin: Duration) -> Result<Server, SessionError> {
        let slot = Slot::new(bytes).map_err(|errno| SessionError::Memory { bytes, errno })?;
        let patience = Patience::new(spin);
        Ok(Server { connection, slot, length: 0, entries: Vec::new(), patience })
    }

    /// Waits for a request; false when the mount is gone.
    fn receive(&mut self) -> Result<bool, SessionError> {
        self.patience.wait(self.connection.device());
        loop {
            match self.slot.receive(self.connection.device()) {
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

    /// Answers the request in the slot.
    fn handle<F: Filesystem>(&mut self, shared: &Arc<Shared<F>>) {
        let (bytes, room) = self.slot.parts(self.length);
        match decode::decode(bytes, &shared.negotiated.protocol) {
            Ok(request) => {
                let buffers = dispatch::Buffers { data: room, entries: &mut self.entries };
                dispatch::dispatch(shared, self.connection, &request, buffers);
            }
            Err(error) => undecodable(shared, self.connection, &error),
        }
        self.slot.clear();
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

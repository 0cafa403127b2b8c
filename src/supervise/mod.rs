//! The processes of one mount: who watches whom.
//!
//! ```text
//!             clone(CLONE_FILES), no exec
//! reserve <--+               +--> worker
//! standby <--+-- supervisor -+--> spare
//! ```
//!
//! All share one fd table and one arena; nothing that is open ends with a process. The supervisor
//! has one thread, never runs file-system code, and sleeps until one of the others ends. A worker
//! that died is replaced at once, by the spare. The standby sleeps on the supervisor's pidfd and
//! takes its place; the reserve sleeps on both and takes the place of both. So any two of the
//! five may be killed together, and the worker serves on where it is not one of them.
//!
//! | file | what |
//! | --- | --- |
//! | `numbers` | the supervisor's descriptors: fixed numbers below 64 |
//! | `process` | birth and end of one process |
//! | `supervisor` | the loop |
//! | `worker` | worker deaths, restarts, the watchdog |
//! | `standby` | standby, reserve and spare: sleeping and taking over |
//! | `stop` | taking the mount away |
//! | `backoff` | when the next worker starts, and when none |
//! | `control`, `protocol`, `client` | the control socket: server, lines, commands |
//! | `service` | a session that is kept alive: what most callers want |
//! | `confine` | what a worker gives up before it serves |
//! | `handover` | what a new version of the program, or the next start, is given |
//! | `notify` | what the service manager is told, and the descriptors that it keeps |
//!
//! The promise begins when [`run`] has called `ready`: standbys start then. Linux 5.3
//! (pidfd_open) is enough; how a worker ended that another supervisor had started is known from
//! 6.15 on.

mod backoff;
pub mod client;
pub mod confine;
mod control;
pub mod handover;
pub mod notify;
mod numbers;
mod process;
pub mod protocol;
mod service;
mod standby;
mod stop;
mod supervisor;
mod worker;

use std::path::PathBuf;
use std::time::Duration;

use crate::Errno;
use crate::exit::Exit;
use crate::recovery::board::Board;

pub use control::path as control_path;
pub use service::Service;

/// What a supervisor keeps alive.
pub trait Work {
    /// In the worker: takes over what the last one left, and serves. Sets
    /// `Cell::ReadyGeneration` to `generation` + 1 when it serves, and
    /// sets `Cell::Ended` when the mount is gone. Returns the process's exit status.
    fn serve(&self, generation: u64) -> i32;
    /// Whether a request has been under way for longer than `limit`; marks it as the one that
    /// hangs. Opens nothing.
    fn stuck(&self, limit: Duration) -> bool;
    /// Whether a request is under way. Opens nothing.
    fn is_busy(&self) -> bool;
    /// Requests finished by all workers so far. Opens nothing.
    fn finished(&self) -> u64;
    /// Takes the mount away; false: it is in use. Called in a child with an fd table of its own,
    /// and may block.
    fn unmount(&self, lazy: bool) -> bool;
    /// Aborts the connection: all callers get an error. Called when there is no worker.
    fn abort(&self);
    /// Inodes and open files as of now. Opens nothing.
    fn counts(&self) -> (u64, u64);
    /// In the worker, before [`Work::serve`]: gives up rights. The error is one line.
    fn confine(&self) -> Result<(), String>;
    /// In a spare, behind that: does what would take time when it is needed.
    fn warm_up(&self) {}
    /// In a standby that has just become the supervisor. Opens nothing.
    fn promoted(&self) {}
    /// Called now and then by the supervisor, which sleeps no longer than what this returns.
    fn tick(&self) -> Option<Duration> {
        None
    }
    /// Puts the program that is installed now in the place of this one; `client` waits for it.
    /// Called when there is no worker. Returns only when that fails, with the reason.
    fn upgrade(&self, client: Option<i32>) -> String {
        let _ = client;
        "this program does not do that".to_string()
    }
}

/// How a mount is supervised.
#[derive(Clone, Debug)]
pub struct Config {
    /// A request under way for longer is taken for hanging.
    pub request_timeout: Option<Duration>,
    /// As many deaths in a row without progress, and the mount is given up.
    pub restart_limit: u32,
    /// Dead workers leave core dumps, which delays their successors.
    pub core: bool,
    /// Where it is mounted; `None` where somebody else has mounted it.
    pub mount_point: Option<PathBuf>,
    /// The connection's id, where the kernel tells it.
    pub connection: Option<u32>,
    /// The control socket to make, see [`control_path`].
    pub control: Option<PathBuf>,
    /// This program has taken the place of another one, whose standbys are still there.
    pub resumed: bool,
    /// Who waits for that: a descriptor.
    pub client: Option<i32>,
    /// Who may use the control socket, besides root.
    pub owner_uid: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            request_timeout: None,
            restart_limit: 30,
            core: false,
            mount_point: None,
            connection: None,
            control: None,
            resumed: false,
            client: None,
            owner_uid: nix::unistd::geteuid().as_raw(),
        }
    }
}

/// Why a mount is not supervised (any more).
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    /// A descriptor is open that the supervisor needs the number of.
    #[error("descriptor {number} is open, fusex needs it: close it before fusex starts")]
    NumberInUse {
        /// Its number.
        number: i32,
    },
    /// A system call that must not fail.
    #[error("{what}: {}: check the limits of processes and open files", .errno.desc())]
    System {
        /// The call or the file.
        what: &'static str,
        /// Why.
        errno: Errno,
    },
    /// Worker after worker died.
    #[error(
        "mount point {mount_point}: {deaths} workers in a row died without finishing a request: \
         the connection is aborted: the log has the reasons"
    )]
    GaveUp {
        /// Where it was mounted.
        mount_point: String,
        /// How many.
        deaths: u64,
    },
}

impl SuperviseError {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            SuperviseError::NumberInUse { .. } => Exit::Usage,
            SuperviseError::System { .. } => Exit::System,
            SuperviseError::GaveUp { .. } => Exit::Internal,
        }
    }
}

/// Keeps `work` alive until its mount is gone. `ready` is called once, in the first supervisor,
/// when the first worker serves.
///
/// To be called while the process has one thread. It returns in whichever process is the
/// supervisor by then, which need not be the one that called.
///
/// # Errors
/// The start failed, or the mount was given up; nothing is left mounted then.
pub fn run<W: Work>(
    work: &W,
    board: Board,
    config: &Config,
    ready: impl FnOnce(),
) -> Result<(), SuperviseError> {
    supervisor::Supervisor::start(work, board, config)?.run(ready)
}

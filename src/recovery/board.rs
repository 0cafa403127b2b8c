//! The board: numbers that outlive every process of a mount.
//!
//! One page of the arena. Supervisor, standbys and worker write to it and read from it; each
//! cell is one atomic word and stands for itself. What a supervisor must know to go on where
//! another one ended is here, and what `fusex supervise status` shows.

use std::sync::atomic::{AtomicU64, Ordering};

/// The cells, by their place on the page. The order is part of the arena's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Cell {
    /// Counts workers; the first is 0.
    Generation,
    /// The generation that serves, plus one; 0: none has got so far.
    ReadyGeneration,
    /// Process ids, in the supervisor's pid namespace; 0: none.
    WorkerPid,
    /// See [`Cell::WorkerPid`].
    SupervisorPid,
    /// The standby that takes the supervisor's place.
    StandbyPid,
    /// The standby that takes the place of both.
    ReservePid,
    /// 1: the mount is gone, and the worker ended because of it.
    Ended,
    /// When the last worker was seen dead: CLOCK_MONOTONIC, nanoseconds.
    DeathTime,
    /// From there to the next one's first read of the device, in nanoseconds.
    LastTakeover,
    /// Deaths of workers by a signal nobody asked for: SIGKILL.
    DeathsKilled,
    /// By another signal.
    DeathsSignal,
    /// By exit, whatever the status.
    DeathsExit,
    /// Killed by the supervisor: a request took longer than the limit.
    DeathsTimeout,
    /// Ended on purpose: restart, upgrade.
    Restarts,
    /// Supervisors whose place a standby took.
    SupervisorDeaths,
    /// Unfinished requests of dead workers, finished from their slots.
    RecoveredFromSlots,
    /// Requests that the kernel sent again.
    RecoveredResent,
    /// Stored replies sent once more.
    RecoveredFromJournal,
    /// Requests for which the lower tree said whether they had happened.
    RecoveredProbed,
    /// Requests answered EIO because workers died of them.
    Poisoned,
    /// Lookup counts kept though nobody may know them.
    LeakedLookups,
    /// Records that did not pass their check.
    Damaged,
    /// 1: no new supervisor is to take over; the mount is being taken away.
    Stopping,
    /// How many times in a row a worker died without having finished a request.
    Failures,
    /// When the mount was made: CLOCK_REALTIME, seconds.
    MountedAt,
    /// The connection's id, plus one; 0: unknown.
    Connection,
    /// The descriptor of the sandbox's mount namespace, plus one; 0: none yet.
    Sandbox,
    /// Who waits for the upgrade under way: a descriptor, plus one; 0: nobody.
    Upgrading,
    /// The spare that takes the worker's place, see [`Cell::WorkerPid`].
    SparePid,
    /// Replies whose data went through a pipe.
    Spliced,
    /// Replies that were to, and were copied: there was less data than was said.
    SpliceShort,
    /// The pipe had too few buffers.
    SpliceFull,
    /// splice(2) or the kernel's side of /dev/fuse refused.
    SpliceRefused,
    /// The data had to be looked at.
    SpliceExamined,
    /// Calls of splice(2) that moved bytes: requests and their data, both ways.
    Splices,
    /// The room of the largest pipe so far, in bytes.
    PipeBytes,
}

/// How many cells there are, with room for later ones.
pub const CELLS: usize = 64;

/// The board of one arena.
#[derive(Clone, Copy, Debug)]
pub struct Board(&'static [AtomicU64]);

impl Board {
    /// The board in `words`, [`CELLS`] of them.
    pub(super) fn new(words: &'static [AtomicU64]) -> Board {
        assert!(words.len() >= CELLS, "a board has {CELLS} cells");
        Board(words)
    }

    /// A board of its own, in private memory.
    pub fn private() -> Board {
        let words: Vec<AtomicU64> = (0..CELLS).map(|_| AtomicU64::new(0)).collect();
        Board(words.leak())
    }

    /// The value of a cell.
    pub fn get(self, cell: Cell) -> u64 {
        self.0[cell as usize].load(Ordering::Acquire)
    }

    /// Sets a cell.
    pub fn set(self, cell: Cell, value: u64) {
        self.0[cell as usize].store(value, Ordering::Release);
    }

    /// Adds to a cell; returns the new value.
    pub fn add(self, cell: Cell, amount: u64) -> u64 {
        self.0[cell as usize].fetch_add(amount, Ordering::AcqRel).wrapping_add(amount)
    }

    /// Raises a cell to `value` if it is lower.
    pub fn raise(self, cell: Cell, value: u64) {
        self.0[cell as usize].fetch_max(value, Ordering::AcqRel);
    }
}

//! Waiting locks, as a successor finds them: each in a record of the arena.
//!
//! A SETLKW leaves its slot when it begins to wait, for the slot's thread goes on reading. Its
//! record appears before the slot is cleared and goes when the answer is out. The result is noted
//! before it is sent: a lock that its owner may have given back meanwhile is not taken again.

use std::sync::atomic::{AtomicU64, Ordering};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Errno;
use crate::channel::Connection;
use crate::fs::Context;
use crate::recovery::arena::{Arena, ArenaError};
use crate::recovery::table::Table;
use crate::sys::Fd;
use crate::wire::flags::LockFlags;
use crate::wire::ops::{self, FileLock};
use crate::wire::{FileHandle, LockOwner, NodeId, Unique};

/// More locks than this do not wait: ENOLCK.
pub(super) const MAX_WAITING: u32 = 4096;
/// How many early INTERRUPTs are remembered.
pub(super) const MAX_EARLY: usize = 1024;

/// One waiting lock.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Parked {
    unique: u64,
    node: u64,
    fh: u64,
    owner: u64,
    start: u64,
    end: u64,
    device: i32,
    typ: u32,
    lock_pid: u32,
    lock_flags: u32,
    uid: u32,
    gid: u32,
    pid: u32,
    interrupted: u32,
    /// 0: none yet; 1: granted; below 0: an error.
    result: i64,
}

impl Parked {
    pub(super) fn new(
        connection: Connection,
        cx: &Context,
        node: NodeId,
        op: &ops::Setlk,
    ) -> Parked {
        Parked {
            unique: cx.unique.0,
            node: node.0,
            fh: op.fh.0,
            owner: op.owner.0,
            start: op.lk.start,
            end: op.lk.end,
            device: connection.device().number(),
            typ: op.lk.typ,
            lock_pid: op.lk.pid,
            lock_flags: op.lk_flags.bits(),
            uid: cx.uid,
            gid: cx.gid,
            pid: cx.pid,
            interrupted: 0,
            result: 0,
        }
    }

    pub(super) fn unique(&self) -> Unique {
        Unique(self.unique)
    }

    pub(super) fn connection(&self) -> Connection {
        Connection::new(Fd::from_number(self.device))
    }

    pub(super) fn cx(&self) -> Context {
        Context { unique: self.unique(), uid: self.uid, gid: self.gid, pid: self.pid }
    }

    pub(super) fn node(&self) -> NodeId {
        NodeId(self.node)
    }

    pub(super) fn op(&self) -> ops::Setlk {
        let lk = FileLock { start: self.start, end: self.end, typ: self.typ, pid: self.lock_pid };
        ops::Setlk {
            fh: FileHandle(self.fh),
            owner: LockOwner(self.owner),
            lk,
            lk_flags: LockFlags::from_bits_retain(self.lock_flags),
        }
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted != 0
    }

    pub(super) fn result(&self) -> Option<Result<(), Errno>> {
        match self.result {
            0 => None,
            1 => Some(Ok(())),
            error => Some(Err(Errno::from_raw((-error) as i32))),
        }
    }
}

/// All waiting locks of an arena, and the INTERRUPTs that came before their requests.
pub(super) struct Parking {
    table: Table<Parked>,
    early: &'static [AtomicU64],
}

impl Parking {
    pub(super) fn new(arena: &Arena) -> Result<Parking, ArenaError> {
        let table = Table::new(arena, "parked", MAX_WAITING, 1)?;
        // The last word says where the next one goes.
        let early = arena.words("early", 1, MAX_EARLY + 1)?;
        Ok(Parking { table, early })
    }

    pub(super) fn insert(&self, parked: &Parked) -> Option<u64> {
        self.table.insert(parked)
    }

    pub(super) fn get(&self, id: u64) -> Option<Parked> {
        self.table.get(id)
    }

    pub(super) fn remove(&self, id: u64) {
        self.table.remove(id);
    }

    pub(super) fn all(&self) -> Vec<(u64, Parked)> {
        self.table.iter().collect()
    }

    pub(super) fn interrupt(&self, id: u64) {
        self.table.update(id, |parked| parked.interrupted = 1);
    }

    /// The same request came again: the answer goes where it came from.
    pub(super) fn resent(&self, id: u64, connection: Connection, unique: Unique) {
        self.table.update(id, |parked| {
            parked.unique = unique.0;
            parked.device = connection.device().number();
        });
    }

    /// All wait on this device: those that they came from are gone.
    pub(super) fn move_to(&self, connection: Connection) {
        for (id, _) in self.all() {
            self.table.update(id, |parked| parked.device = connection.device().number());
        }
    }

    pub(super) fn note_result(&self, id: u64, result: Result<(), Errno>) {
        self.table.update(id, |parked| {
            parked.result = match result {
                Ok(()) => 1,
                Err(errno) => -(errno as i64),
            };
        });
    }

    pub(super) fn note_early(&self, unique: Unique) {
        let next = self.early[MAX_EARLY].fetch_add(1, Ordering::AcqRel) as usize;
        self.early[next % MAX_EARLY].store(unique.0, Ordering::Release);
    }

    pub(super) fn was_early(&self, unique: Unique) -> bool {
        self.early[..MAX_EARLY].iter().any(|early| early.load(Ordering::Acquire) == unique.0)
    }
}

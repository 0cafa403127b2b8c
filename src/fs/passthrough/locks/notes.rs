//! The notes of locks in the arena: a record for each owner on each inode.
//!
//! The kernel keeps the locks themselves, as the owners' lower files stay open whoever dies. What
//! would be lost is which file is whose, and what it is for. An owner with many ranges has
//! further records, each with the number of its first one and a version. A change writes new
//! further records and then replaces the first, which names their version: at any moment the
//! notes are either the old or the new ones. Further records of another version, or of a first one
//! that is gone, are what a dead worker has left: a takeover removes them.
//!
//! A request that was not finished is carried out again, for the same owner on the same file, and
//! is noted then. Notes of what it did before are not needed.
//!
//! Descriptors go as `recovery::fds` says. To let go of one: unmark, close, remove the record. A
//! record whose descriptor is not marked as its own any more is one that a worker died over.

use std::collections::HashMap;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::owners::{Key, Owner, Range};
use super::step;
use crate::Errno;
use crate::fs::Result;
use crate::recovery::arena::{Arena, ArenaError};
use crate::recovery::fds::{Fds, Kind};
use crate::recovery::table::Table;
use crate::sys::{Fd, OpFd, lock};
use crate::wire::{FileHandle, LockOwner, NodeId};

/// Records, of all owners together. Without a free one nobody gets a first lock (ENOLCK).
const RECORDS: u32 = 1 << 16;
/// Ranges in one record: more than most programs ever hold.
pub(super) const INLINE: usize = 12;

/// One owner's locks on one inode, or more of them. Part of the arena's format.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct LockRecord {
    node: u64,
    owner: u64,
    /// The open file of the owner's first lock.
    fh: u64,
    /// 0, or the id of the first record of which this is a further one.
    first: u64,
    /// The owner's lower file.
    fd: i32,
    pid: u32,
    /// Further records belong to the first when it has the same.
    version: u32,
    /// How many further records there are.
    further: u32,
    /// 1: the owner holds more than is noted.
    incomplete: u32,
    /// How many ranges are in use.
    count: u32,
    /// Start, end, kind.
    ranges: [[u64; 3]; INLINE],
}

impl LockRecord {
    fn new(key: Key, owner: &Owner, ranges: &[Range]) -> LockRecord {
        let mut words = [[0; 3]; INLINE];
        for (words, range) in words.iter_mut().zip(ranges) {
            *words = [range.start, range.end, u64::from(range.kind)];
        }
        LockRecord {
            node: key.0.0,
            owner: key.1.0,
            fh: owner.fh.0,
            first: 0,
            fd: owner.fd.number(),
            pid: owner.pid,
            version: owner.version,
            further: owner.further.len() as u32,
            incomplete: u32::from(owner.incomplete),
            count: ranges.len().min(INLINE) as u32,
            ranges: words,
        }
    }

    fn key(&self) -> Key {
        (NodeId(self.node), LockOwner(self.owner))
    }

    fn ranges(&self) -> impl Iterator<Item = Range> {
        let used = self.ranges.iter().take(self.count as usize);
        used.map(|[start, end, kind]| Range { start: *start, end: *end, kind: *kind as u32 })
    }

    /// The owner that a worker has left, with the ranges of this record.
    fn owner(&self, id: u64) -> Owner {
        Owner {
            record: id,
            fd: Fd::from_number(self.fd),
            fh: FileHandle(self.fh),
            pid: self.pid,
            ranges: self.ranges().collect(),
            waiting: 0,
            further: Vec::new(),
            version: self.version,
            incomplete: self.incomplete != 0,
        }
    }
}

/// The records of one arena.
pub(super) struct Notes {
    pub(super) table: Table<LockRecord>,
    fds: Fds,
}

impl Notes {
    pub(super) fn new(arena: &Arena) -> std::result::Result<Notes, ArenaError> {
        Ok(Notes { table: Table::new(arena, "locks", RECORDS, 1)?, fds: arena.fds() })
    }

    /// A new owner, whose lower file is `fd`.
    pub(super) fn create(&self, key: Key, fd: OpFd, fh: FileHandle, pid: u32) -> Result<Owner> {
        let reserved = self.table.reserve().ok_or(Errno::ENOLCK)?;
        let (id, index) = (reserved.id(), reserved.id() as u32);
        if self.fds.begin(fd.get(), Kind::Lock, index).is_err() {
            self.table.give_back(reserved);
            return Err(Errno::ENOLCK);
        }
        let fd = fd.keep();
        step();
        let owner = Owner {
            record: id,
            fd,
            fh,
            pid,
            ranges: Vec::new(),
            waiting: 0,
            further: Vec::new(),
            version: 0,
            incomplete: false,
        };
        self.table.publish(reserved, &LockRecord::new(key, &owner, &[]));
        step();
        self.fds.keep(fd, Kind::Lock, index);
        step();
        Ok(owner)
    }

    /// Notes the owner's ranges, all of them or none.
    pub(super) fn write(&self, key: Key, owner: &mut Owner) {
        let (inline, rest) = owner.ranges.split_at(owner.ranges.len().min(INLINE));
        let version = owner.version.wrapping_add(1);
        let insert = |ranges: &[Range]| {
            let more = LockRecord::new(key, owner, ranges);
            let id = self.table.insert(&LockRecord { first: owner.record, version, ..more });
            step();
            id
        };
        let further: Vec<u64> = rest.chunks(INLINE).map_while(insert).collect();
        let full = further.len() * INLINE < rest.len();
        let first = LockRecord {
            version,
            further: further.len() as u32,
            incomplete: u32::from(owner.incomplete || full),
            ..LockRecord::new(key, owner, inline)
        };
        self.table.put(owner.record, &first);
        step();
        owner.version = version;
        self.remove(std::mem::replace(&mut owner.further, further));
    }

    fn remove(&self, records: Vec<u64>) {
        for id in records {
            self.table.remove(id);
            step();
        }
    }

    /// Lets go of an owner and closes its file.
    pub(super) fn let_go(&self, owner: Owner) {
        self.fds.close_if(owner.fd, Kind::Lock, owner.record as u32);
        step();
        self.table.remove(owner.record);
        step();
        self.remove(owner.further);
    }

    /// Stored: opens each owner's file anew and takes its locks.
    pub(super) fn revive(&self, open: impl Fn(NodeId) -> Option<OpFd>) {
        let records: Vec<(u64, LockRecord)> = self.table.iter().collect();
        let mut files = HashMap::new();
        for (id, record) in records.iter().filter(|(_, record)| record.first == 0) {
            let Some(fd) = open(NodeId(record.node)) else { continue };
            let index = *id as u32;
            if self.fds.begin(fd.get(), Kind::Lock, index).is_err() {
                continue;
            }
            let fd = fd.keep();
            self.table.update(*id, |record| record.fd = fd.number());
            self.fds.keep(fd, Kind::Lock, index);
            files.insert(*id, fd);
        }
        for (id, record) in &records {
            let owner = if record.first == 0 { *id } else { record.first };
            let Some(fd) = files.get(&owner) else { continue };
            for range in record.ranges() {
                if let Err(errno) = lock::set(*fd, range.kind, range.start, range.end, false) {
                    tracing::warn!("a lock on node {} is lost: {}", record.node, errno.desc());
                }
            }
        }
    }

    /// Whether record `index` holds `fd`.
    pub(super) fn holds(&self, index: u32, fd: Fd) -> bool {
        let record = self.table.at(index);
        record.is_some_and(|(_, record)| record.first == 0 && record.fd == fd.number())
    }

    /// Takeover: the owners that dead workers have left. What they had half written is removed.
    /// A damaged record is not there any more: its file stays open, and locked.
    pub(super) fn owners(&self) -> impl Iterator<Item = (Key, Owner)> {
        let mut owners = HashMap::new();
        let mut rest = Vec::new();
        for (id, record) in self.table.iter() {
            if record.first != 0 {
                rest.push((id, record));
            } else if self.fds.belongs(Fd::from_number(record.fd), Kind::Lock, id as u32) {
                owners.insert(id, (record, record.owner(id)));
            } else {
                self.remove(vec![id]);
            }
        }
        for (id, record) in rest {
            match owners.get_mut(&record.first) {
                Some((first, owner)) if first.version == record.version => {
                    owner.ranges.extend(record.ranges());
                    owner.further.push(id);
                }
                _ => self.remove(vec![id]),
            }
        }
        owners.into_values().map(|(first, mut owner)| {
            // A damaged record among them is missing.
            owner.incomplete |= owner.further.len() < first.further as usize;
            (first.key(), owner)
        })
    }
}

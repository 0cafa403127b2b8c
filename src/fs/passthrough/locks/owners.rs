//! Who holds which ranges, and who waits for them.
//!
//! The kernel has the locks. The ranges are noted here to say who holds one, to see a circle of
//! waiting owners (EDEADLK), which OFD locks alone would not, and to know when an owner's lower
//! file can be closed. Private memory; an owner's part of it is in the arena as well (`notes`).

use std::collections::HashMap;

use super::{UNLOCK, WRITE};
use crate::sys::Fd;
use crate::wire::ops::FileLock;
use crate::wire::{FileHandle, LockOwner, NodeId};

/// The last byte that a lock can be on.
const LAST: u64 = i64::MAX as u64;

/// One owner's locks on one inode are found by these.
pub(super) type Key = (NodeId, LockOwner);

/// A locked range: bytes `start` to `end`, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Range {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) kind: u32,
}

impl Range {
    /// No lock on the whole file.
    pub(super) const NOTHING: Range = Range { start: 0, end: u64::MAX, kind: UNLOCK };

    pub(super) fn of(lk: &FileLock) -> Range {
        Range { start: lk.start, end: lk.end, kind: lk.typ }
    }

    pub(super) fn conflicts(&self, other: &Range) -> bool {
        self.start <= other.end
            && other.start <= self.end
            && (self.kind == WRITE || other.kind == WRITE)
    }
}

/// One owner's locks on one inode.
pub(super) struct Owner {
    /// Its first record in the arena.
    pub(super) record: u64,
    /// Its lower file.
    pub(super) fd: Fd,
    /// The open file of its first lock.
    pub(super) fh: FileHandle,
    pub(super) pid: u32,
    pub(super) ranges: Vec<Range>,
    /// Threads that wait for a lock on `fd`: it stays open.
    pub(super) waiting: u32,
    /// Further records, and the version that they have.
    pub(super) further: Vec<u64>,
    pub(super) version: u32,
    /// It holds more than `ranges` says, because a record was lost in a takeover: `fd` stays
    /// open until everything is unlocked.
    pub(super) incomplete: bool,
}

impl Owner {
    /// Puts `range` over what the owner had there.
    pub(super) fn note(&mut self, range: Range) {
        let mut ranges = Vec::with_capacity(self.ranges.len() + 2);
        for old in self.ranges.drain(..) {
            if old.end < range.start || range.end < old.start {
                ranges.push(old);
                continue;
            }
            if old.start < range.start {
                ranges.push(Range { end: range.start - 1, ..old });
            }
            if range.end < old.end {
                ranges.push(Range { start: range.end + 1, ..old });
            }
        }
        if range.kind != UNLOCK {
            ranges.push(range);
        }
        self.ranges = ranges;
        self.incomplete &= range.kind != UNLOCK || range.start > 0 || range.end < LAST;
    }

    pub(super) fn is_idle(&self) -> bool {
        self.ranges.is_empty() && self.waiting == 0 && !self.incomplete
    }
}

/// All owners.
#[derive(Default)]
pub(super) struct Inner {
    /// No node is in here without an owner.
    pub(super) nodes: HashMap<NodeId, HashMap<LockOwner, Owner>>,
    /// What blocked owners wait for.
    pub(super) wishes: HashMap<LockOwner, (NodeId, Range)>,
}

impl Inner {
    pub(super) fn get(&self, (node, owner): Key) -> Option<&Owner> {
        self.nodes.get(&node)?.get(&owner)
    }

    pub(super) fn get_mut(&mut self, (node, owner): Key) -> Option<&mut Owner> {
        self.nodes.get_mut(&node)?.get_mut(&owner)
    }

    pub(super) fn insert(&mut self, (node, owner): Key, state: Owner) {
        self.nodes.entry(node).or_default().insert(owner, state);
    }

    pub(super) fn remove(&mut self, (node, owner): Key) -> Option<Owner> {
        let owners = self.nodes.get_mut(&node)?;
        let removed = owners.remove(&owner);
        if owners.is_empty() {
            self.nodes.remove(&node);
        }
        removed
    }

    /// The owners of locks on `node`.
    pub(super) fn owners(&self, node: NodeId) -> impl Iterator<Item = (&LockOwner, &Owner)> {
        self.nodes.get(&node).into_iter().flatten()
    }

    /// The owners that hold `wish` up.
    pub(super) fn holders(&self, node: NodeId, me: LockOwner, wish: &Range) -> Vec<LockOwner> {
        let held = self.owners(node).filter(|(owner, state)| {
            **owner != me && state.ranges.iter().any(|range| range.conflicts(wish))
        });
        held.map(|(owner, _)| *owner).collect()
    }

    /// Whether waiting for `wish` would close a circle.
    pub(super) fn closes_circle(&self, node: NodeId, me: LockOwner, wish: &Range) -> bool {
        let mut next = self.holders(node, me, wish);
        let mut seen = Vec::new();
        while let Some(owner) = next.pop() {
            if owner == me {
                return true;
            }
            if !seen.contains(&owner) {
                seen.push(owner);
                if let Some((node, wish)) = self.wishes.get(&owner) {
                    next.extend(self.holders(*node, owner, wish));
                }
            }
        }
        false
    }
}

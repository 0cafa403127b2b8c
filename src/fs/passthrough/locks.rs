//! Locks, taken on the lower file, so that programs beside the mount see them.
//!
//! flock(2) is taken on the open's own lower file and goes with it.
//!
//! A POSIX or OFD lock belongs to an owner that the kernel names by a number: a process (its
//! locks go with any close: FLUSH) or an open file (its locks go with the last close:
//! RELEASE). Each owner gets a lower file of its own for each inode and takes OFD locks on
//! it, which conflict as the owners do. The ranges are noted here too: to say who holds a lock,
//! and to see a circle of waiting owners (EDEADLK), which OFD locks alone would not.

use std::collections::HashMap;
use std::sync::Mutex;

use super::Passthrough;
use super::nodes::NodeFd;
use crate::Errno;
use crate::fs::Result;
use crate::sys::{Fd, file, lock};
use crate::wire::flags::LockFlags;
use crate::wire::ops::{self, FileLock};
use crate::wire::{FileHandle, LockOwner, NodeId};

const READ: u32 = libc::F_RDLCK as u32;
const WRITE: u32 = libc::F_WRLCK as u32;
const UNLOCK: u32 = libc::F_UNLCK as u32;

/// A locked range: bytes `start` to `end`, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Range {
    start: u64,
    end: u64,
    kind: u32,
}

impl Range {
    fn of(lk: &FileLock) -> Range {
        Range { start: lk.start, end: lk.end, kind: lk.typ }
    }

    fn conflicts(&self, other: &Range) -> bool {
        self.start <= other.end
            && other.start <= self.end
            && (self.kind == WRITE || other.kind == WRITE)
    }
}

/// One owner's locks on one inode.
struct Owner {
    fd: Fd,
    /// The open file of its first lock.
    fh: FileHandle,
    pid: u32,
    ranges: Vec<Range>,
    /// Threads that wait for a lock on `fd`: it stays open.
    waiting: u32,
}

#[derive(Default)]
struct Inner {
    owners: HashMap<(NodeId, LockOwner), Owner>,
    /// What blocked owners wait for.
    wishes: HashMap<LockOwner, (NodeId, Range)>,
}

#[derive(Default)]
pub(super) struct Locks {
    inner: Mutex<Inner>,
}

impl Inner {
    /// Puts `range` over what the owner had there.
    fn note(&mut self, key: (NodeId, LockOwner), range: Range) {
        let Some(owner) = self.owners.get_mut(&key) else { return };
        let mut ranges = Vec::with_capacity(owner.ranges.len() + 2);
        for old in owner.ranges.drain(..) {
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
        owner.ranges = ranges;
        self.drop_if_idle(key);
    }

    fn drop_if_idle(&mut self, key: (NodeId, LockOwner)) {
        if self.owners.get(&key).is_some_and(|o| o.ranges.is_empty() && o.waiting == 0)
            && let Some(owner) = self.owners.remove(&key)
        {
            owner.fd.close();
        }
    }

    /// The owners that hold `wish` up.
    fn holders(&self, node: NodeId, me: LockOwner, wish: &Range) -> Vec<LockOwner> {
        let held = self.owners.iter().filter(|((at, owner), state)| {
            *at == node && *owner != me && state.ranges.iter().any(|range| range.conflicts(wish))
        });
        held.map(|((_, owner), _)| *owner).collect()
    }

    /// Whether waiting for `wish` would close a circle.
    fn closes_circle(&self, node: NodeId, me: LockOwner, wish: &Range) -> bool {
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

    fn unlock_all(&mut self, key: (NodeId, LockOwner)) {
        if let Some(owner) = self.owners.get(&key) {
            let _ = lock::set(owner.fd, UNLOCK, 0, i64::MAX as u64, false);
            self.note(key, Range { start: 0, end: u64::MAX, kind: UNLOCK });
        }
    }
}

impl Passthrough {
    pub(super) fn set_lock(&self, node: NodeId, op: &ops::Setlk) -> Result<()> {
        if op.lk_flags.contains(LockFlags::FUSE_LK_FLOCK) {
            return self.flock(op, libc::LOCK_NB);
        }
        let (key, range) = ((node, op.owner), Range::of(&op.lk));
        let mut inner = self.locks.inner.lock().unwrap();
        if range.kind == UNLOCK && !inner.owners.contains_key(&key) {
            return Ok(());
        }
        let fd = self.owner_fd(&mut inner, key, op)?;
        let result = lock::set(fd, range.kind, range.start, range.end, false);
        match result {
            Ok(()) => inner.note(key, range),
            Err(_) => inner.drop_if_idle(key),
        }
        result.map_err(|error| if error == Errno::EACCES { Errno::EAGAIN } else { error })
    }

    pub(super) fn wait_for_lock(&self, node: NodeId, op: &ops::Setlk) -> Result<()> {
        if op.lk_flags.contains(LockFlags::FUSE_LK_FLOCK) {
            return self.flock(op, 0);
        }
        let (key, range) = ((node, op.owner), Range::of(&op.lk));
        let fd = {
            let mut inner = self.locks.inner.lock().unwrap();
            if inner.closes_circle(node, op.owner, &range) {
                return Err(Errno::EDEADLK);
            }
            let fd = self.owner_fd(&mut inner, key, op)?;
            inner.wishes.insert(op.owner, (node, range));
            if let Some(owner) = inner.owners.get_mut(&key) {
                owner.waiting += 1;
            }
            fd
        };
        let result = lock::set(fd, range.kind, range.start, range.end, true);
        let mut inner = self.locks.inner.lock().unwrap();
        inner.wishes.remove(&op.owner);
        if let Some(owner) = inner.owners.get_mut(&key) {
            owner.waiting -= 1;
        }
        match result {
            Ok(()) => inner.note(key, range),
            Err(_) => inner.drop_if_idle(key),
        }
        result
    }

    /// The owner's lower file, opened with its first lock.
    fn owner_fd(&self, inner: &mut Inner, key: (NodeId, LockOwner), op: &ops::Setlk) -> Result<Fd> {
        if let Some(owner) = inner.owners.get(&key) {
            return Ok(owner.fd);
        }
        let fd = self.lock_file(key.0)?;
        let (fh, pid) = (op.fh, op.lk.pid);
        inner.owners.insert(key, Owner { fd, fh, pid, ranges: Vec::new(), waiting: 0 });
        Ok(fd)
    }

    /// A write lock wants a file open for writing. Where that cannot be had, the caller has not
    /// got one either, and read locks are all it may ask for.
    fn lock_file(&self, node: NodeId) -> Result<Fd> {
        let inode = self.nodes.fd(node)?;
        let open = |flags| file::reopen(inode.get(), flags | libc::O_NONBLOCK);
        let fd = open(libc::O_RDWR).or_else(|_| open(libc::O_RDONLY));
        fd.map(|fd| fd.keep()).map_err(|error| match error {
            Errno::EMFILE | Errno::ENFILE => Errno::ENOLCK,
            error => error,
        })
    }

    fn flock(&self, op: &ops::Setlk, how: i32) -> Result<()> {
        let operation = match op.lk.typ {
            READ => libc::LOCK_SH,
            WRITE => libc::LOCK_EX,
            UNLOCK => libc::LOCK_UN,
            _ => return Err(Errno::EINVAL),
        };
        lock::flock(self.handles.fd(op.fh)?, operation | how)
    }

    pub(super) fn test_lock(&self, node: NodeId, op: &ops::Getlk) -> Result<FileLock> {
        let wish = Range::of(&op.lk);
        let inner = self.locks.inner.lock().unwrap();
        let own = inner.owners.get(&(node, op.owner)).map(|owner| NodeFd::Borrowed(owner.fd));
        let fd = match own {
            Some(fd) => fd,
            None => NodeFd::Opened(crate::sys::OpFd::new(self.lock_file(node)?)),
        };
        let Some((typ, start, end)) = lock::get(fd.get(), wish.kind, wish.start, wish.end)? else {
            return Ok(FileLock { typ: UNLOCK, ..op.lk });
        };
        let holder = inner.owners.iter().find(|((at, owner), state)| {
            let holds =
                |range: &Range| range.kind == typ && range.start <= end && start <= range.end;
            *at == node && *owner != op.owner && state.ranges.iter().any(holds)
        });
        // A holder beside the mount has no pid that could be told: OFD locks have none.
        let pid = holder.map_or(0, |(_, owner)| owner.pid);
        Ok(FileLock { start, end, typ, pid })
    }

    /// FLUSH: a process closed the file; its POSIX locks on the inode are gone.
    pub(super) fn drop_owner(&self, node: NodeId, owner: LockOwner) {
        self.locks.inner.lock().unwrap().unlock_all((node, owner));
    }

    /// RELEASE: locks that belong to the open file are gone with it.
    pub(super) fn drop_locks_of(&self, node: NodeId, fh: FileHandle) {
        let mut inner = self.locks.inner.lock().unwrap();
        if inner.owners.is_empty() {
            return;
        }
        let of_file = |(key, owner): (&(NodeId, LockOwner), &Owner)| {
            (key.0 == node && owner.fh == fh).then_some(*key)
        };
        let keys: Vec<_> = inner.owners.iter().filter_map(of_file).collect();
        keys.into_iter().for_each(|key| inner.unlock_all(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(1);
    const A: LockOwner = LockOwner(10);
    const B: LockOwner = LockOwner(20);
    const C: LockOwner = LockOwner(30);

    fn with_owners(owners: &[LockOwner]) -> Inner {
        let mut inner = Inner::default();
        for owner in owners {
            let state =
                Owner { fd: Fd::NONE, fh: FileHandle(1), pid: 1, ranges: Vec::new(), waiting: 1 };
            inner.owners.insert((NODE, *owner), state);
        }
        inner
    }

    fn write(start: u64, end: u64) -> Range {
        Range { start, end, kind: WRITE }
    }

    #[test]
    fn an_unlock_in_the_middle_leaves_both_ends() {
        let mut inner = with_owners(&[A]);
        inner.note((NODE, A), write(0, 99));
        inner.note((NODE, A), Range { start: 40, end: 59, kind: UNLOCK });
        assert_eq!(inner.owners[&(NODE, A)].ranges, [write(0, 39), write(60, 99)]);
        inner.note((NODE, A), Range { start: 30, end: 70, kind: READ });
        let read = Range { start: 30, end: 70, kind: READ };
        assert_eq!(inner.owners[&(NODE, A)].ranges, [write(0, 29), write(71, 99), read]);
    }

    #[test]
    fn a_circle_of_three_is_seen() {
        let mut inner = with_owners(&[A, B, C]);
        inner.note((NODE, A), write(0, 0));
        inner.note((NODE, B), write(1, 1));
        inner.note((NODE, C), write(2, 2));
        inner.wishes.insert(A, (NODE, write(1, 1)));
        assert!(!inner.closes_circle(NODE, B, &write(2, 2)), "B waits for C, who runs");
        inner.wishes.insert(B, (NODE, write(2, 2)));
        assert!(inner.closes_circle(NODE, C, &write(0, 0)));
        assert!(!inner.closes_circle(NODE, C, &write(3, 3)), "nobody holds that");
    }

    #[test]
    fn readers_do_not_hold_readers_up() {
        let mut inner = with_owners(&[A]);
        let read = Range { start: 0, end: 9, kind: READ };
        inner.note((NODE, A), read);
        assert!(inner.holders(NODE, B, &read).is_empty());
        assert_eq!(inner.holders(NODE, B, &write(9, 9)), [A]);
    }
}

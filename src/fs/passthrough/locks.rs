//! Locks, taken on the lower file, so that programs beside the mount see them.
//!
//! flock(2) is taken on the open's own lower file and goes with it.
//!
//! A POSIX or OFD lock belongs to an owner that the kernel names by a number: a process (its
//! locks go with any close: FLUSH) or an open file (its locks go with the last close:
//! RELEASE). Each owner gets a lower file of its own for each inode and takes OFD locks on
//! it, which conflict as the owners do. What they hold is noted in `owners` too.
//!
//! The lower files outlive a worker, and so do the kernel's locks on them. The owners are written
//! through to the arena (`notes`) behind the system call; a request that was not finished is
//! carried out again, for the same owner. What waits is not noted: it is started again.

mod notes;
mod owners;

use std::sync::{Mutex, MutexGuard};

use self::notes::Notes;
use self::owners::{Inner, Key, Owner, Range};
use super::Passthrough;
use super::nodes::NodeFd;
use crate::Errno;
use crate::fs::Result;
use crate::recovery::arena::{Arena, ArenaError};
use crate::recovery::points::called;
use crate::sys::{Fd, OpFd, file, lock};
use crate::wire::flags::LockFlags;
use crate::wire::ops::{self, FileLock};
use crate::wire::{FileHandle, LockOwner, NodeId};

const READ: u32 = libc::F_RDLCK as u32;
const WRITE: u32 = libc::F_WRLCK as u32;
const UNLOCK: u32 = libc::F_UNLCK as u32;

/// Where tests have a worker die.
#[cfg(not(test))]
fn step() {}
#[cfg(test)]
use self::tests::step;

/// All locks.
pub(super) struct Locks {
    inner: Mutex<Inner>,
    notes: Notes,
}

impl Locks {
    pub(super) fn new(arena: &Arena) -> std::result::Result<Locks, ArenaError> {
        Ok(Locks { inner: Mutex::default(), notes: Notes::new(arena)? })
    }

    /// Takeover, before any request: takes over what dead workers have left.
    pub(super) fn takeover(&self) {
        let mut inner = self.lock();
        for (key, owner) in self.notes.owners() {
            if owner.is_idle() {
                // What its request has done besides goes with the file; it is done again.
                self.notes.let_go(owner);
            } else {
                inner.insert(key, owner);
            }
        }
    }

    /// Stored: takes every lock again, on files that `open` opens anew. A lock that somebody else
    /// has taken meanwhile is lost.
    pub(super) fn revive(&self, open: impl Fn(NodeId) -> Option<OpFd>) {
        self.notes.revive(open);
    }

    /// Takeover: whether record `index` holds `fd`.
    pub(super) fn holds(&self, index: u32, fd: Fd) -> bool {
        self.notes.holds(index, fd)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Notes what the kernel has done, here and in the arena.
    fn note(&self, inner: &mut Inner, key: Key, range: Range) {
        let Some(owner) = inner.get_mut(key) else { return };
        owner.note(range);
        if owner.is_idle() {
            self.drop_if_idle(inner, key);
        } else {
            self.notes.write(key, owner);
        }
    }

    fn drop_if_idle(&self, inner: &mut Inner, key: Key) {
        if inner.get(key).is_some_and(Owner::is_idle)
            && let Some(owner) = inner.remove(key)
        {
            self.notes.let_go(owner);
        }
    }

    /// The owner's lower file, which `open` opens for its first lock.
    fn owner_fd(
        &self,
        inner: &mut Inner,
        key: Key,
        op: &ops::Setlk,
        open: impl FnOnce() -> Result<OpFd>,
    ) -> Result<Fd> {
        if let Some(owner) = inner.get(key) {
            return Ok(owner.fd);
        }
        let owner = self.notes.create(key, open()?, op.fh, op.lk.pid)?;
        let fd = owner.fd;
        inner.insert(key, owner);
        Ok(fd)
    }

    /// SETLK.
    fn set(
        &self,
        node: NodeId,
        op: &ops::Setlk,
        open: impl FnOnce() -> Result<OpFd>,
    ) -> Result<()> {
        let (key, range) = ((node, op.owner), Range::of(&op.lk));
        let mut inner = self.lock();
        if range.kind == UNLOCK && inner.get(key).is_none() {
            return Ok(());
        }
        let fd = self.owner_fd(&mut inner, key, op, open)?;
        let result = called(lock::set(fd, range.kind, range.start, range.end, false));
        step();
        match result {
            Ok(()) => self.note(&mut inner, key, range),
            Err(_) => self.drop_if_idle(&mut inner, key),
        }
        result.map_err(|error| if error == Errno::EACCES { Errno::EAGAIN } else { error })
    }

    /// SETLKW.
    fn wait(
        &self,
        node: NodeId,
        op: &ops::Setlk,
        open: impl FnOnce() -> Result<OpFd>,
    ) -> Result<()> {
        let (key, range) = ((node, op.owner), Range::of(&op.lk));
        let fd = {
            let mut inner = self.lock();
            if inner.closes_circle(node, op.owner, &range) {
                return Err(Errno::EDEADLK);
            }
            let fd = self.owner_fd(&mut inner, key, op, open)?;
            inner.wishes.insert(op.owner, (node, range));
            if let Some(owner) = inner.get_mut(key) {
                owner.waiting += 1;
            }
            fd
        };
        let result = called(lock::set(fd, range.kind, range.start, range.end, true));
        step();
        let mut inner = self.lock();
        inner.wishes.remove(&op.owner);
        if let Some(owner) = inner.get_mut(key) {
            owner.waiting -= 1;
        }
        match result {
            Ok(()) => self.note(&mut inner, key, range),
            Err(_) => self.drop_if_idle(&mut inner, key),
        }
        result
    }

    fn unlock_all(&self, inner: &mut Inner, key: Key) {
        if let Some(owner) = inner.get(key) {
            let Range { start, end, kind } = Range::NOTHING;
            let _ = called(lock::set(owner.fd, kind, start, end, false));
            step();
            self.note(inner, key, Range::NOTHING);
        }
    }

    /// All locks of the owner on the inode are gone.
    fn drop_owner(&self, key: Key) {
        self.unlock_all(&mut self.lock(), key);
    }

    /// The locks of owners whose first lock came through the open file are gone.
    fn drop_opened(&self, node: NodeId, fh: FileHandle) {
        let mut inner = self.lock();
        let of_file = inner.owners(node).filter(|(_, owner)| owner.fh == fh);
        let keys: Vec<Key> = of_file.map(|(owner, _)| (node, *owner)).collect();
        keys.into_iter().for_each(|key| self.unlock_all(&mut inner, key));
    }
}

impl Passthrough {
    pub(super) fn set_lock(&self, node: NodeId, op: &ops::Setlk) -> Result<()> {
        if op.lk_flags.contains(LockFlags::FUSE_LK_FLOCK) {
            return self.flock(op, libc::LOCK_NB);
        }
        self.locks.set(node, op, || self.lock_file(node))
    }

    pub(super) fn wait_for_lock(&self, node: NodeId, op: &ops::Setlk) -> Result<()> {
        if op.lk_flags.contains(LockFlags::FUSE_LK_FLOCK) {
            return self.flock(op, 0);
        }
        self.locks.wait(node, op, || self.lock_file(node))
    }

    /// A write lock wants a file open for writing. Where that cannot be had, the caller has not
    /// got one either, and read locks are all it may ask for.
    fn lock_file(&self, node: NodeId) -> Result<OpFd> {
        let inode = self.nodes.fd(node)?;
        let open = |flags| file::reopen(inode.get(), flags | libc::O_NONBLOCK);
        open(libc::O_RDWR).or_else(|_| open(libc::O_RDONLY)).map_err(|error| match error {
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
        called(lock::flock(self.handles.fd(op.fh)?, operation | how))
    }

    pub(super) fn test_lock(&self, node: NodeId, op: &ops::Getlk) -> Result<FileLock> {
        let wish = Range::of(&op.lk);
        let inner = self.locks.lock();
        let own = inner.get((node, op.owner)).map(|owner| NodeFd::Borrowed(owner.fd));
        let fd = match own {
            Some(fd) => fd,
            None => NodeFd::Opened(self.lock_file(node)?),
        };
        let Some((typ, start, end)) = lock::get(fd.get(), wish.kind, wish.start, wish.end)? else {
            return Ok(FileLock { typ: UNLOCK, ..op.lk });
        };
        let holder = inner.owners(node).find(|(owner, state)| {
            let holds =
                |range: &Range| range.kind == typ && range.start <= end && start <= range.end;
            **owner != op.owner && state.ranges.iter().any(holds)
        });
        // A holder beside the mount has no pid that could be told: OFD locks have none.
        let pid = holder.map_or(0, |(_, owner)| owner.pid);
        Ok(FileLock { start, end, typ, pid })
    }

    /// FLUSH: a process closed the file; its POSIX locks on the inode are gone.
    pub(super) fn drop_owner(&self, node: NodeId, owner: LockOwner) {
        self.locks.drop_owner((node, owner));
    }

    /// RELEASE: locks that belong to the open file are gone with it.
    pub(super) fn drop_locks_of(&self, node: NodeId, fh: FileHandle) {
        self.locks.drop_opened(node, fh);
    }
}

#[cfg(test)]
mod tests;

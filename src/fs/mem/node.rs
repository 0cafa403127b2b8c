//! A node as a request sees it: its record, with its cache locked.

use std::ops::{Deref, DerefMut};
use std::sync::{RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use super::cache::Cache;
use super::data::{Data, PAGE};
use super::dir::Dir;
use super::record::{INLINE, NodeRecord};
use super::space::Space;
use super::store::{Held, Store};
use crate::Errno;
use crate::fs::Result;
use crate::sys::file;
use crate::wire::{Attr, StatxReply};

/// What a directory's size is; nothing depends on it.
const DIR_SIZE: u64 = PAGE;

/// A copy of the node's record and its cache. A change of the copy counts when it is
/// [saved](Inode::save).
pub(super) struct Inode<G> {
    pub(super) id: u64,
    pub(super) record: NodeRecord,
    pub(super) cache: G,
}

pub(super) type Shared<'a> = Inode<RwLockReadGuard<'a, Cache>>;
pub(super) type Exclusive<'a> = Inode<RwLockWriteGuard<'a, Cache>>;

/// What a request for the data of a node that is no file answers.
fn no_data(record: &NodeRecord) -> Errno {
    if record.is_dir() { Errno::EISDIR } else { Errno::EINVAL }
}

impl<G: Deref<Target = Cache>> Inode<G> {
    pub(super) fn dir(&self) -> Result<&Dir> {
        match &*self.cache {
            Cache::Dir(dir) => Ok(dir),
            _ => Err(Errno::ENOTDIR),
        }
    }

    pub(super) fn data(&self) -> Result<&Data> {
        match &*self.cache {
            Cache::File(data) => Ok(data),
            _ => Err(no_data(&self.record)),
        }
    }

    pub(super) fn attr(&self) -> Attr {
        attr(self.id, &self.record, &self.cache)
    }

    pub(super) fn statx(&self, valid: Duration) -> StatxReply {
        StatxReply {
            attr: self.attr(),
            valid,
            btime: self.record.btime.get(),
            mask: libc::STATX_BASIC_STATS | libc::STATX_BTIME,
            ..StatxReply::default()
        }
    }

    /// The target of a symlink into `buf`.
    pub(super) fn target(&self, buf: &mut [u8]) -> Result<usize> {
        if self.record.kind() != libc::S_IFLNK {
            return Err(Errno::EINVAL);
        }
        let length = self.record.target_length as usize;
        let room = buf.get_mut(..length).ok_or(Errno::EINVAL)?;
        match self.record.content() {
            Some(fd) => file::pread(fd, room, 0),
            None => {
                room.copy_from_slice(self.record.target.get(..length).ok_or(Errno::EIO)?);
                Ok(length)
            }
        }
    }
}

/// What stat(2) shows of a node.
pub(super) fn attr(id: u64, record: &NodeRecord, cache: &Cache) -> Attr {
    let (size, blocks) = match cache {
        Cache::File(data) => (data.size(), data.pages() * (PAGE / 512)),
        Cache::Dir(_) => (DIR_SIZE, 0),
        Cache::Other => (record.target_length, 0),
    };
    Attr {
        ino: id,
        size,
        blocks,
        atime: record.atime.get(),
        mtime: record.mtime.get(),
        ctime: record.ctime.get(),
        mode: record.mode,
        nlink: record.nlink,
        uid: record.uid,
        gid: record.gid,
        rdev: record.rdev,
        blksize: PAGE as u32,
        ..Attr::default()
    }
}

impl<G: DerefMut<Target = Cache>> Inode<G> {
    /// The file's data, to be changed; with a memfd, unless there is nothing that could be lost.
    pub(super) fn data_mut(&mut self, store: &Store) -> Result<&mut Data> {
        match &mut *self.cache {
            Cache::File(data) => {
                if !data.is_attached() {
                    let held = store.new_memfd(|fd| Held::content(self.id, fd))?;
                    self.record.set_content(held.fd);
                    if !store.nodes.put(self.id, &self.record) {
                        store.close(held);
                        return Err(Errno::ESTALE);
                    }
                    store.keep(held);
                    data.attach(held.fd);
                }
                Ok(data)
            }
            _ => Err(no_data(&self.record)),
        }
    }

    /// Cuts or grows a file; `kill` as in [`NodeRecord::drop_privileges`]. To be saved.
    pub(super) fn truncate(
        &mut self,
        store: &Store,
        space: &Space,
        size: u64,
        kill: bool,
    ) -> Result<()> {
        if size > 0 || self.data()?.is_attached() {
            self.data_mut(store)?.resize(space, size)?;
        }
        self.record.drop_privileges(kill);
        self.record.modified();
        Ok(())
    }

    /// Publishes the record.
    pub(super) fn save(&self, store: &Store) -> Result<()> {
        if store.nodes.put(self.id, &self.record) { Ok(()) } else { Err(Errno::ESTALE) }
    }
}

/// Puts a symlink's target, which is not too long for one, into the record of a new node.
pub(super) fn set_target(
    record: &mut NodeRecord,
    target: &[u8],
    new: impl FnOnce() -> Result<Held>,
) -> Result<()> {
    record.target_length = target.len() as u64;
    if target.len() <= INLINE {
        record.target[..target.len()].copy_from_slice(target);
        return Ok(());
    }
    let held = new()?;
    record.set_content(held.fd);
    match file::pwrite(held.fd, target, 0) {
        Ok(length) if length == target.len() => Ok(()),
        _ => Err(Errno::ENOSPC),
    }
}

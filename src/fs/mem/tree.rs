//! Nodes and the names in them, under one lock for the tree and one for each node.
//!
//! Whoever holds the tree's lock for writing may lock nodes one after another or one
//! inside the other, for nobody else is there. Whoever holds it for reading locks one
//! node at a time, or a directory and then a child of it. Nodes are freed under the
//! write lock only, so a node found under either lock stays. A record changes with its node's
//! lock held for writing, or with the tree's.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::batch::Batch;
use super::cache::{Cache, Caches};
use super::dir::{Dir, Found, Target};
use super::node::{Exclusive, Inode, Shared, set_target};
use super::record::{LINKABLE, NAME_MAX, NodeRecord};
use super::space::Space;
use super::store::{Held, Store};
use crate::Errno;
use crate::fs::{Context, Result};
use crate::recovery::arena::{Arena, ArenaError};
use crate::recovery::journal::{self, Change};
use crate::wire::NodeId;

/// Locks for reading. A panic elsewhere is no reason to fail here too.
pub(super) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// Locks for writing.
pub(super) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

pub(super) struct Tree {
    pub(super) store: Store,
    pub(super) caches: Caches,
    space: Space,
}

/// What a new node is to be.
pub(super) struct Plan<'a> {
    /// Type and permissions.
    pub(super) mode: u32,
    pub(super) rdev: u32,
    /// Of a symlink.
    pub(super) target: &'a [u8],
    /// Of a file without a name: it may be given one.
    pub(super) linkable: bool,
}

impl Plan<'_> {
    pub(super) fn new(mode: u32, rdev: u32) -> Plan<'static> {
        Plan { mode, rdev, target: b"", linkable: false }
    }
}

/// Refuses names that are too long.
pub(super) fn check_name(name: &[u8]) -> Result<()> {
    if name.len() > NAME_MAX { Err(Errno::ENAMETOOLONG) } else { Ok(()) }
}

impl Tree {
    /// The tree in the arena; if there is none, one with an empty root directory of the given
    /// owner, mode 0755.
    pub(super) fn new(
        arena: &Arena,
        space: Space,
        uid: u32,
        gid: u32,
    ) -> std::result::Result<Tree, ArenaError> {
        let tree = Tree { store: Store::new(arena)?, caches: Caches::new(), space };
        if tree.store.nodes.end() <= NodeId::ROOT.0 as u32 {
            let mut root = NodeRecord::new(libc::S_IFDIR | 0o755, 0, uid, gid);
            (root.nlink, root.parent) = (2, NodeId::ROOT.0);
            let made = tree.store.nodes.insert(&root);
            debug_assert_eq!(made, Some(NodeId::ROOT.0), "the first node is the root");
            tree.space.inodes().force(1);
        }
        tree.set_cache(NodeId::ROOT.0, Cache::of(libc::S_IFDIR));
        Ok(tree)
    }

    pub(super) fn space(&self) -> &Space {
        &self.space
    }

    pub(super) fn set_cache(&self, id: u64, cache: Cache) {
        if let Some(lock) = self.caches.get(id) {
            *write(lock) = cache;
        }
    }

    /// Changes what is known of a directory's names.
    pub(super) fn change_dir(&self, id: u64, change: impl FnOnce(&mut Dir)) {
        if let Some(lock) = self.caches.get(id)
            && let Cache::Dir(dir) = &mut *write(lock)
        {
            change(dir);
        }
    }

    /// The node of `id`, or ESTALE: it is gone, or its record is damaged.
    pub(super) fn inode(&self, id: NodeId) -> Result<Shared<'_>> {
        let cache = read(self.caches.get(id.0).ok_or(Errno::ESTALE)?);
        Ok(Inode { id: id.0, record: self.store.node(id.0)?, cache })
    }

    /// The same, to change it.
    pub(super) fn inode_mut(&self, id: NodeId) -> Result<Exclusive<'_>> {
        let cache = write(self.caches.get(id.0).ok_or(Errno::ESTALE)?);
        Ok(Inode { id: id.0, record: self.store.node(id.0)?, cache })
    }

    /// What `name` in `parent` stands for; ENOENT where it stands for nothing.
    pub(super) fn find(&self, parent: NodeId, name: &[u8]) -> Result<Found> {
        check_name(name)?;
        self.inode(parent)?.dir()?.get(name).ok_or(Errno::ENOENT)
    }

    /// Makes a node for `cx` in the directory `parent`, which gives its group to what is
    /// made in it if it is setgid. Write lock.
    pub(super) fn make<'a>(
        &'a self,
        batch: &mut Batch<'a>,
        cx: &Context,
        parent: NodeId,
        plan: &Plan<'_>,
    ) -> Result<Target> {
        let directory = batch.directory(parent)?;
        let mut mode = plan.mode;
        let mut gid = cx.gid;
        if directory.mode & libc::S_ISGID != 0 {
            gid = directory.gid;
            if mode & libc::S_IFMT == libc::S_IFDIR {
                mode |= libc::S_ISGID;
            }
        }
        let id = batch.add_node(NodeRecord::new(mode, plan.rdev, cx.uid, gid))?;
        let target = Target { node: id, kind: mode & libc::S_IFMT };
        let mut record = *batch.node(id)?;
        record.set_flag(LINKABLE, plan.linkable);
        record.parent = if target.is_dir() { parent.0 } else { 0 };
        set_target(&mut record, plan.target, || batch.add_memfd(|fd| Held::content(id, fd)))?;
        *batch.node(id)? = record;
        Ok(target)
    }

    /// Makes a node and names it; counted as a lookup. Write lock.
    pub(super) fn make_named(
        &self,
        cx: &Context,
        parent: NodeId,
        name: &[u8],
        plan: &Plan<'_>,
    ) -> Result<Target> {
        match self.find(parent, name) {
            Err(Errno::ENOENT) => {}
            Ok(_) => return Err(Errno::EEXIST),
            Err(errno) => return Err(errno),
        }
        let mut batch = Batch::new(self);
        let target = self.make(&mut batch, cx, parent, plan)?;
        batch.charge_inode()?;
        batch.set_name(parent, name, target)?;
        batch.node(target.node)?.nlink = if target.is_dir() { 2 } else { 1 };
        batch.node(target.node)?.lookups = 1;
        let directory = batch.node(parent.0)?;
        directory.nlink += u32::from(target.is_dir());
        directory.modified();
        batch.finish(cx.unique, target.node);
        Ok(target)
    }

    /// Makes a file without a name; counted as a lookup. Write lock.
    pub(super) fn make_nameless(
        &self,
        cx: &Context,
        parent: NodeId,
        plan: &Plan<'_>,
    ) -> Result<Target> {
        let mut batch = Batch::new(self);
        let target = self.make(&mut batch, cx, parent, plan)?;
        batch.charge_inode()?;
        batch.node(target.node)?.lookups = 1;
        batch.finish(cx.unique, target.node);
        Ok(target)
    }

    /// Gives `node` the further name `name`; counted as a lookup. Write lock.
    pub(super) fn link(
        &self,
        cx: &Context,
        node: NodeId,
        parent: NodeId,
        name: &[u8],
    ) -> Result<Target> {
        match self.find(parent, name) {
            Err(Errno::ENOENT) => {}
            Ok(_) => return Err(Errno::EEXIST),
            Err(errno) => return Err(errno),
        }
        let mut batch = Batch::new(self);
        batch.directory(parent)?.modified();
        let record = batch.node(node.0)?;
        if record.is_dir() {
            return Err(Errno::EPERM);
        }
        let nameless = record.nlink == 0;
        if nameless && !record.has(LINKABLE) {
            return Err(Errno::ENOENT);
        }
        record.set_flag(LINKABLE, false);
        record.nlink = record.nlink.checked_add(1).ok_or(Errno::EMLINK)?;
        record.changed();
        record.lookups += 1;
        let target = Target { node: node.0, kind: record.kind() };
        if !nameless {
            // Without a name it was charged when it was made.
            batch.charge_inode()?;
        }
        batch.set_name(parent, name, target)?;
        batch.finish(cx.unique, node.0);
        Ok(target)
    }

    /// UNLINK. Write lock.
    pub(super) fn unlink(&self, cx: &Context, parent: NodeId, name: &[u8]) -> Result<()> {
        let found = self.find(parent, name)?;
        if found.target.is_dir() {
            return Err(Errno::EISDIR);
        }
        self.remove_name(cx, parent, found)
    }

    /// RMDIR. Write lock.
    pub(super) fn rmdir(&self, cx: &Context, parent: NodeId, name: &[u8]) -> Result<()> {
        let found = self.find(parent, name)?;
        if !found.target.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        if !self.is_empty(found.target) {
            return Err(Errno::ENOTEMPTY);
        }
        self.remove_name(cx, parent, found)
    }

    /// Whether a directory is empty, or damaged: such a one can be removed too.
    pub(super) fn is_empty(&self, target: Target) -> bool {
        let inode = self.inode(NodeId(target.node));
        inode.is_err() || inode.is_ok_and(|inode| inode.dir().is_ok_and(|dir| dir.is_empty()))
    }

    fn remove_name(&self, cx: &Context, parent: NodeId, found: Found) -> Result<()> {
        let mut batch = Batch::new(self);
        let directory = batch.node(parent.0)?;
        directory.nlink = directory.nlink.saturating_sub(u32::from(found.target.is_dir()));
        directory.modified();
        batch.remove_name(parent, found);
        batch.drop_link(found.target);
        batch.finish(cx.unique, 0);
        Ok(())
    }

    /// Adds one to the lookups of a node. Its lock, or the tree's, is the caller's.
    pub(super) fn count(&self, id: u64, record: &mut NodeRecord) -> Result<()> {
        let before = self.store.nodes.state(id).ok_or(Errno::ESTALE)?;
        let announced = journal::announce(Change::Count, id, before, 1);
        record.lookups += 1;
        self.store.nodes.put(id, record);
        announced.keep();
        Ok(())
    }

    /// Takes `amount` off the lookups of `id`; true when it may have to be freed. Read lock.
    pub(super) fn uncount(&self, id: NodeId, amount: u64) -> bool {
        let Ok(mut inode) = self.inode_mut(id) else { return false };
        inode.record.lookups = inode.record.lookups.saturating_sub(amount);
        let Some(before) = self.store.nodes.state(id.0) else { return false };
        // A node that is unused from here on is freed at once, or by a takeover.
        let _announced = journal::announce(Change::Uncount, id.0, before, amount);
        inode.save(&self.store).is_ok() && inode.record.is_unused()
    }

    /// Frees `id` if nothing names it and the kernel has forgotten it. Write lock.
    pub(super) fn collect(&self, id: NodeId) {
        let unused = self.store.node(id.0).ok().filter(NodeRecord::is_unused);
        let Some(record) = unused else { return };
        Held::of(id.0, &record).for_each(|held| self.store.doubt(held));
        self.store.nodes.remove(id.0);
        self.clean(id.0, &record);
        self.space.inodes().release(1);
    }

    /// Lets go of what a node held whose record is gone.
    pub(super) fn clean(&self, id: u64, record: &NodeRecord) {
        let Some(lock) = self.caches.get(id) else { return };
        if let Cache::File(data) = std::mem::take(&mut *write(lock)) {
            self.space.bytes().release(data.pages() * super::data::PAGE);
        }
        self.space.bytes().release(record.xattr_bytes);
        Held::of(id, record).for_each(|held| self.store.close(held));
    }
}

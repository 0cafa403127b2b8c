//! Node ids: which inode, how it is reached, how often the kernel knows it.
//!
//! An inode is reached by an O_PATH descriptor, or, when those get scarce (see `budget`), by
//! a file handle that is opened for each request: a million known inodes cost memory only.
//!
//! One inode has one node, found by (mount, inode number). A descriptor keeps the inode
//! alive, so the pair cannot come to mean another file meanwhile. A handle does not: its
//! inode may be gone and its number used again, which the handles' own generation tells.
//! A file that is about to lose a name is therefore given a descriptor first
//! ([`Nodes::keep_alive`]): it may go on being used without a name.
//!
//! Nodes live in the arena and outlive the worker, with their lookup counts. Who uses a node right
//! now, and how many handles are open on it, is private: a successor counts the handles.
//!
//! Locks, all private: a chain of the index first, then a node; neither is held over a request.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::locals::Locals;
use super::mounts::Mounts;
use super::record::{Backing, NONE, Place, ROOT_LOOKUPS, Record, hash};
use super::{Config, StartError};
use crate::Errno;
use crate::recovery::arena::{Arena, Origin};
use crate::recovery::fds::{Counts, FIRST, Fds, Kind};
use crate::recovery::index::Index;
use crate::recovery::journal::{self, Change, Effect};
use crate::recovery::table::Table;
use crate::sys::file::{self, Statx};
use crate::sys::handle::Handle;
use crate::sys::{Fd, OpFd};
use crate::wire::{Attr, NodeId, Timestamp};

/// Nodes at the most.
pub(super) const CAPACITY: u32 = 16 << 20;
const SHARDS: usize = 64;
/// Bits of an inode number left as they are on the source's own file system.
const DEVICE_SHIFT: u32 = 48;
/// What the worker knows of a node for itself.
#[derive(Default)]
pub(super) struct Local {
    /// Requests that use the kept descriptor right now.
    pub(super) pins: u32,
    /// Open handles, and those among them that may write.
    pub(super) opens: u32,
    pub(super) writers: u32,
}

/// A node, locked.
pub(super) struct Node<'a> {
    table: &'a Table<Record>,
    id: u64,
    pub(super) record: Record,
    pub(super) local: MutexGuard<'a, Local>,
}

impl Node<'_> {
    /// While somebody may write through mapped memory of the lower file, which this file
    /// system does not see, attributes are not to be trusted.
    pub(super) fn is_mapped_writable(&self) -> bool {
        self.local.writers > 0 && matches!(self.record.backing(), Backing::Id(_))
    }

    /// Changes the record.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Record)) {
        change(&mut self.record);
        self.table.put(self.id, &self.record);
    }
}

/// A node's inode, for one request.
pub(super) enum NodeFd<'a> {
    /// The node's own, which stays open as long as it is pinned.
    Kept(Fd, &'a Mutex<Local>),
    /// Opened for this request.
    Opened(OpFd),
    /// Somebody else's: an open file's.
    Borrowed(Fd),
}

impl NodeFd<'_> {
    pub(super) fn get(&self) -> Fd {
        match self {
            NodeFd::Kept(fd, _) | NodeFd::Borrowed(fd) => *fd,
            NodeFd::Opened(fd) => fd.get(),
        }
    }
}

impl Drop for NodeFd<'_> {
    fn drop(&mut self) {
        if let NodeFd::Kept(_, local) = self {
            local.lock().unwrap().pins -= 1;
        }
    }
}

/// All nodes.
pub(super) struct Nodes {
    pub(super) table: Table<Record>,
    index: Index,
    locals: Locals<Mutex<Local>>,
    shards: Vec<Mutex<()>>,
    mounts: Mounts,
    fds: Fds,
    pub(super) can_open_handles: bool,
    /// Nodes with a descriptor keep a handle too.
    durable: bool,
    blksize: Option<u32>,
    /// RLIMIT_NOFILE.
    pub(super) limit: usize,
    pub(super) kept: AtomicUsize,
    pub(super) open_files: AtomicUsize,
    /// Nodes without a descriptor, at the least; in the arena.
    pub(super) by_handle: &'static AtomicU64,
    /// Where the search for descriptors to give up goes on.
    pub(super) hand: AtomicU32,
}

/// The root as another version of the program has left it open. Nothing of that is changed: if this
/// version gets no further, the other one goes on with it.
fn known_root(table: &Table<Record>, stat: &Statx) -> Option<Fd> {
    let root = Fd::from_number(table.get(NodeId::ROOT.0)?.fd);
    let known = file::fstatx(root).ok()?;
    let identity = |stat: &Statx| (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino);
    (identity(&known) == identity(stat)).then_some(root)
}

impl Nodes {
    /// A table whose root is `root`, an open directory; `limit` is how many descriptors
    /// there may be.
    pub(super) fn new(
        arena: &Arena,
        root: Fd,
        limit: u64,
        can_open_handles: bool,
        config: &Config,
    ) -> Result<Nodes, StartError> {
        let stat = file::fstatx(root)?;
        let table = Table::new(arena, "nodes", CAPACITY, NodeId::ROOT.0 as u32)?;
        let root = match (arena.origin(), known_root(&table, &stat)) {
            (Origin::Inherited, Some(known)) => {
                root.close();
                known
            }
            _ => root,
        };
        let fds = arena.fds();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(fds.limit());
        let nodes = Nodes {
            table,
            index: Index::new(arena, ("node heads", "node links"), CAPACITY)?,
            locals: Locals::new(CAPACITY),
            shards: (0..SHARDS).map(|_| Mutex::new(())).collect(),
            mounts: Mounts::new(arena, root, &stat)?,
            fds,
            can_open_handles,
            durable: config.durable && can_open_handles,
            blksize: config.blksize,
            limit,
            kept: AtomicUsize::new(0),
            open_files: AtomicUsize::new(0),
            by_handle: &arena.words("node counts", 1, 1)?[0],
            hand: AtomicU32::new(0),
        };
        nodes.take_root(root, &stat)?;
        Ok(nodes)
    }

    /// The root's record: made, or given this process's descriptor.
    fn take_root(&self, root: Fd, stat: &Statx) -> Result<(), StartError> {
        let old = self.table.get(NodeId::ROOT.0).map(|record| Fd::from_number(record.fd));
        if old == Some(root) {
            return Ok(());
        }
        self.fds.begin(root, Kind::Own, 0)?;
        self.fds.keep(root, Kind::Own, 0);
        let mount = self.mounts.number(stat).ok_or(Errno::ENFILE)?;
        let record = Record::new(mount, stat.stx_ino, ROOT_LOOKUPS, root.number());
        if self.table.put(NodeId::ROOT.0, &record) {
            if let Some(old) = old.filter(|old| *old != root && old.number() >= FIRST) {
                self.fds.close_if(old, Kind::Own, 0);
            }
            return Ok(());
        }
        let id = self.table.insert(&record).ok_or(Errno::ENOMEM)?;
        debug_assert_eq!(id, NodeId::ROOT.0, "the first node is the root");
        self.index.insert(record.hash(), id as u32);
        Ok(())
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, ()> {
        self.shards[Index::chain(hash) % SHARDS].lock().unwrap()
    }

    /// The node, locked. ESTALE: there is no such node (any more).
    pub(super) fn lock(&self, id: NodeId) -> Result<Node<'_>, Errno> {
        let local = self.locals.at(id.0 as u32).ok_or(Errno::ESTALE)?.lock().unwrap();
        self.with_local(id.0, local)
    }

    fn with_local<'a>(&'a self, id: u64, local: MutexGuard<'a, Local>) -> Result<Node<'a>, Errno> {
        let record = self.table.get(id).ok_or(Errno::ESTALE)?;
        Ok(Node { table: &self.table, id, record, local })
    }

    /// The node at an index, locked, if there is one and nobody else has it locked.
    pub(super) fn try_lock_at(&self, index: u32) -> Option<Node<'_>> {
        let local = self.locals.at(index)?.try_lock().ok()?;
        let (id, record) = self.table.at(index)?;
        Some(Node { table: &self.table, id, record, local })
    }

    /// How a node is reached.
    pub(super) fn place(&self, record: &Record) -> Place {
        if record.fd != NONE {
            return Place::Kept(Fd::from_number(record.fd));
        }
        match (record.handle(), self.mounts.fd(record.mount)) {
            (Some(handle), Some(mount)) => Place::Handle { handle, mount },
            _ => Place::Nowhere,
        }
    }

    /// The node's inode.
    pub(super) fn fd(&self, id: NodeId) -> Result<NodeFd<'_>, Errno> {
        let local = self.locals.at(id.0 as u32).ok_or(Errno::ESTALE)?;
        let mut node = self.with_local(id.0, local.lock().unwrap())?;
        match self.place(&node.record) {
            Place::Kept(fd) => {
                node.local.pins += 1;
                Ok(NodeFd::Kept(fd, local))
            }
            Place::Handle { handle, mount } => {
                Ok(NodeFd::Opened(handle.open(mount, libc::O_PATH | libc::O_NOFOLLOW)?))
            }
            Place::Nowhere => Err(Errno::ESTALE),
        }
    }

    /// The node of an inode that was just looked up by `fd`, counted once more. `with` sees
    /// it while it is locked.
    pub(super) fn remember<T>(
        &self,
        fd: OpFd,
        stat: &Statx,
        with: impl FnOnce(&mut Node<'_>) -> T,
    ) -> Result<(NodeId, T), Errno> {
        let mount = self.mounts.number(stat).ok_or(Errno::ENFILE)?;
        let hash = hash(mount, stat.stx_ino);
        let _shard = self.shard(hash);
        if let Some(mut node) = self.find(hash, mount, stat.stx_ino, fd.get()) {
            self.count_locked(&mut node);
            return Ok((NodeId(node.id), with(&mut node)));
        }
        self.add(fd, stat, mount, hash, with)
    }

    /// The node of this inode, locked. The chain's shard is locked.
    fn find(&self, hash: u64, mount: u32, ino: u64, fd: Fd) -> Option<Node<'_>> {
        for index in self.index.walk(hash) {
            let Some((id, seen)) = self.table.at(index) else { continue };
            if (seen.mount, seen.ino) == (mount, ino)
                && let Ok(node) = self.lock(NodeId(id))
                && self.same_inode(&node.record, fd)
            {
                return Some(node);
            }
        }
        None
    }

    /// Whether a node with the right numbers is this inode. A kept descriptor keeps the numbers
    /// from being used again; a handle has to be compared.
    fn same_inode(&self, record: &Record, fd: Fd) -> bool {
        match self.place(record) {
            Place::Kept(_) => true,
            Place::Handle { handle, .. } => Handle::of(fd).as_ref() == Ok(&handle),
            Place::Nowhere => false,
        }
    }

    /// A new node. The chain's shard is locked.
    fn add<T>(
        &self,
        fd: OpFd,
        stat: &Statx,
        mount: u32,
        hash: u64,
        with: impl FnOnce(&mut Node<'_>) -> T,
    ) -> Result<(NodeId, T), Errno> {
        let reserved = self.table.reserve().ok_or(Errno::ENFILE)?;
        let (id, index) = (reserved.id(), reserved.id() as u32);
        let mut record = Record::new(mount, stat.stx_ino, 1, NONE);
        let may_keep = self.may_keep(is_directory(stat));
        let has_handle = (self.durable || !may_keep) && self.by_handle(fd.get(), stat, &mut record);
        let kept = may_keep || !has_handle;
        if kept {
            if let Err(error) = self.fds.begin(fd.get(), Kind::Node, index) {
                self.table.give_back(reserved);
                return Err(error);
            }
            record.fd = fd.keep().number();
            self.kept.fetch_add(1, Ordering::Relaxed);
        } else {
            self.by_handle.fetch_add(1, Ordering::Relaxed);
        }
        let counted = journal::announce(Change::Count, id, 0, 1);
        let local = self.locals.at(index).ok_or(Errno::ENFILE)?;
        let mut local = local.lock().unwrap();
        *local = Local::default();
        self.table.publish(reserved, &record);
        self.fds.keep(Fd::from_number(record.fd), Kind::Node, index);
        self.index.insert(hash, index);
        counted.keep();
        let mut node = Node { table: &self.table, id, record, local };
        Ok((NodeId(id), with(&mut node)))
    }

    /// One more lookup of a locked node.
    fn count_locked(&self, node: &mut Node<'_>) {
        let before = self.table.state(node.id).unwrap_or(0);
        let counted = journal::announce(Change::Count, node.id, before, 1);
        node.change(|record| record.nlookup += 1);
        counted.keep();
    }

    /// One more lookup of a node that is known.
    pub(super) fn count<T>(
        &self,
        id: NodeId,
        with: impl FnOnce(&mut Node<'_>) -> T,
    ) -> Result<T, Errno> {
        let mut node = self.lock(id)?;
        self.count_locked(&mut node);
        Ok(with(&mut node))
    }

    /// The inode by its file handle, into `record`; false where its file system has none, or
    /// one that is too long.
    pub(super) fn by_handle(&self, fd: Fd, stat: &Statx, record: &mut Record) -> bool {
        if !self.can_open_handles {
            return false;
        }
        let opener = self.mounts.opener(record.mount, fd, is_openable(stat));
        let (Some(mount), Ok(handle)) = (opener, Handle::of(fd)) else { return false };
        // Not every handle that is given can be opened again: in a user namespace none.
        handle.open(mount, libc::O_PATH).is_ok() && record.set_handle(&handle)
    }

    /// Takes `count` lookups back; at none the node is gone.
    pub(super) fn forget(&self, id: NodeId, count: u64) {
        if id == NodeId::ROOT {
            return;
        }
        let Some(record) = self.table.get(id.0) else { return };
        let _shard = self.shard(record.hash());
        let Ok(mut node) = self.lock(id) else { return };
        let before = self.table.state(id.0).unwrap_or(0);
        let _uncounted = journal::announce(Change::Uncount, id.0, before, count);
        node.change(|record| record.nlookup = record.nlookup.saturating_sub(count));
        if node.record.nlookup == 0 {
            self.remove(node);
        }
    }

    /// Removes a node that the kernel has forgotten. The chain's shard is locked. Whatever of it
    /// a dead worker has done already is not done again.
    fn remove(&self, node: Node<'_>) {
        let (id, index, record) = (node.id, node.id as u32, node.record);
        self.index.remove(record.hash(), index);
        if self.fds.close_if(Fd::from_number(record.fd), Kind::Node, index) {
            self.kept.fetch_sub(1, Ordering::Relaxed);
        }
        self.table.remove(id);
        if record.fd == NONE {
            // Last, so that there are never more than this says.
            self.by_handle.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Takeover: see [`crate::fs::Filesystem::takeover`].
    pub(super) fn takeover(&self, kept: &Counts) {
        self.mounts.takeover();
        self.kept.store(kept.of(Kind::Node), Ordering::Relaxed);
        self.open_files.store(kept.of(Kind::Handle), Ordering::Relaxed);
    }

    /// Takeover: see [`crate::fs::Filesystem::holds`].
    pub(super) fn holds(&self, kind: Kind, index: u32, fd: Fd) -> bool {
        match kind {
            Kind::Node => self.table.at(index).is_some_and(|(_, node)| node.fd == fd.number()),
            Kind::Mount => self.mounts.holds(index, fd),
            _ => false,
        }
    }

    /// Takeover: see [`crate::fs::Filesystem::happened`].
    pub(super) fn happened(&self, effect: &Effect) -> bool {
        self.table.state(effect.id).unwrap_or(0) != effect.before
    }

    /// Takeover: see [`crate::fs::Filesystem::settle`].
    pub(super) fn settle(&self, effect: &Effect) {
        let id = NodeId(effect.id);
        if effect.change == Change::Count {
            self.forget(id, 1);
            return;
        }
        // Counted down, and maybe half removed.
        let Some(record) = self.table.get(effect.id) else { return };
        let _shard = self.shard(record.hash());
        if let Ok(node) = self.lock(id)
            && node.record.nlookup == 0
        {
            self.remove(node);
        }
    }

    /// Before a name is removed: its inode, which `open` opens, gets a descriptor where it is known
    /// by handle only, so that it outlives its last name as long as the kernel knows it.
    pub(super) fn keep_alive(&self, open: impl FnOnce() -> Result<OpFd, Errno>) {
        if self.by_handle.load(Ordering::Relaxed) == 0 {
            return;
        }
        let Ok(fd) = open() else { return };
        let Ok(stat) = file::fstatx(fd.get()) else { return };
        let Some(mount) = self.mounts.number(&stat) else { return };
        let hash = hash(mount, stat.stx_ino);
        let _shard = self.shard(hash);
        let Some(mut node) = self.find(hash, mount, stat.stx_ino, fd.get()) else { return };
        let index = node.id as u32;
        if node.record.fd == NONE && self.fds.begin(fd.get(), Kind::Node, index).is_ok() {
            let fd = fd.keep();
            node.change(|record| record.fd = fd.number());
            self.fds.keep(fd, Kind::Node, index);
            self.kept.fetch_add(1, Ordering::Relaxed);
            self.by_handle.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// From descriptor to handle; false where that cannot be done.
    pub(super) fn give_up_fd(&self, node: &mut Node<'_>, stat: &Statx) -> bool {
        let (fd, index) = (Fd::from_number(node.record.fd), node.id as u32);
        let mut record = node.record;
        if !self.by_handle(fd, stat, &mut record) {
            return false;
        }
        self.by_handle.fetch_add(1, Ordering::Relaxed);
        // Only begun from here on: a takeover asks the record whether it still holds it.
        let _ = self.fds.begin(fd, Kind::Node, index);
        record.fd = NONE;
        node.change(|now| *now = record);
        self.fds.close(fd);
        self.kept.fetch_sub(1, Ordering::Relaxed);
        true
    }

    /// Stored: no descriptor is left. Nodes are reached by the handles that they kept.
    pub(super) fn revive(&self) {
        let mut count = 0;
        for (id, mut record) in self.table.iter().filter(|(id, _)| *id != NodeId::ROOT.0) {
            record.fd = NONE;
            self.table.put(id, &record);
            count += 1;
        }
        self.by_handle.store(count, Ordering::Relaxed);
        self.mounts.forget_openers();
    }

    /// An inode number that is unique in the mount, though several file systems may lie in it:
    /// those of others than the source's own are marked in their upper 16 bits (and not unique
    /// where a file system uses those itself).
    pub(super) fn number(&self, device: (u32, u32), ino: u64) -> u64 {
        if device == self.mounts.home_device() {
            return ino;
        }
        ino ^ ((self.mounts.device(device) as u64) << DEVICE_SHIFT)
    }

    /// Attributes as FUSE has them.
    pub(super) fn attr(&self, stat: &Statx) -> Attr {
        let time = |t: &libc::statx_timestamp| Timestamp { secs: t.tv_sec, nanos: t.tv_nsec };
        Attr {
            ino: self.number((stat.stx_dev_major, stat.stx_dev_minor), stat.stx_ino),
            size: stat.stx_size,
            blocks: stat.stx_blocks,
            atime: time(&stat.stx_atime),
            mtime: time(&stat.stx_mtime),
            ctime: time(&stat.stx_ctime),
            mode: u32::from(stat.stx_mode),
            nlink: stat.stx_nlink,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            rdev: rdev(stat.stx_rdev_major, stat.stx_rdev_minor),
            blksize: self.blksize.unwrap_or(stat.stx_blksize),
            ..Attr::default()
        }
    }
}

pub(super) fn is_directory(stat: &Statx) -> bool {
    u32::from(stat.stx_mode) & libc::S_IFMT == libc::S_IFDIR
}

/// Whether it can be opened without side effects.
fn is_openable(stat: &Statx) -> bool {
    is_directory(stat) || u32::from(stat.stx_mode) & libc::S_IFMT == libc::S_IFREG
}

/// FUSE's encoding of a device number: 12 bits of major between 8 and 12 of minor.
fn rdev(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xf_ff00) << 12)
}

#[cfg(test)]
#[path = "nodes_tests.rs"]
mod tests;

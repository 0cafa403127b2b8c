//! Node ids: which inode, how it is reached, how often the kernel knows it.
//!
//! An inode is reached by an O_PATH descriptor, or, when those get scarce (see `budget`), by
//! a file handle that is opened for each request: a million known inodes cost memory only.
//!
//! One inode has one node, found by (device, inode number). A descriptor keeps the inode
//! alive, so the pair cannot come to mean another file meanwhile. A handle does not: its
//! inode may be gone and its number used again, which the handles' own generation tells.
//! A file that is about to lose a name is therefore given a descriptor first
//! ([`Nodes::keep_alive`]): it may go on being used without a name.
//!
//! Locks: a shard of the index first, then a node; neither is held over a request.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use crate::Errno;
use crate::fs::slab::Slab;
use crate::sys::file::{self, Statx};
use crate::sys::handle::Handle;
use crate::sys::{Fd, OpFd};
use crate::wire::{Attr, NodeId, Timestamp};

const SHARDS: usize = 64;
/// The root's lookup count, which nobody takes back.
const ROOT_LOOKUPS: u64 = 1 << 40;
/// Bits of an inode number left as they are on the source's own file system.
const DEVICE_SHIFT: u32 = 48;

/// A file on this machine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Key {
    major: u32,
    minor: u32,
    ino: u64,
    /// One file seen through two mounts is two nodes: one of them may be read-only.
    mount: u64,
}

impl Key {
    fn of(stat: &Statx) -> Key {
        Key {
            major: stat.stx_dev_major,
            minor: stat.stx_dev_minor,
            ino: stat.stx_ino,
            mount: stat.stx_mnt_id,
        }
    }
}

#[derive(Default)]
pub(super) enum Place {
    #[default]
    Nowhere,
    Kept(Fd),
    Handle {
        handle: Handle,
        mount: Fd,
    },
}

/// Whether and how the file's data goes straight to the lower file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Backing {
    /// Not tried since the last close.
    #[default]
    None,
    /// Registered under this id.
    Id(i32),
    /// Not possible: data is served until the last close, as the kernel allows one way at a time.
    Served,
}

/// One node.
#[derive(Default)]
pub(super) struct Node {
    key: Key,
    pub(super) place: Place,
    /// Requests that use the kept descriptor right now.
    pub(super) pins: u32,
    /// How many lookups the kernel has to forget.
    nlookup: u64,
    /// Open handles, and those among them that may write.
    pub(super) opens: u32,
    pub(super) writers: u32,
    pub(super) backing: Backing,
    /// The kernel may trust attributes that it was given.
    pub(super) attrs_trusted: bool,
}

impl Node {
    pub(super) fn is_root(&self) -> bool {
        self.nlookup >= ROOT_LOOKUPS
    }

    /// While somebody may write through mapped memory of the lower file, which this file
    /// system does not see, attributes are not to be trusted.
    pub(super) fn is_mapped_writable(&self) -> bool {
        self.writers > 0 && matches!(self.backing, Backing::Id(_))
    }
}

/// A node's inode, for one request.
pub(super) enum NodeFd<'a> {
    /// The node's own, which stays open as long as it is pinned.
    Kept(Fd, &'a Mutex<Node>),
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
        if let NodeFd::Kept(_, node) = self {
            node.lock().unwrap().pins -= 1;
        }
    }
}

/// All nodes.
pub(super) struct Nodes {
    pub(super) slab: Slab<Mutex<Node>>,
    index: Vec<Mutex<HashMap<Key, u64>>>,
    /// By device and mount id (which is 0 before Linux 5.8): a descriptor to open handles with.
    mounts: Mutex<HashMap<(u32, u32, u64), Fd>>,
    /// Devices seen, the source's own first.
    devices: Mutex<Vec<(u32, u32)>>,
    home: (u32, u32),
    pub(super) can_open_handles: bool,
    blksize: Option<u32>,
    /// RLIMIT_NOFILE.
    pub(super) limit: usize,
    pub(super) kept: AtomicUsize,
    pub(super) open_files: AtomicUsize,
    pub(super) by_handle: AtomicUsize,
    /// Where the search for descriptors to give up goes on.
    pub(super) hand: AtomicU32,
}

impl Nodes {
    /// A table whose root is `root`, an open directory; `limit` is RLIMIT_NOFILE, `blksize`
    /// the preferred I/O size to show.
    pub(super) fn new(
        root: Fd,
        limit: u64,
        can_open_handles: bool,
        blksize: Option<u32>,
    ) -> Result<Nodes, Errno> {
        let stat = file::fstatx(root)?;
        let home = (stat.stx_dev_major, stat.stx_dev_minor);
        let nodes = Nodes {
            slab: Slab::new(NodeId::ROOT.0 as u32),
            index: (0..SHARDS).map(|_| Mutex::default()).collect(),
            mounts: Mutex::new(HashMap::from([(mount_key(&stat), root)])),
            devices: Mutex::new(vec![home]),
            home,
            can_open_handles,
            blksize,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            kept: AtomicUsize::new(0),
            open_files: AtomicUsize::new(0),
            by_handle: AtomicUsize::new(0),
            hand: AtomicU32::new(0),
        };
        let (id, node) = nodes.slab.insert().ok_or(Errno::ENOMEM)?;
        debug_assert_eq!(id, NodeId::ROOT.0);
        let key = Key::of(&stat);
        *node.lock().unwrap() =
            Node { key, place: Place::Kept(root), nlookup: ROOT_LOOKUPS, ..Node::default() };
        nodes.shard(key).insert(key, id);
        Ok(nodes)
    }

    fn shard(&self, key: Key) -> MutexGuard<'_, HashMap<Key, u64>> {
        let mixed = (key.ino ^ (u64::from(key.minor) << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.index[(mixed >> 58) as usize].lock().unwrap()
    }

    /// The node, locked. ESTALE: there is no such node (any more).
    pub(super) fn lock(&self, id: NodeId) -> Result<MutexGuard<'_, Node>, Errno> {
        Ok(self.slab.get(id.0).ok_or(Errno::ESTALE)?.lock().unwrap())
    }

    /// The node's inode.
    pub(super) fn fd(&self, id: NodeId) -> Result<NodeFd<'_>, Errno> {
        let mutex = self.slab.get(id.0).ok_or(Errno::ESTALE)?;
        let mut node = mutex.lock().unwrap();
        match &node.place {
            Place::Kept(fd) => {
                let fd = *fd;
                node.pins += 1;
                Ok(NodeFd::Kept(fd, mutex))
            }
            Place::Handle { handle, mount } => {
                Ok(NodeFd::Opened(handle.open(*mount, libc::O_PATH | libc::O_NOFOLLOW)?))
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
        with: impl FnOnce(&mut Node) -> T,
    ) -> Result<(NodeId, T), Errno> {
        let key = Key::of(stat);
        let mut shard = self.shard(key);
        if let Some(id) = shard.get(&key)
            && let Some(node) = self.slab.get(*id)
        {
            let mut node = node.lock().unwrap();
            if same_inode(&node.place, fd.get()) {
                node.nlookup += 1;
                return Ok((NodeId(*id), with(&mut node)));
            }
        }
        let place = self.place(fd, stat);
        let Some((id, node)) = self.slab.insert() else {
            self.leave(place);
            return Err(Errno::ENFILE);
        };
        let mut node = node.lock().unwrap();
        *node = Node { key, place, nlookup: 1, ..Node::default() };
        shard.insert(key, id);
        Ok((NodeId(id), with(&mut node)))
    }

    /// One more lookup of a node that is known.
    pub(super) fn count<T>(
        &self,
        id: NodeId,
        with: impl FnOnce(&mut Node) -> T,
    ) -> Result<T, Errno> {
        let mut node = self.lock(id)?;
        node.nlookup += 1;
        Ok(with(&mut node))
    }

    /// Keeps the descriptor, or makes a handle of it when descriptors are scarce.
    fn place(&self, fd: OpFd, stat: &Statx) -> Place {
        if !self.may_keep(is_directory(stat))
            && let Some(place) = self.by_handle(fd.get(), stat)
        {
            self.by_handle.fetch_add(1, Ordering::Relaxed);
            return place;
        }
        self.kept.fetch_add(1, Ordering::Relaxed);
        Place::Kept(fd.keep())
    }

    /// The inode by its file handle; `None` where its file system has none.
    pub(super) fn by_handle(&self, fd: Fd, stat: &Statx) -> Option<Place> {
        if !self.can_open_handles {
            return None;
        }
        let mount = self.mount_of(fd, stat)?;
        let handle = Handle::of(fd).ok()?;
        // Not every handle that is given can be opened again: in a user namespace none.
        handle.open(mount, libc::O_PATH).ok()?;
        Some(Place::Handle { handle, mount })
    }

    /// A descriptor to open handles of this mount with: not O_PATH, so of a file or directory.
    fn mount_of(&self, fd: Fd, stat: &Statx) -> Option<Fd> {
        let mut mounts = self.mounts.lock().unwrap();
        if let Some(mount) = mounts.get(&mount_key(stat)) {
            return Some(*mount);
        }
        if !is_directory(stat) && u32::from(stat.stx_mode) & libc::S_IFMT != libc::S_IFREG {
            return None;
        }
        let mount = file::reopen(fd, libc::O_RDONLY | libc::O_NONBLOCK).ok()?.keep();
        mounts.insert(mount_key(stat), mount);
        Some(mount)
    }

    fn leave(&self, place: Place) {
        match place {
            Place::Kept(fd) => {
                self.kept.fetch_sub(1, Ordering::Relaxed);
                fd.close();
            }
            Place::Handle { .. } => {
                self.by_handle.fetch_sub(1, Ordering::Relaxed);
            }
            Place::Nowhere => {}
        }
    }

    /// Takes `count` lookups back; at none the node is gone.
    pub(super) fn forget(&self, id: NodeId, count: u64) {
        if id == NodeId::ROOT {
            return;
        }
        let Ok(key) = self.lock(id).map(|node| node.key) else { return };
        let mut shard = self.shard(key);
        let Ok(mut node) = self.lock(id) else { return };
        node.nlookup = node.nlookup.saturating_sub(count);
        if node.nlookup > 0 {
            return;
        }
        if shard.get(&key) == Some(&id.0) {
            shard.remove(&key);
        }
        let gone = std::mem::take(&mut *node);
        drop(node);
        self.slab.remove(id.0);
        drop(shard);
        self.leave(gone.place);
    }

    /// Before a name is removed: its inode, which `open` opens, gets a descriptor where it is known
    /// by handle only, so that it outlives its last name as long as the kernel knows it.
    pub(super) fn keep_alive(&self, open: impl FnOnce() -> Result<OpFd, Errno>) {
        if self.by_handle.load(Ordering::Relaxed) == 0 {
            return;
        }
        let Ok(fd) = open() else { return };
        let Ok(stat) = file::fstatx(fd.get()) else { return };
        let key = Key::of(&stat);
        let shard = self.shard(key);
        let Some(node) = shard.get(&key).and_then(|id| self.slab.get(*id)) else { return };
        let mut node = node.lock().unwrap();
        if matches!(node.place, Place::Handle { .. }) && same_inode(&node.place, fd.get()) {
            self.by_handle.fetch_sub(1, Ordering::Relaxed);
            self.kept.fetch_add(1, Ordering::Relaxed);
            node.place = Place::Kept(fd.keep());
        }
    }

    /// An inode number that is unique in the mount, though several file systems may lie in it:
    /// those of others than the source's own are marked in their upper 16 bits (and not unique
    /// where a file system uses those itself).
    pub(super) fn number(&self, device: (u32, u32), ino: u64) -> u64 {
        if device == self.home {
            return ino;
        }
        let mut devices = self.devices.lock().unwrap();
        let index = devices.iter().position(|known| *known == device).unwrap_or_else(|| {
            devices.push(device);
            devices.len() - 1
        });
        ino ^ ((index as u64) << DEVICE_SHIFT)
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

fn mount_key(stat: &Statx) -> (u32, u32, u64) {
    (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_mnt_id)
}

pub(super) fn is_directory(stat: &Statx) -> bool {
    u32::from(stat.stx_mode) & libc::S_IFMT == libc::S_IFDIR
}

/// FUSE's encoding of a device number: 12 bits of major between 8 and 12 of minor.
fn rdev(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xf_ff00) << 12)
}

/// Whether a node with the right numbers is this inode. A kept descriptor keeps the numbers
/// from being used again; a handle has to be compared.
fn same_inode(place: &Place, fd: Fd) -> bool {
    match place {
        Place::Kept(_) => true,
        Place::Handle { handle, .. } => Handle::of(fd).as_ref() == Ok(handle),
        Place::Nowhere => false,
    }
}

#[cfg(test)]
#[path = "nodes_tests.rs"]
mod tests;

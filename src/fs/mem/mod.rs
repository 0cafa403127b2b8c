//! A file system in memory.
//!
//! Everything is gone with the mount, and nothing with a worker. It is meant to be mounted with
//! `default_permissions`: the kernel checks who may do what, and mem keeps the modes,
//! owners, times (nanoseconds, atime as relatime) and link counts it decides by.
//!
//! # What outlives a worker
//!
//! The truth is in the arena: a table of nodes, a table of names, and the numbers of the memfds
//! that hold what is in files. Memory private to the process only helps to find it (`cache`), is
//! made anew by a takeover, and takes as long as there are nodes and names.
//!
//! | change | what makes it whole |
//! | --- | --- |
//! | of names, links, extended attributes | several records: the redo log (`batch`, `recovery::commit`); which request it was is in it, so it is not done again |
//! | of times, owners, modes | one record: old or new; done again it comes to the same |
//! | of data | absolute positions in a memfd, whose size is the file's: done again |
//! | of lookup counts | announced in the request's journal, and taken back if there was no answer |
//!
//! A file that holds anything takes one descriptor, a node with extended attributes one, a symlink
//! with a target of more than 120 bytes one. So RLIMIT_NOFILE limits how many there can be; past it,
//! with a few left for everything else, the answer is ENOSPC. A node whose record is damaged
//! answers ESTALE, and its name can be removed.
//!
//! | request | answer |
//! | --- | --- |
//! | LOOKUP FORGET BATCH_FORGET GETATTR SETATTR STATX | yes, with the birth time |
//! | MKNOD MKDIR SYMLINK READLINK LINK UNLINK RMDIR | yes; names up to 255 bytes |
//! | RENAME RENAME2 | yes, with NOREPLACE, EXCHANGE and WHITEOUT |
//! | CREATE TMPFILE | yes; the handle is 0, for no file has a state of its own when open |
//! | OPEN OPENDIR | ENOSYS: the kernel opens by itself and never asks again |
//! | READ WRITE LSEEK COPY_FILE_RANGE | yes; sparse, up to `i64::MAX` bytes |
//! | FALLOCATE | mode 0, KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE; COLLAPSE and INSERT EOPNOTSUPP |
//! | READDIR READDIRPLUS | yes; offsets stay good whatever is added or removed |
//! | SETXATTR GETXATTR LISTXATTR REMOVEXATTR | `user.`, `trusted.`, `security.`; else EOPNOTSUPP |
//! | STATFS | yes; ENOSPC past [`MemConfig::size_limit`] |
//! | FLUSH FSYNC FSYNCDIR SYNCFS | ENOSYS, which the kernel takes as done |
//! | GETLK SETLK SETLKW | ENOSYS: not negotiated, the kernel keeps the locks |
//! | ACCESS BMAP IOCTL POLL | ENOSYS: the kernel's own defaults |
//!
//! A node whose last name is gone lives until the kernel forgets it. The kernel holds a
//! lookup for as long as a file is open, so this is what keeps unlinked open files: no
//! count of handles is needed, and with OPEN answered ENOSYS there could be none.
//!
//! That answer is also why FUSE_ATOMIC_O_TRUNC must not be negotiated: the kernel would
//! leave the truncation to an OPEN that it does not send.

mod batch;
mod cache;
mod data;
mod dir;
mod file;
mod listing;
mod node;
mod record;
mod recover;
mod rename;
mod space;
mod store;
#[cfg(test)]
mod tests;
mod tree;
mod xattr;

use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use self::data::PAGE;
use self::dir::Target;
use self::file::accessed;
use self::node::Exclusive;
use self::record::NAME_MAX;
use self::rename::{Flags, Place};
use self::space::Space;
use self::tree::{Plan, Tree, read, write};
use self::xattr::Xattrs;
use super::{Context, Filesystem, Recovered, Result, Unfinished};
use crate::Errno;
use crate::buffer::BufVec;
use crate::recovery::arena::{Arena, ArenaError};
use crate::recovery::fds::{Counts, Kind};
use crate::recovery::journal::Effect;
use crate::session::{Negotiated, Negotiation};
use crate::sys::Fd;
use crate::wire::flags::{InitFlags, OpenInFlags, OpenOutFlags, SetattrValid};
use crate::wire::ops;
use crate::wire::{
    Attr, AttrReply, DirBuffer, Entry, FileHandle, NodeId, Opened, Statfs, StatxReply,
};

/// The longest symlink target in bytes, as the kernel's PATH_MAX has it.
const TARGET_MAX: usize = 4095;
/// How long the kernel may keep what it was told: nothing changes but through the mount.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// How a [`Mem`] is set up.
#[derive(Clone, Copy, Debug)]
pub struct MemConfig {
    /// How long the kernel may keep a name.
    pub entry_timeout: Duration,
    /// How long the kernel may keep attributes.
    pub attr_timeout: Duration,
    /// How long the kernel may keep that a name is not there; zero: it asks each time.
    pub negative_timeout: Duration,
    /// Bytes of file data and extended attributes past which writes are ENOSPC. There may
    /// be one inode for each 4096 of them.
    pub size_limit: u64,
}

impl Default for MemConfig {
    /// Timeouts of a day, half of the machine's memory.
    fn default() -> Self {
        // sysinfo(2) fails only for a bad address.
        let memory = nix::sys::sysinfo::sysinfo().map_or(1 << 30, |info| info.ram_total());
        MemConfig {
            entry_timeout: LONG,
            attr_timeout: LONG,
            negative_timeout: LONG,
            size_limit: memory / 2,
        }
    }
}

/// The file system: one lock over the tree of names, one for each node.
pub struct Mem {
    tree: RwLock<Tree>,
    config: MemConfig,
    /// The kernel takes ENOSYS from OPEN, and from OPENDIR.
    no_open: AtomicBool,
    no_opendir: AtomicBool,
}

impl Mem {
    /// The file system in `arena`; if there is none, an empty one, whose root directory, mode 0755,
    /// belongs to whoever runs this. One that was there needs [`Filesystem::takeover`].
    pub fn new(config: MemConfig, arena: &Arena) -> std::result::Result<Self, ArenaError> {
        let owner = (nix::unistd::geteuid(), nix::unistd::getegid());
        let space = Space::new(config.size_limit);
        let tree = Tree::new(arena, space, owner.0.as_raw(), owner.1.as_raw())?;
        Ok(Mem {
            tree: RwLock::new(tree),
            config,
            no_open: AtomicBool::new(false),
            no_opendir: AtomicBool::new(false),
        })
    }

    fn entry_of(&self, node: u64, attr: Attr) -> Entry {
        Entry {
            node: NodeId(node),
            // Node ids are never used twice.
            generation: 0,
            attr,
            attr_valid: self.config.attr_timeout,
            entry_valid: self.config.entry_timeout,
        }
    }

    /// The answer that names `target`, whose lookup is counted already.
    fn entry(&self, tree: &Tree, target: Target) -> Result<Entry> {
        Ok(self.entry_of(target.node, tree.inode(NodeId(target.node))?.attr()))
    }

    /// The answer that names `target`; counts it as a lookup.
    fn looked_up(&self, tree: &Tree, target: Target) -> Result<Entry> {
        let mut inode = tree.inode_mut(NodeId(target.node))?;
        tree.count(inode.id, &mut inode.record)?;
        Ok(self.entry_of(inode.id, inode.attr()))
    }

    fn attr_reply(&self, attr: Attr) -> AttrReply {
        AttrReply { attr, valid: self.config.attr_timeout }
    }

    fn make(&self, cx: &Context, parent: NodeId, name: &[u8], plan: &Plan<'_>) -> Result<Entry> {
        let tree = write(&self.tree);
        let target = tree.make_named(cx, parent, name, plan)?;
        self.entry(&tree, target)
    }

    fn forget_lookups(&self, node: NodeId, count: u64) {
        let unused = read(&self.tree).uncount(node, count);
        if unused {
            write(&self.tree).collect(node);
        }
    }

    /// The part of OPEN that mem does itself, where the kernel leaves it to OPEN.
    fn truncate_on_open(
        &self,
        tree: &Tree,
        node: NodeId,
        flags: u32,
        open_flags: OpenInFlags,
    ) -> Result<()> {
        let mut inode = tree.inode_mut(node)?;
        if flags & libc::O_TRUNC as u32 != 0 {
            let kill = open_flags.contains(OpenInFlags::FUSE_OPEN_KILL_SUIDGID);
            inode.truncate(&tree.store, tree.space(), 0, kill)?;
            inode.save(&tree.store)?;
        }
        Ok(())
    }
}

fn opened(open_flags: OpenOutFlags) -> Opened {
    Opened { fh: FileHandle(0), open_flags, backing_id: 0 }
}

impl Filesystem for Mem {
    fn init(&self, negotiation: &mut Negotiation) {
        let offers = |flag| negotiation.offered.contains(flag);
        self.no_open.store(offers(InitFlags::FUSE_NO_OPEN_SUPPORT), Ordering::Relaxed);
        self.no_opendir.store(offers(InitFlags::FUSE_NO_OPENDIR_SUPPORT), Ordering::Relaxed);
        negotiation.wanted |= InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_READDIRPLUS_AUTO
            | InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_CACHE_SYMLINKS
            | InitFlags::FUSE_HANDLE_KILLPRIV_V2
            | InitFlags::FUSE_NO_OPEN_SUPPORT
            | InitFlags::FUSE_NO_OPENDIR_SUPPORT
            // Data changes only through the mount: the kernel's pages are always good.
            | InitFlags::FUSE_EXPLICIT_INVAL_DATA;
        negotiation.wanted -= InitFlags::FUSE_AUTO_INVAL_DATA | InitFlags::FUSE_ATOMIC_O_TRUNC;
    }

    fn takeover(&self, _: &Counts) {
        self.rebuild();
    }

    fn holds(&self, kind: Kind, index: u32, fd: Fd) -> bool {
        // Asked before `takeover`.
        self.replay();
        read(&self.tree).store.holds(kind, index, fd)
    }

    fn happened(&self, effect: &Effect) -> bool {
        self.has_happened(effect)
    }

    fn settle(&self, effect: &Effect) {
        self.settle_effect(effect);
    }

    fn recover(&self, request: &Unfinished<'_>) -> Recovered {
        self.recover_request(request)
    }

    /// Nodes, and no open files: there is no count of them.
    fn counts(&self) -> (u64, u64) {
        (read(&self.tree).store.nodes.count(), 0)
    }

    fn resume(&self, negotiated: &Negotiated) {
        let agreed = |flag| negotiated.protocol.flags.contains(flag);
        self.no_open.store(agreed(InitFlags::FUSE_NO_OPEN_SUPPORT), Ordering::Relaxed);
        self.no_opendir.store(agreed(InitFlags::FUSE_NO_OPENDIR_SUPPORT), Ordering::Relaxed);
    }

    fn lookup(&self, _: &Context, parent: NodeId, op: &ops::Lookup<'_>) -> Result<Entry> {
        let tree = read(&self.tree);
        match tree.find(parent, op.name.as_bytes()) {
            Ok(found) => self.looked_up(&tree, found.target),
            Err(Errno::ENOENT) if !self.config.negative_timeout.is_zero() => {
                Ok(Entry::negative(self.config.negative_timeout))
            }
            Err(errno) => Err(errno),
        }
    }

    fn forget(&self, node: NodeId, nlookup: u64) {
        self.forget_lookups(node, nlookup);
    }

    fn getattr(&self, _: &Context, node: NodeId, _: &ops::Getattr) -> Result<AttrReply> {
        Ok(self.attr_reply(read(&self.tree).inode(node)?.attr()))
    }

    fn setattr(&self, _: &Context, node: NodeId, op: &ops::Setattr) -> Result<AttrReply> {
        let tree = read(&self.tree);
        let mut inode = tree.inode_mut(node)?;
        set_attributes(&tree, &mut inode, op)?;
        Ok(self.attr_reply(inode.attr()))
    }

    fn statx(&self, _: &Context, node: NodeId, _: &ops::Statx) -> Result<StatxReply> {
        Ok(read(&self.tree).inode(node)?.statx(self.config.attr_timeout))
    }

    fn readlink(&self, _: &Context, node: NodeId, buf: &mut [u8]) -> Result<usize> {
        let tree = read(&self.tree);
        let length = tree.inode(node)?.target(buf)?;
        accessed(&tree, node);
        Ok(length)
    }

    fn symlink(&self, cx: &Context, parent: NodeId, op: &ops::Symlink<'_>) -> Result<Entry> {
        let target = op.target.to_bytes();
        match target.len() {
            0 => return Err(Errno::ENOENT),
            1..=TARGET_MAX => {}
            _ => return Err(Errno::ENAMETOOLONG),
        }
        let plan = Plan { target, ..Plan::new(libc::S_IFLNK | 0o777, 0) };
        self.make(cx, parent, op.name.as_bytes(), &plan)
    }

    fn mknod(&self, cx: &Context, parent: NodeId, op: &ops::Mknod<'_>) -> Result<Entry> {
        let rdev = match op.mode & libc::S_IFMT {
            libc::S_IFCHR | libc::S_IFBLK => op.rdev,
            libc::S_IFREG | libc::S_IFIFO | libc::S_IFSOCK => 0,
            _ => return Err(Errno::EINVAL),
        };
        self.make(cx, parent, op.name.as_bytes(), &Plan::new(op.mode, rdev))
    }

    fn mkdir(&self, cx: &Context, parent: NodeId, op: &ops::Mkdir<'_>) -> Result<Entry> {
        let mode = libc::S_IFDIR | op.mode & 0o7777;
        self.make(cx, parent, op.name.as_bytes(), &Plan::new(mode, 0))
    }

    fn unlink(&self, cx: &Context, parent: NodeId, op: &ops::Unlink<'_>) -> Result<()> {
        write(&self.tree).unlink(cx, parent, op.name.as_bytes())
    }

    fn rmdir(&self, cx: &Context, parent: NodeId, op: &ops::Rmdir<'_>) -> Result<()> {
        write(&self.tree).rmdir(cx, parent, op.name.as_bytes())
    }

    fn rename(&self, cx: &Context, parent: NodeId, op: &ops::Rename2<'_>) -> Result<()> {
        let flags = Flags::new(op.flags)?;
        let from = Place { parent, name: op.oldname.as_bytes() };
        let to = Place { parent: op.newdir, name: op.newname.as_bytes() };
        write(&self.tree).rename(cx, from, to, flags)
    }

    fn link(&self, cx: &Context, newparent: NodeId, op: &ops::Link<'_>) -> Result<Entry> {
        let tree = write(&self.tree);
        let target = tree.link(cx, op.oldnode, newparent, op.newname.as_bytes())?;
        self.entry(&tree, target)
    }

    fn open(&self, _: &Context, node: NodeId, op: &ops::Open) -> Result<Opened> {
        self.truncate_on_open(&read(&self.tree), node, op.flags, op.open_flags)?;
        match self.no_open.load(Ordering::Relaxed) {
            true => Err(Errno::ENOSYS),
            false => Ok(opened(OpenOutFlags::FOPEN_KEEP_CACHE)),
        }
    }

    fn create(
        &self,
        cx: &Context,
        parent: NodeId,
        op: &ops::Create<'_>,
    ) -> Result<(Entry, Opened)> {
        let tree = write(&self.tree);
        let name = op.name.as_bytes();
        let entry = match tree.find(parent, name) {
            Ok(_) if op.flags & libc::O_EXCL as u32 != 0 => return Err(Errno::EEXIST),
            Ok(found) => {
                let node = NodeId(found.target.node);
                tree.inode(node)?.data()?;
                self.truncate_on_open(&tree, node, op.flags, op.open_flags)?;
                self.looked_up(&tree, found.target)?
            }
            Err(Errno::ENOENT) => {
                let plan = Plan::new(libc::S_IFREG | op.mode & 0o7777, 0);
                let target = tree.make_named(cx, parent, name, &plan)?;
                self.entry(&tree, target)?
            }
            Err(errno) => return Err(errno),
        };
        Ok((entry, opened(OpenOutFlags::FOPEN_KEEP_CACHE)))
    }

    fn tmpfile(
        &self,
        cx: &Context,
        parent: NodeId,
        op: &ops::Tmpfile<'_>,
    ) -> Result<(Entry, Opened)> {
        let tree = write(&self.tree);
        let plan = Plan::new(libc::S_IFREG | op.mode & 0o7777, 0);
        let linkable = op.flags & libc::O_EXCL as u32 == 0;
        let target = tree.make_nameless(cx, parent, &Plan { linkable, ..plan })?;
        Ok((self.entry(&tree, target)?, opened(OpenOutFlags::FOPEN_KEEP_CACHE)))
    }

    fn read(&self, _: &Context, node: NodeId, op: &ops::Read, buf: &mut [u8]) -> Result<usize> {
        self.read_data(node, op.offset, buf)
    }

    fn read_buf<'a>(
        &'a self,
        _: &Context,
        node: NodeId,
        op: &ops::Read,
        room: &'a mut [u8],
    ) -> Result<BufVec<'a>> {
        self.data_at(node, op.offset, room)
    }

    fn write(&self, _: &Context, node: NodeId, op: &ops::Write<'_>) -> Result<u32> {
        self.write_data(node, op)
    }

    fn fallocate(&self, cx: &Context, node: NodeId, op: &ops::Fallocate) -> Result<()> {
        self.allocate(cx, node, op)
    }

    fn lseek(&self, _: &Context, node: NodeId, op: &ops::Lseek) -> Result<u64> {
        self.seek(node, op)
    }

    fn copy_file_range(
        &self,
        cx: &Context,
        node: NodeId,
        op: &ops::CopyFileRange64,
    ) -> Result<u64> {
        self.copy(cx, node, op)
    }

    fn statfs(&self, _: &Context, _: NodeId) -> Result<Statfs> {
        let tree = read(&self.tree);
        let (bytes, inodes) = (tree.space().bytes(), tree.space().inodes());
        Ok(Statfs {
            blocks: bytes.limit() / PAGE,
            bfree: bytes.free() / PAGE,
            bavail: bytes.free() / PAGE,
            files: inodes.limit(),
            ffree: inodes.free(),
            bsize: PAGE as u32,
            namelen: NAME_MAX as u32,
            frsize: PAGE as u32,
        })
    }

    fn setxattr(&self, cx: &Context, node: NodeId, op: &ops::Setxattr<'_>) -> Result<()> {
        let set = |xattrs: &mut Xattrs| xattrs.set(op.name.to_bytes(), op.value, op.flags);
        self.change_xattrs(cx, node, set)
    }

    fn getxattr(
        &self,
        _: &Context,
        node: NodeId,
        op: &ops::Getxattr<'_>,
        buf: &mut [u8],
    ) -> Result<usize> {
        Xattrs::load(&read(&self.tree).inode(node)?.record)?.get(op.name.to_bytes(), buf)
    }

    fn listxattr(
        &self,
        cx: &Context,
        node: NodeId,
        _: &ops::Listxattr,
        buf: &mut [u8],
    ) -> Result<usize> {
        // Only who may read them sees `trusted.` names; CAP_SYS_ADMIN cannot be seen from here.
        Xattrs::load(&read(&self.tree).inode(node)?.record)?.names(cx.uid == 0, buf)
    }

    fn removexattr(&self, cx: &Context, node: NodeId, op: &ops::Removexattr<'_>) -> Result<()> {
        self.change_xattrs(cx, node, |xattrs| xattrs.remove(op.name.to_bytes()))
    }

    fn opendir(&self, _: &Context, node: NodeId, _: &ops::Opendir) -> Result<Opened> {
        read(&self.tree).inode(node)?.dir()?;
        match self.no_opendir.load(Ordering::Relaxed) {
            true => Err(Errno::ENOSYS),
            false => Ok(opened(OpenOutFlags::FOPEN_KEEP_CACHE | OpenOutFlags::FOPEN_CACHE_DIR)),
        }
    }

    fn readdir(
        &self,
        _: &Context,
        node: NodeId,
        op: &ops::Readdir,
        out: &mut DirBuffer<'_>,
    ) -> Result<()> {
        let tree = read(&self.tree);
        self.list(&tree, node, op.offset, |cookie, name, target| {
            out.push(target.node, cookie, target.dirent_type(), name)
        })?;
        accessed(&tree, node);
        Ok(())
    }

    fn readdirplus(
        &self,
        _: &Context,
        node: NodeId,
        op: &ops::Readdirplus,
        out: &mut DirBuffer<'_>,
    ) -> Result<()> {
        let tree = read(&self.tree);
        self.list(&tree, node, op.offset, |cookie, name, target| {
            self.push_plus(&tree, out, (cookie, name, target))
        })?;
        accessed(&tree, node);
        Ok(())
    }
}

/// SETATTR. The size comes first: it is the only part that can fail.
fn set_attributes(tree: &Tree, inode: &mut Exclusive<'_>, op: &ops::Setattr) -> Result<()> {
    let kill = op.valid.contains(SetattrValid::FATTR_KILL_SUIDGID);
    if let Some(size) = op.size {
        inode.truncate(&tree.store, tree.space(), size, kill)?;
    }
    inode.record.set(op, kill);
    inode.save(&tree.store)
}

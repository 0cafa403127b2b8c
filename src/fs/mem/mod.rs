//! A file system in memory.
//!
//! Everything is gone with the process. It is meant to be mounted with
//! `default_permissions`: the kernel checks who may do what, and mem keeps the modes,
//! owners, times (nanoseconds, atime as relatime) and link counts it decides by.
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

mod data;
mod dir;
mod file;
mod node;
mod rename;
mod space;
#[cfg(test)]
mod tests;
mod tree;
mod xattr;

use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use self::data::{Data, PAGE};
use self::dir::{DOT, DOT_DOT, Dir, Target};
use self::node::Content;
use self::rename::{Flags, Place};
use self::space::Space;
use self::tree::{NAME_MAX, Plan, Tree, read, write};
use super::{Context, Filesystem, Result};
use crate::Errno;
use crate::session::Negotiation;
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

impl Default for Mem {
    fn default() -> Self {
        Mem::new(MemConfig::default())
    }
}

impl Mem {
    /// An empty file system whose root directory, mode 0755, belongs to whoever runs this.
    pub fn new(config: MemConfig) -> Self {
        let owner = (nix::unistd::geteuid(), nix::unistd::getegid());
        let tree = Tree::new(Space::new(config.size_limit), owner.0.as_raw(), owner.1.as_raw());
        Mem {
            tree: RwLock::new(tree),
            config,
            no_open: AtomicBool::new(false),
            no_opendir: AtomicBool::new(false),
        }
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

    /// The answer that names `target`, counted as a lookup.
    fn entry(&self, tree: &Tree, target: Target) -> Result<Entry> {
        let node = tree.node(NodeId(target.node))?;
        node.lookups.fetch_add(1, Ordering::Relaxed);
        let attr = read(&node.inode).attr(target.node);
        Ok(self.entry_of(target.node, attr))
    }

    fn attr_reply(&self, attr: Attr) -> AttrReply {
        AttrReply { attr, valid: self.config.attr_timeout }
    }

    fn make(&self, cx: &Context, parent: NodeId, name: &[u8], plan: Plan) -> Result<Entry> {
        let tree = write(&self.tree);
        let target = tree.make_named(cx, parent, name, plan)?;
        self.entry(&tree, target)
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
            inode.truncate(tree.space(), 0, kill)?;
        }
        Ok(())
    }

    /// Entries of `node` behind `offset` go to `push` until it has no more room; an entry
    /// comes as (cookie, name, target). EINVAL when there is no room for one.
    fn list(
        &self,
        tree: &Tree,
        node: NodeId,
        offset: u64,
        mut push: impl FnMut(u64, &[u8], Target) -> bool,
    ) -> Result<()> {
        let inode = tree.inode(node)?;
        let dir = inode.dir()?;
        let dot = |node| Target { node, kind: libc::S_IFDIR };
        let dots = [(DOT, &b"."[..], dot(node.0)), (DOT_DOT, &b".."[..], dot(dir.parent))];
        let dots = dots.into_iter().filter(|(cookie, ..)| *cookie > offset);
        for (count, (cookie, name, target)) in dots.chain(dir.after(offset)).enumerate() {
            if !push(cookie, name, target) {
                return if count == 0 { Err(Errno::EINVAL) } else { Ok(()) };
            }
        }
        Ok(())
    }
}

fn opened(open_flags: OpenOutFlags) -> Opened {
    Opened { fh: FileHandle(0), open_flags, backing_id: 0 }
}

/// The content of a new node of `mode`'s type; EINVAL for one that MKNOD does not make.
fn new_content(mode: u32) -> Result<Content> {
    match mode & libc::S_IFMT {
        libc::S_IFREG => Ok(Content::File(Data::default())),
        libc::S_IFCHR | libc::S_IFBLK | libc::S_IFIFO | libc::S_IFSOCK => Ok(Content::Special),
        _ => Err(Errno::EINVAL),
    }
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

    fn lookup(&self, _: &Context, parent: NodeId, op: &ops::Lookup<'_>) -> Result<Entry> {
        let tree = read(&self.tree);
        match tree.find(parent, op.name.as_bytes()) {
            Ok(target) => self.entry(&tree, target),
            Err(Errno::ENOENT) if !self.config.negative_timeout.is_zero() => {
                Ok(Entry::negative(self.config.negative_timeout))
            }
            Err(errno) => Err(errno),
        }
    }

    fn forget(&self, node: NodeId, nlookup: u64) {
        if read(&self.tree).forget(node, nlookup) {
            write(&self.tree).collect(node);
        }
    }

    fn getattr(&self, _: &Context, node: NodeId, _: &ops::Getattr) -> Result<AttrReply> {
        Ok(self.attr_reply(read(&self.tree).inode(node)?.attr(node.0)))
    }

    fn setattr(&self, _: &Context, node: NodeId, op: &ops::Setattr) -> Result<AttrReply> {
        let tree = read(&self.tree);
        let mut inode = tree.inode_mut(node)?;
        inode.set(tree.space(), op, op.valid.contains(SetattrValid::FATTR_KILL_SUIDGID))?;
        Ok(self.attr_reply(inode.attr(node.0)))
    }

    fn statx(&self, _: &Context, node: NodeId, _: &ops::Statx) -> Result<StatxReply> {
        Ok(read(&self.tree).inode(node)?.statx(node.0, self.config.attr_timeout))
    }

    fn readlink(&self, _: &Context, node: NodeId, buf: &mut [u8]) -> Result<usize> {
        let tree = read(&self.tree);
        let length = match &tree.inode(node)?.content {
            Content::Symlink(target) => {
                buf.get_mut(..target.len()).ok_or(Errno::EINVAL)?.copy_from_slice(target);
                target.len()
            }
            _ => return Err(Errno::EINVAL),
        };
        self.accessed(&tree, node);
        Ok(length)
    }

    fn symlink(&self, cx: &Context, parent: NodeId, op: &ops::Symlink<'_>) -> Result<Entry> {
        let target = op.target.to_bytes();
        match target.len() {
            0 => return Err(Errno::ENOENT),
            1..=TARGET_MAX => {}
            _ => return Err(Errno::ENAMETOOLONG),
        }
        let content = Content::Symlink(target.into());
        let plan = Plan { mode: libc::S_IFLNK | 0o777, rdev: 0, content };
        self.make(cx, parent, op.name.as_bytes(), plan)
    }

    fn mknod(&self, cx: &Context, parent: NodeId, op: &ops::Mknod<'_>) -> Result<Entry> {
        let content = new_content(op.mode)?;
        let device = matches!(op.mode & libc::S_IFMT, libc::S_IFCHR | libc::S_IFBLK);
        let rdev = if device { op.rdev } else { 0 };
        self.make(cx, parent, op.name.as_bytes(), Plan { mode: op.mode, rdev, content })
    }

    fn mkdir(&self, cx: &Context, parent: NodeId, op: &ops::Mkdir<'_>) -> Result<Entry> {
        let mode = libc::S_IFDIR | op.mode & 0o7777;
        let content = Content::Dir(Dir::new(parent.0));
        self.make(cx, parent, op.name.as_bytes(), Plan { mode, rdev: 0, content })
    }

    fn unlink(&self, _: &Context, parent: NodeId, op: &ops::Unlink<'_>) -> Result<()> {
        write(&self.tree).unlink(parent, op.name.as_bytes())
    }

    fn rmdir(&self, _: &Context, parent: NodeId, op: &ops::Rmdir<'_>) -> Result<()> {
        write(&self.tree).rmdir(parent, op.name.as_bytes())
    }

    fn rename(&self, cx: &Context, parent: NodeId, op: &ops::Rename2<'_>) -> Result<()> {
        let flags = Flags::new(op.flags)?;
        let from = Place { parent, name: op.oldname.as_bytes() };
        let to = Place { parent: op.newdir, name: op.newname.as_bytes() };
        write(&self.tree).rename(cx, from, to, flags)
    }

    fn link(&self, _: &Context, newparent: NodeId, op: &ops::Link<'_>) -> Result<Entry> {
        let tree = write(&self.tree);
        let target = tree.link(op.oldnode, newparent, op.newname.as_bytes())?;
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
        let target = match tree.find(parent, name) {
            Ok(_) if op.flags & libc::O_EXCL as u32 != 0 => return Err(Errno::EEXIST),
            Ok(target) => {
                tree.inode(NodeId(target.node))?.data()?;
                self.truncate_on_open(&tree, NodeId(target.node), op.flags, op.open_flags)?;
                target
            }
            Err(Errno::ENOENT) => {
                let mode = libc::S_IFREG | op.mode & 0o7777;
                let plan = Plan { mode, rdev: 0, content: Content::File(Data::default()) };
                tree.make_named(cx, parent, name, plan)?
            }
            Err(errno) => return Err(errno),
        };
        Ok((self.entry(&tree, target)?, opened(OpenOutFlags::FOPEN_KEEP_CACHE)))
    }

    fn tmpfile(
        &self,
        cx: &Context,
        parent: NodeId,
        op: &ops::Tmpfile<'_>,
    ) -> Result<(Entry, Opened)> {
        let tree = write(&self.tree);
        let mode = libc::S_IFREG | op.mode & 0o7777;
        let plan = Plan { mode, rdev: 0, content: Content::File(Data::default()) };
        let target = tree.make(cx, parent, plan)?;
        {
            let mut inode = tree.inode_mut(NodeId(target.node))?;
            inode.nlink = 0;
            inode.linkable = op.flags & libc::O_EXCL as u32 == 0;
        }
        Ok((self.entry(&tree, target)?, opened(OpenOutFlags::FOPEN_KEEP_CACHE)))
    }

    fn read(&self, _: &Context, node: NodeId, op: &ops::Read, buf: &mut [u8]) -> Result<usize> {
        self.read_data(node, op.offset, buf)
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

    fn setxattr(&self, _: &Context, node: NodeId, op: &ops::Setxattr<'_>) -> Result<()> {
        let tree = read(&self.tree);
        let mut inode = tree.inode_mut(node)?;
        inode.xattrs.set(tree.space(), op.name.to_bytes(), op.value, op.flags)?;
        inode.changed();
        Ok(())
    }

    fn getxattr(
        &self,
        _: &Context,
        node: NodeId,
        op: &ops::Getxattr<'_>,
        buf: &mut [u8],
    ) -> Result<usize> {
        read(&self.tree).inode(node)?.xattrs.get(op.name.to_bytes(), buf)
    }

    fn listxattr(
        &self,
        cx: &Context,
        node: NodeId,
        _: &ops::Listxattr,
        buf: &mut [u8],
    ) -> Result<usize> {
        // Only who may read them sees `trusted.` names; CAP_SYS_ADMIN cannot be seen from here.
        read(&self.tree).inode(node)?.xattrs.names(cx.uid == 0, buf)
    }

    fn removexattr(&self, _: &Context, node: NodeId, op: &ops::Removexattr<'_>) -> Result<()> {
        let tree = read(&self.tree);
        let mut inode = tree.inode_mut(node)?;
        inode.xattrs.remove(tree.space(), op.name.to_bytes())?;
        inode.changed();
        Ok(())
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
        self.accessed(&tree, node);
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
            let child = tree.node(NodeId(target.node)).ok().filter(|_| cookie > DOT_DOT);
            let entry = match child {
                Some(child) => self.entry_of(target.node, read(&child.inode).attr(target.node)),
                // A dot: number and type alone, no lookup.
                None => self.entry_of(0, Attr { ino: target.node, ..Attr::default() }),
            };
            let pushed = out.push_plus(&entry, cookie, target.dirent_type(), name);
            if let Some(child) = child.filter(|_| pushed) {
                child.lookups.fetch_add(1, Ordering::Relaxed);
            }
            pushed
        })?;
        self.accessed(&tree, node);
        Ok(())
    }
}

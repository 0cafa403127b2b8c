//! The trait's methods called directly, without a mount.

mod attrs;
mod data;
mod listing;
mod model;
mod names;
mod xattrs;

use std::ffi::CString;

use super::store::Held;
use super::*;
use crate::wire::Unique;
use crate::wire::flags::{GetattrFlags, ReadFlags, SetxattrFlags, WriteFlags};
use crate::wire::{Extensions, Name};

const ROOT: NodeId = NodeId::ROOT;
const LIMIT: u64 = 16 << 20;

/// A file system and who asks it: user 1000, group 100, unless a test changes that.
struct Fs {
    mem: Mem,
    cx: Context,
    arena: Arena,
}

impl Drop for Fs {
    /// The descriptors, which would outlive it.
    fn drop(&mut self) {
        for (id, record) in read(&self.mem.tree).store.nodes.iter() {
            Held::of(id, &record).for_each(|held| read(&self.mem.tree).store.close(held));
        }
        self.arena.fd().close();
    }
}

fn c(text: impl AsRef<[u8]>) -> CString {
    CString::new(text.as_ref()).unwrap()
}

fn name(text: &CString) -> Name<'_> {
    Name::new(text).unwrap()
}

fn no_change() -> ops::Setattr {
    ops::Setattr {
        valid: SetattrValid::empty(),
        fh: None,
        lock_owner: None,
        mode: None,
        uid: None,
        gid: None,
        size: None,
        atime: None,
        mtime: None,
        ctime: None,
    }
}

impl Fs {
    fn new() -> Self {
        Self::with_limit(LIMIT)
    }

    fn with_limit(size_limit: u64) -> Self {
        let arena = Arena::create().unwrap();
        let mem = Mem::new(MemConfig { size_limit, ..MemConfig::default() }, &arena).unwrap();
        Fs { arena, mem, cx: Context { unique: Unique(2), uid: 1000, gid: 100, pid: 1 } }
    }

    fn lookup(&self, parent: NodeId, text: &str) -> Result<Entry> {
        let text = c(text);
        let entry = self.mem.lookup(&self.cx, parent, &ops::Lookup { name: name(&text) })?;
        if entry.node == NodeId(0) { Err(Errno::ENOENT) } else { Ok(entry) }
    }

    /// What the name stands for, without keeping a lookup.
    fn node(&self, parent: NodeId, text: &str) -> Result<NodeId> {
        let node = self.lookup(parent, text)?.node;
        self.mem.forget(node, 1);
        Ok(node)
    }

    fn attr(&self, node: NodeId) -> Result<Attr> {
        let op = ops::Getattr { flags: GetattrFlags::empty(), fh: None };
        self.mem.getattr(&self.cx, node, &op).map(|reply| reply.attr)
    }

    fn set(&self, node: NodeId, change: impl FnOnce(&mut ops::Setattr)) -> Result<Attr> {
        let mut op = no_change();
        change(&mut op);
        self.mem.setattr(&self.cx, node, &op).map(|reply| reply.attr)
    }

    fn truncate(&self, node: NodeId, size: u64) -> Result<Attr> {
        self.set(node, |op| op.size = Some(size))
    }

    fn mkdir(&self, parent: NodeId, text: &str) -> Result<NodeId> {
        self.mkdir_mode(parent, text, 0o755)
    }

    fn mkdir_mode(&self, parent: NodeId, text: &str, mode: u32) -> Result<NodeId> {
        let text = c(text);
        let ext = Extensions::default();
        let op = ops::Mkdir { mode, umask: 0o022, name: name(&text), ext };
        self.mem.mkdir(&self.cx, parent, &op).map(|entry| entry.node)
    }

    fn create(&self, parent: NodeId, text: &str) -> Result<NodeId> {
        self.create_flags(parent, text, libc::O_RDWR | libc::O_EXCL)
    }

    fn create_flags(&self, parent: NodeId, text: &str, flags: i32) -> Result<NodeId> {
        let text = c(text);
        let op = ops::Create {
            flags: flags as u32,
            mode: 0o644,
            umask: 0o022,
            open_flags: OpenInFlags::empty(),
            name: name(&text),
            ext: Extensions::default(),
        };
        self.mem.create(&self.cx, parent, &op).map(|(entry, _)| entry.node)
    }

    fn tmpfile(&self, parent: NodeId, flags: i32) -> Result<NodeId> {
        let op = ops::Tmpfile {
            flags: flags as u32,
            mode: 0o600,
            umask: 0,
            open_flags: OpenInFlags::empty(),
            ext: Extensions::default(),
        };
        self.mem.tmpfile(&self.cx, parent, &op).map(|(entry, _)| entry.node)
    }

    fn mknod(&self, parent: NodeId, text: &str, mode: u32, rdev: u32) -> Result<NodeId> {
        let text = c(text);
        let ext = Extensions::default();
        let op = ops::Mknod { mode, rdev, umask: 0, name: name(&text), ext };
        self.mem.mknod(&self.cx, parent, &op).map(|entry| entry.node)
    }

    fn symlink(&self, parent: NodeId, text: &str, target: &str) -> Result<NodeId> {
        let (text, target) = (c(text), c(target));
        let ext = Extensions::default();
        let op = ops::Symlink { name: name(&text), target: &target, ext };
        self.mem.symlink(&self.cx, parent, &op).map(|entry| entry.node)
    }

    fn link(&self, oldnode: NodeId, parent: NodeId, text: &str) -> Result<NodeId> {
        let text = c(text);
        let op = ops::Link { oldnode, newname: name(&text) };
        self.mem.link(&self.cx, parent, &op).map(|entry| entry.node)
    }

    fn unlink(&self, parent: NodeId, text: &str) -> Result<()> {
        let text = c(text);
        self.mem.unlink(&self.cx, parent, &ops::Unlink { name: name(&text) })
    }

    fn rmdir(&self, parent: NodeId, text: &str) -> Result<()> {
        let text = c(text);
        self.mem.rmdir(&self.cx, parent, &ops::Rmdir { name: name(&text) })
    }

    fn rename(&self, from: (NodeId, &str), to: (NodeId, &str), flags: u32) -> Result<()> {
        let (old, new) = (c(from.1), c(to.1));
        let (oldname, newname) = (name(&old), name(&new));
        let op = ops::Rename2 { newdir: to.0, flags, oldname, newname };
        self.mem.rename(&self.cx, from.0, &op)
    }

    fn read(&self, node: NodeId, offset: u64, size: usize) -> Result<Vec<u8>> {
        let mut buf = vec![0xaa; size];
        let op = ops::Read {
            fh: FileHandle(0),
            offset,
            size: size as u32,
            read_flags: ReadFlags::empty(),
            lock_owner: None,
            flags: 0,
        };
        let length = self.mem.read(&self.cx, node, &op, &mut buf)?;
        buf.truncate(length);
        Ok(buf)
    }

    fn write(&self, node: NodeId, offset: u64, data: &[u8]) -> Result<u32> {
        self.write_flags(node, offset, data, WriteFlags::empty())
    }

    fn write_flags(
        &self,
        node: NodeId,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
    ) -> Result<u32> {
        let fh = FileHandle(0);
        let op = ops::Write { fh, offset, write_flags, lock_owner: None, flags: 0, data };
        self.mem.write(&self.cx, node, &op)
    }

    fn fallocate(&self, node: NodeId, mode: i32, offset: u64, length: u64) -> Result<()> {
        let op = ops::Fallocate { fh: FileHandle(0), offset, length, mode: mode as u32 };
        self.mem.fallocate(&self.cx, node, &op)
    }

    fn seek(&self, node: NodeId, whence: i32, offset: u64) -> Result<u64> {
        let op = ops::Lseek { fh: FileHandle(0), offset, whence: whence as u32 };
        self.mem.lseek(&self.cx, node, &op)
    }

    fn copy(&self, from: (NodeId, u64), to: (NodeId, u64), len: u64) -> Result<u64> {
        let op = ops::CopyFileRange64 {
            fh_in: FileHandle(0),
            off_in: from.1,
            node_out: to.0,
            fh_out: FileHandle(0),
            off_out: to.1,
            len,
            flags: 0,
        };
        self.mem.copy_file_range(&self.cx, from.0, &op)
    }

    fn setxattr(&self, node: NodeId, key: &str, value: &[u8], flags: i32) -> Result<()> {
        let key = c(key);
        let setxattr_flags = SetxattrFlags::empty();
        let op = ops::Setxattr { flags: flags as u32, setxattr_flags, name: &key, value };
        self.mem.setxattr(&self.cx, node, &op)
    }

    fn getxattr(&self, node: NodeId, key: &str, buf: &mut [u8]) -> Result<usize> {
        let key = c(key);
        let op = ops::Getxattr { size: buf.len() as u32, name: &key };
        self.mem.getxattr(&self.cx, node, &op, buf)
    }

    fn statfs(&self) -> Statfs {
        self.mem.statfs(&self.cx, ROOT).unwrap()
    }

    /// Free bytes and inodes.
    fn free(&self) -> (u64, u64) {
        let statfs = self.statfs();
        (statfs.bfree * PAGE, statfs.ffree)
    }
}

//! Nodes: what stat(2) shows of one, what it holds, and how both change together.

use std::sync::RwLock;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::data::{Data, PAGE};
use super::dir::Dir;
use super::space::Space;
use super::xattr::Xattrs;
use crate::Errno;
use crate::fs::Result;
use crate::wire::ops::{SetTime, Setattr};
use crate::wire::{Attr, StatxReply, Timestamp};

/// An access time is moved again after this, even if nothing was written (relatime).
const ATIME_AGE: i64 = 24 * 60 * 60;
/// What a directory's size is; nothing depends on it.
const DIR_SIZE: u64 = PAGE;

/// One record of the node table.
#[derive(Default)]
pub(super) struct Node {
    /// How often the kernel was given this node and has not forgotten it.
    pub(super) lookups: AtomicU64,
    pub(super) inode: RwLock<Inode>,
}

#[derive(Default)]
pub(super) struct Inode {
    /// Type and permissions. The type never changes.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// As the kernel encodes it.
    pub(super) rdev: u32,
    pub(super) nlink: u32,
    /// Made without a name, and may be given one.
    pub(super) linkable: bool,
    pub(super) atime: Timestamp,
    pub(super) mtime: Timestamp,
    pub(super) ctime: Timestamp,
    pub(super) btime: Timestamp,
    pub(super) xattrs: Xattrs,
    pub(super) content: Content,
}

#[derive(Default)]
pub(super) enum Content {
    /// Devices, fifos and sockets: the kernel does the rest.
    #[default]
    Special,
    File(Data),
    Dir(Dir),
    Symlink(Box<[u8]>),
}

/// The time of day.
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp { secs: since.as_secs() as i64, nanos: since.subsec_nanos() }
}

fn resolve(time: SetTime, now: Timestamp) -> Timestamp {
    match time {
        SetTime::Now => now,
        SetTime::At(at) => at,
    }
}

impl Inode {
    pub(super) fn kind(&self) -> u32 {
        self.mode & libc::S_IFMT
    }

    pub(super) fn is_dir(&self) -> bool {
        matches!(self.content, Content::Dir(_))
    }

    pub(super) fn dir(&self) -> Result<&Dir> {
        match &self.content {
            Content::Dir(dir) => Ok(dir),
            _ => Err(Errno::ENOTDIR),
        }
    }

    pub(super) fn dir_mut(&mut self) -> Result<&mut Dir> {
        match &mut self.content {
            Content::Dir(dir) => Ok(dir),
            _ => Err(Errno::ENOTDIR),
        }
    }

    pub(super) fn data(&self) -> Result<&Data> {
        match &self.content {
            Content::File(data) => Ok(data),
            Content::Dir(_) => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    pub(super) fn data_mut(&mut self) -> Result<&mut Data> {
        match &mut self.content {
            Content::File(data) => Ok(data),
            Content::Dir(_) => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    pub(super) fn attr(&self, ino: u64) -> Attr {
        let (size, blocks) = match &self.content {
            Content::Special => (0, 0),
            Content::File(data) => (data.size(), data.pages() * (PAGE / 512)),
            Content::Dir(_) => (DIR_SIZE, 0),
            Content::Symlink(target) => (target.len() as u64, 0),
        };
        Attr {
            ino,
            size,
            blocks,
            atime: self.atime,
            mtime: self.mtime,
            ctime: self.ctime,
            mode: self.mode,
            nlink: self.nlink,
            uid: self.uid,
            gid: self.gid,
            rdev: self.rdev,
            blksize: PAGE as u32,
            ..Attr::default()
        }
    }

    pub(super) fn statx(&self, ino: u64, valid: Duration) -> StatxReply {
        StatxReply {
            attr: self.attr(ino),
            valid,
            btime: self.btime,
            mask: libc::STATX_BASIC_STATS | libc::STATX_BTIME,
            ..StatxReply::default()
        }
    }

    /// The data, or a directory's entries, changed.
    pub(super) fn modified(&mut self) {
        let now = now();
        self.mtime = now;
        self.ctime = now;
    }

    /// The node changed, not its data.
    pub(super) fn changed(&mut self) {
        self.ctime = now();
    }

    /// Whether an access moves atime under the rules of relatime, the kernel's default.
    pub(super) fn wants_atime(&self) -> bool {
        let old = self.atime <= self.mtime || self.atime <= self.ctime;
        old || now().secs - self.atime.secs >= ATIME_AGE
    }

    /// Takes suid away, and sgid where it means "run as the group" and not a lock mode.
    pub(super) fn kill_suidgid(&mut self) {
        if self.is_dir() {
            return;
        }
        self.mode &= !libc::S_ISUID;
        if self.mode & libc::S_IXGRP != 0 {
            self.mode &= !libc::S_ISGID;
        }
    }

    /// Before a change of the data: capabilities go always, suid and sgid where `kill` says
    /// that the caller may not keep them.
    pub(super) fn drop_privileges(&mut self, space: &Space, kill: bool) {
        self.xattrs.remove_capability(space);
        if kill {
            self.kill_suidgid();
        }
    }

    /// Cuts or grows a file; `kill` as in [`Inode::drop_privileges`].
    pub(super) fn truncate(&mut self, space: &Space, size: u64, kill: bool) -> Result<()> {
        self.data_mut()?.resize(space, size)?;
        self.drop_privileges(space, kill);
        self.modified();
        Ok(())
    }

    /// SETATTR. The size comes first: it is the only part that can fail.
    pub(super) fn set(&mut self, space: &Space, op: &Setattr, kill: bool) -> Result<()> {
        if let Some(size) = op.size {
            self.truncate(space, size, kill)?;
        }
        if op.uid.is_some() || op.gid.is_some() {
            self.drop_privileges(space, true);
        } else if kill {
            self.kill_suidgid();
        }
        self.uid = op.uid.unwrap_or(self.uid);
        self.gid = op.gid.unwrap_or(self.gid);
        if let Some(mode) = op.mode {
            self.mode = self.kind() | mode & 0o7777;
        }
        let now = now();
        if let Some(atime) = op.atime {
            self.atime = resolve(atime, now);
        }
        if let Some(mtime) = op.mtime {
            self.mtime = resolve(mtime, now);
        }
        self.ctime = op.ctime.unwrap_or(now);
        Ok(())
    }
}

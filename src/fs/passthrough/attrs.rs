//! Attributes: GETATTR, SETATTR, STATX, STATFS.

use std::time::Duration;

use super::Passthrough;
use super::nodes::{Node, NodeFd};
use crate::Errno;
use crate::fs::{Context, Result};
use crate::recovery::journal;
use crate::recovery::points::called;
use crate::sys::file::Statx;
use crate::sys::{Fd, creds, file, xattr};
use crate::wire::flags::SetattrValid;
use crate::wire::ops::SetTime;
use crate::wire::{AttrReply, FileHandle, NodeId, Statfs, StatxReply, Timestamp, ops};

impl Passthrough {
    /// Whether the kernel may keep attributes that it gets of this node now; remembers that it
    /// was told so.
    pub(super) fn trust(&self, node: &mut Node<'_>) -> bool {
        let trusted = !node.is_mapped_writable() && !self.attr_valid.is_zero();
        if trusted && !node.record.attrs_trusted() {
            node.change(|record| record.set_attrs_trusted(true));
        }
        trusted
    }

    pub(super) fn is_trusted(&self, id: NodeId) -> bool {
        self.nodes.lock(id).is_ok_and(|mut node| self.trust(&mut node))
    }

    fn attr_reply(&self, id: NodeId, stat: &Statx) -> AttrReply {
        let valid = if self.is_trusted(id) { self.attr_valid } else { Duration::ZERO };
        AttrReply { attr: self.nodes.attr(stat), valid }
    }

    /// The open file of a request that names one, else the inode.
    fn file_or_node(&self, id: NodeId, fh: Option<FileHandle>) -> Result<NodeFd<'_>> {
        match fh.map(|fh| self.handles.fd(fh)) {
            Some(Ok(fd)) => Ok(NodeFd::Borrowed(fd)),
            _ => self.nodes.fd(id),
        }
    }

    pub(super) fn attributes(&self, id: NodeId, fh: Option<FileHandle>) -> Result<AttrReply> {
        let fd = self.file_or_node(id, fh)?;
        Ok(self.attr_reply(id, &file::fstatx(fd.get())?))
    }

    pub(super) fn extended(&self, id: NodeId, op: &ops::Statx) -> Result<StatxReply> {
        let fd = self.file_or_node(id, op.fh)?;
        let stat = file::fstatx(fd.get())?;
        Ok(StatxReply {
            attr: self.nodes.attr(&stat),
            valid: if self.is_trusted(id) { self.attr_valid } else { Duration::ZERO },
            btime: Timestamp { secs: stat.stx_btime.tv_sec, nanos: stat.stx_btime.tv_nsec },
            mask: stat.stx_mask & (libc::STATX_BASIC_STATS | libc::STATX_BTIME),
            attributes: stat.stx_attributes,
            attributes_mask: stat.stx_attributes_mask,
            dev_major: stat.stx_dev_major,
            dev_minor: stat.stx_dev_minor,
        })
    }

    pub(super) fn set_attributes(
        &self,
        cx: &Context,
        id: NodeId,
        op: &ops::Setattr,
    ) -> Result<AttrReply> {
        let inode = self.nodes.fd(id)?;
        let fd = inode.get();
        if [op.atime, op.mtime].contains(&Some(SetTime::Now)) {
            // Begun, and allowed: a successor sets the time at which it was.
            journal::intend(&[]);
        }
        if let Some(mode) = op.mode {
            called(file::chmod(fd, mode & 0o7777))?;
        }
        if op.uid.is_some() || op.gid.is_some() {
            called(file::chown(fd, op.uid, op.gid))?;
        }
        if let Some(size) = op.size {
            self.truncate(fd, op, size)?;
        }
        if op.atime.is_some() || op.mtime.is_some() {
            called(file::utimens(fd, &[timespec(op.atime), timespec(op.mtime)]))?;
        }
        if changes_nothing(op.valid) {
            self.clear_privileges(cx, id, fd, op.valid)?;
        }
        Ok(self.attr_reply(id, &file::fstatx(fd)?))
    }

    /// A wish without a subject: what the kernel sends for a chown to nobody, which takes set-id
    /// bits and capabilities from a file of the caller's, and before a write to a file that has
    /// some. The chown comes with a change time when the kernel keeps those (writeback). Else the
    /// two are alike (Linux 6.18): FATTR_KILL_SUIDGID is sent with an id or a size only, FATTR_FH
    /// with what has an open file as its subject, and both have no flag at all. So a file that is
    /// open for writing is the sign of a write. A stranger's chown to nobody of such a file is
    /// taken for one, and gets 0 where it should get EPERM: the other way round a write would fail.
    /// Over io_uring the RELEASE of the last writer may come behind such a chown.
    fn clear_privileges(
        &self,
        cx: &Context,
        id: NodeId,
        inode: Fd,
        valid: SetattrValid,
    ) -> Result<()> {
        let writes =
            self.nodes.lock(id)?.local.writers > 0 && !valid.contains(SetattrValid::FATTR_CTIME);
        if writes && cx.uid == 0 {
            // Root's writes leave the bits; capabilities go with every write.
            return match called(xattr::remove(inode, c"security.capability")) {
                Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(()),
                result => result,
            };
        }
        if !writes && cx.uid != 0 {
            let stat = file::fstatx(inode)?;
            let mode = u32::from(stat.stx_mode);
            let runs_as_group = libc::S_ISGID | libc::S_IXGRP;
            let has_bits = mode & libc::S_ISUID != 0 || mode & runs_as_group == runs_as_group;
            if has_bits && stat.stx_uid != cx.uid {
                return Err(Errno::EPERM);
            }
        }
        // A chown that changes no id has the same effect below.
        called(file::chown(inode, None, None))
    }

    fn truncate(&self, inode: Fd, op: &ops::Setattr, size: u64) -> Result<()> {
        let open = op.fh.and_then(|fh| self.handles.fd(fh).ok());
        let truncate = || match open {
            Some(fd) => match called(file::ftruncate(fd, size)) {
                // Open for reading only: ftruncate of a file that another open may write.
                Err(Errno::EINVAL | Errno::EBADF) => truncate_inode(inode, size),
                result => result,
            },
            None => truncate_inode(inode, size),
        };
        if op.valid.contains(SetattrValid::FATTR_KILL_SUIDGID) {
            creds::without_fsetid(truncate)
        } else {
            truncate()
        }
    }

    pub(super) fn file_system(&self, id: NodeId) -> Result<Statfs> {
        let stat = file::fstatfs(self.nodes.fd(id)?.get())?;
        Ok(Statfs {
            blocks: stat.f_blocks,
            bfree: stat.f_bfree,
            bavail: stat.f_bavail,
            files: stat.f_files,
            ffree: stat.f_ffree,
            bsize: stat.f_bsize as u32,
            namelen: stat.f_namelen as u32,
            frsize: stat.f_frsize as u32,
        })
    }
}

fn truncate_inode(inode: Fd, size: u64) -> Result<()> {
    let fd = file::reopen(inode, libc::O_WRONLY | libc::O_NONBLOCK)?;
    called(file::ftruncate(fd.get(), size))
}

/// Whether none of the fields is set that say what to change; a change time alone is the
/// kernel's record that something was to change.
fn changes_nothing(valid: SetattrValid) -> bool {
    let subjects = SetattrValid::FATTR_MODE
        | SetattrValid::FATTR_UID
        | SetattrValid::FATTR_GID
        | SetattrValid::FATTR_SIZE
        | SetattrValid::FATTR_ATIME
        | SetattrValid::FATTR_MTIME;
    !valid.intersects(subjects)
}

fn timespec(time: Option<SetTime>) -> libc::timespec {
    let (tv_sec, tv_nsec) = match time {
        None => (0, libc::UTIME_OMIT),
        Some(SetTime::Now) => (0, libc::UTIME_NOW),
        Some(SetTime::At(at)) => (at.secs, i64::from(at.nanos)),
    };
    libc::timespec { tv_sec, tv_nsec }
}

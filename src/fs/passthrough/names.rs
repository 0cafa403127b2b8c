//! LOOKUP, and what makes, moves and removes names.

use std::ffi::CStr;
use std::time::Duration;

use super::Passthrough;
use crate::Errno;
use crate::fs::{Context, Result};
use crate::recovery::decide::Identity;
use crate::recovery::journal;
use crate::recovery::points::called;
use crate::sys::file::{self, Statx};
use crate::sys::{Fd, OpFd, creds, path};
use crate::wire::{Entry, Extensions, NodeId, Opened, ops};

/// Looks at the name itself, whatever it is.
const LOOK: i32 = libc::O_PATH | libc::O_NOFOLLOW;
/// How long the attributes of a file made for writing are trusted: while the kernel finishes
/// the open, which checks permissions once more, and before anybody can have mapped it.
const OPENING: Duration = Duration::from_millis(1);

impl Passthrough {
    pub(super) fn look_up(&self, parent: NodeId, name: &CStr) -> Result<Entry> {
        let parent = self.nodes.fd(parent)?;
        match self.look_at(parent.get(), name) {
            Ok(fd) => self.entry(fd),
            Err(Errno::ENOENT) if !self.negative_valid.is_zero() => {
                Ok(Entry::negative(self.negative_valid))
            }
            Err(error) => Err(error),
        }
    }

    /// The inode of a name.
    pub(super) fn look_at(&self, parent: Fd, name: &CStr) -> Result<OpFd> {
        match &self.covered {
            Some(covered) if covered.is(parent, name) => covered.open(),
            _ => file::openat(parent, name, LOOK, 0),
        }
    }

    /// The entry of an inode, counted once more.
    pub(super) fn entry(&self, fd: OpFd) -> Result<Entry> {
        let stat = file::fstatx(fd.get())?;
        self.entry_with(fd, &stat)
    }

    fn entry_with(&self, fd: OpFd, stat: &Statx) -> Result<Entry> {
        let (node, trusted) = self.nodes.remember(fd, stat, |node| self.trust(node))?;
        Ok(self.entry_of(node, stat, trusted))
    }

    fn entry_of(&self, node: NodeId, stat: &Statx, trusted: bool) -> Entry {
        let attr_valid = if trusted { self.attr_valid } else { Duration::ZERO };
        Entry {
            node,
            generation: 0,
            attr: self.nodes.attr(stat),
            attr_valid,
            entry_valid: self.entry_valid,
        }
    }

    /// Runs `f` as the caller, who will own what it makes.
    fn as_caller<T>(
        &self,
        cx: &Context,
        ext: &Extensions<'_>,
        umask: u32,
        f: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        // The kernel sends one group at the most: the parent's, if the caller is in it.
        let mut groups = [0; 4];
        let mut count = 0;
        for (place, group) in groups.iter_mut().zip(ext.groups.iter()) {
            *place = group;
            count += 1;
        }
        creds::as_caller(cx.uid, cx.gid, &groups[..count], umask, f)
    }

    /// Makes a name in `parent` as the caller, by `make`, and looks at what it is.
    fn make(
        &self,
        cx: &Context,
        parent: NodeId,
        name: &CStr,
        (ext, umask): (&Extensions<'_>, u32),
        make: impl FnOnce(Fd) -> Result<()>,
    ) -> Result<Entry> {
        let parent = self.nodes.fd(parent)?;
        called(self.as_caller(cx, ext, umask, || make(parent.get())))?;
        self.entry(file::openat(parent.get(), name, LOOK, 0)?)
    }

    pub(super) fn make_node(
        &self,
        cx: &Context,
        parent: NodeId,
        op: &ops::Mknod<'_>,
    ) -> Result<Entry> {
        let name = op.name.as_cstr();
        self.make(cx, parent, name, (&op.ext, op.umask), |parent| {
            path::mknod(parent, name, op.mode, op.rdev)
        })
    }

    pub(super) fn make_dir(
        &self,
        cx: &Context,
        parent: NodeId,
        op: &ops::Mkdir<'_>,
    ) -> Result<Entry> {
        let name = op.name.as_cstr();
        self.make(cx, parent, name, (&op.ext, op.umask), |parent| {
            path::mkdir(parent, name, op.mode)
        })
    }

    pub(super) fn make_symlink(
        &self,
        cx: &Context,
        parent: NodeId,
        op: &ops::Symlink<'_>,
    ) -> Result<Entry> {
        let name = op.name.as_cstr();
        self.make(cx, parent, name, (&op.ext, 0), |parent| path::symlink(op.target, parent, name))
    }

    pub(super) fn make_link(&self, newparent: NodeId, op: &ops::Link<'_>) -> Result<Entry> {
        let node = self.nodes.fd(op.oldnode)?;
        let parent = self.nodes.fd(newparent)?;
        called(path::link(node.get(), parent.get(), op.newname.as_cstr()))?;
        self.linked(op.oldnode, node.get())
    }

    /// The entry of a node that has got another name; `inode` is its descriptor.
    pub(super) fn linked(&self, node: NodeId, inode: Fd) -> Result<Entry> {
        let stat = file::fstatx(inode)?;
        let trusted = self.nodes.count(node, |node| self.trust(node))?;
        Ok(self.entry_of(node, &stat, trusted))
    }

    pub(super) fn remove_name(&self, parent: NodeId, name: &CStr) -> Result<()> {
        let parent = self.nodes.fd(parent)?;
        self.nodes.keep_alive(|| self.look_at(parent.get(), name));
        called(path::unlink(parent.get(), name))
    }

    pub(super) fn remove_dir(&self, parent: NodeId, name: &CStr) -> Result<()> {
        let parent = self.nodes.fd(parent)?;
        self.nodes.keep_alive(|| self.look_at(parent.get(), name));
        called(path::rmdir(parent.get(), name))
    }

    pub(super) fn move_name(
        &self,
        cx: &Context,
        parent: NodeId,
        op: &ops::Rename2<'_>,
    ) -> Result<()> {
        let from = self.nodes.fd(parent)?;
        let to = self.nodes.fd(op.newdir)?;
        let (old, new) = (op.oldname.as_cstr(), op.newname.as_cstr());
        self.nodes.keep_alive(|| self.look_at(to.get(), new));
        if op.flags & (libc::RENAME_EXCHANGE | libc::RENAME_WHITEOUT) != 0 {
            // Something has the old name afterwards too: a successor sees whether it is another.
            let stat = file::fstatx(self.look_at(from.get(), old)?.get())?;
            journal::intend(&identity(&stat).to_words());
        }
        let rename = || called(path::rename(from.get(), old, to.get(), new, op.flags));
        if op.flags & libc::RENAME_WHITEOUT != 0 {
            // The whiteout left behind is a new file, and the caller's.
            return creds::as_caller(cx.uid, cx.gid, &[], 0, rename);
        }
        rename()
    }

    /// CREATE: always as a new file.
    ///
    /// When the name turns out to be taken, though the kernel believed it free, ESTALE makes
    /// the kernel look it up afresh and open it with the permission checks of an open.
    pub(super) fn create_file(
        &self,
        cx: &Context,
        parent: NodeId,
        op: &ops::Create<'_>,
    ) -> Result<(Entry, Opened)> {
        let parent = self.nodes.fd(parent)?;
        let flags = self.lower_flags(op.flags) | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
        let made = self.as_caller(cx, &op.ext, op.umask, || {
            called(file::openat(parent.get(), op.name.as_cstr(), flags, op.mode))
        });
        let exclusive = op.flags as i32 & libc::O_EXCL != 0;
        let fd = match made {
            Err(Errno::EEXIST) if !exclusive => return Err(Errno::ESTALE),
            made => made?,
        };
        // By its name, as that is faster than by the open file; if the name has come to mean
        // another file meanwhile, by the open file.
        let named = file::openat(parent.get(), op.name.as_cstr(), LOOK, 0);
        match named.and_then(|inode| Ok((file::fstatx(inode.get())?, inode))) {
            Ok((stat, inode)) if identity(&stat) == identity(&file::fstatx(fd.get())?) => {
                self.created(inode, &stat, fd, op.flags)
            }
            _ => self.created_unnamed(fd, op.flags),
        }
    }

    /// TMPFILE: a file without a name in the parent's file system.
    pub(super) fn create_unnamed(
        &self,
        cx: &Context,
        parent: NodeId,
        op: &ops::Tmpfile<'_>,
    ) -> Result<(Entry, Opened)> {
        let parent = self.nodes.fd(parent)?;
        let kept = libc::O_EXCL as u32 & op.flags;
        let flags = self.lower_flags(op.flags) | kept as i32 | libc::O_TMPFILE;
        let fd = self.as_caller(cx, &op.ext, op.umask, || {
            called(file::openat(parent.get(), c".", flags, op.mode))
        })?;
        self.created_unnamed(fd, op.flags)
    }

    fn created_unnamed(&self, fd: OpFd, flags: u32) -> Result<(Entry, Opened)> {
        let inode = file::reopen(fd.get(), libc::O_PATH)?;
        let stat = file::fstatx(inode.get())?;
        self.created(inode, &stat, fd, flags)
    }

    /// The entry and handle of a file just made and open as `fd`; `inode` is its O_PATH
    /// descriptor.
    pub(super) fn created(
        &self,
        inode: OpFd,
        stat: &Statx,
        fd: OpFd,
        flags: u32,
    ) -> Result<(Entry, Opened)> {
        let mut entry = self.entry_with(inode, stat)?;
        match self.opened_file(entry.node, fd, flags, true) {
            Ok(opened) => {
                if !self.is_trusted(entry.node) {
                    entry.attr_valid = self.attr_valid.min(OPENING);
                }
                Ok((entry, opened))
            }
            Err(error) => {
                self.nodes.forget(entry.node, 1);
                Err(error)
            }
        }
    }

    /// LOOKUP for READDIRPLUS, where a name that is gone meanwhile is no error.
    pub(super) fn look_up_listed(&self, parent: Fd, name: &CStr) -> Option<Entry> {
        self.look_at(parent, name).and_then(|fd| self.entry(fd)).ok()
    }
}

/// Which inode it is.
pub(super) fn identity(stat: &Statx) -> Identity {
    let device = u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor);
    Identity { device, ino: stat.stx_ino }
}

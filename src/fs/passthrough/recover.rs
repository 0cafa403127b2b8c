//! Takeover: whether a request that a dead worker had begun has happened below.
//!
//! Here the lower tree is looked at, and the answer is made that the first run would have given;
//! [`decide`] says whether it has happened. What cannot be looked at is done again and says itself
//! why it fails, unless the second time would do harm.
//!
//! A name is looked at with [`Passthrough::look_at`] only: a mount point in the source leads
//! into the very mount that waits for this process.

use std::ffi::CStr;
use std::time::Duration;

use super::Passthrough;
use super::names::identity;
use super::xattrs::{exists, has_set};
use crate::Errno;
use crate::fs::{Answer, Recovered, Result, Unfinished};
use crate::recovery::decide::{self, Asked, Found, Identity, Verdict};
use crate::sys::file::{self, Statx};
use crate::sys::{Fd, OpFd, path, xattr};
use crate::wire::decode::Operation;
use crate::wire::{Name, NodeId, ops};

/// What a name stands for now.
struct Seen {
    inode: OpFd,
    stat: Statx,
    found: Found,
}

impl Passthrough {
    /// Whether a request that changes something has happened, and its answer if so.
    pub(super) fn recover_request(&self, request: &Unfinished<'_>) -> Recovered {
        self.probe(request).unwrap_or_else(|error| match request.operation {
            // It cannot be told, and the second time would undo or double the first.
            Operation::Rename2(_) | Operation::Write(_) if request.intent.is_some() => {
                Recovered::Done(Answer::Failed(error))
            }
            _ => Recovered::Again,
        })
    }

    fn probe(&self, request: &Unfinished<'_>) -> Result<Recovered> {
        let (node, noted) = (request.node, request.intent);
        match request.operation {
            Operation::Mkdir(op) => {
                self.new_name(request, op.name, |asked, seen| decide::mkdir(asked, found(seen)))
            }
            Operation::Mknod(op) => self.new_name(request, op.name, |asked, seen| {
                decide::mknod(asked, op.mode, op.rdev, found(seen))
            }),
            Operation::Symlink(op) => self.new_name(request, op.name, |asked, seen| {
                let same = seen.is_some_and(|seen| leads_to(seen.inode.get(), op.target));
                decide::symlink(asked, same, found(seen))
            }),
            Operation::Create(op) => self.new_file(request, op),
            Operation::Unlink(op) => Ok(empty(decide::unlink(self.is_there(node, op.name)?))),
            Operation::Rmdir(op) => Ok(empty(decide::rmdir(self.is_there(node, op.name)?))),
            Operation::Rename(op) => self.moved(request, op.newdir, 0, (op.oldname, op.newname)),
            Operation::Rename2(op) => {
                self.moved(request, op.newdir, op.flags, (op.oldname, op.newname))
            }
            Operation::Link(op) => self.new_link(node, op),
            Operation::Setxattr(op) => self.xattr_set(node, op, noted.map(|[it, ..]| it != 0)),
            Operation::Removexattr(op) => {
                let exists = exists(self.nodes.fd(node)?.get(), op.name);
                Ok(empty(decide::removexattr(noted.map(|[it, ..]| it != 0), exists)))
            }
            Operation::Setattr(op) if noted.is_some() => {
                let op = decide::setattr(op, request.began);
                // Refused: others than the owner may set no time but "now". The rest is absolute.
                Ok(Recovered::Done(Answer::Attr(self.set_attributes(&request.cx, node, &op)?)))
            }
            Operation::Write(op) => self.appended(op, noted.map(|[size, ..]| size)),
            _ => Ok(Recovered::Again),
        }
    }

    /// `None`: there is no such name.
    fn see(&self, parent: Fd, name: Name<'_>) -> Result<Option<Seen>> {
        let inode = match self.look_at(parent, name.as_cstr()) {
            Err(Errno::ENOENT) => return Ok(None),
            inode => inode?,
        };
        let stat = file::fstatx(inode.get())?;
        let born = match stat.stx_mask & libc::STATX_BTIME {
            0 => stat.stx_ctime,
            _ => stat.stx_btime,
        };
        let found = Found {
            identity: identity(&stat),
            mode: stat.stx_mode.into(),
            uid: stat.stx_uid,
            rdev: self.nodes.attr(&stat).rdev,
            born: Duration::new(born.tv_sec.try_into().unwrap_or(0), born.tv_nsec),
        };
        Ok(Some(Seen { inode, stat, found }))
    }

    fn is_there(&self, parent: NodeId, name: Name<'_>) -> Result<bool> {
        Ok(self.see(self.nodes.fd(parent)?.get(), name)?.is_some())
    }

    /// The name, if the request has made it.
    fn made(
        &self,
        request: &Unfinished<'_>,
        name: Name<'_>,
        decide: impl FnOnce(&Asked, Option<&Seen>) -> Verdict,
    ) -> Result<Option<Seen>> {
        let parent = self.nodes.fd(request.node)?;
        let owners = match self.powers.switch_user {
            true => Some([request.cx.uid, file::fstatx(parent.get())?.stx_uid]),
            false => None,
        };
        let seen = self.see(parent.get(), name)?;
        let asked = Asked { began: request.began, owners };
        Ok(match decide(&asked, seen.as_ref()) {
            Verdict::Done => seen,
            Verdict::Again => None,
        })
    }

    /// MKDIR, MKNOD, SYMLINK.
    fn new_name(
        &self,
        request: &Unfinished<'_>,
        name: Name<'_>,
        decide: impl FnOnce(&Asked, Option<&Seen>) -> Verdict,
    ) -> Result<Recovered> {
        let made = self.made(request, name, decide)?;
        Ok(made.map_or(Recovered::Again, |seen| done(self.entry(seen.inode).map(Answer::Entry))))
    }

    fn new_file(&self, request: &Unfinished<'_>, op: &ops::Create<'_>) -> Result<Recovered> {
        let decide = |asked: &Asked, seen: Option<&Seen>| decide::create(asked, found(seen));
        let Some(Seen { inode, stat, .. }) = self.made(request, op.name, decide)? else {
            return Ok(Recovered::Again);
        };
        let opened = match file::reopen(inode.get(), self.lower_flags(op.flags)) {
            // Its own mode forbids what only the open that makes the file may do. Nobody has seen
            // it yet, so it is made anew.
            Err(Errno::EACCES) if stat.stx_size == 0 && stat.stx_nlink == 1 => {
                path::unlink(self.nodes.fd(request.node)?.get(), op.name.as_cstr())?;
                return Ok(Recovered::Again);
            }
            opened => opened,
        };
        let created = opened.and_then(|fd| self.created(inode, &stat, fd, op.flags));
        Ok(done(created.map(|(entry, opened)| Answer::Created(entry, opened))))
    }

    fn moved(
        &self,
        request: &Unfinished<'_>,
        newdir: NodeId,
        flags: u32,
        (old, new): (Name<'_>, Name<'_>),
    ) -> Result<Recovered> {
        let before = request.intent.map(Identity::from_words);
        let seen = self.see(self.nodes.fd(request.node)?.get(), old)?;
        // Where the old name is there, it alone decides.
        let new_is_there = seen.is_some() || self.is_there(newdir, new)?;
        Ok(empty(decide::rename(flags, before, found(seen.as_ref()), new_is_there)))
    }

    fn new_link(&self, parent: NodeId, op: &ops::Link<'_>) -> Result<Recovered> {
        let inode = self.nodes.fd(op.oldnode)?;
        let new = self.see(self.nodes.fd(parent)?.get(), op.newname)?;
        let new = new.map(|seen| seen.found.identity);
        Ok(match decide::link(identity(&file::fstatx(inode.get())?), new) {
            Verdict::Again => Recovered::Again,
            Verdict::Done => done(self.linked(op.oldnode, inode.get()).map(Answer::Entry)),
        })
    }

    fn xattr_set(
        &self,
        node: NodeId,
        op: &ops::Setxattr<'_>,
        existed: Option<bool>,
    ) -> Result<Recovered> {
        let inode = self.nodes.fd(node)?;
        let same = has_value(inode.get(), op.name, op.value);
        Ok(match decide::setxattr(op.flags, existed, same) {
            Verdict::Again => Recovered::Again,
            Verdict::Done => done(has_set(inode.get(), op).map(|()| Answer::Empty)),
        })
    }

    /// WRITE: `before` is noted where the lower file appends.
    fn appended(&self, op: &ops::Write<'_>, before: Option<u64>) -> Result<Recovered> {
        let Some(before) = before else { return Ok(Recovered::Again) };
        let now = file::fstatx(self.handles.fd(op.fh)?)?.stx_size;
        let written = decide::write(before, now, op.data.len());
        if written == 0 {
            return Ok(Recovered::Again);
        }
        // Where the rest fails, what is there is the answer, as for any write cut short.
        let more = self.write_behind(op, written).unwrap_or(0);
        Ok(Recovered::Done(Answer::Written(written as u32 + more)))
    }
}

fn found(seen: Option<&Seen>) -> Option<&Found> {
    seen.map(|seen| &seen.found)
}

/// Of a request without a result.
fn empty(verdict: Verdict) -> Recovered {
    match verdict {
        Verdict::Again => Recovered::Again,
        Verdict::Done => Recovered::Done(Answer::Empty),
    }
}

/// Of a request that has happened: its answer, or why there is none, as it would have been then.
fn done(answer: Result<Answer>) -> Recovered {
    Recovered::Done(answer.unwrap_or_else(Answer::Failed))
}

/// Whether it is a symbolic link with this target.
fn leads_to(link: Fd, target: &CStr) -> bool {
    // One byte more, so that a longer target does not look the same.
    let mut buf = vec![0; target.to_bytes().len() + 1];
    path::readlink(link, &mut buf).is_ok_and(|length| buf[..length] == *target.to_bytes())
}

fn has_value(inode: Fd, name: &CStr, value: &[u8]) -> bool {
    // An empty buffer asks for the length, which then has to be 0; a longer value is ERANGE.
    let mut buf = vec![0; value.len()];
    xattr::get(inode, name, &mut buf).is_ok_and(|length| length == value.len() && buf == value)
}

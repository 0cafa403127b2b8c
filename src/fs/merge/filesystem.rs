//! The trait: what can be read is here, and what would change anything answers EROFS. What is not
//! here answers ENOSYS on purpose: there are no extended attributes and no locks of our own, nothing
//! to flush, and the kernel's own defaults do for the rest.

use std::sync::atomic::Ordering;

use super::manifest::Place;
use super::sources::Lease;
use super::tree::Kind as NodeKind;
use super::{LONG, Merge};
use crate::Errno;
use crate::buffer::{Buf, BufVec, Memory, Packets, Sink, Stopped};
use crate::channel::Connection;
use crate::fs::{Context, Filesystem, Result, lower};
use crate::recovery::fds::{Counts, Kind};
use crate::session::{Negotiated, Negotiation};
use crate::sys::creds::Powers;
use crate::sys::{Fd, file};
use crate::wire::flags::{InitFlags, OpenOutFlags};
use crate::wire::ops;
use crate::wire::{AttrReply, DirBuffer, Entry, FileHandle, NodeId, Opened, Statfs};

/// A part of what a READ asks for.
enum Part<'a> {
    /// It is here.
    Here(&'a [u8]),
    /// In a local file, at a position; with its room.
    Local(Fd, u64, &'a mut [u8]),
    /// On its way; with its room.
    Framed(Lease<'a>, &'a mut [u8]),
}

impl Merge {
    fn entry(&self, node: NodeId) -> Result<Entry> {
        Ok(Entry {
            node,
            // Node ids are never used twice.
            generation: 0,
            attr: self.tree.node(node)?.attr,
            attr_valid: self.config.attr_timeout,
            entry_valid: self.config.entry_timeout,
        })
    }

    /// What a READ asks for, part by part. Every source has been asked, and begins to answer.
    fn parts<'a>(
        &'a self,
        node: NodeId,
        op: &ops::Read,
        mut room: &'a mut [u8],
    ) -> Result<Vec<Part<'a>>> {
        let mut parts = Vec::new();
        for (piece, skip, length) in self.tree.node(node)?.range(op.offset, room.len())? {
            let (own, rest) = room.split_at_mut(length);
            room = rest;
            let at = piece.offset + skip;
            match &piece.place {
                Place::Local(number) => {
                    parts.push(Part::Local(self.locals[*number].fd, at, own));
                }
                Place::Framed(source, name) => {
                    let asked = self.sources.ask(*source, name, at, own);
                    let (known, lease) = asked.map_err(|_| Errno::EIO)?;
                    let (here, coming) = own.split_at_mut(known);
                    if !here.is_empty() {
                        parts.push(Part::Here(here));
                    }
                    parts.extend(lease.map(|lease| Part::Framed(lease, coming)));
                }
            }
        }
        for part in &mut parts {
            if let Part::Framed(lease, _) = part {
                lease.begin()?;
            }
        }
        Ok(parts)
    }

    fn push(&self, out: &mut DirBuffer<'_>, plus: bool, node: NodeId, offset: u64) -> Result<()> {
        let skip = usize::try_from(offset).map_err(|_| Errno::EINVAL)?;
        let entries = self.tree.entries(node, skip)?;
        for (count, (name, id)) in entries.enumerate() {
            let next = offset + count as u64 + 1;
            let entry = self.entry(id)?;
            let typ = (entry.attr.mode >> 12) as u8;
            let is_dots = next <= 2;
            let pushed = match plus {
                true => {
                    let node = if is_dots { NodeId(0) } else { id };
                    out.push_plus(&Entry { node, ..entry }, next, typ, name)
                }
                false => out.push(entry.attr.ino, next, typ, name),
            };
            if !pushed {
                return if count == 0 { Err(Errno::EINVAL) } else { Ok(()) };
            }
        }
        Ok(())
    }
}

fn read_only<T>() -> Result<T> {
    Err(Errno::EROFS)
}

impl Filesystem for Merge {
    fn init(&self, negotiation: &mut Negotiation) {
        negotiation.wanted |= InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_READDIRPLUS_AUTO
            | InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_EXPLICIT_INVAL_DATA;
        negotiation.wanted -= InitFlags::FUSE_AUTO_INVAL_DATA;
        let high = InitFlags::FUSE_PASSTHROUGH | InitFlags::FUSE_INIT_EXT;
        let can = Powers::of_thread().admin && negotiation.offered.contains(high);
        if self.config.passthrough && can {
            negotiation.wanted |= InitFlags::FUSE_PASSTHROUGH;
            negotiation.max_stack_depth = 1;
        } else {
            self.passthrough.store(false, Ordering::Relaxed);
        }
    }

    fn resume(&self, negotiated: &Negotiated) {
        let agreed = negotiated.protocol.flags.contains(InitFlags::FUSE_PASSTHROUGH);
        self.passthrough.store(agreed, Ordering::Relaxed);
    }

    fn started(&self, connection: Connection) {
        let _ = self.connection.set(connection);
    }

    fn takeover(&self, _: &Counts) {
        self.sources.takeover();
    }

    fn holds(&self, kind: Kind, index: u32, fd: Fd) -> bool {
        kind == Kind::Own && self.sources.holds(index, fd)
    }

    /// Nodes, and no open files: there is no count of them.
    fn counts(&self) -> (u64, u64) {
        (self.tree.count(), 0)
    }

    fn lookup(&self, _: &Context, parent: NodeId, op: &ops::Lookup<'_>) -> Result<Entry> {
        match self.tree.child(parent, op.name.as_bytes()) {
            Ok(node) => self.entry(node),
            Err(Errno::ENOENT) if !self.config.negative_timeout.is_zero() => {
                Ok(Entry::negative(self.config.negative_timeout))
            }
            Err(errno) => Err(errno),
        }
    }

    fn getattr(&self, _: &Context, node: NodeId, _: &ops::Getattr) -> Result<AttrReply> {
        Ok(AttrReply { attr: self.tree.node(node)?.attr, valid: self.config.attr_timeout })
    }

    fn open(&self, _: &Context, node: NodeId, op: &ops::Open) -> Result<Opened> {
        if op.flags as i32 & libc::O_ACCMODE != libc::O_RDONLY {
            return read_only();
        }
        let NodeKind::File { whole, .. } = &self.tree.node(node)?.kind else {
            return Err(Errno::EISDIR);
        };
        let fh = FileHandle(0);
        Ok(match whole.and_then(|local| self.backing(local)) {
            Some(backing_id) => {
                Opened { fh, open_flags: OpenOutFlags::FOPEN_PASSTHROUGH, backing_id }
            }
            None => Opened { fh, open_flags: OpenOutFlags::FOPEN_KEEP_CACHE, backing_id: 0 },
        })
    }

    fn read(&self, _: &Context, node: NodeId, op: &ops::Read, buf: &mut [u8]) -> Result<usize> {
        let mut length = 0;
        for part in self.parts(node, op, buf)? {
            length += match part {
                Part::Here(bytes) => bytes.len(),
                Part::Local(fd, at, room) => match lower::read(fd, room, at)? {
                    done if done == room.len() => done,
                    // It has become shorter.
                    _ => return Err(Errno::EIO),
                },
                Part::Framed(mut lease, room) => match lease.take(room.len(), Sink::Memory(room)) {
                    Ok(done) => done,
                    Err(Stopped::Failed(errno)) => return Err(errno),
                    Err(Stopped::Full { .. }) => return Err(Errno::EIO),
                },
            };
        }
        Ok(length)
    }

    fn read_buf<'a>(
        &'a self,
        _: &Context,
        node: NodeId,
        op: &ops::Read,
        room: &'a mut [u8],
    ) -> Result<BufVec<'a>> {
        let segment = |part| {
            Ok(match part {
                Part::Here(bytes) => Buf::shared(bytes),
                Part::Local(fd, at, room) => {
                    // Else the answer would be a short one, which is no error.
                    if file::fstatx(fd)?.stx_size < at + room.len() as u64 {
                        return Err(Errno::EIO);
                    }
                    Buf::file(fd, at, room.len(), Memory::Unique(room))
                }
                Part::Framed(lease, room) => Buf::section(Box::new(lease), room),
            })
        };
        let segments: Result<Vec<Buf<'a>>> =
            self.parts(node, op, room)?.into_iter().map(segment).collect();
        Ok(BufVec::new(segments?))
    }

    fn statfs(&self, _: &Context, _: NodeId) -> Result<Statfs> {
        Ok(Statfs {
            blocks: self.tree.bytes.div_ceil(4096),
            files: self.tree.count(),
            bsize: 4096,
            frsize: 4096,
            namelen: 255,
            ..Statfs::default()
        })
    }

    fn opendir(&self, _: &Context, _: NodeId, _: &ops::Opendir) -> Result<Opened> {
        let open_flags = match self.config.entry_timeout >= LONG {
            true => OpenOutFlags::FOPEN_CACHE_DIR | OpenOutFlags::FOPEN_KEEP_CACHE,
            false => OpenOutFlags::empty(),
        };
        Ok(Opened { fh: FileHandle(0), open_flags, backing_id: 0 })
    }

    fn readdir(
        &self,
        _: &Context,
        node: NodeId,
        op: &ops::Readdir,
        out: &mut DirBuffer<'_>,
    ) -> Result<()> {
        self.push(out, false, node, op.offset)
    }

    fn readdirplus(
        &self,
        _: &Context,
        node: NodeId,
        op: &ops::Readdirplus,
        out: &mut DirBuffer<'_>,
    ) -> Result<()> {
        self.push(out, true, node, op.offset)
    }

    fn setattr(&self, _: &Context, _: NodeId, _: &ops::Setattr) -> Result<AttrReply> {
        read_only()
    }

    fn symlink(&self, _: &Context, _: NodeId, _: &ops::Symlink<'_>) -> Result<Entry> {
        read_only()
    }

    fn mknod(&self, _: &Context, _: NodeId, _: &ops::Mknod<'_>) -> Result<Entry> {
        read_only()
    }

    fn mkdir(&self, _: &Context, _: NodeId, _: &ops::Mkdir<'_>) -> Result<Entry> {
        read_only()
    }

    fn unlink(&self, _: &Context, _: NodeId, _: &ops::Unlink<'_>) -> Result<()> {
        read_only()
    }

    fn rmdir(&self, _: &Context, _: NodeId, _: &ops::Rmdir<'_>) -> Result<()> {
        read_only()
    }

    fn rename(&self, _: &Context, _: NodeId, _: &ops::Rename2<'_>) -> Result<()> {
        read_only()
    }

    fn link(&self, _: &Context, _: NodeId, _: &ops::Link<'_>) -> Result<Entry> {
        read_only()
    }

    fn create(&self, _: &Context, _: NodeId, _: &ops::Create<'_>) -> Result<(Entry, Opened)> {
        read_only()
    }

    fn tmpfile(&self, _: &Context, _: NodeId, _: &ops::Tmpfile<'_>) -> Result<(Entry, Opened)> {
        read_only()
    }

    fn setxattr(&self, _: &Context, _: NodeId, _: &ops::Setxattr<'_>) -> Result<()> {
        read_only()
    }

    fn removexattr(&self, _: &Context, _: NodeId, _: &ops::Removexattr<'_>) -> Result<()> {
        read_only()
    }
}

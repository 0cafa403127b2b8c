//! Open files and directories, and their way to the lower file.
//!
//! Each open has its own lower file, so that flock, positions and access modes are those
//! of the open. A passthrough registration holds the inode by its O_PATH descriptor, not by
//! somebody's open file: a flock goes with the close, whoever else has the file open.
//!
//! The kernel allows one way at a time for all opens of an inode (a mixture is EIO) and one
//! registration; both are decided by the first open and last until the last close.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::locals::Locals;
use super::nodes::Node;
use super::record::Backing;
use super::{Cache, Passthrough};
use crate::Errno;
use crate::recovery::arena::{Arena, ArenaError};
use crate::recovery::fds::{Fds, Kind};
use crate::recovery::journal::{self, Change, Effect};
use crate::recovery::points::{self, Protection, called};
use crate::recovery::table::Table;
use crate::sys::{Fd, OpFd, file};
use crate::wire::flags::OpenOutFlags;
use crate::wire::{FileHandle, NodeId, Opened};

/// Open files at the most; the limit of descriptors comes first.
const CAPACITY: u32 = 1 << 20;
/// In the place of a descriptor: the file is gone.
const LOST: i32 = -1;
const WRITABLE: u32 = 1;
const DIRECTORY: u32 = 2;
/// A place in a directory that nobody asks for: the lower directory stands somewhere else.
pub(super) const NOWHERE: u64 = u64::MAX;

/// One open file or directory.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Open {
    node: u64,
    fd: i32,
    kind: u32,
    /// The flags that it was opened with.
    flags: u32,
    padding: u32,
}

impl Open {
    fn new(node: NodeId, fd: Fd, kind: u32, flags: u32) -> Open {
        Open { node: node.0, fd: fd.number(), kind, flags, padding: 0 }
    }

    pub(super) fn fd(&self) -> Fd {
        Fd::from_number(self.fd)
    }

    fn is_writable(&self) -> bool {
        self.kind & WRITABLE != 0
    }

    fn is_directory(&self) -> bool {
        self.kind & DIRECTORY != 0
    }
}

/// All of them.
pub(super) struct Handles {
    table: Table<Open>,
    fds: Fds,
    /// Where a directory stands: an offset of lseek(2).
    positions: Locals<Mutex<Option<u64>>>,
    count: AtomicUsize,
}

impl Handles {
    pub(super) fn new(arena: &Arena) -> Result<Handles, ArenaError> {
        Ok(Handles {
            table: Table::new(arena, "handles", CAPACITY, 1)?,
            fds: arena.fds(),
            positions: Locals::new(CAPACITY),
            count: AtomicUsize::new(0),
        })
    }

    /// Takes an open file in; its descriptor is the table's from then on.
    fn insert(&self, fd: OpFd, node: NodeId, kind: u32, flags: u32) -> Result<FileHandle, Errno> {
        let reserved = self.table.reserve().ok_or(Errno::ENFILE)?;
        let (id, index) = (reserved.id(), reserved.id() as u32);
        if let Err(error) = self.fds.begin(fd.get(), Kind::Handle, index) {
            self.table.give_back(reserved);
            return Err(error);
        }
        let fd = fd.keep();
        if let Some(position) = self.positions.at(index) {
            *position.lock().unwrap() = Some(0);
        }
        let opened = journal::announce(Change::Open, id, 0, 0);
        self.table.publish(reserved, &Open::new(node, fd, kind, flags));
        opened.keep();
        self.fds.keep(fd, Kind::Handle, index);
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(FileHandle(id))
    }

    /// ESTALE: a file without a name, whose processes were all gone meanwhile.
    fn get(&self, fh: FileHandle) -> Result<Open, Errno> {
        let open = self.table.get(fh.0).ok_or(Errno::EBADF)?;
        if open.fd == LOST { Err(Errno::ESTALE) } else { Ok(open) }
    }

    /// Stored: opens every file anew with `reopen`, which gets its node and flags.
    pub(super) fn revive(&self, reopen: impl Fn(NodeId, u32, bool) -> Result<OpFd, Errno>) {
        for (id, mut open) in self.table.iter() {
            let index = id as u32;
            let opened = reopen(NodeId(open.node), open.flags, open.is_directory());
            let kept = opened.and_then(|fd| {
                self.fds.begin(fd.get(), Kind::Handle, index)?;
                Ok(fd.keep())
            });
            open.fd = kept.map_or(LOST, |fd| fd.number());
            self.table.put(id, &open);
            self.fds.keep(open.fd(), Kind::Handle, index);
        }
    }

    /// The open file. EBADF: there is no such handle (any more).
    pub(super) fn fd(&self, fh: FileHandle) -> Result<Fd, Errno> {
        Ok(self.get(fh)?.fd())
    }

    /// Runs `f` on an open directory and the place where it stands, one at a time.
    pub(super) fn with_position<T>(
        &self,
        fh: FileHandle,
        f: impl FnOnce(Fd, &mut u64) -> T,
    ) -> Result<T, Errno> {
        let position = self.positions.at(fh.0 as u32).ok_or(Errno::EBADF)?;
        let mut position = position.lock().unwrap();
        let open = self.get(fh)?;
        // A successor does not know how far its predecessor had read.
        let mut at = position.unwrap_or(NOWHERE);
        let result = f(open.fd(), &mut at);
        *position = Some(at);
        Ok(result)
    }

    /// What closing the file would report, for one that can be written: an error of quota or
    /// space that a network file system has kept until now.
    pub(super) fn flush(&self, fh: FileHandle) -> Result<(), Errno> {
        let open = self.get(fh)?;
        if open.is_writable() { open.fd().flush() } else { Ok(()) }
    }

    /// Closes the open file; returns what it was. Whatever of it a dead worker has done already
    /// is not done again.
    fn remove(&self, fh: FileHandle) -> Option<Open> {
        let open = self.table.get(fh.0)?;
        called(self.fds.close_if(open.fd(), Kind::Handle, fh.0 as u32));
        if !self.table.remove(fh.0) {
            return None;
        }
        self.count.fetch_sub(1, Ordering::Relaxed);
        Some(open)
    }

    /// How many are open.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// How many files are open, as a process beside the worker sees it.
    pub(super) fn count_all(&self) -> u64 {
        self.table.count()
    }

    /// Takeover: see [`crate::fs::Filesystem::holds`].
    pub(super) fn holds(&self, index: u32, fd: Fd) -> bool {
        self.table.at(index).is_some_and(|(_, open)| open.fd() == fd)
    }

    /// Takeover: see [`crate::fs::Filesystem::happened`].
    pub(super) fn happened(&self, effect: &Effect) -> bool {
        self.table.state(effect.id).is_some()
    }
}

impl Passthrough {
    /// Takes an open directory in.
    pub(super) fn opened_dir(&self, node: NodeId, fd: OpFd) -> Result<Opened, Errno> {
        self.make_room();
        let fh = self.handles.insert(fd, node, DIRECTORY, 0)?;
        let open_flags = match self.cache {
            Cache::Always => OpenOutFlags::FOPEN_CACHE_DIR | OpenOutFlags::FOPEN_KEEP_CACHE,
            _ => OpenOutFlags::empty(),
        };
        Ok(Opened { fh, open_flags, backing_id: 0 })
    }

    /// Takes an open file in and says how the kernel is to use it. `fresh`: the kernel has no
    /// attributes of it yet.
    pub(super) fn opened_file(
        &self,
        node: NodeId,
        fd: OpFd,
        flags: u32,
        fresh: bool,
    ) -> Result<Opened, Errno> {
        let writable = flags as i32 & libc::O_ACCMODE != libc::O_RDONLY;
        self.make_room();
        let kind = if writable { WRITABLE } else { 0 };
        let fh = self.handles.insert(fd, node, kind, flags)?;
        let (backing, distrust) = match self.count_open(node, writable) {
            Ok(opened) => opened,
            Err(error) => {
                self.handles.remove(fh);
                return Err(error);
            }
        };
        if distrust && !fresh {
            // What the kernel has from before the open would hide the mapped writes.
            let _ = self.connection()?.inval_attributes(node);
        }
        if let Backing::Id(backing_id) = backing {
            return Ok(Opened { fh, open_flags: OpenOutFlags::FOPEN_PASSTHROUGH, backing_id });
        }
        Ok(Opened { fh, open_flags: self.served_flags(flags), backing_id: 0 })
    }

    /// How data is cached that goes through this process.
    fn served_flags(&self, flags: u32) -> OpenOutFlags {
        let direct = flags as i32 & libc::O_DIRECT != 0;
        match self.cache {
            _ if direct => OpenOutFlags::FOPEN_DIRECT_IO,
            Cache::Never => OpenOutFlags::FOPEN_DIRECT_IO,
            Cache::Auto => OpenOutFlags::empty(),
            Cache::Always => OpenOutFlags::FOPEN_KEEP_CACHE,
        }
    }

    /// Counts an open; the way of its data, and whether attributes given before are not to be
    /// trusted any more.
    fn count_open(&self, id: NodeId, writable: bool) -> Result<(Backing, bool), Errno> {
        // Reached before the lock: a node by handle is opened for it.
        let inode = self.nodes.fd(id)?;
        let mut node = self.nodes.lock(id)?;
        if node.local.opens == 0 {
            // One that a dead worker was about to take back.
            self.unregister(&mut node);
            let backing = self.register(inode.get());
            node.change(|record| record.set_backing(backing));
        }
        node.local.opens += 1;
        node.local.writers += u32::from(writable);
        let distrust = node.is_mapped_writable() && node.record.attrs_trusted();
        if distrust {
            node.change(|record| record.set_attrs_trusted(false));
        }
        Ok((node.record.backing(), distrust))
    }

    /// Takes the registration of a node's inode back.
    fn unregister(&self, node: &mut Node<'_>) {
        if let Backing::Id(id) = node.record.backing()
            && let Ok(connection) = self.connection()
        {
            let _ = called(connection.backing_close(id));
        }
        if node.record.backing() != Backing::None {
            node.change(|record| record.set_backing(Backing::None));
        }
    }

    fn register(&self, inode: Fd) -> Backing {
        if !self.passthrough.load(Ordering::Relaxed) {
            return Backing::Served;
        }
        match called(self.connection().and_then(|connection| connection.backing_open(inode))) {
            Ok(id) => Backing::Id(id),
            // Before Linux 6.12 it has to be an open file; nobody takes a flock on this one.
            Err(Errno::EBADF) => self.register_opened(inode),
            // ELOOP: the lower file system is itself stacked. Others: no memory, no right.
            Err(error) => {
                tracing::debug!("no passthrough: {error}");
                Backing::Served
            }
        }
    }

    fn register_opened(&self, inode: Fd) -> Backing {
        let id = file::reopen(inode, libc::O_RDONLY | libc::O_NONBLOCK)
            .and_then(|fd| self.connection()?.backing_open(fd.get()));
        id.map_or(Backing::Served, Backing::Id)
    }

    /// RELEASE: the last reference is gone.
    /// What of it a dead worker has done is not done again; the rest is.
    pub(super) fn close_handle(&self, id: NodeId, fh: FileHandle) {
        let open = self.handles.remove(fh);
        self.note_open_files();
        let Ok(mut node) = self.nodes.lock(id) else { return };
        if let Some(open) = open.filter(|open| !open.is_directory()) {
            node.local.writers = node.local.writers.saturating_sub(u32::from(open.is_writable()));
            node.local.opens = node.local.opens.saturating_sub(1);
        }
        if node.local.opens == 0 {
            self.unregister(&mut node);
        }
    }

    /// Takeover: closes a file whose open nobody was told of.
    pub(super) fn take_open_back(&self, fh: FileHandle) {
        if let Some(open) = self.handles.table.get(fh.0) {
            self.close_handle(NodeId(open.node), fh);
        }
    }

    /// Takeover: counts the handles that outlived their worker.
    pub(super) fn count_handles(&self) {
        let mut count = 0;
        for (_, open) in self.handles.table.iter() {
            count += 1;
            if open.is_directory() || points::is_off(Protection::Backing) {
                continue;
            }
            if let Ok(mut node) = self.nodes.lock(NodeId(open.node)) {
                node.local.opens += 1;
                node.local.writers += u32::from(open.is_writable());
            }
        }
        self.handles.count.store(count, Ordering::Relaxed);
    }
}

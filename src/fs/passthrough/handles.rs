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

use super::nodes::Backing;
use super::{Cache, Passthrough};
use crate::Errno;
use crate::fs::slab::Slab;
use crate::sys::{Fd, OpFd, file};
use crate::wire::flags::OpenOutFlags;
use crate::wire::{FileHandle, NodeId, Opened};

/// One open file or directory.
#[derive(Clone, Copy)]
pub(super) struct Open {
    pub(super) fd: Fd,
    node: NodeId,
    writable: bool,
    /// Where the directory stands: an offset of lseek(2).
    pub(super) position: u64,
}

/// All of them.
pub(super) struct Handles {
    slab: Slab<Mutex<Option<Open>>>,
    count: AtomicUsize,
}

impl Handles {
    pub(super) fn new() -> Handles {
        Handles { slab: Slab::new(1), count: AtomicUsize::new(0) }
    }

    /// Takes an open file in.
    pub(super) fn insert(&self, open: Open) -> Result<FileHandle, Errno> {
        let (id, slot) = self.slab.insert().ok_or(Errno::ENFILE)?;
        *slot.lock().unwrap() = Some(open);
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(FileHandle(id))
    }

    /// The open file. EBADF: there is no such handle (any more).
    pub(super) fn fd(&self, fh: FileHandle) -> Result<Fd, Errno> {
        self.with(fh, |open| open.fd)
    }

    /// Runs `f` on the handle, one at a time.
    pub(super) fn with<T>(
        &self,
        fh: FileHandle,
        f: impl FnOnce(&mut Open) -> T,
    ) -> Result<T, Errno> {
        let slot = self.slab.get(fh.0).ok_or(Errno::EBADF)?;
        slot.lock().unwrap().as_mut().map(f).ok_or(Errno::EBADF)
    }

    /// What closing the file would report, for one that can be written: an error of quota or
    /// space that a network file system has kept until now.
    pub(super) fn flush(&self, fh: FileHandle) -> Result<(), Errno> {
        let (fd, writable) = self.with(fh, |open| (open.fd, open.writable))?;
        if writable { fd.flush() } else { Ok(()) }
    }

    /// Takes the open file out; the caller closes it.
    pub(super) fn remove(&self, fh: FileHandle) -> Option<Open> {
        let open = self.slab.get(fh.0)?.lock().unwrap().take()?;
        self.slab.remove(fh.0);
        self.count.fetch_sub(1, Ordering::Relaxed);
        Some(open)
    }

    /// How many are open.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

impl Passthrough {
    /// Takes an open directory in.
    pub(super) fn opened_dir(&self, node: NodeId, fd: OpFd) -> Result<Opened, Errno> {
        self.make_room();
        let open = Open { fd: fd.get(), node, writable: false, position: 0 };
        let fh = self.handles.insert(open)?;
        fd.keep();
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
        let open = Open { fd: fd.get(), node, writable, position: 0 };
        let fh = self.handles.insert(open)?;
        let (backing, distrust) = match self.count_open(node, writable) {
            Ok(opened) => opened,
            Err(error) => {
                self.handles.remove(fh);
                return Err(error);
            }
        };
        fd.keep();
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
        if node.opens == 0 {
            node.backing = self.register(inode.get());
        }
        node.opens += 1;
        node.writers += u32::from(writable);
        let distrust = node.is_mapped_writable() && node.attrs_trusted;
        if distrust {
            node.attrs_trusted = false;
        }
        Ok((node.backing, distrust))
    }

    fn register(&self, inode: Fd) -> Backing {
        if !self.passthrough.load(Ordering::Relaxed) {
            return Backing::Served;
        }
        match self.connection().and_then(|connection| connection.backing_open(inode)) {
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
    pub(super) fn close_handle(&self, fh: FileHandle) {
        let Some(open) = self.handles.remove(fh) else { return };
        open.fd.close();
        self.note_open_files();
        let Ok(mut node) = self.nodes.lock(open.node) else { return };
        node.writers = node.writers.saturating_sub(u32::from(open.writable));
        node.opens = node.opens.saturating_sub(1);
        if node.opens == 0
            && let Backing::Id(id) = std::mem::take(&mut node.backing)
            && let Ok(connection) = self.connection()
        {
            let _ = connection.backing_close(id);
        }
    }

    /// RELEASEDIR.
    pub(super) fn close_dir(&self, fh: FileHandle) {
        if let Some(open) = self.handles.remove(fh) {
            open.fd.close();
            self.note_open_files();
        }
    }
}

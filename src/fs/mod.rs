//! What a file system is: the [`Filesystem`] trait, and those that come with fusex.
//!
//! One method a request, named as the opcode is. A method gets who asks
//! ([`Context`]), on which node, and the decoded request; it returns the answer or
//! an [`Errno`]. What is not implemented answers ENOSYS, which the kernel takes as
//! "never ask again" for most optional requests. Methods are called from several
//! threads at once and may block: a thread that blocks does not stop the others.
//!
//! Node ids are the file system's: it makes them in `lookup` and its like, and
//! counts how often it gave each one out; [`Filesystem::forget`] takes counts back.
//! An answer that never reached the kernel (its caller was killed) is taken back
//! the same way by the session: `forget(node, 1)`, and `release` for a handle.

mod lower;
pub mod mem;
pub mod merge;
pub mod passthrough;

use std::time::Duration;

use crate::Errno;
use crate::buffer::BufVec;
use crate::channel::Connection;
use crate::recovery::fds::{Counts, Kind};
use crate::recovery::journal::{self, Effect};
use crate::session::{Negotiated, Negotiation};
use crate::sys::Fd;
use crate::wire::decode::Operation;
use crate::wire::ops::{self, FileLock};
use crate::wire::{AttrReply, DirBuffer, Entry, NodeId, Opened, Statfs, StatxReply, Unique};

/// What a request method returns.
pub type Result<T> = std::result::Result<T, Errno>;

/// Who asks. The ids are those of the caller in the initial user namespace of the mount.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The request's id, the same again when the kernel resends it.
    pub unique: Unique,
    /// The caller's file-system user id.
    pub uid: u32,
    /// The caller's file-system group id.
    pub gid: u32,
    /// The caller's thread id; 0 when the kernel itself asks or the caller is in
    /// another pid namespace.
    pub pid: u32,
}

/// The answer to IOCTL: the call's return value and how many bytes of the reply
/// buffer go back to the caller.
#[derive(Clone, Copy, Debug, Default)]
pub struct IoctlReply {
    /// What ioctl(2) returns.
    pub result: i32,
    /// Bytes written to the reply buffer.
    pub size: usize,
}

/// A request as a dead worker has left it, for [`Filesystem::recover`].
#[derive(Clone, Copy, Debug)]
pub struct Unfinished<'a> {
    /// Whose it is.
    pub cx: Context,
    /// The node it names.
    pub node: NodeId,
    /// What was asked.
    pub operation: &'a Operation<'a>,
    /// When it began, on CLOCK_REALTIME, to the kernel's tick.
    pub began: Duration,
    /// What the file system noted with [`crate::recovery::journal::intend`]; `None`: it had not come so far.
    pub intent: Option<[u64; journal::INTENT]>,
}

/// What is known of an unfinished request.
#[derive(Clone, Debug)]
pub enum Recovered {
    /// It has not happened, or happens once all the same: do it (again).
    Again,
    /// It has happened; this is its result.
    Done(Answer),
}

/// The result of a request that changes something.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Of LOOKUP, MKNOD, MKDIR, SYMLINK, LINK; counted.
    Entry(Entry),
    /// Of CREATE and TMPFILE; counted and open.
    Created(Entry, Opened),
    /// Of OPEN.
    Opened(Opened),
    /// Of SETATTR.
    Attr(AttrReply),
    /// Of WRITE: how many bytes.
    Written(u32),
    /// Of requests without a result.
    Empty,
    /// It failed.
    Failed(Errno),
}

/// Answers ENOSYS in the default methods.
fn enosys<T>() -> Result<T> {
    Err(Errno::ENOSYS)
}

/// A file system that a [`crate::session::Session`] can serve.
#[allow(unused_variables)]
pub trait Filesystem: Send + Sync + 'static {
    /// Called once, before INIT is answered: look at what the kernel offers and say
    /// what is wanted. The defaults suit a file system that only `lookup`s and `read`s.
    fn init(&self, negotiation: &mut Negotiation) {}

    /// Called once in place of `init`, where another process has answered INIT: what it agreed on.
    fn resume(&self, negotiated: &Negotiated) {}

    /// Called once, after INIT was answered and before the first request: the
    /// connection for notifications and passthrough registrations.
    fn started(&self, connection: Connection) {}

    /// Called in each serving thread before its first request.
    fn thread_started(&self) {}

    /// In a worker that takes over from a dead one, before anything else: what is not in the
    /// arena is made anew. `kept` are the descriptors that tables hold.
    fn takeover(&self, kept: &Counts) {}

    /// Takeover: whether record `index` holds `fd`. Asked only for descriptors that a dead worker
    /// had just opened.
    fn holds(&self, kind: Kind, index: u32, fd: Fd) -> bool {
        false
    }

    /// Takeover: whether an effect that a dead worker had announced
    /// ([`announce`](journal::announce)) has happened: whether its record's state is another one.
    /// Asked for all effects before any is settled.
    fn happened(&self, effect: &Effect) -> bool {
        false
    }

    /// Takeover: an effect that has happened, of a request that has no reply. A `Count` or `Open`
    /// is taken back; what belongs to an `Uncount` is completed. May be called again for
    /// the same effect, when the worker dies in it.
    fn settle(&self, effect: &Effect) {}

    /// Takeover: whether an unfinished request has happened. Asked for requests that change
    /// something, behind all effects are settled.
    fn recover(&self, request: &Unfinished<'_>) -> Recovered {
        Recovered::Again
    }

    /// Known inodes and open files, for the status of the mount.
    fn counts(&self) -> (u64, u64) {
        (0, 0)
    }

    /// The mount is gone; nothing comes after this.
    fn destroy(&self) {}

    /// LOOKUP: find `op.name` in `parent` and add one to the node's lookup count.
    /// A missing name is ENOENT, or [`Entry::negative`] to let the kernel cache that.
    fn lookup(&self, cx: &Context, parent: NodeId, op: &ops::Lookup<'_>) -> Result<Entry> {
        enosys()
    }

    /// FORGET: take `nlookup` off the node's count; at 0 the kernel has forgotten it.
    fn forget(&self, node: NodeId, nlookup: u64) {}

    /// GETATTR, of the open file `op.fh` where there is one.
    fn getattr(&self, cx: &Context, node: NodeId, op: &ops::Getattr) -> Result<AttrReply> {
        enosys()
    }

    /// SETATTR: the fields that are `Some` change.
    fn setattr(&self, cx: &Context, node: NodeId, op: &ops::Setattr) -> Result<AttrReply> {
        enosys()
    }

    /// READLINK: the target's bytes into `buf`; returns how many.
    fn readlink(&self, cx: &Context, node: NodeId, buf: &mut [u8]) -> Result<usize> {
        enosys()
    }

    /// SYMLINK: make `op.name` in `parent`, pointing to `op.target`.
    fn symlink(&self, cx: &Context, parent: NodeId, op: &ops::Symlink<'_>) -> Result<Entry> {
        enosys()
    }

    /// MKNOD: a file, device, fifo or socket node.
    fn mknod(&self, cx: &Context, parent: NodeId, op: &ops::Mknod<'_>) -> Result<Entry> {
        enosys()
    }

    /// MKDIR.
    fn mkdir(&self, cx: &Context, parent: NodeId, op: &ops::Mkdir<'_>) -> Result<Entry> {
        enosys()
    }

    /// UNLINK. The node lives on while its lookup count is above 0.
    fn unlink(&self, cx: &Context, parent: NodeId, op: &ops::Unlink<'_>) -> Result<()> {
        enosys()
    }

    /// RMDIR.
    fn rmdir(&self, cx: &Context, parent: NodeId, op: &ops::Rmdir<'_>) -> Result<()> {
        enosys()
    }

    /// RENAME (flags 0) and RENAME2 (`RENAME_NOREPLACE`, `RENAME_EXCHANGE`, `RENAME_WHITEOUT`).
    fn rename(&self, cx: &Context, parent: NodeId, op: &ops::Rename2<'_>) -> Result<()> {
        enosys()
    }

    /// LINK: give `op.oldnode` the further name `op.newname` in `newparent`.
    fn link(&self, cx: &Context, newparent: NodeId, op: &ops::Link<'_>) -> Result<Entry> {
        enosys()
    }

    /// OPEN. ENOSYS means that no file system call needs a handle (where the kernel allows it).
    fn open(&self, cx: &Context, node: NodeId, op: &ops::Open) -> Result<Opened> {
        enosys()
    }

    /// READ into `buf`, which is `op.size` long; returns how many bytes, fewer only at the end.
    fn read(&self, cx: &Context, node: NodeId, op: &ops::Read, buf: &mut [u8]) -> Result<usize> {
        enosys()
    }

    /// READ, answered with segments that may be anywhere: in `room`, which is `op.size` long, or
    /// behind descriptors. Each of these has its part of `room` for when it must be copied. The
    /// descriptors stay open and at their place until the vector is dropped.
    fn read_buf<'a>(
        &'a self,
        cx: &Context,
        node: NodeId,
        op: &ops::Read,
        room: &'a mut [u8],
    ) -> Result<BufVec<'a>> {
        let length = self.read(cx, node, op, room)?;
        Ok(BufVec::memory(&room[..length.min(room.len())]))
    }

    /// WRITE `op.data`; returns how many bytes were written.
    fn write(&self, cx: &Context, node: NodeId, op: &ops::Write<'_>) -> Result<u32> {
        enosys()
    }

    /// WRITE with the data in segments: `op.data` is empty, and what is not taken out of `data`
    /// is dropped behind the reply. Before data leaves a pipe for a file,
    /// [`journal::drain`] is to be called, and no byte may leave it for anywhere else then.
    fn write_buf(
        &self,
        cx: &Context,
        node: NodeId,
        op: &ops::Write<'_>,
        data: &mut BufVec<'_>,
    ) -> Result<u32> {
        self.write(cx, node, &ops::Write { data: &data.bytes()?, ..*op })
    }

    /// STATFS.
    fn statfs(&self, cx: &Context, node: NodeId) -> Result<Statfs> {
        enosys()
    }

    /// RELEASE: the last reference to the open file is gone.
    fn release(&self, node: NodeId, op: &ops::Release) {}

    /// FSYNC.
    fn fsync(&self, cx: &Context, node: NodeId, op: &ops::Fsync) -> Result<()> {
        enosys()
    }

    /// SETXATTR.
    fn setxattr(&self, cx: &Context, node: NodeId, op: &ops::Setxattr<'_>) -> Result<()> {
        enosys()
    }

    /// GETXATTR into `buf`; returns the value's length. An empty `buf` asks for the
    /// length alone; one that is too small is ERANGE.
    fn getxattr(
        &self,
        cx: &Context,
        node: NodeId,
        op: &ops::Getxattr<'_>,
        buf: &mut [u8],
    ) -> Result<usize> {
        enosys()
    }

    /// LISTXATTR: names, each ended by a NUL; sizes as in [`Filesystem::getxattr`].
    fn listxattr(
        &self,
        cx: &Context,
        node: NodeId,
        op: &ops::Listxattr,
        buf: &mut [u8],
    ) -> Result<usize> {
        enosys()
    }

    /// REMOVEXATTR.
    fn removexattr(&self, cx: &Context, node: NodeId, op: &ops::Removexattr<'_>) -> Result<()> {
        enosys()
    }

    /// FLUSH: one descriptor of the open file was closed; the POSIX locks of
    /// `op.lock_owner` on it are gone.
    fn flush(&self, cx: &Context, node: NodeId, op: &ops::Flush) -> Result<()> {
        enosys()
    }

    /// OPENDIR.
    fn opendir(&self, cx: &Context, node: NodeId, op: &ops::Opendir) -> Result<Opened> {
        enosys()
    }

    /// READDIR: push entries behind offset `op.offset` until `out` is full.
    fn readdir(
        &self,
        cx: &Context,
        node: NodeId,
        op: &ops::Readdir,
        out: &mut DirBuffer<'_>,
    ) -> Result<()> {
        enosys()
    }

    /// READDIRPLUS: as READDIR, each entry with a lookup (counted unless it is `.`, `..` or
    /// could not be looked up).
    fn readdirplus(
        &self,
        cx: &Context,
        node: NodeId,
        op: &ops::Readdirplus,
        out: &mut DirBuffer<'_>,
    ) -> Result<()> {
        enosys()
    }

    /// RELEASEDIR.
    fn releasedir(&self, node: NodeId, op: &ops::Releasedir) {}

    /// FSYNCDIR.
    fn fsyncdir(&self, cx: &Context, node: NodeId, op: &ops::Fsyncdir) -> Result<()> {
        enosys()
    }

    /// GETLK: the first lock that `op.lk` would run into, or the same with type F_UNLCK.
    fn getlk(&self, cx: &Context, node: NodeId, op: &ops::Getlk) -> Result<FileLock> {
        enosys()
    }

    /// SETLK without waiting: EAGAIN when another owner is in the way. For SETLKW this
    /// is tried first, as the same struct.
    fn setlk(&self, cx: &Context, node: NodeId, op: &ops::Setlk) -> Result<()> {
        enosys()
    }

    /// SETLKW: wait for the lock. Runs in a thread of its own; an INTERRUPT makes the system
    /// call under way return EINTR, which is then the answer.
    fn setlkw(&self, cx: &Context, node: NodeId, op: &ops::Setlk) -> Result<()> {
        enosys()
    }

    /// ACCESS; not asked where the kernel checks permissions itself.
    fn access(&self, cx: &Context, node: NodeId, op: &ops::Access) -> Result<()> {
        enosys()
    }

    /// CREATE: make and open a regular file.
    fn create(
        &self,
        cx: &Context,
        parent: NodeId,
        op: &ops::Create<'_>,
    ) -> Result<(Entry, Opened)> {
        enosys()
    }

    /// BMAP: the device block of a file's block.
    fn bmap(&self, cx: &Context, node: NodeId, op: &ops::Bmap) -> Result<u64> {
        enosys()
    }

    /// IOCTL, restricted kind: `op.data` in, `buf` (of `op.out_size` bytes) out.
    fn ioctl(
        &self,
        cx: &Context,
        node: NodeId,
        op: &ops::Ioctl<'_>,
        buf: &mut [u8],
    ) -> Result<IoctlReply> {
        enosys()
    }

    /// POLL: the events that are ready now.
    fn poll(&self, cx: &Context, node: NodeId, op: &ops::Poll) -> Result<u32> {
        enosys()
    }

    /// NOTIFY_REPLY: what a RETRIEVE notification asked for.
    fn notify_reply(&self, node: NodeId, op: &ops::NotifyReply<'_>) {}

    /// FALLOCATE.
    fn fallocate(&self, cx: &Context, node: NodeId, op: &ops::Fallocate) -> Result<()> {
        enosys()
    }

    /// LSEEK with SEEK_DATA or SEEK_HOLE.
    fn lseek(&self, cx: &Context, node: NodeId, op: &ops::Lseek) -> Result<u64> {
        enosys()
    }

    /// COPY_FILE_RANGE and COPY_FILE_RANGE_64; returns how many bytes were copied.
    fn copy_file_range(
        &self,
        cx: &Context,
        node: NodeId,
        op: &ops::CopyFileRange64,
    ) -> Result<u64> {
        enosys()
    }

    /// SYNCFS.
    fn syncfs(&self, cx: &Context, node: NodeId) -> Result<()> {
        enosys()
    }

    /// TMPFILE: make and open a file without a name on the file system of `parent`.
    fn tmpfile(
        &self,
        cx: &Context,
        parent: NodeId,
        op: &ops::Tmpfile<'_>,
    ) -> Result<(Entry, Opened)> {
        enosys()
    }

    /// STATX: attributes with the birth time.
    fn statx(&self, cx: &Context, node: NodeId, op: &ops::Statx) -> Result<StatxReply> {
        enosys()
    }
}

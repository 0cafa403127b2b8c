//! The trait: one line an opcode. What is not here answers ENOSYS on purpose: POLL (files are
//! always ready), BMAP (not a block device).

use std::sync::atomic::Ordering;

use super::Passthrough;
use crate::Errno;
use crate::buffer::BufVec;
use crate::channel::Connection;
use crate::fs::{Context, Filesystem, IoctlReply, Recovered, Result, Unfinished};
use crate::recovery::fds::{Counts, Kind};
use crate::recovery::journal::{Change, Effect};
use crate::recovery::points::called;
use crate::session::{Negotiated, Negotiation};
use crate::sys::{Fd, creds, file, path};
use crate::wire::flags::InitFlags;
use crate::wire::ops::{self, FileLock};
use crate::wire::{AttrReply, DirBuffer, Entry, FileHandle, NodeId, Opened, Statfs, StatxReply};

impl Filesystem for Passthrough {
    fn init(&self, negotiation: &mut Negotiation) {
        self.negotiate(negotiation);
    }

    fn resume(&self, negotiated: &Negotiated) {
        let agreed = negotiated.protocol.flags.contains(InitFlags::FUSE_PASSTHROUGH);
        self.passthrough.store(agreed, Ordering::Relaxed);
    }

    fn started(&self, connection: Connection) {
        let _ = self.connection.set(connection);
    }

    fn thread_started(&self) {
        if let Err(error) = creds::prepare_thread() {
            tracing::error!("a serving thread keeps the process's umask and rights: {error}");
        }
    }

    fn takeover(&self, kept: &Counts) {
        self.nodes.takeover(kept);
        self.count_handles();
        self.locks.takeover();
    }

    fn holds(&self, kind: Kind, index: u32, fd: Fd) -> bool {
        match kind {
            Kind::Handle => self.handles.holds(index, fd),
            Kind::Lock => self.locks.holds(index, fd),
            _ => self.nodes.holds(kind, index, fd),
        }
    }

    fn happened(&self, effect: &Effect) -> bool {
        match effect.change {
            Change::Open => self.handles.happened(effect),
            Change::Count | Change::Uncount => self.nodes.happened(effect),
        }
    }

    fn settle(&self, effect: &Effect) {
        match effect.change {
            Change::Open => self.take_open_back(FileHandle(effect.id)),
            Change::Count | Change::Uncount => self.nodes.settle(effect),
        }
    }

    fn recover(&self, request: &Unfinished<'_>) -> Recovered {
        self.recover_request(request)
    }

    fn counts(&self) -> (u64, u64) {
        (self.nodes.table.count(), self.handles.count_all())
    }

    fn lookup(&self, _: &Context, parent: NodeId, op: &ops::Lookup<'_>) -> Result<Entry> {
        self.look_up(parent, op.name.as_cstr())
    }

    fn forget(&self, node: NodeId, nlookup: u64) {
        self.nodes.forget(node, nlookup);
    }

    fn getattr(&self, _: &Context, node: NodeId, op: &ops::Getattr) -> Result<AttrReply> {
        self.attributes(node, op.fh)
    }

    fn setattr(&self, cx: &Context, node: NodeId, op: &ops::Setattr) -> Result<AttrReply> {
        self.set_attributes(cx, node, op)
    }

    fn readlink(&self, _: &Context, node: NodeId, buf: &mut [u8]) -> Result<usize> {
        path::readlink(self.nodes.fd(node)?.get(), buf)
    }

    fn symlink(&self, cx: &Context, parent: NodeId, op: &ops::Symlink<'_>) -> Result<Entry> {
        self.make_symlink(cx, parent, op)
    }

    fn mknod(&self, cx: &Context, parent: NodeId, op: &ops::Mknod<'_>) -> Result<Entry> {
        self.make_node(cx, parent, op)
    }

    fn mkdir(&self, cx: &Context, parent: NodeId, op: &ops::Mkdir<'_>) -> Result<Entry> {
        self.make_dir(cx, parent, op)
    }

    fn unlink(&self, _: &Context, parent: NodeId, op: &ops::Unlink<'_>) -> Result<()> {
        self.remove_name(parent, op.name.as_cstr())
    }

    fn rmdir(&self, _: &Context, parent: NodeId, op: &ops::Rmdir<'_>) -> Result<()> {
        self.remove_dir(parent, op.name.as_cstr())
    }

    fn rename(&self, cx: &Context, parent: NodeId, op: &ops::Rename2<'_>) -> Result<()> {
        self.move_name(cx, parent, op)
    }

    fn link(&self, _: &Context, newparent: NodeId, op: &ops::Link<'_>) -> Result<Entry> {
        self.make_link(newparent, op)
    }

    fn open(&self, _: &Context, node: NodeId, op: &ops::Open) -> Result<Opened> {
        self.open_file(node, op)
    }

    fn read(&self, _: &Context, _: NodeId, op: &ops::Read, buf: &mut [u8]) -> Result<usize> {
        self.read_file(op, buf)
    }

    fn read_buf<'a>(
        &'a self,
        _: &Context,
        _: NodeId,
        op: &ops::Read,
        room: &'a mut [u8],
    ) -> Result<BufVec<'a>> {
        self.read_file_buf(op, room)
    }

    fn write(&self, _: &Context, _: NodeId, op: &ops::Write<'_>) -> Result<u32> {
        self.write_file(op)
    }

    fn write_buf(
        &self,
        _: &Context,
        _: NodeId,
        op: &ops::Write<'_>,
        data: &mut BufVec<'_>,
    ) -> Result<u32> {
        self.write_file_buf(op, data)
    }

    fn statfs(&self, _: &Context, node: NodeId) -> Result<Statfs> {
        self.file_system(node)
    }

    fn release(&self, node: NodeId, op: &ops::Release) {
        self.drop_locks_of(node, op.fh);
        self.close_handle(node, op.fh);
    }

    fn fsync(&self, _: &Context, _: NodeId, op: &ops::Fsync) -> Result<()> {
        file::fsync(self.handles.fd(op.fh)?, op.datasync)
    }

    fn setxattr(&self, cx: &Context, node: NodeId, op: &ops::Setxattr<'_>) -> Result<()> {
        self.set_xattr(cx, node, op)
    }

    fn getxattr(
        &self,
        _: &Context,
        node: NodeId,
        op: &ops::Getxattr<'_>,
        buf: &mut [u8],
    ) -> Result<usize> {
        self.get_xattr(node, op, buf)
    }

    fn listxattr(
        &self,
        cx: &Context,
        node: NodeId,
        _: &ops::Listxattr,
        buf: &mut [u8],
    ) -> Result<usize> {
        self.list_xattrs(cx, node, buf)
    }

    fn removexattr(&self, cx: &Context, node: NodeId, op: &ops::Removexattr<'_>) -> Result<()> {
        self.remove_xattr(cx, node, op)
    }

    fn flush(&self, _: &Context, node: NodeId, op: &ops::Flush) -> Result<()> {
        self.drop_owner(node, op.lock_owner);
        self.handles.flush(op.fh)
    }

    fn opendir(&self, _: &Context, node: NodeId, _: &ops::Opendir) -> Result<Opened> {
        self.open_directory(node)
    }

    fn readdir(
        &self,
        _: &Context,
        _: NodeId,
        op: &ops::Readdir,
        out: &mut DirBuffer<'_>,
    ) -> Result<()> {
        self.list(op.fh, op.offset, op.size, out)
    }

    fn readdirplus(
        &self,
        _: &Context,
        _: NodeId,
        op: &ops::Readdirplus,
        out: &mut DirBuffer<'_>,
    ) -> Result<()> {
        self.list_plus(op.fh, op.offset, op.size, out)
    }

    fn releasedir(&self, node: NodeId, op: &ops::Releasedir) {
        self.close_handle(node, op.fh);
    }

    fn fsyncdir(&self, _: &Context, _: NodeId, op: &ops::Fsyncdir) -> Result<()> {
        file::fsync(self.handles.fd(op.fh)?, op.datasync)
    }

    fn getlk(&self, _: &Context, node: NodeId, op: &ops::Getlk) -> Result<FileLock> {
        self.test_lock(node, op)
    }

    fn setlk(&self, _: &Context, node: NodeId, op: &ops::Setlk) -> Result<()> {
        self.set_lock(node, op)
    }

    fn setlkw(&self, _: &Context, node: NodeId, op: &ops::Setlk) -> Result<()> {
        self.wait_for_lock(node, op)
    }

    fn access(&self, _: &Context, node: NodeId, op: &ops::Access) -> Result<()> {
        file::access(self.nodes.fd(node)?.get(), op.mask)
    }

    fn create(
        &self,
        cx: &Context,
        parent: NodeId,
        op: &ops::Create<'_>,
    ) -> Result<(Entry, Opened)> {
        self.create_file(cx, parent, op)
    }

    fn ioctl(
        &self,
        cx: &Context,
        _: NodeId,
        op: &ops::Ioctl<'_>,
        buf: &mut [u8],
    ) -> Result<IoctlReply> {
        self.control(cx, op, buf)
    }

    fn fallocate(&self, _: &Context, _: NodeId, op: &ops::Fallocate) -> Result<()> {
        called(file::fallocate(self.handles.fd(op.fh)?, op.mode, op.offset, op.length))
    }

    fn lseek(&self, _: &Context, node: NodeId, op: &ops::Lseek) -> Result<u64> {
        if self.writeback {
            // The kernel holds data that the lower file has not got; it then treats every file
            // as one without holes, which is never wrong.
            return Err(Errno::ENOSYS);
        }
        self.seek(node, op)
    }

    fn copy_file_range(&self, _: &Context, _: NodeId, op: &ops::CopyFileRange64) -> Result<u64> {
        self.copy_range(op)
    }

    fn syncfs(&self, _: &Context, node: NodeId) -> Result<()> {
        let root = file::reopen(self.nodes.fd(node)?.get(), libc::O_RDONLY | libc::O_NONBLOCK)?;
        file::syncfs(root.get())
    }

    fn tmpfile(
        &self,
        cx: &Context,
        parent: NodeId,
        op: &ops::Tmpfile<'_>,
    ) -> Result<(Entry, Opened)> {
        self.create_unnamed(cx, parent, op)
    }

    fn statx(&self, _: &Context, node: NodeId, op: &ops::Statx) -> Result<StatxReply> {
        self.extended(node, op)
    }
}

//! From a decoded request to a method of the file system, and from its result to the answer.
//!
//! One arm an opcode; nothing is decided here but what belongs to the protocol.

use std::io::IoSlice;
use std::sync::Arc;

use zerocopy::IntoBytes;

use super::Shared;
use super::reply::Responder;
use super::splicing::Splicing;
use super::threads::about_to_block;
use super::waiting;
use crate::Errno;
use crate::buffer::{Buf, BufVec, Memory, Pipe};
use crate::channel::Connection;
use crate::fs::{Context, Filesystem, Result};
use crate::recovery::journal::Journal;
use crate::recovery::points::{self, Point};
use crate::wire::abi::{
    fuse_bmap_out, fuse_copy_file_range_out, fuse_getxattr_out, fuse_ioctl_out, fuse_lseek_out,
    fuse_poll_out, fuse_write_out,
};
use crate::wire::decode::{Operation, Request};
use crate::wire::ops::{self, FileLock};
use crate::wire::{DirBuffer, LockReply, NodeId, Unique, plus_nodes};

/// Where a request is answered from: its slot's device and journal, and room for reply data.
pub(super) struct Place<'a> {
    pub(super) connection: Connection,
    pub(super) journal: Journal,
    pub(super) data: &'a mut [u8],
    /// `None`: data goes by memory.
    pub(super) splicing: Option<&'a mut Splicing>,
    /// Where a WRITE's data is, if not in the request.
    pub(super) incoming: Option<Pipe>,
}

/// Who asks.
pub(super) fn context(request: &Request<'_>) -> Context {
    let header = &request.header;
    Context { unique: header.unique, uid: header.uid, gid: header.gid, pid: header.pid }
}

/// Answers one request.
pub(super) fn dispatch<F: Filesystem>(
    shared: &Arc<Shared<F>>,
    request: &Request<'_>,
    place: Place<'_>,
) {
    let (fs, header, journal) = (&shared.fs, &request.header, place.journal);
    let cx = context(request);
    log(cx.unique, request);
    let to = Responder::to(place.connection, header.unique, &request.operation, journal);
    let (cx, node) = (&cx, header.node);
    if is_refused(shared.config.only_user, cx, &request.operation) {
        to.send(Err(Errno::EACCES));
        return;
    }
    points::reach(Point::Dispatched);
    match &request.operation {
        Operation::Lookup(op) => to.entry(fs, fs.lookup(cx, node, op)),
        Operation::Forget(op) => {
            if journal.progress() == 0 {
                fs.forget(node, op.nlookup);
                points::reach(Point::Forgotten);
                journal.set_progress(1);
                points::reach(Point::ForgetNoted);
            }
        }
        Operation::BatchForget(op) => {
            let rest = op.iter().zip(1..).skip(journal.progress() as usize);
            for ((node, nlookup), count) in rest {
                fs.forget(node, nlookup);
                points::reach(Point::Forgotten);
                journal.set_progress(count);
                points::reach(Point::ForgetNoted);
            }
        }
        Operation::Getattr(op) => to.attr(fs.getattr(cx, node, op)),
        Operation::Setattr(op) => to.attr(fs.setattr(cx, node, op)),
        Operation::Readlink(_) => {
            let room = &mut place.data[..PATH_MAX];
            let result = fs.readlink(cx, node, room);
            to.data(result, room);
        }
        Operation::Symlink(op) => to.entry(fs, fs.symlink(cx, node, op)),
        Operation::Mknod(op) => to.entry(fs, fs.mknod(cx, node, op)),
        Operation::Mkdir(op) => to.entry(fs, fs.mkdir(cx, node, op)),
        Operation::Unlink(op) => to.empty(fs.unlink(cx, node, op)),
        Operation::Rmdir(op) => to.empty(fs.rmdir(cx, node, op)),
        Operation::Rename(op) => to.empty(fs.rename(cx, node, &without_flags(op))),
        Operation::Rename2(op) => to.empty(fs.rename(cx, node, op)),
        Operation::Link(op) => to.entry(fs, fs.link(cx, node, op)),
        Operation::Open(op) => to.opened(fs, node, fs.open(cx, node, op)),
        Operation::Read(op) => read(fs, to, cx, node, op, place),
        Operation::Write(op) => {
            let result = write(fs, cx, node, op, place);
            to.fixed(result.map(|size| fuse_write_out { size, padding: 0 }));
        }
        Operation::Statfs(_) => {
            to.fixed(fs.statfs(cx, node).map(|statfs| statfs.to_wire()));
        }
        Operation::Release(op) => {
            fs.release(node, op);
            to.empty(Ok(()));
        }
        Operation::Fsync(op) => {
            about_to_block();
            to.empty(fs.fsync(cx, node, op));
        }
        Operation::Setxattr(op) => to.empty(fs.setxattr(cx, node, op)),
        Operation::Getxattr(op) => {
            let asked = op.size as usize;
            xattr(to, asked, place.data, |room| fs.getxattr(cx, node, op, room));
        }
        Operation::Listxattr(op) => {
            let asked = op.size as usize;
            xattr(to, asked, place.data, |room| fs.listxattr(cx, node, op, room));
        }
        Operation::Removexattr(op) => to.empty(fs.removexattr(cx, node, op)),
        Operation::Flush(op) => to.empty(fs.flush(cx, node, op)),
        Operation::Opendir(op) => to.opened_dir(fs, node, fs.opendir(cx, node, op)),
        Operation::Readdir(op) => {
            entries(to, op.size, place.data, |out| fs.readdir(cx, node, op, out));
        }
        Operation::Readdirplus(op) => {
            let limit = (op.size as usize).min(place.data.len());
            let mut out = DirBuffer::publishing(&mut place.data[..limit], journal.listed());
            let result = fs.readdirplus(cx, node, op, &mut out);
            let length = out.length();
            listed(fs, to, result, &place.data[..length]);
        }
        Operation::Releasedir(op) => {
            fs.releasedir(node, op);
            to.empty(Ok(()));
        }
        Operation::Fsyncdir(op) => {
            about_to_block();
            to.empty(fs.fsyncdir(cx, node, op));
        }
        Operation::Getlk(op) => getlk(to, fs.getlk(cx, node, op)),
        Operation::Setlk(op) => to.empty(fs.setlk(cx, node, op)),
        Operation::Setlkw(op) => {
            let ops::Setlkw { fh, owner, lk, lk_flags } = *op;
            waiting::setlkw(shared, to, *cx, node, ops::Setlk { fh, owner, lk, lk_flags });
        }
        Operation::Access(op) => to.empty(fs.access(cx, node, op)),
        Operation::Create(op) => to.created(fs, fs.create(cx, node, op)),
        Operation::Interrupt(op) => shared.waiting.interrupt(op.unique),
        Operation::Bmap(op) => {
            to.fixed(fs.bmap(cx, node, op).map(|block| fuse_bmap_out { block }));
        }
        Operation::Destroy(_) => to.empty(Ok(())),
        Operation::Ioctl(op) => ioctl(fs, to, cx, node, op, place.data),
        Operation::Poll(op) => {
            let result = fs.poll(cx, node, op);
            to.fixed(result.map(|revents| fuse_poll_out { revents, padding: 0 }));
        }
        Operation::NotifyReply(op) => fs.notify_reply(node, op),
        Operation::Fallocate(op) => {
            about_to_block();
            to.empty(fs.fallocate(cx, node, op));
        }
        Operation::Lseek(op) => {
            to.fixed(fs.lseek(cx, node, op).map(|offset| fuse_lseek_out { offset }));
        }
        Operation::CopyFileRange(op) => {
            about_to_block();
            // The 32-bit answer: the kernel asks for no more than it can say.
            let result = fs.copy_file_range(cx, node, &as_64(op));
            to.fixed(result.map(|size| fuse_write_out { size: size as u32, padding: 0 }));
        }
        Operation::CopyFileRange64(op) => {
            about_to_block();
            let result = fs.copy_file_range(cx, node, op);
            to.fixed(result.map(|bytes_copied| fuse_copy_file_range_out { bytes_copied }));
        }
        Operation::Syncfs(_) => {
            about_to_block();
            to.empty(fs.syncfs(cx, node));
        }
        Operation::Tmpfile(op) => to.created(fs, fs.tmpfile(cx, node, op)),
        Operation::Statx(op) => {
            to.fixed(fs.statx(cx, node, op).map(|reply| reply.to_wire()));
        }
        // DAX windows belong to virtio-fs, character devices to CUSE; a second INIT to nobody.
        Operation::Setupmapping(_) | Operation::Removemapping(_) | Operation::CuseInit(_) => {
            to.empty(Err(Errno::ENOSYS));
        }
        Operation::Init(_) => to.empty(Err(Errno::EIO)),
    }
}

/// Not the data that some requests carry: it is long, and the user's.
fn log(unique: Unique, request: &Request<'_>) {
    let (node, pid) = (request.header.node.0, request.header.pid);
    match &request.operation {
        Operation::Write(op) => {
            let (fh, offset, size) = (op.fh.0, op.offset, op.data.len());
            tracing::debug!(unique = unique.0, node, pid, fh, offset, size, "Write");
        }
        Operation::Setxattr(op) => {
            tracing::debug!(unique = unique.0, node, pid, name = ?op.name, "Setxattr");
        }
        operation => tracing::debug!(unique = unique.0, node, pid, ?operation),
    }
}

/// The longest symbolic link, in bytes.
const PATH_MAX: usize = libc::PATH_MAX as usize;

/// `allow_root`: everybody else is refused, but for what finishes files already open.
pub(super) fn is_refused(only_user: Option<u32>, cx: &Context, operation: &Operation<'_>) -> bool {
    let Some(user) = only_user else { return false };
    let finishes = matches!(
        operation,
        Operation::Forget(_)
            | Operation::BatchForget(_)
            | Operation::Interrupt(_)
            | Operation::Read(_)
            | Operation::Write(_)
            | Operation::Fsync(_)
            | Operation::Flush(_)
            | Operation::Release(_)
            | Operation::Readdir(_)
            | Operation::Readdirplus(_)
            | Operation::Fsyncdir(_)
            | Operation::Releasedir(_)
            | Operation::NotifyReply(_)
            | Operation::Destroy(_)
    );
    cx.uid != 0 && cx.uid != user && !finishes
}

fn without_flags<'a>(op: &ops::Rename<'a>) -> ops::Rename2<'a> {
    ops::Rename2 { newdir: op.newdir, flags: 0, oldname: op.oldname, newname: op.newname }
}

/// The older request: no more bytes than its 32-bit answer can count, in whole pages.
fn as_64(op: &ops::CopyFileRange) -> ops::CopyFileRange64 {
    let ops::CopyFileRange { fh_in, off_in, node_out, fh_out, off_out, len, flags } = *op;
    let len = len.min(u64::from(!4095_u32));
    ops::CopyFileRange64 { fh_in, off_in, node_out, fh_out, off_out, len, flags }
}

fn read<F: Filesystem>(
    fs: &F,
    to: Responder,
    cx: &Context,
    node: NodeId,
    op: &ops::Read,
    place: Place<'_>,
) {
    let Some(room) = place.data.get_mut(..op.size as usize) else {
        to.send(Err(Errno::EINVAL));
        return;
    };
    match place.splicing {
        Some(splicing) => splicing.answer(
            to,
            room,
            |room| fs.read(cx, node, op, room),
            |room| fs.read_buf(cx, node, op, room),
        ),
        None => {
            let result = fs.read(cx, node, op, room);
            to.data(result, room);
        }
    }
}

fn write<F: Filesystem>(
    fs: &F,
    cx: &Context,
    node: NodeId,
    op: &ops::Write<'_>,
    place: Place<'_>,
) -> Result<u32> {
    if let Some(pipe) = place.incoming {
        let room = place.data.get_mut(..op.data.len()).ok_or(Errno::EIO)?;
        let data = Buf::stream(pipe.read, op.data.len(), Memory::Unique(room));
        return fs.write_buf(
            cx,
            node,
            &ops::Write { data: &[], ..*op },
            &mut BufVec::new(vec![data]),
        );
    }
    // What a dead worker has brought from its pipe to the file.
    let done = place.journal.written().map_or(0, |bytes| op.data.len().min(bytes as usize));
    if done == 0 {
        return fs.write(cx, node, op);
    }
    let rest = ops::Write { offset: op.offset + done as u64, data: &op.data[done..], ..*op };
    let written = if rest.data.is_empty() { Ok(0) } else { fs.write(cx, node, &rest) };
    // Behind some data an error is for the next call.
    Ok(done as u32 + written.unwrap_or(0))
}

/// GETXATTR and LISTXATTR: the value, or its length when the caller gave no room.
fn xattr(
    to: Responder,
    asked: usize,
    data: &mut [u8],
    get: impl FnOnce(&mut [u8]) -> Result<usize>,
) {
    let asked = asked.min(data.len());
    match get(&mut data[..asked]) {
        Ok(length) if asked == 0 => {
            to.fixed(Ok(fuse_getxattr_out { size: length as u32, padding: 0 }));
        }
        result => to.data(result, &data[..asked]),
    }
}

fn entries(
    to: Responder,
    size: u32,
    data: &mut [u8],
    fill: impl FnOnce(&mut DirBuffer<'_>) -> Result<()>,
) {
    let limit = (size as usize).min(data.len());
    let mut out = DirBuffer::new(&mut data[..limit]);
    let result = fill(&mut out).map(|()| out.length());
    to.data(result, data);
}

/// Answers READDIRPLUS with `entries`, whose lookups are counted: they are taken back if nobody
/// gets them.
pub(super) fn listed<F: Filesystem>(fs: &F, to: Responder, result: Result<()>, entries: &[u8]) {
    let failed = result.is_err();
    let payload = [IoSlice::new(entries)];
    if !to.send(result.map(|()| payload.as_slice())) || failed {
        plus_nodes(entries).for_each(|node| fs.forget(node, 1));
    }
}

fn getlk(to: Responder, result: Result<FileLock>) {
    to.fixed(result.map(|lk| LockReply { lk }.to_wire()));
}

fn ioctl<F: Filesystem>(
    fs: &F,
    to: Responder,
    cx: &Context,
    node: NodeId,
    op: &ops::Ioctl<'_>,
    data: &mut [u8],
) {
    let Some(room) = data.get_mut(..op.out_size as usize) else {
        to.send(Err(Errno::EINVAL));
        return;
    };
    match fs.ioctl(cx, node, op, room) {
        Ok(reply) => {
            let head = fuse_ioctl_out { result: reply.result, flags: 0, in_iovs: 0, out_iovs: 0 };
            let payload = &room[..reply.size.min(room.len())];
            to.send(Ok(&[IoSlice::new(head.as_bytes()), IoSlice::new(payload)]));
        }
        Err(error) => {
            to.send(Err(error));
        }
    }
}

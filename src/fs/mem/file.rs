//! Operations on the data of regular files.

use super::Mem;
use super::data::MAX_SIZE;
use super::tree::{Tree, read};
use crate::Errno;
use crate::buffer::{Buf, BufVec, Memory};
use crate::fs::{Context, Result};
use crate::recovery::journal;
use crate::wire::NodeId;
use crate::wire::flags::WriteFlags;
use crate::wire::ops;

/// The most that one COPY_FILE_RANGE copies: what the reply's 32 bits can say, in whole pages.
const COPY_MAX: u64 = 0xffff_f000;

/// What [`journal::intend`] gets first for a COPY_FILE_RANGE; how many bytes comes next.
const COPYING: u64 = 2;

const KEEP_SIZE: u32 = libc::FALLOC_FL_KEEP_SIZE as u32;
const ZERO_RANGE: u32 = libc::FALLOC_FL_ZERO_RANGE as u32;
const ZERO_KEEP: u32 = ZERO_RANGE | KEEP_SIZE;
const PUNCH: u32 = libc::FALLOC_FL_PUNCH_HOLE as u32 | KEEP_SIZE;

/// FALLOCATE and COPY_FILE_RANGE carry no word on whether the caller may keep suid and
/// sgid (CAP_FSETID), as WRITE and SETATTR do: root is taken to have it, others not.
fn kills(cx: &Context) -> bool {
    cx.uid != 0
}

impl Mem {
    pub(super) fn read_data(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let tree = read(&self.tree);
        let length = tree.inode(node)?.data()?.read(offset, buf)?;
        accessed(&tree, node);
        Ok(length)
    }

    /// Where the data is that `room` asks for. A node is known as long as it is being read, and its
    /// memfd is there as long as the node.
    pub(super) fn data_at<'a>(
        &self,
        node: NodeId,
        offset: u64,
        room: &'a mut [u8],
    ) -> Result<BufVec<'a>> {
        let tree = read(&self.tree);
        let (fd, length) = tree.inode(node)?.data()?.place(offset, room.len())?;
        accessed(&tree, node);
        let room = Memory::Unique(&mut room[..length]);
        Ok(BufVec::new(vec![Buf::file(fd, offset, length, room)]))
    }

    pub(super) fn write_data(&self, node: NodeId, op: &ops::Write<'_>) -> Result<u32> {
        let tree = read(&self.tree);
        let mut inode = tree.inode_mut(node)?;
        inode.data()?;
        if op.data.is_empty() {
            return Ok(0);
        }
        let data = inode.data_mut(&tree.store)?;
        let written = data.write(tree.space(), op.offset, op.data)?;
        if written > 0 {
            let kill = op.write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
            inode.record.drop_privileges(kill);
            inode.record.modified();
            inode.save(&tree.store)?;
        }
        Ok(written as u32)
    }

    pub(super) fn allocate(&self, cx: &Context, node: NodeId, op: &ops::Fallocate) -> Result<()> {
        let tree = read(&self.tree);
        let space = tree.space();
        let mut inode = tree.inode_mut(node)?;
        inode.data()?;
        let end = op.offset.checked_add(op.length).filter(|end| *end <= MAX_SIZE);
        let end = end.ok_or(Errno::EFBIG)?;
        if op.length == 0 {
            return Err(Errno::EINVAL);
        }
        if !matches!(op.mode, 0 | KEEP_SIZE | ZERO_RANGE | ZERO_KEEP | PUNCH) {
            return Err(Errno::EOPNOTSUPP);
        }
        let data = inode.data_mut(&tree.store)?;
        match op.mode {
            0 | KEEP_SIZE => data.reserve(space, op.offset, end)?,
            PUNCH => data.punch(space, op.offset, end)?,
            _ => data.zero(space, op.offset, end)?,
        }
        if op.mode & KEEP_SIZE == 0 {
            data.grow(space, end)?;
        }
        inode.record.drop_privileges(kills(cx));
        inode.record.modified();
        inode.save(&tree.store)
    }

    pub(super) fn seek(&self, node: NodeId, op: &ops::Lseek) -> Result<u64> {
        let tree = read(&self.tree);
        let inode = tree.inode(node)?;
        match op.whence as i32 {
            libc::SEEK_DATA => inode.data()?.seek_data(op.offset),
            libc::SEEK_HOLE => inode.data()?.seek_hole(op.offset),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Copies piece by piece; holes stay holes. Neither file is locked in between, so a
    /// write at the same time may be seen in part, as on other file systems.
    pub(super) fn copy(
        &self,
        cx: &Context,
        from: NodeId,
        op: &ops::CopyFileRange64,
    ) -> Result<u64> {
        if op.flags != 0 {
            return Err(Errno::EINVAL);
        }
        let tree = read(&self.tree);
        let wanted = match begun_copy() {
            Some(wanted) => wanted,
            None => copy_length(&tree, from, op)?,
        };
        journal::intend(&[COPYING, wanted]);
        let mut done = 0;
        while done < wanted {
            match copy_piece(&tree, cx, from, op, (done, wanted)) {
                Ok(0) => break,
                Ok(length) => done += length,
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        if done > 0 {
            accessed(&tree, from);
        }
        Ok(done)
    }
}

/// The length that a dead worker has begun to copy for this request. What it has copied may have
/// made a file longer that is source and target at once: it must not be found out again.
fn begun_copy() -> Option<u64> {
    let intent = journal::current()?.intent()?;
    (intent[0] == COPYING).then_some(intent[1])
}

/// How many bytes there are to copy.
fn copy_length(tree: &Tree, from: NodeId, op: &ops::CopyFileRange64) -> Result<u64> {
    tree.inode(op.node_out)?.data()?;
    let left = tree.inode(from)?.data()?.size().saturating_sub(op.off_in);
    let wanted = op.len.min(left).min(COPY_MAX);
    if from == op.node_out && op.off_in.abs_diff(op.off_out) < wanted {
        return Err(Errno::EINVAL);
    }
    if wanted > 0 && op.off_out >= MAX_SIZE {
        return Err(Errno::EFBIG);
    }
    Ok(wanted.min(MAX_SIZE.saturating_sub(op.off_out)))
}

/// Copies what comes behind the first `done` bytes of `wanted`; returns how many bytes.
fn copy_piece(
    tree: &Tree,
    cx: &Context,
    from: NodeId,
    op: &ops::CopyFileRange64,
    (done, wanted): (u64, u64),
) -> Result<u64> {
    let piece = tree.inode(from)?.data()?.extract(op.off_in + done, wanted - done)?;
    let Some(piece) = piece else { return Ok(0) };
    let mut target = tree.inode_mut(op.node_out)?;
    let data = target.data_mut(&tree.store)?;
    let length = data.put(tree.space(), op.off_out + done, &piece)?;
    target.record.drop_privileges(kills(cx));
    target.record.modified();
    target.save(&tree.store)?;
    Ok(length)
}

/// Moves the access time of `node`, under the rules of relatime.
pub(super) fn accessed(tree: &Tree, node: NodeId) {
    if tree.inode(node).is_ok_and(|inode| inode.record.wants_atime())
        && let Ok(mut inode) = tree.inode_mut(node)
    {
        inode.record.atime = super::record::now().into();
        // It was read all the same.
        let _ = inode.save(&tree.store);
    }
}

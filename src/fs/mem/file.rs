//! Operations on the data of regular files.

use super::Mem;
use super::data::MAX_SIZE;
use super::tree::{read, write};
use crate::Errno;
use crate::fs::{Context, Result};
use crate::wire::NodeId;
use crate::wire::flags::WriteFlags;
use crate::wire::ops;

/// The most that one COPY_FILE_RANGE copies: what the reply's 32 bits can say, in whole pages.
const COPY_MAX: u64 = 0xffff_f000;

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
        let length = tree.inode(node)?.data()?.read(offset, buf);
        self.accessed(&tree, node);
        Ok(length)
    }

    pub(super) fn write_data(&self, node: NodeId, op: &ops::Write<'_>) -> Result<u32> {
        let tree = read(&self.tree);
        let mut inode = tree.inode_mut(node)?;
        let written = inode.data_mut()?.write(tree.space(), op.offset, op.data)?;
        if written > 0 {
            let kill = op.write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
            inode.drop_privileges(tree.space(), kill);
            inode.modified();
        }
        Ok(written as u32)
    }

    pub(super) fn allocate(&self, cx: &Context, node: NodeId, op: &ops::Fallocate) -> Result<()> {
        let tree = read(&self.tree);
        let space = tree.space();
        let mut inode = tree.inode_mut(node)?;
        let data = inode.data_mut()?;
        let end = op.offset.checked_add(op.length).filter(|end| *end <= MAX_SIZE);
        let end = end.ok_or(Errno::EFBIG)?;
        match op.mode {
            _ if op.length == 0 => return Err(Errno::EINVAL),
            0 | KEEP_SIZE => data.reserve(space, op.offset, end)?,
            ZERO_RANGE | ZERO_KEEP => data.zero(space, op.offset, end)?,
            PUNCH => data.punch(space, op.offset, end),
            _ => return Err(Errno::EOPNOTSUPP),
        }
        if op.mode & KEEP_SIZE == 0 {
            data.grow(end);
        }
        inode.drop_privileges(space, kills(cx));
        inode.modified();
        Ok(())
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
        let space = tree.space();
        tree.inode(op.node_out)?.data()?;
        let left = tree.inode(from)?.data()?.size().saturating_sub(op.off_in);
        let wanted = op.len.min(left).min(COPY_MAX);
        if from == op.node_out && op.off_in.abs_diff(op.off_out) < wanted {
            return Err(Errno::EINVAL);
        }
        if wanted > 0 && op.off_out >= MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        let wanted = wanted.min(MAX_SIZE.saturating_sub(op.off_out));
        let mut done = 0;
        while done < wanted {
            let piece = tree.inode(from)?.data()?.extract(op.off_in + done, wanted - done);
            let Some(piece) = piece else { break };
            let mut target = tree.inode_mut(op.node_out)?;
            match target.data_mut()?.put(space, op.off_out + done, &piece) {
                Ok(length) => done += length,
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
            target.drop_privileges(space, kills(cx));
            target.modified();
        }
        if done > 0 {
            self.accessed(&tree, from);
        }
        Ok(done)
    }

    /// Moves the access time of `node`, under the rules of relatime.
    pub(super) fn accessed(&self, tree: &super::tree::Tree, node: NodeId) {
        let Ok(node) = tree.node(node) else { return };
        if read(&node.inode).wants_atime() {
            write(&node.inode).atime = super::node::now();
        }
    }
}

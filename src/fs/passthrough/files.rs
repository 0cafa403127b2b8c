//! What is done with an open file.
//!
//! With FUSE_PASSTHROUGH the kernel reads and writes the lower file itself; READ and WRITE
//! come here only without it.

use nix::fcntl::{FcntlArg, fcntl};

use super::Passthrough;
use super::record::Backing;
use crate::Errno;
use crate::buffer::{Buf, BufVec, Memory};
use crate::fs::{Context, IoctlReply, Result, lower};
use crate::recovery::journal;
use crate::recovery::points::{self, Protection, called};
use crate::session::about_to_block;
use crate::sys::{self, creds, file};
use crate::wire::flags::WriteFlags;
use crate::wire::{NodeId, Opened, ops};

/// What lsattr and chattr ask for. The first two have a long in their number and use an int.
const FS_IOC_GETFLAGS: u32 = 0x8008_6601;
const FS_IOC_SETFLAGS: u32 = 0x4008_6602;
const FS_IOC_FSGETXATTR: u32 = 0x801c_581f;
const FS_IOC_FSSETXATTR: u32 = 0x401c_5820;

impl Passthrough {
    /// The flags for the lower file of an open with `flags`.
    ///
    /// Without O_APPEND: the kernel sends positions, and a lower file that appends would put
    /// mapped and gathered writes elsewhere. Without O_DIRECT: a request's data is not
    /// aligned; the kernel's own cache is left out by FOPEN_DIRECT_IO instead. Without O_TRUNC:
    /// the kernel sends that as a SETATTR (and does not send the flag).
    pub(super) fn lower_flags(&self, flags: u32) -> i32 {
        let dropped = libc::O_APPEND
            | libc::O_CREAT
            | libc::O_EXCL
            | libc::O_NOCTTY
            | libc::O_NOFOLLOW
            | libc::O_TRUNC
            | libc::O_DIRECT;
        let kept = if points::is_off(Protection::Append) { libc::O_APPEND } else { 0 };
        let flags = flags as i32 & !(dropped & !kept);
        if self.writeback && flags & libc::O_ACCMODE == libc::O_WRONLY {
            // The kernel reads what surrounds a write to part of a page.
            return flags & !libc::O_ACCMODE | libc::O_RDWR;
        }
        flags
    }

    pub(super) fn open_file(&self, node: NodeId, op: &ops::Open) -> Result<Opened> {
        let inode = self.nodes.fd(node)?;
        let flags = self.lower_flags(op.flags);
        let append = op.flags as i32 & libc::O_APPEND;
        let fd = match file::reopen(inode.get(), flags) {
            // An append-only file (chattr +a) opens no other way, and whatever is written to
            // it, through whichever open, goes to its end.
            Err(Errno::EPERM) if append != 0 && !self.writeback => {
                file::reopen(inode.get(), flags | append)?
            }
            opened => opened?,
        };
        self.opened_file(node, fd, op.flags, false)
    }

    pub(super) fn read_file(&self, op: &ops::Read, buf: &mut [u8]) -> Result<usize> {
        lower::read(self.handles.fd(op.fh)?, buf, op.offset)
    }

    /// Where the data is.
    pub(super) fn read_file_buf<'a>(
        &self,
        op: &ops::Read,
        room: &'a mut [u8],
    ) -> Result<BufVec<'a>> {
        let fd = self.handles.fd(op.fh)?;
        let behind = file::fstatx(fd)?.stx_size.saturating_sub(op.offset);
        let size = room.len().min(usize::try_from(behind).unwrap_or(usize::MAX));
        if size == 0 {
            // The end, or a file that does not tell its size, as those in /proc.
            let length = self.read_file(op, room)?;
            return Ok(BufVec::memory(&room[..length]));
        }
        // What was read ahead has come as far as the last byte.
        let last = file::pread_cached(fd, &mut [0], op.offset + size as u64 - 1);
        if matches!(last, Err(error) if error != Errno::EOPNOTSUPP) {
            about_to_block();
        }
        let room = Memory::Unique(&mut room[..size]);
        Ok(BufVec::new(vec![Buf::file(fd, op.offset, size, room)]))
    }

    pub(super) fn write_file(&self, op: &ops::Write<'_>) -> Result<u32> {
        let fd = self.handles.fd(op.fh)?;
        if op.flags as i32 & libc::O_DSYNC != 0 {
            about_to_block();
        }
        let appends = op.flags as i32 & libc::O_APPEND != 0 && appends(fd)?;
        if appends && !points::is_off(Protection::Append) {
            // Whatever the position is: a successor sees by the size how much is written.
            journal::intend(&[file::fstatx(fd)?.stx_size]);
        }
        self.write_behind(op, 0)
    }

    /// Writes what comes through a pipe, without looking at it where that is possible.
    pub(super) fn write_file_buf(&self, op: &ops::Write<'_>, data: &mut BufVec<'_>) -> Result<u32> {
        let fd = self.handles.fd(op.fh)?;
        if op.flags as i32 & libc::O_DSYNC != 0 {
            about_to_block();
        }
        let spliced = match &data.bufs[..] {
            // splice(2) knows no file that appends.
            [pipe] if !appends(fd)? => self.splice_into(fd, op, pipe),
            _ => Err(Errno::EINVAL),
        };
        match spliced {
            Err(Errno::EINVAL | Errno::ENOSYS) => {
                journal::drain_not();
                self.write_file(&ops::Write { data: &data.bytes()?, ..*op })
            }
            result => result,
        }
    }

    fn splice_into(&self, fd: sys::Fd, op: &ops::Write<'_>, from: &Buf<'_>) -> Result<u32> {
        journal::drain();
        let write = || splice_to(from.fd, fd, op.offset, from.size);
        let written = match op.write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID) {
            true => creds::without_fsetid(write)?,
            false => write()?,
        };
        Ok(called(written) as u32)
    }

    /// Writes what is behind the first `done` bytes of a request; returns how many bytes.
    pub(super) fn write_behind(&self, op: &ops::Write<'_>, done: usize) -> Result<u32> {
        let fd = self.handles.fd(op.fh)?;
        let write = || called(file::pwrite(fd, &op.data[done..], op.offset + done as u64));
        let written = match op.write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID) {
            true => creds::without_fsetid(write)?,
            false => write()?,
        };
        Ok(written as u32)
    }

    pub(super) fn seek(&self, node: NodeId, op: &ops::Lseek) -> Result<u64> {
        let fd = self.handles.fd(op.fh)?;
        if self.has_dirty_pages(node)? {
            return all_data(fd, op);
        }
        file::lseek(fd, op.offset, op.whence)
    }

    /// Whether the kernel may hold data of this file that the lower file has not got.
    fn has_dirty_pages(&self, id: NodeId) -> Result<bool> {
        let node = self.nodes.lock(id)?;
        Ok(node.local.writers > 0 && node.record.backing() == Backing::Served)
    }

    pub(super) fn copy_range(&self, op: &ops::CopyFileRange64) -> Result<u64> {
        let (from, to) = (self.handles.fd(op.fh_in)?, self.handles.fd(op.fh_out)?);
        let len = usize::try_from(op.len).unwrap_or(usize::MAX);
        called(file::copy_file_range(from, op.off_in, to, op.off_out, len)).map(|n| n as u64)
    }

    pub(super) fn control(
        &self,
        cx: &Context,
        op: &ops::Ioctl<'_>,
        out: &mut [u8],
    ) -> Result<IoctlReply> {
        let (sets, used) = match op.cmd {
            FS_IOC_GETFLAGS => (false, 4),
            FS_IOC_SETFLAGS => (true, 4),
            FS_IOC_FSGETXATTR => (false, 28),
            FS_IOC_FSSETXATTR => (true, 28),
            _ => return Err(Errno::ENOTTY),
        };
        let fd = self.handles.fd(op.fh)?;
        let mut data = [0; 32];
        let given = op.data.len().min(used);
        data[..given].copy_from_slice(&op.data[..given]);
        let result = if sets {
            // Kernels before 5.13 send these unchecked: the lower file system checks the caller.
            if cx.uid != 0 && file::fstatx(fd)?.stx_uid != cx.uid {
                return Err(Errno::EPERM);
            }
            called(creds::as_caller(cx.uid, cx.gid, &[], 0, || file::ioctl(fd, op.cmd, &mut data)))?
        } else {
            file::ioctl(fd, op.cmd, &mut data)?
        };
        let size = out.len().min(used);
        out[..size].copy_from_slice(&data[..size]);
        Ok(IoctlReply { result, size })
    }
}

/// Moves `size` bytes from a pipe to a file; fewer when it is full on the way.
fn splice_to(pipe: sys::Fd, file: sys::Fd, at: u64, size: usize) -> Result<usize> {
    let mut done = 0;
    while done < size {
        match sys::pipe::splice(pipe, None, file, Some(at + done as u64), size - done) {
            Ok(0) => break,
            Ok(length) => done += length,
            Err(Errno::EINTR) => {}
            Err(errno) if done == 0 => return Err(errno),
            Err(_) => break,
        }
    }
    Ok(done)
}

/// Whether writes to this open file go to its end: the lower flags keep O_APPEND for append-only
/// files alone.
fn appends(fd: crate::sys::Fd) -> Result<bool> {
    Ok(fcntl(fd, FcntlArg::F_GETFL)? & libc::O_APPEND != 0)
}

/// A file without holes, as POSIX allows to say of any file: the true answer would leave out
/// what is still in the kernel's pages.
fn all_data(fd: crate::sys::Fd, op: &ops::Lseek) -> Result<u64> {
    let size = file::fstatx(fd)?.stx_size;
    if op.offset >= size {
        return Err(Errno::ENXIO);
    }
    Ok(if op.whence as i32 == libc::SEEK_DATA { op.offset } else { size })
}

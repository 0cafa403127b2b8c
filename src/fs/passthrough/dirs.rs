//! Listing an open directory.
//!
//! Nothing is read ahead: each READDIR reads from the lower directory what fits its answer, at
//! the lower file system's own offsets. So names that were removed are gone, and seekdir(3)
//! is as stable under changes as it is there.

use super::Passthrough;
use super::handles::NOWHERE;
use crate::Errno;
use crate::fs::Result;
use crate::recovery::points::{self, Point};
use crate::sys::{Fd, dir, file};
use crate::wire::{DirBuffer, Entry, FileHandle, NodeId, Opened};

/// A getdents64 entry is never longer than the FUSE one made of it by this factor: 24 bytes
/// at the least become 32, or 160 with attributes.
const PLAIN: (usize, usize) = (3, 4);
const PLUS: (usize, usize) = (3, 20);
/// More is not asked for at once.
const ROOM: usize = 32 << 10;

impl Passthrough {
    pub(super) fn open_directory(&self, node: NodeId) -> Result<Opened> {
        let inode = self.nodes.fd(node)?;
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        let fd = match file::openat(inode.get(), c".", flags, 0) {
            // Removed, and still somebody's working directory; or readable and not to be entered.
            Err(Errno::ENOENT | Errno::EACCES) => file::reopen(inode.get(), flags)?,
            opened => opened?,
        };
        self.opened_dir(node, fd)
    }

    pub(super) fn list(
        &self,
        fh: FileHandle,
        offset: u64,
        size: u32,
        out: &mut DirBuffer<'_>,
    ) -> Result<()> {
        let (_, device) = self.directory(fh)?;
        self.each_entry(fh, offset, share(size, PLAIN), |_, entry| {
            let ino = self.nodes.number(device, entry.ino);
            out.push(ino, entry.next, entry.kind, entry.name.to_bytes())
        })
    }

    pub(super) fn list_plus(
        &self,
        fh: FileHandle,
        offset: u64,
        size: u32,
        out: &mut DirBuffer<'_>,
    ) -> Result<()> {
        let (_, device) = self.directory(fh)?;
        self.each_entry(fh, offset, share(size, PLUS), |fd, entry| {
            let name = entry.name.to_bytes();
            let found = match name {
                b"." | b".." => None,
                _ => self.look_up_listed(fd, entry.name),
            };
            let found = found.unwrap_or_else(|| {
                let mut unknown = Entry::default();
                unknown.attr.ino = self.nodes.number(device, entry.ino);
                unknown
            });
            points::reach(Point::Listing);
            let pushed = out.push_plus(&found, entry.next, entry.kind, name);
            points::reach(Point::Listed);
            if !pushed && found.node != NodeId(0) {
                self.nodes.forget(found.node, 1);
            }
            pushed
        })
    }

    fn directory(&self, fh: FileHandle) -> Result<(Fd, (u32, u32))> {
        let fd = self.handles.fd(fh)?;
        let stat = file::fstatx(fd)?;
        Ok((fd, (stat.stx_dev_major, stat.stx_dev_minor)))
    }

    /// Hands the entries behind `offset` to `take` until it has enough.
    fn each_entry(
        &self,
        fh: FileHandle,
        offset: u64,
        room: usize,
        mut take: impl FnMut(Fd, dir::Entry<'_>) -> bool,
    ) -> Result<()> {
        let mut buf = [0; ROOM];
        self.handles.with_position(fh, |fd, position| {
            if *position == NOWHERE {
                start_over(fd, &mut buf[..dir::LONGEST])?;
            }
            if *position != offset {
                file::lseek(fd, offset, libc::SEEK_SET as u32)?;
            }
            // Wherever a failure leaves it.
            *position = NOWHERE;
            let length = dir::getdents(fd, &mut buf[..room])?;
            let mut reached = offset;
            for entry in dir::entries(&buf[..length]) {
                let next = entry.next;
                if !take(fd, entry) {
                    if reached == offset {
                        // No room for one entry: an empty answer would mean the end.
                        return Err(Errno::EINVAL);
                    }
                    // Not taken: where the lower directory stands now is of no use.
                    return Ok(());
                }
                reached = next;
            }
            *position = reached;
            Ok(())
        })?
    }
}

/// Makes the lower directory forget where it stands. An ext4 directory (Linux 6.18) from whose
/// reading somebody was killed may believe at that offset to be further on, and leave out a name;
/// a whole call elsewhere puts that right.
fn start_over(fd: Fd, buf: &mut [u8]) -> Result<()> {
    file::lseek(fd, 0, libc::SEEK_SET as u32)?;
    // A directory that was removed says so again where it matters.
    let _ = dir::getdents(fd, buf);
    Ok(())
}

/// How much to read for an answer of `size` bytes: what surely fits, and one entry at the least.
fn share(size: u32, (part, whole): (usize, usize)) -> usize {
    (size as usize / whole * part).clamp(dir::LONGEST, ROOM)
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_read_fits_the_answer() {
        // The FUSE entry's head is 24 bytes (152 with attributes) and the lower one's 19, and both
        // are rounded up to 8; the lower name has its NUL.
        for name in 1..=255usize {
            let lower = (19 + name + 1).next_multiple_of(8);
            let plain = (24 + name).next_multiple_of(8);
            let plus = (152 + name).next_multiple_of(8);
            assert!(lower * super::PLAIN.1 >= plain * super::PLAIN.0, "{name}");
            assert!(lower * super::PLUS.1 >= plus * super::PLUS.0, "{name}");
        }
    }
}

//! Files that stay: one for large writes, and those that were made beforehand.

use std::fs::File;
use std::path::Path;

use nix::sys::stat::lstat;
use nix::sys::uio::{pread, pwrite};

use super::actor::{Actor, open};
use super::check::{Checked, fine, same, same_bytes, wrong};

/// The longest write.
const LARGE: usize = 1 << 20;

/// A file for large writes.
pub(crate) struct Large {
    file: File,
    /// What has to be in it.
    pub(crate) bytes: Vec<u8>,
}

impl Large {
    /// Makes the file in `fixed`.
    pub(crate) fn start(fixed: &Path) -> Checked<Large> {
        let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
        let file = fine(open(&fixed.join("large"), flags, 0o600))?;
        Ok(Large { file, bytes: Vec::new() })
    }
}

/// Writes up to 1 MiB at once and reads as much, from elsewhere.
pub(crate) fn write_large(actor: &mut Actor) -> Checked {
    let random = &mut actor.random;
    let (at, length) = (random.below(LARGE), LARGE / 8 + random.below(LARGE / 8 * 7 + 1));
    let (from, bytes) = (random.below(LARGE), random.bytes(length));
    actor.begin_fixed("large", format!("pwrite at {at}, {length} bytes, and pread at {from}"));
    let large = &mut actor.large;
    let written = fine(pwrite(&large.file, &bytes, at as i64))?;
    if written != length {
        // What was in the way is told by a second try.
        let rest = pwrite(&large.file, &bytes[written..], (at + written) as i64);
        return wrong((written, "and for the rest", rest), length);
    }
    let end = large.bytes.len().max(at + length);
    large.bytes.resize(end, 0);
    large.bytes[at..at + length].copy_from_slice(&bytes);
    let (mut got, from) = (vec![0; length], from.min(end));
    let done = fine(pread(&large.file, &mut got, from as i64))?;
    same_bytes(&got[..done], &large.bytes[from..end.min(from + length)])
}

/// Looks at one of the files that were made beforehand.
pub(crate) fn look(actor: &mut Actor) -> Checked {
    if actor.common.inodes == 0 {
        return Ok(());
    }
    let number = actor.random.below(actor.common.inodes);
    let path = actor.dir.join(actor.common.inode(number));
    actor.begin(&path, format!("lstat and read {path:?}"));
    inode(&path, &actor.common.inode_bytes(number))
}

/// Compares one of them.
pub(super) fn inode(path: &Path, bytes: &[u8]) -> Checked {
    let stat = fine(lstat(path))?;
    same(("kind", stat.st_mode & libc::S_IFMT), ("kind", libc::S_IFREG))?;
    same(("size", stat.st_size), ("size", bytes.len() as i64))?;
    same_bytes(&fine(std::fs::read(path))?, bytes)
}

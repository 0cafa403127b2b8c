//! Entries of a directory in the kernel's form: records of 8-byte multiples, one after the other.

use std::sync::atomic::{AtomicU64, Ordering};

use zerocopy::{FromBytes, IntoBytes};

use super::NodeId;
use super::abi::{fuse_dirent, fuse_direntplus, fuse_entry_out};
use super::encode::Entry;

/// Entries of a directory, one behind the other in a buffer: the answer to READDIR (`push`) or
/// READDIRPLUS (`push_plus`).
///
/// An answer without entries means the end of the directory. If the very first entry does not
/// fit, the answer is EINVAL instead.
#[derive(Debug)]
pub struct DirBuffer<'a> {
    buf: &'a mut [u8],
    length: usize,
    published: Option<&'a AtomicU64>,
}

impl<'a> DirBuffer<'a> {
    /// Fills `buf` and no more.
    pub const fn new(buf: &'a mut [u8]) -> Self {
        Self { buf, length: 0, published: None }
    }

    /// The same; behind each whole entry its end is stored in `published`, for whoever has to
    /// finish the answer if this process dies.
    pub const fn publishing(buf: &'a mut [u8], published: &'a AtomicU64) -> Self {
        Self { buf, length: 0, published: Some(published) }
    }

    /// Bytes filled so far.
    pub const fn length(&self) -> usize {
        self.length
    }

    /// Adds an entry: `off` is where the entry after it is found, `typ` a `DT_*`. `false`: it does
    /// not fit, and nothing was written.
    pub fn push(&mut self, ino: u64, off: u64, typ: u8, name: &[u8]) -> bool {
        self.append(None, ino, off, typ, name)
    }

    /// Adds an entry with what LOOKUP would have answered. For a node id of 0 the kernel takes
    /// only inode number and type from it, looks nothing up and counts no lookup.
    pub fn push_plus(&mut self, entry: &Entry, off: u64, typ: u8, name: &[u8]) -> bool {
        let out = match entry.node {
            NodeId(0) => fuse_entry_out::default(),
            _ => entry.to_wire(),
        };
        self.append(Some(&out), entry.attr.ino, off, typ, name)
    }

    fn append(
        &mut self,
        entry: Option<&fuse_entry_out>,
        ino: u64,
        off: u64,
        typ: u8,
        name: &[u8],
    ) -> bool {
        let entry = entry.map_or(&[][..], IntoBytes::as_bytes);
        let len = (entry.len() + size_of::<fuse_dirent>() + name.len()).next_multiple_of(8);
        let Ok(namelen) = u32::try_from(name.len()) else { return false };
        let Some(room) = self.buf.get_mut(self.length..).and_then(|rest| rest.get_mut(..len))
        else {
            return false;
        };
        let dirent = fuse_dirent { ino, off, namelen, r#type: typ.into() };
        let mut rest = room;
        for part in [entry, dirent.as_bytes(), name] {
            let (place, behind) = rest.split_at_mut(part.len());
            place.copy_from_slice(part);
            rest = behind;
        }
        rest.fill(0);
        self.length += len;
        if let Some(published) = self.published {
            published.store(self.length as u64, Ordering::Release);
        }
        true
    }
}

/// The nodes in the answer to a READDIRPLUS, each looked up once: to be forgotten when the
/// answer did not reach the kernel.
pub fn plus_nodes(mut bytes: &[u8]) -> impl Iterator<Item = NodeId> + '_ {
    std::iter::from_fn(move || {
        let (head, _) = fuse_direntplus::read_from_prefix(bytes).ok()?;
        let name = usize::try_from(head.dirent.namelen).ok()?;
        let len = size_of::<fuse_direntplus>().checked_add(name)?.next_multiple_of(8);
        bytes = bytes.get(len..)?;
        Some(NodeId(head.entry_out.nodeid))
    })
    .filter(|node| *node != NodeId(0))
}

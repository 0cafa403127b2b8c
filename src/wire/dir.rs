//! Entries of a directory in the kernel's form: records of 8-byte multiples, one after the other.

use zerocopy::{FromBytes, IntoBytes};

use super::NodeId;
use super::abi::{fuse_dirent, fuse_direntplus, fuse_entry_out};
use super::encode::Entry;

/// Entries of a directory, appended to a vector up to a limit: the answer to READDIR (`push`) or
/// READDIRPLUS (`push_plus`).
///
/// An answer without entries means the end of the directory. If the very first entry does not
/// fit, the answer is EINVAL instead.
#[derive(Debug)]
pub struct DirBuffer<'a> {
    buf: &'a mut Vec<u8>,
    end: usize,
}

impl<'a> DirBuffer<'a> {
    /// Appends at most `limit` bytes to `buf`. It does not allocate if `buf` has that capacity.
    pub const fn new(buf: &'a mut Vec<u8>, limit: usize) -> Self {
        let end = buf.len().saturating_add(limit);
        Self { buf, end }
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
        let Some(after) = self.buf.len().checked_add(len).filter(|after| *after <= self.end) else {
            return false;
        };
        let dirent = fuse_dirent { ino, off, namelen, r#type: typ.into() };
        self.buf.extend_from_slice(entry);
        self.buf.extend_from_slice(dirent.as_bytes());
        self.buf.extend_from_slice(name);
        self.buf.resize(after, 0);
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

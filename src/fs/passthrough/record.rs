//! A node's record in the arena: which inode, how it is reached, how often the kernel knows it.

use xxhash_rust::xxh3::xxh3_64;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::sys::Fd;
use crate::sys::handle::Handle;

/// The root's lookup count, which nobody takes back.
pub(super) const ROOT_LOOKUPS: u64 = 1 << 40;
/// The longest file handle that a node keeps, in bytes; an inode with a longer one keeps its
/// descriptor. ext4 needs 8, XFS 12, btrfs 20, overlayfs some 30.
const HANDLE_MAX: usize = 40;
/// No descriptor.
pub(super) const NONE: i32 = -1;
/// The kernel may trust attributes that it was given.
const TRUSTED: u32 = 1;

/// How an inode is reached.
pub(super) enum Place {
    Kept(Fd),
    Handle { handle: Handle, mount: Fd },
    Nowhere,
}

/// Whether and how the file's data goes straight to the lower file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Backing {
    /// Not tried since the last close.
    None,
    /// Registered under this id.
    Id(i32),
    /// Not possible: data is served until the last close, as the kernel allows one way at a time.
    Served,
}

/// One node, as the arena has it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Record {
    pub(super) ino: u64,
    /// How many lookups the kernel has to forget.
    pub(super) nlookup: u64,
    /// Its mount's number, see `mounts`.
    pub(super) mount: u32,
    pub(super) fd: i32,
    /// 0: none, -1: served, else the id.
    backing: i32,
    flags: u32,
    handle_kind: i32,
    handle_length: u32,
    handle: [u8; HANDLE_MAX],
}

impl Record {
    pub(super) fn new(mount: u32, ino: u64, nlookup: u64, fd: i32) -> Record {
        Record { ino, nlookup, mount, fd, ..Record::new_zeroed() }
    }

    pub(super) fn is_root(&self) -> bool {
        self.nlookup >= ROOT_LOOKUPS
    }

    pub(super) fn backing(&self) -> Backing {
        match self.backing {
            0 => Backing::None,
            -1 => Backing::Served,
            id => Backing::Id(id),
        }
    }

    pub(super) fn set_backing(&mut self, backing: Backing) {
        self.backing = match backing {
            Backing::None => 0,
            Backing::Served => -1,
            Backing::Id(id) => id,
        };
    }

    pub(super) fn attrs_trusted(&self) -> bool {
        self.flags & TRUSTED != 0
    }

    pub(super) fn set_attrs_trusted(&mut self, trusted: bool) {
        self.flags = if trusted { self.flags | TRUSTED } else { self.flags & !TRUSTED };
    }

    pub(super) fn set_handle(&mut self, handle: &Handle) -> bool {
        let Some(room) = self.handle.get_mut(..handle.bytes().len()) else { return false };
        room.copy_from_slice(handle.bytes());
        (self.handle_kind, self.handle_length) = (handle.kind(), handle.bytes().len() as u32);
        true
    }

    pub(super) fn handle(&self) -> Option<Handle> {
        let bytes = self.handle.get(..self.handle_length as usize)?;
        (!bytes.is_empty()).then(|| Handle::new(self.handle_kind, bytes))
    }

    pub(super) fn hash(&self) -> u64 {
        hash(self.mount, self.ino)
    }
}

pub(super) fn hash(mount: u32, ino: u64) -> u64 {
    xxh3_64([ino, u64::from(mount)].as_bytes())
}

//! GETLK: is a lock in the way?

use crate::wire::abi::{fuse_file_lock, fuse_lk_in};
use crate::wire::flags::LockFlags;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, FileHandle, LockOwner, Protocol};

/// Answered with [`LockReply`](crate::wire::LockReply).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Getlk {
    /// What OPEN or CREATE answered.
    pub fh: FileHandle,
    /// Who locks.
    pub owner: LockOwner,
    /// Range and type.
    pub lk: FileLock,
    /// POSIX lock or flock.
    pub lk_flags: LockFlags,
}

impl Getlk {
    pub(crate) fn decode(r: &mut Reader<'_>, _p: &Protocol) -> Result<Self, DecodeError> {
        let raw: fuse_lk_in = r.take()?;
        Ok(Self {
            fh: FileHandle(raw.fh),
            owner: LockOwner(raw.owner),
            lk: FileLock::from_wire(&raw.lk),
            lk_flags: LockFlags::from_bits_retain(raw.lk_flags),
        })
    }
}

/// A lock on bytes of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileLock {
    /// First byte.
    pub start: u64,
    /// Last byte; `i64::MAX` stands for the end of the file.
    pub end: u64,
    /// F_RDLCK, F_WRLCK or F_UNLCK.
    pub typ: u32,
    /// Process that holds it, in the daemon's pid namespace.
    pub pid: u32,
}

impl FileLock {
    pub(crate) const fn from_wire(raw: &fuse_file_lock) -> Self {
        Self { start: raw.start, end: raw.end, typ: raw.r#type, pid: raw.pid }
    }

    /// The wire form.
    pub const fn to_wire(&self) -> fuse_file_lock {
        fuse_file_lock { start: self.start, end: self.end, r#type: self.typ, pid: self.pid }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Operation;
    use crate::wire::ops::testing::operation;
    use crate::wire::testing::fixture;

    #[test]
    fn fixture_decodes() {
        let bytes = fixture("getlk");
        let expected = Getlk {
            fh: FileHandle(9),
            owner: LockOwner(0xabcd),
            lk: FileLock { start: 100, end: 0x7fff_ffff_ffff_ffff, typ: 1, pid: 77 },
            lk_flags: LockFlags::FUSE_LK_FLOCK,
        };
        assert_eq!(operation(&bytes), Operation::Getlk(expected));
    }
}

//! SETLKW: lock, waiting for it.

use super::FileLock;
use crate::wire::abi::fuse_lk_in;
use crate::wire::flags::LockFlags;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, FileHandle, LockOwner, Protocol};

/// Answered without data once the lock is held; an INTERRUPT ends it with EINTR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setlkw {
    /// What OPEN or CREATE answered.
    pub fh: FileHandle,
    /// Who locks.
    pub owner: LockOwner,
    /// Range and type.
    pub lk: FileLock,
    /// POSIX lock or flock.
    pub lk_flags: LockFlags,
}

impl Setlkw {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Operation;
    use crate::wire::ops::testing::operation;
    use crate::wire::testing::fixture;

    #[test]
    fn fixture_decodes() {
        let bytes = fixture("setlkw");
        let expected = Setlkw {
            fh: FileHandle(9),
            owner: LockOwner(0xabcd),
            lk: FileLock { start: 100, end: 0x7fff_ffff_ffff_ffff, typ: 1, pid: 77 },
            lk_flags: LockFlags::FUSE_LK_FLOCK,
        };
        assert_eq!(operation(&bytes), Operation::Setlkw(expected));
    }
}

//! RELEASE: the last use of an open file is gone.

use crate::wire::abi::fuse_release_in;
use crate::wire::flags::ReleaseFlags;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, FileHandle, LockOwner, Protocol};

/// Nobody sees an error in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    /// What OPEN or CREATE answered.
    pub fh: FileHandle,
    /// `O_*` of the file.
    pub flags: u32,
    /// What else to do.
    pub release_flags: ReleaseFlags,
    /// Whose flock to drop with FUSE_RELEASE_FLOCK_UNLOCK.
    pub lock_owner: LockOwner,
}

impl Release {
    pub(crate) fn decode(r: &mut Reader<'_>, _p: &Protocol) -> Result<Self, DecodeError> {
        let raw: fuse_release_in = r.take()?;
        Ok(Self {
            fh: FileHandle(raw.fh),
            flags: raw.flags,
            release_flags: ReleaseFlags::from_bits_retain(raw.release_flags),
            lock_owner: LockOwner(raw.lock_owner),
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
        let bytes = fixture("release");
        let expected = Release {
            fh: FileHandle(9),
            flags: 0x8002,
            release_flags: ReleaseFlags::FUSE_RELEASE_FLOCK_UNLOCK,
            lock_owner: LockOwner(0xabcd),
        };
        assert_eq!(operation(&bytes), Operation::Release(expected));
    }
}

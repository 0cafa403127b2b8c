//! FSYNC: data of a file to the disk.

use crate::wire::abi::fuse_fsync_in;
use crate::wire::flags::FsyncFlags;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, FileHandle, Protocol};

/// Answered without data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fsync {
    /// What OPEN or CREATE answered.
    pub fh: FileHandle,
    /// Data only (FUSE_FSYNC_FDATASYNC).
    pub datasync: bool,
}

impl Fsync {
    pub(crate) fn decode(r: &mut Reader<'_>, _p: &Protocol) -> Result<Self, DecodeError> {
        let raw: fuse_fsync_in = r.take()?;
        let flags = FsyncFlags::from_bits_retain(raw.fsync_flags);
        Ok(Self {
            fh: FileHandle(raw.fh),
            datasync: flags.contains(FsyncFlags::FUSE_FSYNC_FDATASYNC),
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
        let bytes = fixture("fsync");
        let expected = Fsync { fh: FileHandle(9), datasync: true };
        assert_eq!(operation(&bytes), Operation::Fsync(expected));
    }
}

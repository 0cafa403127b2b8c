//! FSYNCDIR: names of a directory to the disk.

use crate::wire::abi::fuse_fsync_in;
use crate::wire::flags::FsyncFlags;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, FileHandle, Protocol};

/// Answered without data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fsyncdir {
    /// What OPENDIR answered.
    pub fh: FileHandle,
    /// Data only (FUSE_FSYNC_FDATASYNC).
    pub datasync: bool,
}

impl Fsyncdir {
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
        let bytes = fixture("fsyncdir");
        let expected = Fsyncdir { fh: FileHandle(9), datasync: true };
        assert_eq!(operation(&bytes), Operation::Fsyncdir(expected));
    }
}

//! SETUPMAPPING: map a part of a file into the DAX window (virtiofs).

use crate::wire::abi::fuse_setupmapping_in;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, FileHandle, Protocol};

/// Answered without data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setupmapping {
    /// What OPEN or CREATE answered.
    pub fh: FileHandle,
    /// Where in the file, in bytes.
    pub foffset: u64,
    /// Bytes.
    pub len: u64,
    /// FUSE_SETUPMAPPING_FLAG_READ and _WRITE.
    pub flags: u64,
    /// Where in the window, in bytes.
    pub moffset: u64,
}

impl Setupmapping {
    pub(crate) fn decode(r: &mut Reader<'_>, _p: &Protocol) -> Result<Self, DecodeError> {
        let raw: fuse_setupmapping_in = r.take()?;
        Ok(Self {
            fh: FileHandle(raw.fh),
            foffset: raw.foffset,
            len: raw.len,
            flags: raw.flags,
            moffset: raw.moffset,
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
        let bytes = fixture("setupmapping");
        let expected = Setupmapping {
            fh: FileHandle(9),
            foffset: 4096,
            len: 0x20_0000,
            flags: 3,
            moffset: 0x40_0000,
        };
        assert_eq!(operation(&bytes), Operation::Setupmapping(expected));
    }
}

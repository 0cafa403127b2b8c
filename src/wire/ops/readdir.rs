//! READDIR: list a directory.

use crate::wire::abi::fuse_read_in;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, FileHandle, Protocol};

/// Answered with entries; none mean the end of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readdir {
    /// What OPENDIR answered.
    pub fh: FileHandle,
    /// The `off` of the last entry that the kernel has, or 0.
    pub offset: u64,
    /// Most bytes to answer.
    pub size: u32,
    /// `O_*` of the directory.
    pub flags: u32,
}

impl Readdir {
    pub(crate) fn decode(r: &mut Reader<'_>, _p: &Protocol) -> Result<Self, DecodeError> {
        let raw: fuse_read_in = r.take()?;
        Ok(Self { fh: FileHandle(raw.fh), offset: raw.offset, size: raw.size, flags: raw.flags })
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
        let bytes = fixture("readdir");
        let expected = Readdir { fh: FileHandle(9), offset: 77, size: 4096, flags: 0x18000 };
        assert_eq!(operation(&bytes), Operation::Readdir(expected));
    }
}

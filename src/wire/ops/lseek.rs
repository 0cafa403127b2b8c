//! LSEEK: find data or a hole.

use crate::wire::abi::fuse_lseek_in;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, FileHandle, Protocol};

/// Answered with an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lseek {
    /// What OPEN or CREATE answered.
    pub fh: FileHandle,
    /// Where to start, in bytes.
    pub offset: u64,
    /// SEEK_DATA or SEEK_HOLE.
    pub whence: u32,
}

impl Lseek {
    pub(crate) fn decode(r: &mut Reader<'_>, _p: &Protocol) -> Result<Self, DecodeError> {
        let raw: fuse_lseek_in = r.take()?;
        Ok(Self { fh: FileHandle(raw.fh), offset: raw.offset, whence: raw.whence })
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
        let bytes = fixture("lseek");
        let expected = Lseek { fh: FileHandle(9), offset: 100, whence: 4 };
        assert_eq!(operation(&bytes), Operation::Lseek(expected));
    }
}

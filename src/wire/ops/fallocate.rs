//! FALLOCATE: reserve, punch, zero, collapse or insert.

use crate::wire::abi::fuse_fallocate_in;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, FileHandle, Protocol};

/// Answered without data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fallocate {
    /// What OPEN or CREATE answered.
    pub fh: FileHandle,
    /// Bytes from the start of the file.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// `FALLOC_FL_*` of fallocate(2).
    pub mode: u32,
}

impl Fallocate {
    pub(crate) fn decode(r: &mut Reader<'_>, _p: &Protocol) -> Result<Self, DecodeError> {
        let raw: fuse_fallocate_in = r.take()?;
        let fh = FileHandle(raw.fh);
        Ok(Self { fh, offset: raw.offset, length: raw.length, mode: raw.mode })
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
        let bytes = fixture("fallocate");
        let expected = Fallocate { fh: FileHandle(9), offset: 4096, length: 8192, mode: 3 };
        assert_eq!(operation(&bytes), Operation::Fallocate(expected));
    }
}

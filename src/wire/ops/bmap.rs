//! BMAP: where on the device a block of a file lies (fuseblk only).

use crate::wire::abi::fuse_bmap_in;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, Protocol};

/// Answered with a block number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bmap {
    /// Block in the file.
    pub block: u64,
    /// Bytes in a block.
    pub blocksize: u32,
}

impl Bmap {
    pub(crate) fn decode(r: &mut Reader<'_>, _p: &Protocol) -> Result<Self, DecodeError> {
        let raw: fuse_bmap_in = r.take()?;
        Ok(Self { block: raw.block, blocksize: raw.blocksize })
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
        let bytes = fixture("bmap");
        let expected = Bmap { block: 12, blocksize: 512 };
        assert_eq!(operation(&bytes), Operation::Bmap(expected));
    }
}

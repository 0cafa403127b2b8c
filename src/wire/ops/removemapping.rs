//! REMOVEMAPPING: unmap parts of the DAX window (virtiofs).

use zerocopy::FromBytes;

use crate::wire::abi::{fuse_removemapping_in, fuse_removemapping_one};
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, Protocol};

/// Answered without data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removemapping<'a> {
    /// Whole `fuse_removemapping_one`s.
    entries: &'a [u8],
}

impl<'a> Removemapping<'a> {
    pub(crate) fn decode(r: &mut Reader<'a>, _p: &Protocol) -> Result<Self, DecodeError> {
        let fuse_removemapping_in { count } = r.take()?;
        Ok(Self { entries: r.array(count, size_of::<fuse_removemapping_one>() as u32)? })
    }

    /// Offset in the window and length of each part, in bytes.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + use<'a> {
        self.entries
            .chunks_exact(size_of::<fuse_removemapping_one>())
            .filter_map(|one| fuse_removemapping_one::read_from_bytes(one).ok())
            .map(|one| (one.moffset, one.len))
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
        let bytes = fixture("removemapping");
        let expected = Removemapping { entries: &bytes[44..] };
        assert_eq!(operation(&bytes), Operation::Removemapping(expected));
    }

    #[test]
    fn every_part_is_there() {
        let bytes = fixture("removemapping");
        let Operation::Removemapping(parts) = operation(&bytes) else {
            panic!("another operation")
        };
        assert_eq!(parts.iter().collect::<Vec<_>>(), [(0x20_0000, 4096), (0x40_0000, 8192)]);
    }
}

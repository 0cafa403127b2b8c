//! GETATTR: attributes of a node.

use crate::wire::abi::fuse_getattr_in;
use crate::wire::flags::GetattrFlags;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, FileHandle, Protocol};

/// Answered with attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Getattr {
    /// Which fields are valid.
    pub flags: GetattrFlags,
    /// The open file through which fstat(2) asked.
    pub fh: Option<FileHandle>,
}

impl Getattr {
    pub(crate) fn decode(r: &mut Reader<'_>, _p: &Protocol) -> Result<Self, DecodeError> {
        let raw: fuse_getattr_in = r.take()?;
        let flags = GetattrFlags::from_bits_retain(raw.getattr_flags);
        let fh = flags.contains(GetattrFlags::FUSE_GETATTR_FH).then_some(FileHandle(raw.fh));
        Ok(Self { flags, fh })
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
        let bytes = fixture("getattr");
        let expected = Getattr { flags: GetattrFlags::FUSE_GETATTR_FH, fh: Some(FileHandle(9)) };
        assert_eq!(operation(&bytes), Operation::Getattr(expected));
    }

    #[test]
    fn a_handle_counts_only_with_its_flag() {
        let mut bytes = fixture("getattr");
        bytes[40] = 0;
        let expected = Getattr { flags: GetattrFlags::empty(), fh: None };
        assert_eq!(operation(&bytes), Operation::Getattr(expected));
    }
}

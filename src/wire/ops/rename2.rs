//! RENAME2: rename with flags.

use crate::wire::abi::fuse_rename2_in;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, Name, NodeId, Protocol};

/// Answered without data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rename2<'a> {
    /// The directory of the new name.
    pub newdir: NodeId,
    /// RENAME_NOREPLACE, RENAME_EXCHANGE or RENAME_WHITEOUT.
    pub flags: u32,
    /// The name in the node of the header.
    pub oldname: Name<'a>,
    /// The name in `newdir`.
    pub newname: Name<'a>,
}

impl<'a> Rename2<'a> {
    pub(crate) fn decode(r: &mut Reader<'a>, _p: &Protocol) -> Result<Self, DecodeError> {
        let raw: fuse_rename2_in = r.take()?;
        Ok(Self {
            newdir: NodeId(raw.newdir),
            flags: raw.flags,
            oldname: r.name()?,
            newname: r.name()?,
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
        let bytes = fixture("rename2");
        let expected = Rename2 {
            newdir: NodeId(6),
            flags: 2,
            oldname: Name::new(c"from").unwrap(),
            newname: Name::new(c"to").unwrap(),
        };
        assert_eq!(operation(&bytes), Operation::Rename2(expected));
    }
}

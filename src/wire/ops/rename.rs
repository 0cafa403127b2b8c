//! RENAME: rename without flags.

use crate::wire::abi::fuse_rename_in;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, Name, NodeId, Protocol};

/// Answered without data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rename<'a> {
    /// The directory of the new name.
    pub newdir: NodeId,
    /// The name in the node of the header.
    pub oldname: Name<'a>,
    /// The name in `newdir`.
    pub newname: Name<'a>,
}

impl<'a> Rename<'a> {
    pub(crate) fn decode(r: &mut Reader<'a>, _p: &Protocol) -> Result<Self, DecodeError> {
        let fuse_rename_in { newdir } = r.take()?;
        Ok(Self { newdir: NodeId(newdir), oldname: r.name()?, newname: r.name()? })
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
        let bytes = fixture("rename");
        let expected = Rename {
            newdir: NodeId(6),
            oldname: Name::new(c"from").unwrap(),
            newname: Name::new(c"to").unwrap(),
        };
        assert_eq!(operation(&bytes), Operation::Rename(expected));
    }
}

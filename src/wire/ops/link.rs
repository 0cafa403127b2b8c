//! LINK: another name for a node.

use crate::wire::abi::fuse_link_in;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, Name, NodeId, Protocol};

/// The header names the directory; answered with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link<'a> {
    /// The node that gets the name.
    pub oldnode: NodeId,
    /// The name in the node of the header.
    pub newname: Name<'a>,
}

impl<'a> Link<'a> {
    pub(crate) fn decode(r: &mut Reader<'a>, _p: &Protocol) -> Result<Self, DecodeError> {
        let fuse_link_in { oldnodeid } = r.take()?;
        Ok(Self { oldnode: NodeId(oldnodeid), newname: r.name()? })
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
        let bytes = fixture("link");
        let expected = Link { oldnode: NodeId(8), newname: Name::new(c"second").unwrap() };
        assert_eq!(operation(&bytes), Operation::Link(expected));
    }
}

//! FORGET: the kernel drops counts of a node. No reply.

use crate::wire::abi::fuse_forget_in;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, Protocol};

/// After it the node may be used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forget {
    /// How many counts.
    pub nlookup: u64,
}

impl Forget {
    pub(crate) fn decode(r: &mut Reader<'_>, _p: &Protocol) -> Result<Self, DecodeError> {
        let fuse_forget_in { nlookup } = r.take()?;
        Ok(Self { nlookup })
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
        let bytes = fixture("forget");
        let expected = Forget { nlookup: 3 };
        assert_eq!(operation(&bytes), Operation::Forget(expected));
    }
}

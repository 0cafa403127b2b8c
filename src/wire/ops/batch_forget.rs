//! BATCH_FORGET: FORGET for many nodes. No reply.

use zerocopy::FromBytes;

use crate::wire::abi::{fuse_batch_forget_in, fuse_forget_one};
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, NodeId, Protocol};

/// The nodes are in the body, not in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchForget<'a> {
    /// Whole `fuse_forget_one`s.
    entries: &'a [u8],
}

impl<'a> BatchForget<'a> {
    pub(crate) fn decode(r: &mut Reader<'a>, _p: &Protocol) -> Result<Self, DecodeError> {
        let raw: fuse_batch_forget_in = r.take()?;
        Ok(Self { entries: r.array(raw.count, size_of::<fuse_forget_one>() as u32)? })
    }

    /// Each node, and how many counts it loses.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, u64)> + use<'a> {
        self.entries
            .chunks_exact(size_of::<fuse_forget_one>())
            .filter_map(|one| fuse_forget_one::read_from_bytes(one).ok())
            .map(|one| (NodeId(one.nodeid), one.nlookup))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Operation;
    use crate::wire::ops::testing::{body_error, operation};
    use crate::wire::testing::fixture;

    #[test]
    fn fixture_decodes() {
        let bytes = fixture("batch_forget");
        let expected = BatchForget { entries: &bytes[48..] };
        assert_eq!(operation(&bytes), Operation::BatchForget(expected));
    }

    #[test]
    fn every_node_is_there() {
        let bytes = fixture("batch_forget");
        let Operation::BatchForget(batch) = operation(&bytes) else { panic!("another operation") };
        assert_eq!(batch.iter().collect::<Vec<_>>(), [(NodeId(7), 1), (NodeId(8), 300)]);
    }

    #[test]
    fn more_than_there_are_is_an_error() {
        for count in [3u32, 0x1000_0000, u32::MAX] {
            let mut body = fixture("batch_forget").split_off(40);
            body[..4].copy_from_slice(&count.to_ne_bytes());
            assert!(body_error("batch_forget", &body).is_some(), "{count}");
        }
    }
}

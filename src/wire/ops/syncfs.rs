//! SYNCFS: the whole file system to the disk (7.34; virtiofs and fuseblk).

use crate::wire::abi::fuse_syncfs_in;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, Protocol};

/// Answered without data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Syncfs {}

impl Syncfs {
    pub(crate) fn decode(r: &mut Reader<'_>, _p: &Protocol) -> Result<Self, DecodeError> {
        let fuse_syncfs_in { .. } = r.take()?;
        Ok(Self {})
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
        let bytes = fixture("syncfs");
        let expected = Syncfs {};
        assert_eq!(operation(&bytes), Operation::Syncfs(expected));
    }
}

//! FLUSH: one of the file's descriptors is being closed.

use crate::wire::abi::fuse_flush_in;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, FileHandle, LockOwner, Protocol};

/// Its error is that of close(2). Drops the POSIX locks of `lock_owner`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flush {
    /// What OPEN or CREATE answered.
    pub fh: FileHandle,
    /// Who closes.
    pub lock_owner: LockOwner,
}

impl Flush {
    pub(crate) fn decode(r: &mut Reader<'_>, _p: &Protocol) -> Result<Self, DecodeError> {
        let raw: fuse_flush_in = r.take()?;
        Ok(Self { fh: FileHandle(raw.fh), lock_owner: LockOwner(raw.lock_owner) })
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
        let bytes = fixture("flush");
        let expected = Flush { fh: FileHandle(9), lock_owner: LockOwner(0xabcd) };
        assert_eq!(operation(&bytes), Operation::Flush(expected));
    }
}

//! READ: read from a file.

use crate::wire::abi::fuse_read_in;
use crate::wire::flags::ReadFlags;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, FileHandle, LockOwner, Protocol};

/// Answered with up to `size` bytes; fewer mean the end of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// What OPEN or CREATE answered.
    pub fh: FileHandle,
    /// Bytes from the start of the file.
    pub offset: u64,
    /// Most bytes to answer.
    pub size: u32,
    /// Which fields are valid.
    pub read_flags: ReadFlags,
    /// Who reads, for mandatory locks.
    pub lock_owner: Option<LockOwner>,
    /// `O_*` of the file as they are now.
    pub flags: u32,
}

impl Read {
    pub(crate) fn decode(r: &mut Reader<'_>, _p: &Protocol) -> Result<Self, DecodeError> {
        let raw: fuse_read_in = r.take()?;
        let read_flags = ReadFlags::from_bits_retain(raw.read_flags);
        let owned = read_flags.contains(ReadFlags::FUSE_READ_LOCKOWNER);
        Ok(Self {
            fh: FileHandle(raw.fh),
            offset: raw.offset,
            size: raw.size,
            read_flags,
            lock_owner: owned.then_some(LockOwner(raw.lock_owner)),
            flags: raw.flags,
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
        let bytes = fixture("read");
        let expected = Read {
            fh: FileHandle(9),
            offset: 0x1_0000_0000,
            size: 131072,
            read_flags: ReadFlags::FUSE_READ_LOCKOWNER,
            lock_owner: Some(LockOwner(0xabcd)),
            flags: 0x8000,
        };
        assert_eq!(operation(&bytes), Operation::Read(expected));
    }
}

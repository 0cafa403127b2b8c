//! WRITE: write to a file.

use crate::wire::abi::fuse_write_in;
use crate::wire::flags::WriteFlags;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, FileHandle, LockOwner, Protocol};

/// Answered with the number of bytes written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Write<'a> {
    /// What OPEN or CREATE answered.
    pub fh: FileHandle,
    /// Bytes from the start of the file.
    pub offset: u64,
    /// Where it comes from.
    pub write_flags: WriteFlags,
    /// Who writes, for mandatory locks.
    pub lock_owner: Option<LockOwner>,
    /// `O_*` of the file as they are now.
    pub flags: u32,
    /// What to write.
    pub data: &'a [u8],
}

impl<'a> Write<'a> {
    pub(crate) fn decode(r: &mut Reader<'a>, _p: &Protocol) -> Result<Self, DecodeError> {
        let raw: fuse_write_in = r.take()?;
        let write_flags = WriteFlags::from_bits_retain(raw.write_flags);
        let owned = write_flags.contains(WriteFlags::FUSE_WRITE_LOCKOWNER);
        Ok(Self {
            fh: FileHandle(raw.fh),
            offset: raw.offset,
            write_flags,
            lock_owner: owned.then_some(LockOwner(raw.lock_owner)),
            flags: raw.flags,
            data: r.data(raw.size)?,
        })
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
        let bytes = fixture("write");
        let expected = Write {
            fh: FileHandle(9),
            offset: 512,
            write_flags: WriteFlags::FUSE_WRITE_LOCKOWNER | WriteFlags::FUSE_WRITE_KILL_SUIDGID,
            lock_owner: Some(LockOwner(0xabcd)),
            flags: 0x8001,
            data: b"some data",
        };
        assert_eq!(operation(&bytes), Operation::Write(expected));
    }

    #[test]
    fn the_size_is_that_of_the_data() {
        for size in [8, 10, u32::MAX] {
            let mut body = fixture("write").split_off(40);
            body[16..20].copy_from_slice(&size.to_ne_bytes());
            assert!(body_error("write", &body).is_some(), "{size}");
        }
    }
}

//! STATX: attributes, the birth time among them (7.39).

use crate::wire::abi::fuse_statx_in;
use crate::wire::flags::GetattrFlags;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, FileHandle, Protocol};

/// Answered with [`StatxReply`](crate::wire::StatxReply).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statx {
    /// Which fields are valid.
    pub flags: GetattrFlags,
    /// The open file through which was asked.
    pub fh: Option<FileHandle>,
    /// `AT_STATX_*` of statx(2).
    pub sx_flags: u32,
    /// `STATX_*` that are asked for.
    pub sx_mask: u32,
}

impl Statx {
    pub(crate) fn decode(r: &mut Reader<'_>, _p: &Protocol) -> Result<Self, DecodeError> {
        let raw: fuse_statx_in = r.take()?;
        let flags = GetattrFlags::from_bits_retain(raw.getattr_flags);
        let fh = flags.contains(GetattrFlags::FUSE_GETATTR_FH).then_some(FileHandle(raw.fh));
        Ok(Self { flags, fh, sx_flags: raw.sx_flags, sx_mask: raw.sx_mask })
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
        let bytes = fixture("statx");
        let expected = Statx {
            flags: GetattrFlags::FUSE_GETATTR_FH,
            fh: Some(FileHandle(9)),
            sx_flags: 0x2000,
            sx_mask: 0xfff,
        };
        assert_eq!(operation(&bytes), Operation::Statx(expected));
    }
}

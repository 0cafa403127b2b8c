//! IOCTL: ioctl(2) on a file or directory.

use crate::wire::abi::fuse_ioctl_in;
use crate::wire::flags::IoctlFlags;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, FileHandle, Protocol};

/// Answered with `fuse_ioctl_out` and up to `out_size` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ioctl<'a> {
    /// What OPEN or OPENDIR answered.
    pub fh: FileHandle,
    /// Where it comes from.
    pub flags: IoctlFlags,
    /// Number of the ioctl.
    pub cmd: u32,
    /// The caller's third argument.
    pub arg: u64,
    /// Bytes of `data`.
    pub in_size: u32,
    /// Most bytes to answer.
    pub out_size: u32,
    /// What the caller passed in.
    pub data: &'a [u8],
}

impl<'a> Ioctl<'a> {
    pub(crate) fn decode(r: &mut Reader<'a>, _p: &Protocol) -> Result<Self, DecodeError> {
        let raw: fuse_ioctl_in = r.take()?;
        Ok(Self {
            fh: FileHandle(raw.fh),
            flags: IoctlFlags::from_bits_retain(raw.flags),
            cmd: raw.cmd,
            arg: raw.arg,
            in_size: raw.in_size,
            out_size: raw.out_size,
            data: r.data(raw.in_size)?,
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
        let bytes = fixture("ioctl");
        let expected = Ioctl {
            fh: FileHandle(9),
            flags: IoctlFlags::FUSE_IOCTL_32BIT,
            cmd: 0x4008_6602,
            arg: 0x7fff_0000,
            in_size: 4,
            out_size: 8,
            data: &[1, 2, 3, 4],
        };
        assert_eq!(operation(&bytes), Operation::Ioctl(expected));
    }
}

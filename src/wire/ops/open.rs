//! OPEN: open a file.

use crate::wire::abi::fuse_open_in;
use crate::wire::flags::OpenInFlags;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, Protocol};

/// Answered with a handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// `O_*` of open(2), without O_CREAT, O_EXCL and O_NOCTTY.
    pub flags: u32,
    /// The protocol's own.
    pub open_flags: OpenInFlags,
}

impl Open {
    pub(crate) fn decode(r: &mut Reader<'_>, _p: &Protocol) -> Result<Self, DecodeError> {
        let raw: fuse_open_in = r.take()?;
        let open_flags = OpenInFlags::from_bits_retain(raw.open_flags);
        Ok(Self { flags: raw.flags, open_flags })
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
        let bytes = fixture("open");
        let expected = Open { flags: 0x8002, open_flags: OpenInFlags::FUSE_OPEN_KILL_SUIDGID };
        assert_eq!(operation(&bytes), Operation::Open(expected));
    }
}

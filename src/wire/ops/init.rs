//! INIT: the first request of a connection.
//!
//! The body is 64 bytes since 7.36, 16 before; FUSE_INIT_EXT marks the long one.

use crate::wire::abi::fuse_init_in;
use crate::wire::flags::InitFlags;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, Protocol};

/// Answered with [`InitReply`](crate::wire::InitReply).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Init {
    /// The kernel's major version.
    pub major: u32,
    /// The kernel's minor version.
    pub minor: u32,
    /// Bytes that the kernel would read ahead.
    pub max_readahead: u32,
    /// What the kernel offers.
    pub flags: InitFlags,
}

impl Init {
    pub(crate) fn decode(r: &mut Reader<'_>, _p: &Protocol) -> Result<Self, DecodeError> {
        let [major, minor, max_readahead, low] = r.take::<[u32; 4]>()?;
        let mut flags = InitFlags::from_bits_retain(low.into());
        if flags.contains(InitFlags::FUSE_INIT_EXT) {
            const REST: usize = size_of::<fuse_init_in>() / 4 - 4;
            let rest = r.take::<[u32; REST]>()?;
            flags |= InitFlags::from_bits_retain(u64::from(rest[0]) << 32);
        }
        Ok(Self { major, minor, max_readahead, flags })
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
        let bytes = fixture("init");
        let expected = Init {
            major: 7,
            minor: 45,
            max_readahead: 131072,
            flags: InitFlags::FUSE_ASYNC_READ
                | InitFlags::FUSE_MAX_PAGES
                | InitFlags::FUSE_INIT_EXT
                | InitFlags::FUSE_PASSTHROUGH
                | InitFlags::FUSE_HAS_RESEND,
        };
        assert_eq!(operation(&bytes), Operation::Init(expected));
    }

    #[test]
    fn the_short_form_of_an_old_kernel() {
        let mut bytes = fixture("init");
        bytes.truncate(56);
        bytes[0] = 56;
        bytes[44] = 31;
        bytes[55] = 0;
        let flags = InitFlags::FUSE_ASYNC_READ | InitFlags::FUSE_MAX_PAGES;
        let expected = Init { major: 7, minor: 31, max_readahead: 131072, flags };
        assert_eq!(operation(&bytes), Operation::Init(expected));
    }
}

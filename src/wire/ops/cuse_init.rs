//! CUSE_INIT: the first request of a character device (`/dev/cuse`).

use crate::wire::abi::cuse_init_in;
use crate::wire::flags::CuseFlags;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, Protocol};

/// Answered with `cuse_init_out` and the device's description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CuseInit {
    /// The kernel's major version.
    pub major: u32,
    /// The kernel's minor version.
    pub minor: u32,
    /// What the kernel offers.
    pub flags: CuseFlags,
}

impl CuseInit {
    pub(crate) fn decode(r: &mut Reader<'_>, _p: &Protocol) -> Result<Self, DecodeError> {
        let raw: cuse_init_in = r.take()?;
        let flags = CuseFlags::from_bits_retain(raw.flags);
        Ok(Self { major: raw.major, minor: raw.minor, flags })
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
        let bytes = fixture("cuse_init");
        let expected = CuseInit { major: 7, minor: 45, flags: CuseFlags::CUSE_UNRESTRICTED_IOCTL };
        assert_eq!(operation(&bytes), Operation::CuseInit(expected));
    }
}

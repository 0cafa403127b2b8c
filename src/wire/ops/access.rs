//! ACCESS: may the caller do this?

use crate::wire::abi::fuse_access_in;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, Protocol};

/// Sent only without `default_permissions`; answered without data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// R_OK, W_OK, X_OK or F_OK of access(2).
    pub mask: u32,
}

impl Access {
    pub(crate) fn decode(r: &mut Reader<'_>, _p: &Protocol) -> Result<Self, DecodeError> {
        let raw: fuse_access_in = r.take()?;
        Ok(Self { mask: raw.mask })
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
        let bytes = fixture("access");
        let expected = Access { mask: 5 };
        assert_eq!(operation(&bytes), Operation::Access(expected));
    }
}

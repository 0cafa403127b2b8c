//! REMOVEXATTR: remove an extended attribute.

use std::ffi::CStr;

use crate::wire::reader::Reader;
use crate::wire::{DecodeError, Protocol};

/// Answered without data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removexattr<'a> {
    /// Name of the attribute.
    pub name: &'a CStr,
}

impl<'a> Removexattr<'a> {
    pub(crate) fn decode(r: &mut Reader<'a>, _p: &Protocol) -> Result<Self, DecodeError> {
        Ok(Self { name: r.cstr()? })
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
        let bytes = fixture("removexattr");
        let expected = Removexattr { name: c"user.colour" };
        assert_eq!(operation(&bytes), Operation::Removexattr(expected));
    }
}

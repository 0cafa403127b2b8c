//! GETXATTR: an extended attribute.

use std::ffi::CStr;

use crate::wire::abi::fuse_getxattr_in;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, Protocol};

/// Answered with the value, or with its size if `size` is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Getxattr<'a> {
    /// Most bytes to answer; 0 asks for the size.
    pub size: u32,
    /// Name of the attribute.
    pub name: &'a CStr,
}

impl<'a> Getxattr<'a> {
    pub(crate) fn decode(r: &mut Reader<'a>, _p: &Protocol) -> Result<Self, DecodeError> {
        let raw: fuse_getxattr_in = r.take()?;
        Ok(Self { size: raw.size, name: r.cstr()? })
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
        let bytes = fixture("getxattr");
        let expected = Getxattr { size: 256, name: c"user.colour" };
        assert_eq!(operation(&bytes), Operation::Getxattr(expected));
    }
}

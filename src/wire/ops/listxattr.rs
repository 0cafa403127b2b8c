//! LISTXATTR: names of the extended attributes.

use crate::wire::abi::fuse_getxattr_in;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, Protocol};

/// Answered with the names, each with its NUL, or with their size if `size` is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listxattr {
    /// Most bytes to answer; 0 asks for the size.
    pub size: u32,
}

impl Listxattr {
    pub(crate) fn decode(r: &mut Reader<'_>, _p: &Protocol) -> Result<Self, DecodeError> {
        let raw: fuse_getxattr_in = r.take()?;
        Ok(Self { size: raw.size })
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
        let bytes = fixture("listxattr");
        let expected = Listxattr { size: 1024 };
        assert_eq!(operation(&bytes), Operation::Listxattr(expected));
    }
}

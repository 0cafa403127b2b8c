//! SYMLINK: make a symbolic link.

use std::ffi::CStr;

use crate::wire::reader::Reader;
use crate::wire::{DecodeError, Extensions, Name, Protocol};

/// Answered with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Symlink<'a> {
    /// The name in the node of the header.
    pub name: Name<'a>,
    /// Where it points; any string.
    pub target: &'a CStr,
    /// What comes along.
    pub ext: Extensions<'a>,
}

impl<'a> Symlink<'a> {
    pub(crate) fn decode(r: &mut Reader<'a>, p: &Protocol) -> Result<Self, DecodeError> {
        let name = r.name()?;
        let target = r.cstr()?;
        Ok(Self { name, target, ext: Extensions::decode(r, p)? })
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
        let bytes = fixture("symlink");
        let expected = Symlink {
            name: Name::new(c"link").unwrap(),
            target: c"../to/here",
            ext: Extensions::default(),
        };
        assert_eq!(operation(&bytes), Operation::Symlink(expected));
    }
}

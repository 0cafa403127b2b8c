//! LOOKUP: find a name in a directory.

use crate::wire::reader::Reader;
use crate::wire::{DecodeError, Name, Protocol};

/// Answered with an entry, whose node the kernel counts once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lookup<'a> {
    /// The name in the node of the header.
    pub name: Name<'a>,
}

impl<'a> Lookup<'a> {
    pub(crate) fn decode(r: &mut Reader<'a>, _p: &Protocol) -> Result<Self, DecodeError> {
        Ok(Self { name: r.name()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Operation;
    use crate::wire::ops::testing::{body_error, operation};
    use crate::wire::testing::fixture;

    #[test]
    fn fixture_decodes() {
        let bytes = fixture("lookup");
        let expected = Lookup { name: Name::new(c"hello.txt").unwrap() };
        assert_eq!(operation(&bytes), Operation::Lookup(expected));
    }

    #[test]
    fn names_are_single_components() {
        for bad in [&b"\0"[..], b".\0", b"..\0", b"a/b\0", b"no end"] {
            assert!(body_error("lookup", bad).is_some(), "{bad:?}");
        }
    }
}

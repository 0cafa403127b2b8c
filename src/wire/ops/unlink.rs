//! UNLINK: remove a name that is no directory.

use crate::wire::reader::Reader;
use crate::wire::{DecodeError, Name, Protocol};

/// Answered without data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unlink<'a> {
    /// The name in the node of the header.
    pub name: Name<'a>,
}

impl<'a> Unlink<'a> {
    pub(crate) fn decode(r: &mut Reader<'a>, _p: &Protocol) -> Result<Self, DecodeError> {
        Ok(Self { name: r.name()? })
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
        let bytes = fixture("unlink");
        let expected = Unlink { name: Name::new(c"old").unwrap() };
        assert_eq!(operation(&bytes), Operation::Unlink(expected));
    }
}

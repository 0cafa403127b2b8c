//! RMDIR: remove an empty directory.

use crate::wire::reader::Reader;
use crate::wire::{DecodeError, Name, Protocol};

/// Answered without data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rmdir<'a> {
    /// The name in the node of the header.
    pub name: Name<'a>,
}

impl<'a> Rmdir<'a> {
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
        let bytes = fixture("rmdir");
        let expected = Rmdir { name: Name::new(c"old").unwrap() };
        assert_eq!(operation(&bytes), Operation::Rmdir(expected));
    }
}

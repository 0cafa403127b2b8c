//! READLINK: where a symbolic link points.

use crate::wire::reader::Reader;
use crate::wire::{DecodeError, Protocol};

/// Answered with the target, without NUL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readlink {}

impl Readlink {
    pub(crate) fn decode(_r: &mut Reader<'_>, _p: &Protocol) -> Result<Self, DecodeError> {
        Ok(Self {})
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
        let bytes = fixture("readlink");
        let expected = Readlink {};
        assert_eq!(operation(&bytes), Operation::Readlink(expected));
    }
}

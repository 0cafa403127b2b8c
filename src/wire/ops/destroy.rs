//! DESTROY: the last request of a connection.

use crate::wire::reader::Reader;
use crate::wire::{DecodeError, Protocol};

/// Answered without data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destroy {}

impl Destroy {
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
        let bytes = fixture("destroy");
        let expected = Destroy {};
        assert_eq!(operation(&bytes), Operation::Destroy(expected));
    }
}

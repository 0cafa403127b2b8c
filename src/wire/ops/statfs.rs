//! STATFS: figures of the file system.

use crate::wire::reader::Reader;
use crate::wire::{DecodeError, Protocol};

/// Answered with [`Statfs`](crate::wire::Statfs).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statfs {}

impl Statfs {
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
        let bytes = fixture("statfs");
        let expected = Statfs {};
        assert_eq!(operation(&bytes), Operation::Statfs(expected));
    }
}

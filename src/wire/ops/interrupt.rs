//! INTERRUPT: a caller no longer waits.

use crate::wire::abi::fuse_interrupt_in;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, Protocol, Unique};

/// No reply of its own: the interrupted request is answered EINTR, if it can be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupt {
    /// The request that is interrupted.
    pub unique: Unique,
}

impl Interrupt {
    pub(crate) fn decode(r: &mut Reader<'_>, _p: &Protocol) -> Result<Self, DecodeError> {
        let fuse_interrupt_in { unique } = r.take()?;
        Ok(Self { unique: Unique(unique) })
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
        let bytes = fixture("interrupt");
        let expected = Interrupt { unique: Unique(0x1021) };
        assert_eq!(operation(&bytes), Operation::Interrupt(expected));
    }
}

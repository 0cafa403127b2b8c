//! POLL: is a file ready?

use crate::wire::abi::fuse_poll_in;
use crate::wire::flags::PollFlags;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, FileHandle, Protocol};

/// Answered with `fuse_poll_out`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Poll {
    /// What OPEN or CREATE answered.
    pub fh: FileHandle,
    /// What the notification POLL names later.
    pub kh: u64,
    /// Whether that notification is wanted.
    pub flags: PollFlags,
    /// `POLL*` of poll(2) that are asked for.
    pub events: u32,
}

impl Poll {
    pub(crate) fn decode(r: &mut Reader<'_>, _p: &Protocol) -> Result<Self, DecodeError> {
        let raw: fuse_poll_in = r.take()?;
        let flags = PollFlags::from_bits_retain(raw.flags);
        Ok(Self { fh: FileHandle(raw.fh), kh: raw.kh, flags, events: raw.events })
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
        let bytes = fixture("poll");
        let expected = Poll {
            fh: FileHandle(9),
            kh: 4,
            flags: PollFlags::FUSE_POLL_SCHEDULE_NOTIFY,
            events: 0x5,
        };
        assert_eq!(operation(&bytes), Operation::Poll(expected));
    }
}

//! NOTIFY_REPLY: what the notification RETRIEVE asked for. No reply.

use crate::wire::abi::fuse_notify_retrieve_in;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, Protocol};

/// The header's `unique` is the `notify_unique` of the notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotifyReply<'a> {
    /// Bytes from the start of the file.
    pub offset: u64,
    /// What the page cache holds from there on.
    pub data: &'a [u8],
}

impl<'a> NotifyReply<'a> {
    pub(crate) fn decode(r: &mut Reader<'a>, _p: &Protocol) -> Result<Self, DecodeError> {
        let raw: fuse_notify_retrieve_in = r.take()?;
        Ok(Self { offset: raw.offset, data: r.data(raw.size)? })
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
        let bytes = fixture("notify_reply");
        let expected = NotifyReply { offset: 8192, data: b"cached" };
        assert_eq!(operation(&bytes), Operation::NotifyReply(expected));
    }
}

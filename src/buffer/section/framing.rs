//! What the packets of a stream look like, which is for its user to know.

use crate::Errno;

/// No header and no footer is longer, in bytes.
pub const LONGEST: usize = 64 << 10;

/// What the bytes of a header say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// It is longer by this many bytes at the least (not 0).
    More(usize),
    /// It is whole.
    Packet {
        /// Bytes of payload.
        payload: u64,
        /// Bytes behind it.
        footer: usize,
        /// Nobody may see the payload: why.
        refused: Option<Errno>,
    },
}

/// What the packets of a stream look like. It may keep what it has seen of the current packet:
/// calls come in the order of the stream.
pub trait Framing {
    /// The size of each header in bytes; where they differ, of the shortest (not 0).
    fn header_size(&self) -> usize;

    /// The longest payload that is believed, in bytes.
    fn max_payload(&self) -> usize;

    /// Whether [`Framing::payload`] must be shown the payload. It is then always copied.
    fn sees_payload(&self) -> bool {
        false
    }

    /// Looks at a header: at `header_size` bytes first, then at all of them again with as many
    /// more as it has asked for. An error: this is no header; it breaks the stream.
    fn header(&mut self, bytes: &[u8]) -> Result<Header, Errno>;

    /// The next bytes of payload, with [`Framing::sees_payload`].
    fn payload(&mut self, _bytes: &[u8]) {}

    /// The footer of the packet, when its payload has been read; without a footer it is called
    /// for a payload that has been seen. An error is the caller's answer, and breaks the stream.
    fn footer(&mut self, bytes: &[u8]) -> Result<(), Errno>;
}

/// Why a stream is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The peer has closed it within a packet.
    #[error("closed within a packet")]
    Closed,
    /// The deadline passed.
    #[error("the peer stalls")]
    Stalled,
    /// Longer than what is believed.
    #[error("lengths that cannot be: {payload} bytes of payload, {footer} of footer")]
    Lengths {
        /// Of payload.
        payload: u64,
        /// Of footer.
        footer: usize,
    },
    /// The framing does not know such a header.
    #[error("no header: {0}")]
    Header(Errno),
    /// The framing has refused a footer.
    #[error("bad footer: {0}")]
    Footer(Errno),
    /// What the socket said.
    #[error("socket: {0}")]
    Socket(Errno),
}

//! The packets of a peer, as those of one long answer: which header comes next is known.

use crate::Errno;
use crate::buffer::section::{Framing, Header};
use crate::fs::merge::frame::{self, PAYLOAD_MAX, Shape};

/// How far the answer has come.
#[derive(Debug)]
pub(super) struct Frames {
    shape: Shape,
    id: u64,
    offset: u64,
    head: Vec<u8>,
}

impl Frames {
    /// Of the answer with this id, which begins at this offset.
    pub(super) fn new(shape: Shape, id: u64, offset: u64) -> Frames {
        Frames { shape, id, offset, head: Vec::new() }
    }

    /// Bytes of a footer.
    pub(super) fn footer_size(&self) -> usize {
        self.shape.footer
    }
}

impl Framing for Frames {
    fn header_size(&self) -> usize {
        self.shape.header
    }

    fn max_payload(&self) -> usize {
        PAYLOAD_MAX
    }

    fn header(&mut self, bytes: &[u8]) -> Result<Header, Errno> {
        let header = frame::Header::parse(bytes).ok_or(Errno::EPROTO)?;
        let expected = (header.id.get(), header.offset.get()) == (self.id, self.offset);
        if !expected || header.error.get() != 0 {
            return Err(Errno::EPROTO);
        }
        self.head.clear();
        self.head.extend_from_slice(bytes);
        let payload = u64::from(header.length.get());
        self.offset += payload;
        Ok(Header::Packet { payload, footer: self.shape.footer, refused: None })
    }

    fn footer(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        // The checksum is of the header: nobody looks at payload.
        self.shape.belongs(&self.head, &[], bytes).then_some(()).ok_or(Errno::EBADMSG)
    }
}

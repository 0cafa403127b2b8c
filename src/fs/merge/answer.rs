//! The packets of one answer, as a client checks them: they are those of its request, follow one
//! another without a gap, and reach as far as was asked for.

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::frame::{Checksum, Footer, Header, PAYLOAD_MAX, Shape};
use crate::Errno;
use crate::buffer::section::{self, Framing};

/// What is known of the answer that comes next, or is coming.
pub struct Answers {
    shape: Shape,
    id: u64,
    /// Where the next packet begins; of the first, where it begins at the latest.
    next: u64,
    end: u64,
    begun: bool,
    done: bool,
    /// Bytes of payload before what was asked for.
    front: u64,
    sum: u64,
    hasher: Xxh3,
}

impl Answers {
    /// No answer is awaited yet.
    pub fn new(shape: Shape) -> Answers {
        Answers {
            shape,
            id: 0,
            next: 0,
            end: 0,
            begun: true,
            done: true,
            front: 0,
            sum: 0,
            hasher: Xxh3::new(),
        }
    }

    /// The answer to request `id` comes next, for the bytes from `offset` to `end`.
    pub fn expect(&mut self, id: u64, offset: u64, end: u64) {
        (self.id, self.next, self.end) = (id, offset, end);
        (self.begun, self.done, self.front) = (false, false, 0);
    }

    /// Whether the last packet's header is here.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Bytes of payload before what was asked for; known from the first header on.
    pub fn front(&self) -> u64 {
        self.front
    }

    /// Where the packets end that are known of.
    pub fn reached(&self) -> u64 {
        self.next
    }

    /// The end of a packet of `length` bytes from `offset` on, if it is one that may come now.
    fn fits(&mut self, offset: u64, length: u64, last: bool) -> Option<u64> {
        let end = offset.checked_add(length)?;
        if self.begun {
            (offset == self.next).then_some(())?;
        } else {
            let front = self.next.checked_sub(offset)?;
            (front <= PAYLOAD_MAX as u64).then_some(())?;
            (self.begun, self.front) = (true, front);
        }
        let beyond = end.saturating_sub(self.end);
        (beyond <= PAYLOAD_MAX as u64 && (!last || end >= self.end)).then_some(end)
    }
}

impl Framing for Answers {
    fn header_size(&self) -> usize {
        self.shape.header
    }

    fn max_payload(&self) -> usize {
        PAYLOAD_MAX
    }

    fn sees_payload(&self) -> bool {
        self.shape.checksum == Checksum::Payload
    }

    fn header(&mut self, bytes: &[u8]) -> Result<section::Header, Errno> {
        let header = Header::parse(bytes).filter(|header| header.id.get() == self.id);
        let header = header.filter(|_| !self.done).ok_or(Errno::EBADMSG)?;
        if header.error.get() != 0 {
            tracing::debug!("a framed source says error {}", header.error.get());
            return Err(Errno::EREMOTEIO);
        }
        let (offset, payload) = (header.offset.get(), u64::from(header.length.get()));
        self.next = self.fits(offset, payload, header.is_last()).ok_or(Errno::EBADMSG)?;
        self.done = header.is_last();
        match self.shape.checksum {
            Checksum::None => {}
            Checksum::Header => self.sum = xxh3_64(bytes),
            Checksum::Payload => {
                self.hasher.reset();
                self.hasher.update(bytes);
            }
        }
        let footer = self.shape.footer;
        Ok(section::Header::Packet { payload, footer, refused: None })
    }

    fn payload(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    fn footer(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let footer = Footer::parse(bytes).filter(|footer| footer.id.get() == self.id);
        let footer = footer.ok_or(Errno::EIO)?;
        let sum = match self.shape.checksum {
            Checksum::None => return Ok(()),
            Checksum::Header => self.sum,
            Checksum::Payload => self.hasher.digest(),
        };
        if footer.checksum.get() == sum { Ok(()) } else { Err(Errno::EIO) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(answers: &mut Answers, id: u64, offset: u64, length: usize, last: bool) -> bool {
        let (head, foot) = answers.shape.edges(&Header::new(id, offset, length, last), &[]);
        answers.header(&head).is_ok() && answers.footer(&foot).is_ok()
    }

    #[test]
    fn only_what_was_asked_for() {
        let mut answers = Answers::new(Shape::default());
        assert!(!packet(&mut answers, 0, 0, 10, true), "nothing was asked");
        answers.expect(1, 100, 300);
        assert!(!packet(&mut answers, 2, 100, 10, false), "another request");
        assert!(!packet(&mut answers, 1, 101, 10, false), "a gap at the front");
        assert!(packet(&mut answers, 1, 90, 20, false));
        assert_eq!((answers.front(), answers.reached(), answers.is_done()), (10, 110, false));
        assert!(!packet(&mut answers, 1, 111, 10, false), "a gap");
        assert!(!packet(&mut answers, 1, 109, 10, false), "twice the same");
        assert!(!packet(&mut answers, 1, 110, 10, true), "the last is too early");
        assert!(!packet(&mut answers, 1, u64::MAX, 10, true), "past all numbers");
        assert!(packet(&mut answers, 1, 110, 300, true));
        assert!(answers.is_done() && !packet(&mut answers, 1, 410, 1, true), "it was the last");
    }

    #[test]
    fn not_too_much_around_it() {
        let far = PAYLOAD_MAX as u64;
        let mut answers = Answers::new(Shape::default());
        answers.expect(1, 2 * far, 3 * far);
        assert!(!packet(&mut answers, 1, far - 1, 1, false), "far ahead");
        assert!(packet(&mut answers, 1, far, PAYLOAD_MAX, false));
        assert!(packet(&mut answers, 1, 2 * far, PAYLOAD_MAX, false));
        assert!(packet(&mut answers, 1, 3 * far, PAYLOAD_MAX, false));
        assert!(!packet(&mut answers, 1, 4 * far, 1, false), "without end");
    }
}

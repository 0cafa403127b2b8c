//! The framed protocol: what goes between a client that reads and a server that has the bytes.
//!
//! ```text
//! client: Request | name                              (one at a time on a connection)
//! server: header | payload | footer,  header | payload | footer, ...   up to the one marked LAST
//! ```
//!
//! A request asks for `length` bytes of the source `name` from `offset` on. The packets of its
//! answer follow one another without a gap. The first may begin before `offset` and the last may
//! end behind what was asked for: a server may answer with whole blocks of its own. An error is a
//! packet without payload.
//!
//! Header and footer have sizes that both sides know ([`Shape`]), [`HEADER_MIN`] and [`FOOTER_MIN`]
//! bytes at the least; what is longer than the fields is padding. Numbers are little endian.
//!
//! The checksum is in the footer, so that a server can send what it has not read as a whole. Of the
//! header alone it lets payload travel that the client never looks at, and tells that header and
//! footer belong together; what happened to the payload only the checksum of all tells.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const REQUEST: u32 = u32::from_le_bytes(*b"FXRQ");
const HEADER: u32 = u32::from_le_bytes(*b"FXHD");
const FOOTER: u32 = u32::from_le_bytes(*b"FXFT");

/// Bytes of the shortest header.
pub const HEADER_MIN: usize = size_of::<Header>();
/// Bytes of the shortest footer.
pub const FOOTER_MIN: usize = size_of::<Footer>();
/// Bytes of the longest header, and of the longest footer.
pub const EDGE_MAX: usize = 4096;
/// Bytes of the longest payload of one packet.
pub const PAYLOAD_MAX: usize = 8 << 20;
/// Bytes of the longest name.
pub const NAME_MAX: usize = 1024;
/// Of [`Header::flags`]: the last packet of an answer.
pub const LAST: u32 = 1;

/// What is asked; the name follows.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Request {
    magic: U32,
    /// Bytes of the name.
    pub name: U32,
    /// Comes back in each packet of the answer.
    pub id: U64,
    /// From here on.
    pub offset: U64,
    /// So many bytes, 1 or more.
    pub length: U64,
}

/// What comes before payload; padding may follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    magic: U32,
    /// [`LAST`].
    pub flags: U32,
    /// That of the request.
    pub id: U64,
    /// Where in the source the payload begins.
    pub offset: U64,
    /// Bytes of payload, up to [`PAYLOAD_MAX`].
    pub length: U32,
    /// An error number of Linux; 0: none. With an error there is no payload.
    pub error: U32,
}

/// What comes behind payload; padding may follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Footer {
    magic: U32,
    reserved: U32,
    /// That of the request.
    pub id: U64,
    /// See [`Checksum`].
    pub checksum: U64,
}

/// What the checksum in the footer (XXH3, 64 bits) is of.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, clap::ValueEnum, Deserialize, Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Checksum {
    /// Nothing: it is 0, and nobody looks.
    None,
    /// The header with its padding: payload may travel without being looked at.
    #[default]
    Header,
    /// The header with its padding, then the payload: which has to be copied to be looked at.
    Payload,
}

/// How packets look: known to both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Bytes of a header, [`HEADER_MIN`] to [`EDGE_MAX`].
    pub header: usize,
    /// Bytes of a footer, [`FOOTER_MIN`] to [`EDGE_MAX`].
    pub footer: usize,
    /// See [`Checksum`].
    pub checksum: Checksum,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape { header: HEADER_MIN, footer: FOOTER_MIN, checksum: Checksum::default() }
    }
}

impl Request {
    /// A request for a name of `name` bytes.
    pub fn new(name: usize, id: u64, offset: u64, length: u64) -> Request {
        let name = U32::new(name as u32);
        Request {
            magic: U32::new(REQUEST),
            name,
            id: id.into(),
            offset: offset.into(),
            length: length.into(),
        }
    }

    /// `None`: this is no request.
    pub fn parse(bytes: &[u8]) -> Option<Request> {
        let (request, _) = Request::read_from_prefix(bytes).ok()?;
        let fits = request.name.get() as usize <= NAME_MAX;
        (request.magic.get() == REQUEST && fits && request.length.get() > 0).then_some(request)
    }
}

impl Header {
    /// A header of `length` bytes of payload from `offset` on.
    pub fn new(id: u64, offset: u64, length: usize, last: bool) -> Header {
        Header {
            magic: U32::new(HEADER),
            flags: U32::new(if last { LAST } else { 0 }),
            id: id.into(),
            offset: offset.into(),
            length: U32::new(length as u32),
            error: U32::new(0),
        }
    }

    /// That of a packet that says why there is no payload.
    pub fn failed(id: u64, error: i32) -> Header {
        Header { error: U32::new(error as u32), ..Header::new(id, 0, 0, true) }
    }

    /// `None`: this is no header.
    pub fn parse(bytes: &[u8]) -> Option<Header> {
        let (header, _) = Header::read_from_prefix(bytes).ok()?;
        let fits = header.length.get() as usize <= PAYLOAD_MAX;
        let payload = header.error.get() == 0 || header.length.get() == 0;
        (header.magic.get() == HEADER && fits && payload).then_some(header)
    }

    /// Whether no packet of the answer follows.
    pub fn is_last(&self) -> bool {
        self.flags.get() & LAST != 0
    }
}

impl Footer {
    /// A footer.
    pub fn new(id: u64, checksum: u64) -> Footer {
        let (magic, reserved) = (U32::new(FOOTER), U32::new(0));
        Footer { magic, reserved, id: id.into(), checksum: checksum.into() }
    }

    /// `None`: this is no footer.
    pub fn parse(bytes: &[u8]) -> Option<Footer> {
        let (footer, _) = Footer::read_from_prefix(bytes).ok()?;
        (footer.magic.get() == FOOTER).then_some(footer)
    }
}

impl Shape {
    /// Header and footer as they are sent around `payload`, which need not be given where the
    /// checksum is not of it.
    pub fn edges(&self, header: &Header, payload: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut head = header.as_bytes().to_vec();
        head.resize(self.header, 0);
        let footer = Footer::new(header.id.get(), self.checksum.of(&head, payload));
        let mut foot = footer.as_bytes().to_vec();
        foot.resize(self.footer, 0);
        (head, foot)
    }

    /// Whether a footer, with its padding, belongs to a header with its padding. `payload` matters
    /// where the checksum is of it.
    pub fn belongs(&self, header: &[u8], payload: &[u8], footer: &[u8]) -> bool {
        let (Some(head), Some(foot)) = (Header::parse(header), Footer::parse(footer)) else {
            return false;
        };
        let sum = self.checksum.of(header, payload);
        foot.id == head.id && (self.checksum == Checksum::None || foot.checksum.get() == sum)
    }
}

impl Checksum {
    /// The number for a header with its padding, and its payload.
    pub fn of(self, header: &[u8], payload: &[u8]) -> u64 {
        match self {
            Checksum::None => 0,
            Checksum::Header => xxh3_64(header),
            Checksum::Payload => {
                let mut hasher = Xxh3::new();
                hasher.update(header);
                hasher.update(payload);
                hasher.digest()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPES: [Shape; 3] = [
        Shape { header: 102, footer: 102, checksum: Checksum::Header },
        Shape { header: HEADER_MIN, footer: FOOTER_MIN, checksum: Checksum::Payload },
        Shape { header: 33, footer: 25, checksum: Checksum::None },
    ];

    #[test]
    fn the_fields_have_no_gaps() {
        assert_eq!((size_of::<Request>(), HEADER_MIN, FOOTER_MIN), (32, 32, 24));
    }

    #[test]
    fn edges_have_their_sizes_and_belong_together() {
        for shape in SHAPES {
            let (head, foot) = shape.edges(&Header::new(7, 4096, 3, true), b"abc");
            assert_eq!((head.len(), foot.len()), (shape.header, shape.footer));
            assert!(shape.belongs(&head, b"abc", &foot), "{shape:?}");
            let (_, other) = shape.edges(&Header::new(8, 4096, 3, true), b"abc");
            assert!(!shape.belongs(&head, b"abc", &other), "another id: {shape:?}");
            let said = Header::parse(&head).unwrap();
            assert_eq!((said.id.get(), said.offset.get(), said.length.get()), (7, 4096, 3));
            assert!(said.is_last());
        }
    }

    #[test]
    fn a_flipped_bit_is_seen_where_the_checksum_reaches() {
        for shape in SHAPES {
            let (head, foot) = shape.edges(&Header::new(7, 4096, 3, false), b"abc");
            for bit in 0..shape.header * 8 {
                let mut flipped = head.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let seen = !shape.belongs(&flipped, b"abc", &foot);
                assert!(seen || shape.checksum == Checksum::None, "{shape:?}, bit {bit}");
            }
            let seen = !shape.belongs(&head, b"abd", &foot);
            assert_eq!(seen, shape.checksum == Checksum::Payload, "{shape:?}");
        }
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        let request = |name, length| Request::parse(Request::new(name, 1, 2, length).as_bytes());
        assert!(request(NAME_MAX, 1).is_some());
        assert!(request(NAME_MAX + 1, 1).is_none() && request(1, 0).is_none());
        let header = |length| Header::parse(Header::new(1, 0, length, true).as_bytes());
        assert!(header(PAYLOAD_MAX).is_some() && header(PAYLOAD_MAX + 1).is_none());
        assert!(Header::parse(&[0; 31]).is_none() && Header::parse(&[0; 64]).is_none());
        let mut failed = Header::failed(1, libc::ENOENT);
        assert!(Header::parse(failed.as_bytes()).is_some());
        failed.length = U32::new(1);
        assert!(Header::parse(failed.as_bytes()).is_none(), "an error has no payload");
    }
}

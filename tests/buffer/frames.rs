//! Packets for the tests, with headers of a fixed size or of text, and a way to send them.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use fusex::Errno;
use fusex::buffer::section::{Framing, Header};
use fusex::buffer::{Packets, Sink, Stopped};
use proptest::prelude::*;

use super::Tube;

/// The longest payload that is believed.
pub(super) const MOST: usize = 100_000;

/// What the packets look like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// The header is a line of text, whose end has to be looked for.
    pub(super) text: bool,
    /// The checksum is over the payload too.
    pub(super) seen: bool,
    /// There is a footer, with the checksum.
    pub(super) footer: bool,
}

impl Shape {
    /// Each of them.
    pub(super) fn all() -> impl Iterator<Item = Shape> {
        (0..8).map(|n| Shape { text: n & 1 > 0, seen: n & 2 > 0, footer: n & 4 > 0 })
    }

    /// Whether a packet has to be read to its end before anything of it is shown.
    pub(super) fn is_checked(self) -> bool {
        self.seen || self.footer
    }

    pub(super) fn packet(self, number: u16, refused: bool, payload: &[u8]) -> Vec<u8> {
        let (flag, length) = (u8::from(refused), payload.len() as u64);
        let mut bytes = match self.text {
            true => format!("{length:x}/{flag}/{number:x}\n").into_bytes(),
            false => {
                let [low, high] = number.to_le_bytes();
                [&[b'P', flag, low, high], &length.to_le_bytes()[..]].concat()
            }
        };
        let mut sum = checksum(SEED, &bytes);
        if self.seen {
            sum = checksum(sum, payload);
        }
        bytes.extend(payload);
        if self.footer {
            bytes.extend(sum.to_le_bytes());
        }
        bytes
    }
}

pub(super) fn shape() -> impl Strategy<Value = Shape> {
    any::<(bool, bool, bool)>().prop_map(|(text, seen, footer)| Shape { text, seen, footer })
}

const SEED: u64 = 0xcbf2_9ce4_8422_2325;

fn checksum(sum: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(sum, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// Knows the packets of one shape. They are numbered, so that one that is lost is missed.
#[derive(Debug)]
pub(super) struct Frames {
    shape: Shape,
    number: u16,
    sum: u64,
}

impl Frames {
    pub(super) fn new(shape: Shape) -> Frames {
        Frames { shape, number: 0, sum: 0 }
    }

    /// Length, flag and number; nothing yet of a line without an end.
    fn parse(&self, bytes: &[u8]) -> Option<Option<(u64, u8, u16)>> {
        if !self.shape.text {
            let (length, magic) = (bytes[4..].try_into().ok()?, bytes[0]);
            let number = u16::from_le_bytes([bytes[2], bytes[3]]);
            return (magic == b'P').then_some(Some((u64::from_le_bytes(length), bytes[1], number)));
        }
        if bytes.last() != Some(&b'\n') {
            return (bytes.len() < 40).then_some(None);
        }
        let line = std::str::from_utf8(&bytes[..bytes.len() - 1]).ok()?;
        let mut fields = line.split('/').map(|field| u64::from_str_radix(field, 16));
        let mut field = || fields.next()?.ok();
        Some(Some((field()?, field()?.try_into().ok()?, field()?.try_into().ok()?)))
    }
}

impl Framing for Frames {
    fn header_size(&self) -> usize {
        if self.shape.text { "0/0/0\n".len() } else { 12 }
    }

    fn max_payload(&self) -> usize {
        MOST
    }

    fn sees_payload(&self) -> bool {
        self.shape.seen
    }

    fn header(&mut self, bytes: &[u8]) -> Result<Header, Errno> {
        let Some((payload, flag, number)) = self.parse(bytes).ok_or(Errno::EPROTO)? else {
            return Ok(Header::More(1));
        };
        if number != self.number || flag > 1 {
            return Err(Errno::EPROTO);
        }
        self.number += 1;
        self.sum = checksum(SEED, bytes);
        let footer = if self.shape.footer { 8 } else { 0 };
        Ok(Header::Packet { payload, footer, refused: (flag == 1).then_some(Errno::EACCES) })
    }

    fn payload(&mut self, bytes: &[u8]) {
        self.sum = checksum(self.sum, bytes);
    }

    fn footer(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let fits = !self.shape.footer || bytes == self.sum.to_le_bytes();
        if fits { Ok(()) } else { Err(Errno::EBADMSG) }
    }
}

/// A socket, and a peer that sends `bytes` in such pieces, again and again in turn, and closes.
pub(super) fn peer(tcp: bool, bytes: Vec<u8>, pieces: Vec<usize>) -> (OwnedFd, JoinHandle<()>) {
    let (ours, theirs) = pair(tcp);
    let thread = std::thread::spawn(move || {
        let mut theirs = std::fs::File::from(theirs);
        let (mut rest, mut pieces) = (&bytes[..], pieces.iter().cycle());
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rest.len().min(*pieces.next().unwrap()));
            // The reader may have gone.
            if theirs.write_all(piece).is_err() {
                return;
            }
            rest = behind;
            if piece.len() % 3 == 0 {
                std::thread::yield_now();
            }
        }
    });
    (ours, thread)
}

/// Two ends of a connection.
pub(super) fn pair(tcp: bool) -> (OwnedFd, OwnedFd) {
    if !tcp {
        let (ours, theirs) = UnixStream::pair().unwrap();
        return (ours.into(), theirs.into());
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let theirs = listener.accept().unwrap().0;
    theirs.set_nodelay(true).unwrap();
    (ours.into(), theirs.into())
}

/// Takes by the pipe, or if that gets full by memory; or by memory at once.
pub(super) fn take(
    packets: &mut impl Packets,
    want: usize,
    tube: Option<&Tube>,
) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    if let Some(tube) = tube {
        let taken = packets.take(want, Sink::Pipe(tube.pipe()));
        bytes = tube.drain();
        match taken {
            Ok(count) => {
                assert_eq!(bytes.len(), count);
                return Ok(bytes);
            }
            Err(Stopped::Full { moved }) => assert_eq!(bytes.len(), moved),
            Err(Stopped::Failed(errno)) => return Err(errno),
        }
    }
    let moved = bytes.len();
    bytes.resize(want, 0);
    match packets.take(want - moved, Sink::Memory(&mut bytes[moved..])) {
        Ok(count) => {
            assert!(bytes[moved + count..].iter().all(|byte| *byte == 0), "no more was written");
            bytes.truncate(moved + count);
            Ok(bytes)
        }
        Err(Stopped::Failed(errno)) => Err(errno),
        Err(full) => panic!("memory: {full:?}"),
    }
}

//! Peers that close, stall, lie or garble: EIO, an end in time, and never a wrong byte.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use fusex::Errno;
use fusex::buffer::section::{Fault, Framing, Header, LONGEST};
use fusex::buffer::{Buf, BufVec, Memory, Packets, Section, Sink, Stopped};

use super::frames::{Frames, MOST, Shape, pair, take};
use super::{Tube, number, pattern};

const PATIENCE: Duration = Duration::from_secs(20);
/// For peers that stall.
const IMPATIENCE: Duration = Duration::from_millis(30);

/// Packets of 40, 0 and 25 bytes, and where each one ends.
fn three(shape: Shape) -> (Vec<u8>, Vec<u8>, Vec<usize>) {
    let (mut payload, mut stream, mut ends) = (Vec::new(), Vec::new(), vec![0]);
    for (n, length) in [40, 0, 25].into_iter().enumerate() {
        let bytes = pattern(n as u64, length);
        stream.extend(shape.packet(n as u16, false, &bytes));
        payload.extend(bytes);
        ends.push(stream.len());
    }
    (payload, stream, ends)
}

/// What a reader of so many bytes at a time gets until the end or an error.
fn read_all(
    section: &mut Section<Frames>,
    want: usize,
    tube: Option<&Tube>,
) -> (Vec<u8>, Option<Errno>) {
    let mut bytes = Vec::new();
    loop {
        match take(section, want, tube) {
            Ok(taken) if taken.is_empty() => return (bytes, None),
            Ok(taken) => bytes.extend(taken),
            Err(errno) => return (bytes, Some(errno)),
        }
    }
}

/// Shapes, sizes of reads, by pipe and by memory.
fn each(mut f: impl FnMut(Shape, usize, Option<&Tube>)) {
    let tube = Tube::new(16);
    for shape in Shape::all() {
        for want in [7, 1000] {
            f(shape, want, Some(&tube));
            f(shape, want, None);
        }
    }
}

fn section(socket: &OwnedFd, shape: Shape, patience: Duration) -> Section<Frames> {
    Section::new(number(socket), Frames::new(shape), patience).unwrap()
}

fn is_broken(section: &mut Section<Frames>, fault: Fault) {
    assert_eq!(section.fault(), Some(fault));
    for _ in 0..2 {
        assert_eq!(take(section, 1, None), Err(Errno::EIO));
        assert_eq!(section.skip(1), Err(Errno::EIO));
    }
}

#[test]
fn a_peer_that_closes_at_any_byte() {
    each(|shape, want, tube| {
        let (payload, stream, ends) = three(shape);
        for cut in 0..=stream.len() {
            let (ours, theirs) = pair(false);
            assert_eq!(nix::unistd::write(&theirs, &stream[..cut]), Ok(cut));
            drop(theirs);
            let mut section = section(&ours, shape, PATIENCE);
            let (bytes, error) = read_all(&mut section, want, tube);
            assert!(payload.starts_with(&bytes), "{shape:?}, closed at {cut}");
            match ends.iter().position(|end| *end == cut) {
                Some(whole) => {
                    assert_eq!(error, None, "{shape:?}, closed at {cut}");
                    assert_eq!(section.fault(), None);
                    assert_eq!(bytes.len(), [0, 40, 40, 65][whole]);
                }
                None => {
                    assert_eq!(error, Some(Errno::EIO), "{shape:?}, closed at {cut}");
                    is_broken(&mut section, Fault::Closed);
                }
            }
        }
    });
}

#[test]
fn a_peer_that_stalls() {
    each(|shape, want, tube| {
        let (payload, stream, _) = three(shape);
        for cut in (1..stream.len()).step_by(29) {
            let (ours, theirs) = pair(false);
            assert_eq!(nix::unistd::write(&theirs, &stream[..cut]), Ok(cut));
            let mut section = section(&ours, shape, IMPATIENCE);
            let start = Instant::now();
            let (bytes, error) = read_all(&mut section, want, tube);
            assert_eq!(error, Some(Errno::EIO), "{shape:?}, stalled at {cut}");
            assert!(payload.starts_with(&bytes), "{shape:?}, stalled at {cut}");
            is_broken(&mut section, Fault::Stalled);
            // What comes too late is not looked at.
            assert!(nix::unistd::write(&theirs, &stream[cut..]).is_ok());
            is_broken(&mut section, Fault::Stalled);
            assert!(start.elapsed() >= IMPATIENCE, "{shape:?}, stalled at {cut}");
        }
    });
}

#[test]
fn a_byte_now_and_then_does_not_hold_a_reader() {
    for (shape, pipe) in Shape::all().flat_map(|shape| [(shape, true), (shape, false)]) {
        let (ours, theirs) = pair(false);
        let stream = shape.packet(0, false, &pattern(1, 50_000));
        let dripping = std::thread::spawn(move || {
            let mut theirs = std::fs::File::from(theirs);
            while stream.chunks(1).all(|byte| {
                std::thread::sleep(Duration::from_micros(300));
                theirs.write_all(byte).is_ok()
            }) {}
        });
        let mut section = section(&ours, shape, IMPATIENCE);
        let tube = Tube::new(16);
        let start = Instant::now();
        let taken = take(&mut section, 50_000, pipe.then_some(&tube));
        // By the pipe it may get full first, and another call then has its own time.
        assert_eq!(taken, Err(Errno::EIO));
        assert!(start.elapsed() < Duration::from_secs(5), "{shape:?}: {:?}", start.elapsed());
        is_broken(&mut section, Fault::Stalled);
        drop(ours);
        dripping.join().unwrap();
    }
}

#[test]
fn packets_without_payload_do_not_hold_a_reader() {
    // A peer that always has more.
    let zeros = std::fs::File::open("/dev/zero").unwrap();
    let empty = Liar(Ok(Header::Packet { payload: 0, footer: 0, refused: None }));
    let mut section = Section::new(number(&zeros), empty, IMPATIENCE).unwrap();
    assert_eq!(section.take(1, Sink::Memory(&mut [0])), Err(Stopped::Failed(Errno::EIO)));
    assert_eq!(section.fault(), Some(Fault::Stalled));
}

#[test]
fn a_byte_that_is_garbled() {
    each(|shape, want, tube| {
        let (payload, stream, ends) = three(shape);
        for (at, bit) in (0..stream.len()).flat_map(|at| [(at, 1), (at, 0x80)]) {
            let mut garbled = stream.clone();
            garbled[at] ^= bit;
            let (ours, theirs) = pair(false);
            assert_eq!(nix::unistd::write(&theirs, &garbled), Ok(garbled.len()));
            drop(theirs);
            let mut section = section(&ours, shape, PATIENCE);
            let (mut bytes, mut error) = read_all(&mut section, want, tube);
            if error == Some(Errno::EACCES) {
                // Refused, as it seems; so its end is looked at.
                let (more, next) = read_all(&mut section, want, tube);
                bytes.extend(more);
                error = next;
            }
            if !shape.footer || !shape.seen {
                // Not all is covered by a checksum.
                continue;
            }
            assert!(payload.starts_with(&bytes), "{shape:?}, {bit:x} at {at}");
            let whole = ends.iter().filter(|end| **end <= at).count() - 1;
            assert!(bytes.len() <= [0, 40, 40][whole], "{shape:?}, {bit:x} at {at}");
            assert!(matches!(error, Some(Errno::EIO | Errno::EBADMSG)), "{error:?}");
            assert!(section.is_broken());
        }
    });
}

/// Says the same of every header.
struct Liar(Result<Header, Errno>);

impl Framing for Liar {
    fn header_size(&self) -> usize {
        4
    }

    fn max_payload(&self) -> usize {
        MOST
    }

    fn header(&mut self, _bytes: &[u8]) -> Result<Header, Errno> {
        self.0
    }

    fn footer(&mut self, _bytes: &[u8]) -> Result<(), Errno> {
        Ok(())
    }
}

#[test]
fn lengths_that_cannot_be() {
    let lengths = |payload, footer| {
        let refused = [None, Some(Errno::EACCES)];
        let header = move |refused| Ok(Header::Packet { payload, footer, refused });
        refused.map(|refused| (header(refused), Fault::Lengths { payload, footer }))
    };
    let mut lies = vec![
        (Ok(Header::More(0)), Fault::Header(Errno::EMSGSIZE)),
        (Ok(Header::More(usize::MAX)), Fault::Header(Errno::EMSGSIZE)),
        (Ok(Header::More(LONGEST)), Fault::Header(Errno::EMSGSIZE)),
        // Without end.
        (Ok(Header::More(1000)), Fault::Header(Errno::EMSGSIZE)),
        (Err(Errno::EPROTO), Fault::Header(Errno::EPROTO)),
    ];
    for payload in [MOST as u64 + 1, u64::from(u32::MAX), i64::MAX as u64, u64::MAX] {
        lies.extend(lengths(payload, 0));
    }
    for footer in [LONGEST + 1, usize::MAX] {
        lies.extend(lengths(10, footer));
    }
    for (lie, fault) in lies {
        let (ours, theirs) = pair(false);
        assert!(nix::unistd::write(&theirs, &vec![1; 2 * LONGEST]).is_ok());
        let mut section = Section::new(number(&ours), Liar(lie), PATIENCE).unwrap();
        let taken = section.take(10, Sink::Memory(&mut [0; 10]));
        assert_eq!(taken, Err(Stopped::Failed(Errno::EIO)), "{lie:?}");
        assert_eq!(section.fault(), Some(fault));
    }
}

/// What is copied to a file from packets of 100 bytes, of which the second is changed.
fn second_of_three(change: impl Fn(&mut Vec<u8>), refused: bool, pipe: bool) -> (Errno, Vec<u8>) {
    let shape = Shape { text: false, seen: false, footer: true };
    let payload = pattern(1, 100);
    let mut packets = [0, 1, 2].map(|n| shape.packet(n, refused && n == 1, &payload));
    change(&mut packets[1]);
    let (ours, theirs) = pair(false);
    assert!(nix::unistd::write(&theirs, &packets.concat()).is_ok());
    drop(theirs);
    let (tube, file) = (Tube::new(16), tempfile::tempfile().unwrap());
    let mut section = section(&ours, shape, PATIENCE);
    let mut room = vec![0; 250];
    let mut from = BufVec::new(vec![Buf::section(Box::new(&mut section), &mut room)]);
    let target = Buf::file(number(&file), 0, 250, Memory::None);
    let mut to = BufVec::new(vec![target]);
    let copied = from.copy_to(&mut to, pipe.then(|| tube.pipe()));
    assert_eq!(tube.pipe().content(), Ok(0));
    // What is behind the packet would be in the wrong place.
    assert_eq!(from.copy_to(&mut to, None), Err(Errno::EIO));
    let mut bytes = vec![0; 300];
    let length = file.read_at(&mut bytes, 0).unwrap();
    bytes.truncate(length);
    (copied.unwrap_err(), bytes)
}

#[test]
fn nothing_is_copied_of_packets_that_fail() {
    for pipe in [true, false] {
        let garbled = second_of_three(|packet| *packet.last_mut().unwrap() ^= 1, false, pipe);
        assert_eq!(garbled, (Errno::EBADMSG, vec![]));
        assert_eq!(second_of_three(|_| {}, true, pipe), (Errno::EACCES, vec![]));
        let (_, cut_short) = second_of_three(|packet| packet.truncate(60), false, pipe);
        assert!(cut_short.is_empty());
    }
}

#[test]
fn a_refused_packet_is_verified_too() {
    for shape in Shape::all().filter(|shape| shape.footer) {
        let mut packet = shape.packet(0, true, &pattern(1, 100));
        let behind = shape.packet(1, false, b"behind");
        for garbled in [false, true] {
            *packet.last_mut().unwrap() ^= u8::from(garbled);
            let (ours, theirs) = pair(false);
            assert!(nix::unistd::write(&theirs, &[&packet[..], &behind].concat()).is_ok());
            let mut section = section(&ours, shape, PATIENCE);
            assert_eq!(take(&mut section, 6, None), Err(Errno::EACCES));
            assert_eq!((section.position(), section.is_broken()), (100, false));
            let next = take(&mut section, 6, None);
            match garbled {
                false => assert_eq!(next, Ok(b"behind".to_vec())),
                true => {
                    assert_eq!(next, Err(Errno::EBADMSG));
                    is_broken(&mut section, Fault::Footer(Errno::EBADMSG));
                }
            }
        }
    }
}

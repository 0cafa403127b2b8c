//! Packets of peers that mean well, compared with a model.

use std::os::unix::fs::FileExt;
use std::time::Duration;

use fusex::Errno;
use fusex::buffer::{Buf, BufVec, Packets, Section, Sink, Stopped};
use proptest::prelude::*;

use super::frames::{Frames, MOST, Shape, pair, peer, shape, take};
use super::{Tube, number, pattern};

const PATIENCE: Duration = Duration::from_secs(20);

/// What a reader does.
#[derive(Clone, Debug)]
enum Action {
    Take { want: usize, pipe: bool },
    Skip(usize),
}

fn action() -> impl Strategy<Value = Action> {
    let size = || prop_oneof![0usize..20, 1usize..3000, 1usize..60_000];
    prop_oneof![
        4 => (size(), any::<bool>()).prop_map(|(want, pipe)| Action::Take { want, pipe }),
        1 => size().prop_map(Action::Skip),
    ]
}

/// Payload lengths, and whether they are refused.
fn packets() -> impl Strategy<Value = Vec<(usize, bool)>> {
    let length = prop_oneof![Just(0), 1usize..50, 1usize..5000, 1usize..40_000];
    prop::collection::vec((length, prop::bool::weighted(0.15)), 1..12)
}

/// How the bytes come.
fn pieces() -> impl Strategy<Value = Vec<usize>> {
    let piece = prop_oneof![1usize..10, 1usize..500, 1usize..40_000];
    prop::collection::vec(piece, 1..6)
}

/// What a stream should give.
struct Model {
    /// What is left of each packet.
    packets: Vec<(Vec<u8>, bool)>,
    next: usize,
    position: u64,
}

impl Model {
    fn new(lengths: &[(usize, bool)]) -> Model {
        let payload = |(seed, &(length, refused))| (pattern(seed as u64, length), refused);
        let packets = lengths.iter().enumerate().map(payload).collect();
        Model { packets, next: 0, position: 0 }
    }

    fn stream(&self, shape: Shape) -> Vec<u8> {
        let numbered = self.packets.iter().enumerate();
        let packet =
            |(n, (payload, refused)): (_, &(Vec<u8>, _))| shape.packet(n as u16, *refused, payload);
        numbered.flat_map(packet).collect()
    }

    fn take(&mut self, want: usize) -> Result<Vec<u8>, Errno> {
        let mut taken = Vec::new();
        while taken.len() < want && self.next < self.packets.len() {
            let (payload, refused) = &mut self.packets[self.next];
            if *refused {
                self.next += 1;
                self.position += payload.len() as u64;
                return Err(Errno::EACCES);
            }
            let part: Vec<u8> = payload.drain(..payload.len().min(want - taken.len())).collect();
            self.position += part.len() as u64;
            taken.extend(part);
            self.next += usize::from(payload.is_empty());
        }
        Ok(taken)
    }
}

proptest! {
    #[test]
    fn any_reader_gets_what_any_peer_sends(
        shape in shape(),
        tcp in any::<bool>(),
        lengths in packets(),
        pieces in pieces(),
        actions in prop::collection::vec(action(), 1..20),
        slots in (0u32..5).prop_map(|power| 1usize << power),
    ) {
        let mut model = Model::new(&lengths);
        let (socket, thread) = peer(tcp, model.stream(shape), pieces);
        let mut section = Section::new(number(&socket), Frames::new(shape), PATIENCE).unwrap();
        let tube = Tube::new(slots);
        let to_the_end = std::iter::repeat(Action::Take { want: 50_000, pipe: true });
        for action in actions.into_iter().chain(to_the_end.take(lengths.len() + 12)) {
            match action {
                Action::Take { want, pipe } => {
                    let taken = take(&mut section, want, pipe.then_some(&tube));
                    prop_assert!(taken == model.take(want), "other bytes");
                }
                Action::Skip(count) => {
                    let skipped = section.skip(count as u64);
                    prop_assert_eq!(skipped, model.take(count).map(|bytes| bytes.len() as u64));
                }
            }
            prop_assert_eq!(section.position(), model.position);
            let most = if shape.is_checked() { MOST } else { 0 };
            prop_assert!(section.stashed() <= most);
        }
        prop_assert_eq!(model.next, lengths.len(), "all has been read");
        prop_assert_eq!(section.fault(), None);
        drop(socket);
        thread.join().unwrap();
    }

    #[test]
    fn payload_is_copied_to_where_it_belongs(
        shape in shape(),
        tcp in any::<bool>(),
        lengths in packets(),
        pieces in pieces(),
        memory in 0usize..20_000,
        slots in prop_oneof![Just(None), (0u32..5).prop_map(|power| Some(1usize << power))],
        append in any::<bool>(),
    ) {
        let lengths: Vec<_> = lengths.into_iter().map(|(length, _)| (length, false)).collect();
        let mut model = Model::new(&lengths);
        let (socket, thread) = peer(tcp, model.stream(shape), pieces);
        let mut section = Section::new(number(&socket), Frames::new(shape), PATIENCE).unwrap();
        let expected = model.take(usize::MAX).unwrap();

        let dir = tempfile::tempdir().unwrap();
        let mut options = std::fs::File::options();
        let file = options.read(true).write(true).append(append).create(true);
        let file = file.open(dir.path().join("file")).unwrap();
        let (mut room, mut first) = (vec![0; expected.len() + 10], vec![0; memory]);
        let mut from = BufVec::new(vec![Buf::section(Box::new(&mut section), &mut room)]);
        let target = Buf::stream(number(&file), expected.len() + 10, fusex::buffer::Memory::None);
        let mut to = BufVec::new(vec![Buf::unique(&mut first), target]);
        let tube = slots.map(Tube::new);
        let mut copied = 0;
        loop {
            match from.copy_to(&mut to, tube.as_ref().map(Tube::pipe)).unwrap() {
                0 => break,
                count => copied += count,
            }
            prop_assert!(tube.as_ref().is_none_or(|tube| tube.pipe().content() == Ok(0)));
        }
        drop((from, to));
        prop_assert_eq!(copied, expected.len());
        let mut behind = vec![0; expected.len() + 10];
        let length = file.read_at(&mut behind, 0).unwrap();
        first.truncate(copied);
        first.extend(&behind[..length]);
        prop_assert!(first == expected, "other bytes");
        prop_assert_eq!(section.position(), copied as u64);
        thread.join().unwrap();
    }
}

/// A packet whose payload comes in fragments of 100 bytes.
fn fragments(length: usize) -> (Vec<u8>, std::os::fd::OwnedFd) {
    let shape = Shape { text: false, seen: false, footer: true };
    let payload = pattern(1, length);
    let packet = shape.packet(0, false, &payload);
    let (ours, theirs) = pair(false);
    let send = |bytes: &[u8]| assert_eq!(nix::unistd::write(&theirs, bytes), Ok(bytes.len()));
    send(&packet[..12]);
    packet[12..].chunks(100).for_each(send);
    (payload, ours)
}

#[test]
fn a_pipe_is_full_of_fragments() {
    let (payload, socket) = fragments(10_000);
    let shape = Shape { text: false, seen: false, footer: true };
    let mut section = Section::new(number(&socket), Frames::new(shape), PATIENCE).unwrap();
    let tube = Tube::new(16);
    let pipe = tube.pipe();
    // 16 buffers of 100 bytes, although there is room for 64 KiB.
    assert_eq!(section.take(10_000, Sink::Pipe(pipe)), Err(Stopped::Full { moved: 1600 }));
    assert_eq!(section.position(), 1600);
    // Nothing has changed: it is full at once.
    assert_eq!(section.take(8400, Sink::Pipe(pipe)), Err(Stopped::Full { moved: 0 }));
    let mut bytes = tube.drain();
    assert_eq!(section.take(400, Sink::Pipe(pipe)), Ok(400));
    // The rest of the packet had to be read to verify it.
    assert_eq!(section.stashed(), 8000);
    bytes.extend(tube.drain());
    bytes.extend(take(&mut section, 8000, None).unwrap());
    assert!(bytes == payload);
}

#[test]
fn what_overflows_the_pipe_is_copied() {
    let (payload, socket) = fragments(10_000);
    let shape = Shape { text: false, seen: false, footer: true };
    let mut section = Section::new(number(&socket), Frames::new(shape), PATIENCE).unwrap();
    let tube = Tube::new(16);
    let file = tempfile::tempfile().unwrap();
    let mut room = vec![0; 10_000];
    let mut from = BufVec::new(vec![Buf::section(Box::new(&mut section), &mut room)]);
    let mut to =
        BufVec::new(vec![Buf::file(number(&file), 5, 10_000, fusex::buffer::Memory::None)]);
    assert_eq!(from.copy_to(&mut to, Some(tube.pipe())), Ok(10_000));
    let mut copied = vec![0; 10_000];
    file.read_exact_at(&mut copied, 5).unwrap();
    assert!(copied == payload);
}

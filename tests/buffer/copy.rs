//! Any copy, compared with a model: the bytes of the sources up to the first that ends early, as
//! far as the targets have room.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use fusex::Errno;
use fusex::buffer::{Buf, BufFlags, BufVec, Memory};
use proptest::prelude::*;

use super::streams::{Drain, Feed, Kind, Plan, Source, Target, plan};
use super::{Tube, number, pattern};

/// What should arrive: of the sources' bytes those up to the first source that ends early.
fn all(sources: &[Source]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for source in sources {
        bytes.extend(source.bytes());
        if source.bytes().len() < source.plan.size {
            break;
        }
    }
    bytes
}

/// Copies until nothing moves any more, whatever is fed and drained. Returns how much arrived.
fn pump(
    from: &mut BufVec<'_>,
    to: &mut BufVec<'_>,
    tube: Option<&Tube>,
    mut stir: impl FnMut() -> bool,
) -> usize {
    let mut total = 0;
    loop {
        let before = (from.size(), to.size());
        let moved = match from.copy_to(to, tube.map(Tube::pipe)) {
            Ok(moved) => moved,
            Err(Errno::EAGAIN) => 0,
            Err(errno) => panic!("{errno} after {total} bytes, from {from:?} to {to:?}"),
        };
        assert_eq!((from.size(), to.size()), (before.0 - moved, before.1 - moved), "places");
        if let Some(tube) = tube {
            assert_eq!(tube.pipe().content(), Ok(0), "the pipe is left empty");
        }
        total += moved;
        if moved == 0 && !stir() {
            return total;
        }
    }
}

fn check(sources: Vec<Plan>, targets: Vec<Plan>, slots: Option<usize>, skip: (usize, usize)) {
    let tube = slots.map(Tube::new);
    let seeded = |(seed, plan)| Source::new(plan, seed as u64 + 1);
    let mut sources: Vec<Source> = sources.into_iter().enumerate().map(seeded).collect();
    let mut targets: Vec<Target> = targets.into_iter().map(Target::new).collect();
    // A place in a stream says how many of its bytes have been read before.
    let streams = |kind| matches!(kind, Kind::Pipe { .. } | Kind::Socket | Kind::Appended);
    let ahead = |plan: &Plan, skip: usize| if streams(plan.kind) { 0 } else { skip.min(plan.size) };
    let skip = (ahead(&sources[0].plan, skip.0), ahead(&targets[0].plan, skip.1));
    let everything = all(&sources);
    let expected = everything.get(skip.0..).unwrap_or_default();
    let room = targets.iter().map(|target| target.plan.size).sum::<usize>() - skip.1;
    let whole = expected.len().min(room);

    let (mut feeds, mut drains): (Vec<_>, Vec<Drain<'_>>) = (Vec::new(), Vec::new());
    let mut from = BufVec::default();
    for source in &mut sources {
        let (buf, feed) = source.buf();
        from.bufs.push(buf);
        feeds.push(feed);
    }
    let mut to = BufVec::default();
    for target in &mut targets {
        let (buf, drain) = target.buf();
        to.bufs.push(buf);
        drains.push(drain);
    }
    (from.offset, to.offset) = skip;
    let total = pump(&mut from, &mut to, tube.as_ref(), || {
        let fed = feeds.iter_mut().map(Feed::feed).filter(|fed| *fed).count();
        let drained = drains.iter_mut().map(Drain::drain).filter(|drained| *drained).count();
        fed + drained > 0
    });
    assert_eq!(total, whole, "bytes that arrived");

    // Nothing is lost: what did not arrive can be had from where the source stands.
    let mut rest = vec![0; from.size()];
    let mut behind = BufVec::new(vec![Buf::unique(&mut rest)]);
    let more = pump(&mut from, &mut behind, tube.as_ref(), || {
        feeds.iter_mut().map(Feed::feed).filter(|fed| *fed).count() > 0
    });
    drop((from, to, behind, feeds, drains));
    assert_eq!(&rest[..more], &expected[whole..], "what is left");
    arrived(targets, &expected[..whole], skip.1);
}

/// Compares what is in the targets.
fn arrived(targets: Vec<Target>, mut expected: &[u8], mut skip: usize) {
    for (index, target) in targets.into_iter().enumerate() {
        let plan = target.plan.clone();
        let (here, rest) = expected.split_at(expected.len().min(plan.size - skip));
        let arrived = target.arrived(skip + here.len());
        assert_eq!(arrived.len(), skip + here.len(), "target {index}, {plan:?}");
        assert!(arrived[skip..] == *here, "target {index}, {plan:?}: other bytes");
        (expected, skip) = (rest, 0);
    }
}

proptest! {
    #[test]
    fn any_copy_is_that_of_the_model(
        sources in prop::collection::vec(plan(), 1..5),
        targets in prop::collection::vec(plan(), 1..5),
        slots in prop_oneof![Just(None), (0u32..5).prop_map(|power| Some(1usize << power))],
        skip in (0usize..2000, 0usize..2000),
    ) {
        check(sources, targets, slots, skip);
    }
}

/// What is read, and may block, of a thread that writes "one", and after `pause` "two" unless it
/// is told before that nobody reads any more.
fn slow(socket: bool, pause: Duration) -> (OwnedFd, Sender<()>, JoinHandle<()>) {
    let (read, write) = match socket {
        true => UnixStream::pair().map(|(read, write)| (read.into(), write.into())).unwrap(),
        false => nix::unistd::pipe().unwrap(),
    };
    let (done, is_done) = channel();
    let thread = std::thread::spawn(move || {
        let mut write = std::fs::File::from(write);
        std::thread::sleep(Duration::from_millis(50));
        write.write_all(b"one").unwrap();
        if is_done.recv_timeout(pause).is_err() {
            write.write_all(b"two").unwrap();
        }
    });
    (read, done, thread)
}

#[test]
fn a_descriptor_that_may_block_is_waited_for() {
    let tube = Tube::new(4);
    for case in 0..8 {
        let (retry, pipe, socket) = (case & 1 > 0, case & 2 > 0, case & 4 > 0);
        let pause = Duration::from_millis(if retry { 50 } else { 10_000 });
        let (read, done, thread) = slow(socket, pause);
        let file = tempfile::tempfile().unwrap();
        let mut source = Buf::stream(number(&read), 6, Memory::None);
        source.flags.set(BufFlags::FD_RETRY, retry);
        let mut from = BufVec::new(vec![source, Buf::shared(b"three")]);
        let mut to = BufVec::new(vec![Buf::file(number(&file), 0, 100, Memory::None)]);
        let copied = from.copy_to(&mut to, pipe.then(|| tube.pipe()));
        // Without FD_RETRY the first short transfer is the last.
        let expected: &[u8] = if retry { b"onetwothree" } else { b"one" };
        assert_eq!(copied, Ok(expected.len()), "retry {retry}, pipe {pipe}, socket {socket}");
        let _ = done.send(());
        let mut bytes = vec![0; 20];
        let length = file.read_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes[..length], expected);
        thread.join().unwrap();
    }
}

#[test]
fn errors_are_told_when_nothing_was_copied() {
    let tube = Tube::new(4);
    let mut room = [0; 100];
    let (empty, middle) = (Tube::new(1), Tube::new(1));
    let stream = |fd| Buf::stream(fd, 10, Memory::None);
    let mut copy = |from: Vec<Buf<'_>>, pipe: bool| {
        let mut to = BufVec::new(vec![Buf::unique(&mut room[..5]), stream(number(&tube.write))]);
        let mut from = BufVec::new(from);
        from.copy_to(&mut to, pipe.then(|| middle.pipe()))
    };
    assert_eq!(copy(vec![stream(number(&empty.read))], true), Err(Errno::EAGAIN));
    let behind = || vec![Buf::shared(b"four"), stream(number(&empty.read))];
    assert_eq!(copy(behind(), false), Ok(4));
    assert_eq!(copy(vec![stream(fusex::sys::Fd::NONE)], false), Err(Errno::EBADF));
    assert_eq!(copy(vec![stream(number(&empty.write))], false), Err(Errno::EBADF));

    let mut to = BufVec::memory(b"not to be written");
    assert_eq!(BufVec::memory(b"bytes").copy_to(&mut to, None), Err(Errno::EINVAL));
    // A position that is none.
    let file = tempfile::tempfile().unwrap();
    let source = Buf::file(number(&file), u64::MAX - 3, 10, Memory::None);
    assert_eq!(copy(vec![source], true), Err(Errno::EINVAL));
}

#[test]
fn what_a_target_does_not_take_is_not_lost() {
    // The socket of a peer that has gone: the pipe has the bytes when that is found.
    let (ours, peer) = UnixStream::pair().unwrap();
    drop(peer);
    let (source, mut feeder) = UnixStream::pair().unwrap();
    let payload = pattern(7, 5000);
    feeder.write_all(&payload).unwrap();
    let tube = Tube::new(4);
    for pipe in [Some(tube.pipe()), None] {
        let mut from = BufVec::new(vec![Buf::stream(number(&source), 5000, Memory::None)]);
        let mut to = BufVec::new(vec![Buf::stream(number(&ours), 9000, Memory::None)]);
        assert_eq!(from.copy_to(&mut to, pipe), Err(Errno::EPIPE));
        assert_eq!(tube.pipe().content(), Ok(0));
        let mut bytes = vec![0; 6000];
        let mut to = BufVec::new(vec![Buf::unique(&mut bytes)]);
        assert_eq!(from.copy_to(&mut to, None), Ok(5000));
        drop(to);
        assert!(bytes[..5000] == payload);
        feeder.write_all(&payload).unwrap();
    }
}

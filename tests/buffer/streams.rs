//! The ends that a copy has: sources that give their bytes in bursts, targets that have little
//! room, and what both should have done.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{setsockopt, sockopt};
use proptest::prelude::*;

use fusex::buffer::{Buf, BufFlags, Memory};

use super::{Tube, drain, number, pattern};

/// What stands behind a segment.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Memory,
    /// At a position.
    File {
        position: usize,
    },
    /// Of so many buffers.
    Pipe {
        slots: usize,
    },
    Socket,
    /// A file that splice(2) does not write to.
    Appended,
}

/// One segment, on either side.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) kind: Kind,
    pub(super) size: usize,
    /// Of a source: the bytes that there are; fewer than `size`, or more.
    pub(super) content: usize,
    /// Of a stream: the bytes that come at once.
    pub(super) burst: usize,
    /// Memory for copying.
    pub(super) room: usize,
    pub(super) retry: bool,
}

pub(super) fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Memory),
        (0usize..9000).prop_map(|position| Kind::File { position }),
        (0u32..4).prop_map(|power| Kind::Pipe { slots: 1 << power }),
        Just(Kind::Socket),
        Just(Kind::Appended),
    ]
}

pub(super) fn plan() -> impl Strategy<Value = Plan> {
    let size = prop_oneof![0usize..5, 1usize..3000, 1usize..60_000];
    let content = prop_oneof![4 => Just(usize::MAX), 1 => 0usize..60_000];
    let room = prop_oneof![Just(0), 1usize..70_000];
    (kind(), size, content, 1usize..20_000, room, any::<bool>()).prop_map(
        |(kind, size, content, burst, room, retry)| {
            let content = if content == usize::MAX { size } else { content };
            Plan { kind, size, content, burst, room, retry }
        },
    )
}

/// The segment of a plan, over a descriptor.
fn segment<'a>(plan: &Plan, fd: fusex::sys::Fd, room: &'a mut [u8]) -> Buf<'a> {
    let room = if room.is_empty() { Memory::None } else { Memory::Unique(room) };
    let mut buf = match plan.kind {
        Kind::File { position } => Buf::file(fd, position as u64, plan.size, room),
        _ => Buf::stream(fd, plan.size, room),
    };
    buf.flags.set(BufFlags::FD_RETRY, plan.retry);
    buf
}

/// Where bytes come from.
pub(super) struct Source {
    pub(super) plan: Plan,
    /// What it gives, in all.
    bytes: Vec<u8>,
    fed: usize,
    read: Option<OwnedFd>,
    write: Option<File>,
    room: Vec<u8>,
}

impl Source {
    pub(super) fn new(plan: Plan, seed: u64) -> Source {
        let mut source = Source {
            bytes: pattern(seed, plan.content),
            fed: 0,
            read: None,
            write: None,
            room: vec![0; plan.room],
            plan,
        };
        match source.plan.kind {
            Kind::Memory => source.bytes = pattern(seed, source.plan.size),
            Kind::File { position } => source.make_file(position),
            Kind::Appended => source.make_file(0),
            Kind::Pipe { slots } => {
                let Tube { read, write, .. } = Tube::new(slots);
                source.set(read, write.into());
            }
            Kind::Socket => {
                let (ours, peer) = UnixStream::pair().unwrap();
                ours.set_nonblocking(true).unwrap();
                peer.set_nonblocking(true).unwrap();
                source.set(ours.into(), OwnedFd::from(peer).into());
            }
        }
        source
    }

    fn set(&mut self, read: OwnedFd, write: File) {
        self.read = Some(read);
        self.write = Some(write);
    }

    /// A file with a hole in the middle third.
    fn make_file(&mut self, position: usize) {
        let file = tempfile::tempfile().unwrap();
        let third = self.bytes.len() / 3;
        self.bytes[third..2 * third].fill(0);
        for part in [0..third, 2 * third..self.bytes.len()] {
            file.write_all_at(&self.bytes[part.clone()], (position + part.start) as u64).unwrap();
        }
        if self.bytes.is_empty() {
            // Its end is before the position.
            file.set_len(position as u64 / 2).unwrap();
        }
        self.read = Some(file.into());
    }

    /// The segment, and a way to the other end of it.
    pub(super) fn buf(&mut self) -> (Buf<'_>, Feed<'_>) {
        let Source { plan, bytes, fed, read, write, room } = self;
        let buf = match read {
            None => Buf::shared(bytes),
            Some(read) => segment(plan, number(read), room),
        };
        (buf, Feed { bytes, burst: plan.burst, fed, write })
    }

    /// What is there of the segment.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.bytes.len().min(self.plan.size)]
    }
}

/// The other end of a source that is a stream.
pub(super) struct Feed<'a> {
    bytes: &'a [u8],
    burst: usize,
    fed: &'a mut usize,
    write: &'a mut Option<File>,
}

impl Feed<'_> {
    /// The next burst into the stream, or its end; false when there is nothing more to be done.
    pub(super) fn feed(&mut self) -> bool {
        let Some(write) = self.write else { return false };
        let rest = &self.bytes[*self.fed..];
        if rest.is_empty() {
            *self.write = None;
            return true;
        }
        match write.write(&rest[..rest.len().min(self.burst)]) {
            Ok(n) => *self.fed += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => panic!("{error}"),
        }
        true
    }
}

/// Where bytes go.
pub(super) struct Target {
    pub(super) plan: Plan,
    memory: Vec<u8>,
    /// What has come out of the stream.
    drained: Vec<u8>,
    write: Option<OwnedFd>,
    read: Option<File>,
}

/// What a file has in it before.
const BEFORE: u8 = 0xee;

impl Target {
    pub(super) fn new(plan: Plan) -> Target {
        let (write, read) = match plan.kind {
            Kind::Memory => (None, None),
            Kind::File { position } => {
                let file = tempfile::tempfile().unwrap();
                file.write_all_at(&vec![BEFORE; position + plan.size + 10], 0).unwrap();
                (Some(file.try_clone().unwrap().into()), Some(file))
            }
            Kind::Appended => {
                let dir = tempfile::tempdir().unwrap();
                let mut options = File::options();
                options.read(true).append(true).create(true).mode(0o600);
                let file = options.open(dir.path().join("file")).unwrap();
                (Some(file.try_clone().unwrap().into()), Some(file))
            }
            Kind::Pipe { slots } => {
                let Tube { read, write, .. } = Tube::new(slots);
                (Some(write), Some(read.into()))
            }
            Kind::Socket => {
                let (ours, peer) = UnixStream::pair().unwrap();
                ours.set_nonblocking(true).unwrap();
                peer.set_nonblocking(true).unwrap();
                setsockopt(&ours, sockopt::SndBuf, &1).unwrap();
                (Some(ours.into()), Some(OwnedFd::from(peer).into()))
            }
        };
        let memory = if write.is_none() { plan.size } else { plan.room };
        Target { memory: vec![0; memory], drained: Vec::new(), write, read, plan }
    }

    /// The segment, and a way to what is at the other end of it.
    pub(super) fn buf(&mut self) -> (Buf<'_>, Drain<'_>) {
        let Target { plan, memory, drained, write, read } = self;
        let stream = matches!(plan.kind, Kind::Pipe { .. } | Kind::Socket);
        let drain = Drain { read: read.as_ref().filter(|_| stream), drained };
        match write {
            None => (Buf::unique(memory), drain),
            Some(write) => (segment(plan, number(write), memory), drain),
        }
    }

    /// All that has arrived, of `count` bytes that should have; and nothing else was touched.
    pub(super) fn arrived(mut self, count: usize) -> Vec<u8> {
        match (self.plan.kind, self.read.take()) {
            (Kind::File { position }, Some(file)) => {
                let mut all = vec![0; position + self.plan.size + 20];
                let length = file.read_at(&mut all, 0).unwrap();
                assert_eq!(length, position + self.plan.size + 10);
                all.truncate(length);
                let behind = all.split_off(position + count);
                let arrived = all.split_off(position);
                assert!(all.iter().chain(&behind).all(|byte| *byte == BEFORE));
                arrived
            }
            (Kind::Appended, Some(file)) => {
                let mut all = vec![0; self.plan.size + 10];
                let length = file.read_at(&mut all, 0).unwrap();
                all.truncate(length);
                all
            }
            (_, Some(file)) => {
                self.drained.extend(drain(file));
                self.drained
            }
            (_, None) => {
                assert!(self.memory[count..].iter().all(|byte| *byte == 0));
                self.memory.truncate(count);
                self.memory
            }
        }
    }
}

/// The other end of a target that is a stream.
pub(super) struct Drain<'a> {
    read: Option<&'a File>,
    drained: &'a mut Vec<u8>,
}

impl Drain<'_> {
    /// Makes room; false when there is nothing to be read.
    pub(super) fn drain(&mut self) -> bool {
        let Some(read) = self.read else { return false };
        let bytes = drain(read);
        self.drained.extend(&bytes);
        !bytes.is_empty()
    }
}

//! The worker's side: requests through shared memory, carried out as a session does.

use std::ffi::CString;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fusex::Errno;
use fusex::fs::mem::{Mem, MemConfig};
use fusex::fs::{Answer, Context, Filesystem, Recovered, Result, Unfinished};
use fusex::recovery::arena::Arena;
use fusex::recovery::journal::{self, Change, EFFECTS, Journal, Phase};
use fusex::recovery::slot::Slots;
use fusex::sys::clone::{self, Side};
use fusex::sys::memory::{Mapping, PAGE};
use fusex::wire::flags::{
    GetattrFlags, OpenInFlags, ReadFlags, SetattrValid, SetxattrFlags, WriteFlags,
};
use fusex::wire::{Extensions, FileHandle, Name, NodeId, Operation, Unique, ops};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// What a request asks, by number: it goes through shared memory.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(u64)]
pub(crate) enum Ask {
    Lookup,
    Forget,
    Mkdir,
    Create,
    Symlink,
    Tmpfile,
    Unlink,
    Rmdir,
    Link,
    Rename,
    Write,
    Truncate,
    Append,
    SetXattr,
    RemoveXattr,
    Getattr,
    Read,
}

pub(crate) const ASKS: [Ask; 17] = [
    Ask::Lookup,
    Ask::Forget,
    Ask::Mkdir,
    Ask::Create,
    Ask::Symlink,
    Ask::Tmpfile,
    Ask::Unlink,
    Ask::Rmdir,
    Ask::Link,
    Ask::Rename,
    Ask::Write,
    Ask::Truncate,
    Ask::Append,
    Ask::SetXattr,
    Ask::RemoveXattr,
    Ask::Getattr,
    Ask::Read,
];

/// One request: node and name; a second node and name, or two numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) ask: Ask,
    pub(crate) node: u64,
    pub(crate) name: u64,
    pub(crate) other: u64,
    pub(crate) other_name: u64,
}

/// Long enough to make a target that needs a memfd.
pub(crate) const TARGET: usize = 300;
pub(crate) const LIMIT: u64 = 64 << 20;

/// The page between the test and its worker.
#[derive(Clone, Copy)]
pub(crate) struct Line(pub(crate) &'static [AtomicU64]);

impl Line {
    pub(crate) fn new() -> Line {
        let mapping = Mapping::create(c"line", PAGE).unwrap();
        mapping.grow(PAGE).unwrap();
        let words = mapping.words(0, 16).unwrap();
        Line(words)
    }

    pub(crate) fn get(self, word: usize) -> u64 {
        self.0[word].load(Ordering::Acquire)
    }

    pub(crate) fn set(self, word: usize, value: u64) {
        self.0[word].store(value, Ordering::Release);
    }

    pub(crate) fn post(self, request: &Request) {
        let words =
            [request.ask as u64, request.node, request.name, request.other, request.other_name];
        (2..).zip(words).for_each(|(at, word)| self.set(at, word));
        self.set(0, self.get(0) + 1);
    }

    pub(crate) fn request(self) -> Request {
        Request {
            ask: ASKS[self.get(2) as usize],
            node: self.get(3),
            name: self.get(4),
            other: self.get(5),
            other_name: self.get(6),
        }
    }

    pub(crate) fn is_answered(self) -> bool {
        self.get(1) == self.get(0)
    }

    pub(crate) fn result(self) -> Result<(u64, u64)> {
        match self.get(8) {
            0 => Ok((self.get(9), self.get(10))),
            errno => Err(Errno::from_raw(errno as i32)),
        }
    }
}

/// What both sides are made of.
pub(crate) struct World {
    pub(crate) arena: Arena,
    pub(crate) slots: Slots,
    pub(crate) mem: Mem,
    pub(crate) line: Line,
}

pub(crate) fn text(name: u64) -> CString {
    CString::new(format!("n{name}")).unwrap()
}

pub(crate) fn content(seed: u64) -> Vec<u8> {
    (0..100 + seed % 9000).map(|at| (at * 7 + seed) as u8).collect()
}

pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(bytes.len() as u64, |sum, byte| sum.rotate_left(5) ^ u64::from(*byte))
}

impl World {
    pub(crate) fn new() -> World {
        let arena = Arena::create().unwrap();
        let slots = Slots::new(&arena, 1, 1 << 16).unwrap();
        let config = MemConfig {
            size_limit: LIMIT,
            negative_timeout: Duration::ZERO,
            ..MemConfig::default()
        };
        let mem = Mem::new(config, &arena).unwrap();
        World { arena, slots, mem, line: Line::new() }
    }

    pub(crate) fn journal(&self) -> Journal {
        self.slots.journal(0)
    }

    pub(crate) fn cx(&self) -> Context {
        Context { unique: Unique(self.line.get(0) * 2), uid: 0, gid: 0, pid: 1 }
    }

    /// Carries the request out, or asks whether it has happened.
    pub(crate) fn serve(&self, recover: bool) -> Result<(u64, u64)> {
        let request = self.line.request();
        let (name, other) = (text(request.name), text(request.other_name));
        let target = CString::new("t".repeat(TARGET)).unwrap();
        let data = content(request.other_name);
        let operation = operation(&request, (&name, &other, &target), &data);
        let (cx, node) = (self.cx(), NodeId(request.node));
        let journal = self.journal();
        if recover {
            let unfinished = Unfinished {
                cx,
                node,
                operation: &operation,
                began: journal.realtime().unwrap_or_default(),
                intent: journal.intent(),
            };
            if let Recovered::Done(answer) = self.mem.recover(&unfinished) {
                return match answer {
                    Answer::Entry(entry) | Answer::Created(entry, _) => Ok((entry.node.0, 0)),
                    Answer::Empty => Ok((0, 0)),
                    Answer::Failed(errno) => Err(errno),
                    other => panic!("{other:?} is no answer of mem's"),
                };
            }
        }
        dispatch(&self.mem, &cx, node, &operation)
    }

    /// A worker's whole life.
    pub(crate) fn work(&self, takeover: bool) -> ! {
        let (line, journal) = (self.line, self.journal());
        if takeover {
            self.take_over();
        }
        journal::attach(Some(journal));
        loop {
            while line.is_answered() {
                std::hint::spin_loop();
            }
            journal.reset();
            journal.begin();
            // The request is the worker's from here on.
            line.set(7, line.get(0));
            self.answer(false);
        }
    }

    pub(crate) fn answer(&self, recover: bool) {
        let (line, result) = (self.line, self.serve(recover));
        let (node, value) = result.unwrap_or_default();
        line.set(8, result.err().map_or(0, |errno| errno as u64));
        line.set(9, node);
        line.set(10, value);
        self.journal().done(&[b"stored"]);
        line.set(1, line.get(0));
    }

    /// What `session::takeover` does.
    pub(crate) fn take_over(&self) {
        let (line, journal) = (self.line, self.journal());
        let kept = self.arena.fds().reclaim(|kind, index, fd| self.mem.holds(kind, index, fd));
        self.mem.takeover(&kept);
        if line.is_answered() || line.get(7) != line.get(0) {
            // Nothing was begun.
            return;
        }
        for place in 0..EFFECTS {
            if journal.effect(place).is_some_and(|effect| !self.mem.happened(&effect)) {
                journal.conclude(place);
            }
        }
        journal::attach(Some(journal));
        let mut uncounted = false;
        for place in 0..EFFECTS {
            let Some(effect) = journal.effect(place) else { continue };
            match effect.change {
                Change::Count if journal.phase() != Phase::Begun => {}
                Change::Count if journal.takes_back(&effect) => {}
                _ => self.mem.settle(&effect),
            }
            uncounted |= effect.change == Change::Uncount;
            if uncounted {
                journal.set_progress(1);
            }
            journal.conclude(place);
        }
        let forgotten = line.request().ask == Ask::Forget && journal.progress() > 0;
        match journal.phase() {
            Phase::Begun if !forgotten => self.answer(true),
            Phase::Begun => {
                (8..11).for_each(|word| line.set(word, 0));
                line.set(1, line.get(0));
            }
            _ => line.set(1, line.get(0)),
        }
    }
}

pub(crate) fn operation<'a>(
    request: &Request,
    (name, other, target): (&'a CString, &'a CString, &'a CString),
    data: &'a [u8],
) -> Operation<'a> {
    let fh = FileHandle(0);
    let ext = Extensions::default;
    let open_flags = OpenInFlags::empty();
    let named = Name::new(name).unwrap();
    match request.ask {
        Ask::Lookup => Operation::Lookup(ops::Lookup { name: named }),
        Ask::Forget => Operation::Forget(ops::Forget { nlookup: request.other }),
        Ask::Mkdir => {
            Operation::Mkdir(ops::Mkdir { mode: 0o755, umask: 0, name: named, ext: ext() })
        }
        Ask::Create => Operation::Create(ops::Create {
            flags: (libc::O_RDWR | libc::O_EXCL) as u32,
            mode: 0o644,
            umask: 0,
            open_flags,
            name: named,
            ext: ext(),
        }),
        Ask::Symlink => Operation::Symlink(ops::Symlink { name: named, target, ext: ext() }),
        Ask::Tmpfile => {
            let flags = libc::O_RDWR as u32;
            Operation::Tmpfile(ops::Tmpfile {
                flags,
                mode: 0o600,
                umask: 0,
                open_flags,
                ext: ext(),
            })
        }
        Ask::Unlink => Operation::Unlink(ops::Unlink { name: named }),
        Ask::Rmdir => Operation::Rmdir(ops::Rmdir { name: named }),
        Ask::Link => Operation::Link(ops::Link { oldnode: NodeId(request.other), newname: named }),
        Ask::Rename => Operation::Rename2(ops::Rename2 {
            newdir: NodeId(request.other & 0xff_ffff_ffff),
            flags: (request.other >> 40) as u32,
            oldname: named,
            newname: Name::new(other).unwrap(),
        }),
        Ask::Write => Operation::Write(ops::Write {
            fh,
            offset: request.other,
            write_flags: WriteFlags::empty(),
            lock_owner: None,
            flags: 0,
            data,
        }),
        Ask::Truncate => Operation::Setattr(ops::Setattr {
            valid: SetattrValid::empty(),
            fh: None,
            lock_owner: None,
            mode: None,
            uid: None,
            gid: None,
            size: Some(request.other),
            atime: None,
            mtime: None,
            ctime: None,
        }),
        Ask::Append => Operation::CopyFileRange64(ops::CopyFileRange64 {
            fh_in: fh,
            off_in: 0,
            node_out: NodeId(request.node),
            fh_out: fh,
            off_out: request.other,
            len: u64::MAX,
            flags: 0,
        }),
        Ask::SetXattr => Operation::Setxattr(ops::Setxattr {
            flags: libc::XATTR_CREATE as u32,
            setxattr_flags: SetxattrFlags::empty(),
            name: c"user.x",
            value: data,
        }),
        Ask::RemoveXattr => Operation::Removexattr(ops::Removexattr { name: c"user.x" }),
        Ask::Getattr => Operation::Getattr(ops::Getattr { flags: GetattrFlags::empty(), fh: None }),
        Ask::Read => Operation::Read(ops::Read {
            fh,
            offset: 0,
            size: 1 << 20,
            read_flags: ReadFlags::empty(),
            lock_owner: None,
            flags: 0,
        }),
    }
}

pub(crate) fn dispatch(
    mem: &Mem,
    cx: &Context,
    node: NodeId,
    op: &Operation<'_>,
) -> Result<(u64, u64)> {
    let nothing = |()| (0, 0);
    match op {
        Operation::Lookup(op) => mem.lookup(cx, node, op).map(|entry| (entry.node.0, 0)),
        Operation::Forget(op) => {
            mem.forget(node, op.nlookup);
            Ok((0, 0))
        }
        Operation::Mkdir(op) => mem.mkdir(cx, node, op).map(|entry| (entry.node.0, 0)),
        Operation::Create(op) => mem.create(cx, node, op).map(|(entry, _)| (entry.node.0, 0)),
        Operation::Symlink(op) => mem.symlink(cx, node, op).map(|entry| (entry.node.0, 0)),
        Operation::Tmpfile(op) => mem.tmpfile(cx, node, op).map(|(entry, _)| (entry.node.0, 0)),
        Operation::Unlink(op) => mem.unlink(cx, node, op).map(nothing),
        Operation::Rmdir(op) => mem.rmdir(cx, node, op).map(nothing),
        Operation::Link(op) => mem.link(cx, node, op).map(|entry| (entry.node.0, 0)),
        Operation::Rename2(op) => mem.rename(cx, node, op).map(nothing),
        Operation::Write(op) => mem.write(cx, node, op).map(|size| (0, u64::from(size))),
        Operation::Setattr(op) => mem.setattr(cx, node, op).map(|_| (0, 0)),
        Operation::CopyFileRange64(op) => mem.copy_file_range(cx, node, op).map(|size| (0, size)),
        Operation::Setxattr(op) => mem.setxattr(cx, node, op).map(nothing),
        Operation::Removexattr(op) => mem.removexattr(cx, node, op).map(nothing),
        Operation::Getattr(op) => {
            let attr = mem.getattr(cx, node, op)?.attr;
            Ok((u64::from(attr.nlink), attr.size))
        }
        Operation::Read(op) => {
            let mut buf = vec![0; op.size as usize];
            let length = mem.read(cx, node, op, &mut buf)?;
            Ok((0, hash(&buf[..length])))
        }
        other => panic!("{other:?} is not asked"),
    }
}

pub(crate) fn start(world: &World, takeover: bool) -> Pid {
    match clone::share().unwrap() {
        Side::Parent(pid) => pid,
        Side::Child => {
            let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
            world.work(takeover)
        }
    }
}

//! `-t mem` under a worker that is killed again and again, without a mount.
//!
//! The test's own process stands for the kernel and for the supervisor: it puts one request at a
//! time into shared memory, knows from a model what has to come back, and clones the next worker
//! (with a shared fd table, from memory in which nothing was ever served) when it has killed one.
//! A worker finishes the request that the last one has left as a session does.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fusex::Errno;
use fusex::fs::mem::{Mem, MemConfig};
use fusex::fs::{Answer, Context, Filesystem, Recovered, Result, Unfinished};
use fusex::recovery::arena::Arena;
use fusex::recovery::fds::Kind;
use fusex::recovery::journal::{self, Change, EFFECTS, Journal, Phase};
use fusex::recovery::slot::Slots;
use fusex::sys::clone::{self, Side};
use fusex::sys::memory::{Mapping, PAGE};
use fusex::sys::{Fd, file};
use fusex::wire::flags::{
    GetattrFlags, OpenInFlags, ReadFlags, SetattrValid, SetxattrFlags, WriteFlags,
};
use fusex::wire::{Extensions, FileHandle, Name, NodeId, Operation, Unique, ops};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

/// What a request asks, by number: it goes through shared memory.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(u64)]
enum Ask {
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

const ASKS: [Ask; 17] = [
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
struct Request {
    ask: Ask,
    node: u64,
    name: u64,
    other: u64,
    other_name: u64,
}

/// Long enough to make a target that needs a memfd.
const TARGET: usize = 300;
const LIMIT: u64 = 64 << 20;

/// The page between the test and its worker.
#[derive(Clone, Copy)]
struct Line(&'static [AtomicU64]);

impl Line {
    fn new() -> Line {
        let mapping = Mapping::create(c"line", PAGE).unwrap();
        mapping.grow(PAGE).unwrap();
        let words = mapping.words(0, 16).unwrap();
        Line(words)
    }

    fn get(self, word: usize) -> u64 {
        self.0[word].load(Ordering::Acquire)
    }

    fn set(self, word: usize, value: u64) {
        self.0[word].store(value, Ordering::Release);
    }

    fn post(self, request: &Request) {
        let words =
            [request.ask as u64, request.node, request.name, request.other, request.other_name];
        (2..).zip(words).for_each(|(at, word)| self.set(at, word));
        self.set(0, self.get(0) + 1);
    }

    fn request(self) -> Request {
        Request {
            ask: ASKS[self.get(2) as usize],
            node: self.get(3),
            name: self.get(4),
            other: self.get(5),
            other_name: self.get(6),
        }
    }

    fn is_answered(self) -> bool {
        self.get(1) == self.get(0)
    }

    fn result(self) -> Result<(u64, u64)> {
        match self.get(8) {
            0 => Ok((self.get(9), self.get(10))),
            errno => Err(Errno::from_raw(errno as i32)),
        }
    }
}

/// What both sides are made of.
struct World {
    arena: Arena,
    slots: Slots,
    mem: Mem,
    line: Line,
}

fn text(name: u64) -> CString {
    CString::new(format!("n{name}")).unwrap()
}

fn content(seed: u64) -> Vec<u8> {
    (0..100 + seed % 9000).map(|at| (at * 7 + seed) as u8).collect()
}

fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(bytes.len() as u64, |sum, byte| sum.rotate_left(5) ^ u64::from(*byte))
}

impl World {
    fn new() -> World {
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

    fn journal(&self) -> Journal {
        self.slots.journal(0)
    }

    fn cx(&self) -> Context {
        Context { unique: Unique(self.line.get(0) * 2), uid: 0, gid: 0, pid: 1 }
    }

    /// Carries the request out, or asks whether it has happened.
    fn serve(&self, recover: bool) -> Result<(u64, u64)> {
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
    fn work(&self, takeover: bool) -> ! {
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

    fn answer(&self, recover: bool) {
        let (line, result) = (self.line, self.serve(recover));
        let (node, value) = result.unwrap_or_default();
        line.set(8, result.err().map_or(0, |errno| errno as u64));
        line.set(9, node);
        line.set(10, value);
        self.journal().done(&[b"stored"]);
        line.set(1, line.get(0));
    }

    /// What `session::takeover` does.
    fn take_over(&self) {
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

fn operation<'a>(
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

fn dispatch(mem: &Mem, cx: &Context, node: NodeId, op: &Operation<'_>) -> Result<(u64, u64)> {
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

/// The model's nodes, by node id.
#[derive(Clone, Debug, Default)]
struct Thing {
    kind: u32,
    data: Vec<u8>,
    has_xattr: bool,
    nlink: u64,
    lookups: u64,
}

/// The test's side: the model, and whoever serves right now.
struct Client<'a> {
    world: &'a World,
    worker: Pid,
    random: u64,
    things: BTreeMap<u64, Thing>,
    names: BTreeMap<(u64, u64), u64>,
    kills: u64,
    finished_late: u64,
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        let _ = kill(self.worker, Signal::SIGKILL);
        let _ = waitpid(self.worker, None);
    }
}

fn start(world: &World, takeover: bool) -> Pid {
    match clone::share().unwrap() {
        Side::Parent(pid) => pid,
        Side::Child => {
            let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
            world.work(takeover)
        }
    }
}

const DIR: u32 = libc::S_IFDIR;
const FILE: u32 = libc::S_IFREG;
const LINK: u32 = libc::S_IFLNK;

impl<'a> Client<'a> {
    fn new(world: &'a World, seed: u64) -> Client<'a> {
        let worker = start(world, false);
        let root = Thing { kind: DIR, nlink: 2, lookups: 1, ..Thing::default() };
        let things = [(1, root)].into();
        let names = BTreeMap::new();
        Client { world, worker, random: seed, things, names, kills: 0, finished_late: 0 }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ self.random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ mixed >> 29) % below
    }

    /// Asks, kills the worker at some moment or does not, and waits for the answer.
    fn ask(&mut self, request: Request) -> Result<(u64, u64)> {
        let line = self.world.line;
        line.post(&request);
        if self.random(3) == 0 {
            let moment = Instant::now();
            // Most requests take less than the shorter time.
            let longest = [25_000, 150_000][self.random(2) as usize];
            let delay = Duration::from_nanos(self.random(longest));
            while moment.elapsed() < delay && !line.is_answered() {
                std::hint::spin_loop();
            }
            self.kill();
        }
        let began = Instant::now();
        while !line.is_answered() {
            assert!(began.elapsed() < Duration::from_secs(10), "{request:?} is not answered");
            std::hint::spin_loop();
        }
        line.result()
    }

    fn kill(&mut self) {
        kill(self.worker, Signal::SIGKILL).unwrap();
        waitpid(self.worker, None).unwrap();
        self.kills += 1;
        self.finished_late += u64::from(!self.world.line.is_answered());
        self.worker = start(self.world, true);
        // Now and then the successor is killed in the middle of its takeover.
        if self.random(4) == 0 {
            std::thread::sleep(Duration::from_nanos(self.random(400_000)));
            kill(self.worker, Signal::SIGKILL).unwrap();
            waitpid(self.worker, None).unwrap();
            self.worker = start(self.world, true);
        }
    }

    fn expect(&mut self, request: Request, expected: Result<(u64, u64)>) {
        let got = self.ask(request);
        assert_eq!(got, expected, "{request:?} after {} kills", self.kills);
    }

    /// Asks for something that gives out a node.
    fn entry(&mut self, request: Request, expected: Result<Option<u64>>, new: u32) {
        let got = self.ask(request);
        match expected {
            Err(errno) => assert_eq!(got, Err(errno), "{request:?} after {} kills", self.kills),
            Ok(known) => {
                let (node, _) = got.unwrap_or_else(|errno| panic!("{request:?}: {errno}"));
                assert!(known.is_none_or(|known| known == node), "{request:?}: {node}");
                let is_new = known.is_none();
                assert!(!is_new || !self.things.contains_key(&node), "{node} is in use");
                let thing = self.things.entry(node).or_default();
                if is_new {
                    thing.kind = new;
                }
                thing.lookups += 1;
            }
        }
    }

    fn spot(&mut self, dirs: &[u64]) -> (u64, u64) {
        (dirs[self.random(dirs.len() as u64) as usize], self.random(5))
    }

    /// The kernel forgets a node that nothing names any more, or one with a name now and then.
    fn forget(&mut self, node: u64) {
        let thing = self.things.get_mut(&node).unwrap();
        let other = std::mem::take(&mut thing.lookups);
        let gone = thing.nlink == 0;
        if other == 0 {
            return;
        }
        self.expect(Request { ask: Ask::Forget, node, name: 0, other, other_name: 0 }, Ok((0, 0)));
        if gone {
            self.things.remove(&node);
        }
    }

    fn unname(&mut self, place: (u64, u64)) {
        let Some(node) = self.names.remove(&place) else { return };
        self.lose(node);
    }

    fn lose(&mut self, node: u64) {
        let thing = self.things.get_mut(&node).unwrap();
        thing.nlink = if thing.kind == DIR { 0 } else { thing.nlink - 1 };
        if thing.nlink == 0 && thing.lookups == 0 {
            self.things.remove(&node);
        }
    }

    fn make(&mut self, (node, name): (u64, u64)) {
        let (ask, kind) =
            [(Ask::Mkdir, DIR), (Ask::Create, FILE), (Ask::Symlink, LINK)][self.random(3) as usize];
        let there = self.names.contains_key(&(node, name));
        let expected = if there { Err(Errno::EEXIST) } else { Ok(None) };
        let request = Request { ask, node, name, other: 0, other_name: 0 };
        self.entry(request, expected, kind);
        if !there {
            let made = self.world.line.get(9);
            self.names.insert((node, name), made);
            self.things.get_mut(&made).unwrap().nlink = if kind == DIR { 2 } else { 1 };
        }
    }

    fn remove(&mut self, (node, name): (u64, u64), ask: Ask) {
        let kind = self.names.get(&(node, name)).map(|node| self.things[node].kind);
        let expected = match (kind, ask) {
            (None, _) => Err(Errno::ENOENT),
            (Some(DIR), Ask::Unlink) => Err(Errno::EISDIR),
            (Some(FILE | LINK), Ask::Rmdir) => Err(Errno::ENOTDIR),
            _ => Ok((0, 0)),
        };
        self.expect(Request { ask, node, name, other: 0, other_name: 0 }, expected);
        if expected.is_ok() {
            self.unname((node, name));
        }
    }

    fn rename(&mut self, from: (u64, u64), to: (u64, u64)) {
        let flags = [0, libc::RENAME_NOREPLACE, libc::RENAME_EXCHANGE][self.random(3) as usize];
        let (source, target) = (self.names.get(&from).copied(), self.names.get(&to).copied());
        let is_dir = |node: &u64| self.things[node].kind == DIR;
        let expected = match (source, target) {
            (None, _) => Err(Errno::ENOENT),
            (_, None) if flags == libc::RENAME_EXCHANGE => Err(Errno::ENOENT),
            (_, Some(_)) if flags == libc::RENAME_NOREPLACE => Err(Errno::EEXIST),
            (Some(source), Some(target)) if flags == 0 && source != target => {
                match (is_dir(&source), is_dir(&target)) {
                    (true, false) => Err(Errno::ENOTDIR),
                    (false, true) => Err(Errno::EISDIR),
                    _ => Ok((0, 0)),
                }
            }
            _ => Ok((0, 0)),
        };
        let other = to.0 | u64::from(flags) << 40;
        let request =
            Request { ask: Ask::Rename, node: from.0, name: from.1, other, other_name: to.1 };
        self.expect(request, expected);
        let (Ok(_), Some(source)) = (expected, source) else { return };
        match target {
            Some(target) if target == source => {}
            Some(target) if flags == libc::RENAME_EXCHANGE => {
                self.names.insert(from, target);
                self.names.insert(to, source);
            }
            _ => {
                self.unname(to);
                self.names.remove(&from);
                self.names.insert(to, source);
            }
        }
    }

    fn link(&mut self, node: u64, (parent, name): (u64, u64)) {
        let expected = match self.names.contains_key(&(parent, name)) {
            true => Err(Errno::EEXIST),
            false if self.things[&node].kind == DIR => Err(Errno::EPERM),
            false if self.things[&node].nlink == 0 => Err(Errno::ENOENT),
            false => Ok(Some(node)),
        };
        let request = Request { ask: Ask::Link, node: parent, name, other: node, other_name: 0 };
        self.entry(request, expected, 0);
        if expected.is_ok() {
            self.names.insert((parent, name), node);
            self.things.get_mut(&node).unwrap().nlink += 1;
        }
    }

    /// A file that the kernel knows.
    fn file(&mut self) -> Option<u64> {
        let known = |(_, thing): &(&u64, &Thing)| thing.kind == FILE && thing.lookups > 0;
        let files: Vec<u64> = self.things.iter().filter(known).map(|(node, _)| *node).collect();
        if files.is_empty() {
            return None;
        }
        Some(files[self.random(files.len() as u64) as usize])
    }

    fn change_data(&mut self, node: u64) {
        let mut data = self.things[&node].data.clone();
        let size = data.len() as u64;
        match self.random(3) {
            0 => {
                let (offset, seed) = (self.random(30_000), self.random(100_000));
                let new = content(seed);
                let end = offset as usize + new.len();
                data.resize(data.len().max(end), 0);
                data[offset as usize..end].copy_from_slice(&new);
                let request =
                    Request { ask: Ask::Write, node, name: 0, other: offset, other_name: seed };
                self.expect(request, Ok((0, new.len() as u64)));
            }
            1 => {
                let other = self.random(20_000);
                data.resize(other as usize, 0);
                let request = Request { ask: Ask::Truncate, node, name: 0, other, other_name: 0 };
                self.expect(request, Ok((0, 0)));
            }
            _ if size < 200_000 => {
                data.extend_from_within(..);
                let request =
                    Request { ask: Ask::Append, node, name: 0, other: size, other_name: 0 };
                self.expect(request, Ok((0, size)));
            }
            _ => {}
        }
        self.things.get_mut(&node).unwrap().data = data;
    }

    fn change_xattr(&mut self, node: u64) {
        let has = self.things[&node].has_xattr;
        let set = self.random(2) == 0;
        let (ask, failed) =
            if set { (Ask::SetXattr, Errno::EEXIST) } else { (Ask::RemoveXattr, Errno::ENODATA) };
        let expected = if set == has { Err(failed) } else { Ok((0, 0)) };
        let other_name = self.random(10_000);
        self.expect(Request { ask, node, name: 0, other: 0, other_name }, expected);
        self.things.get_mut(&node).unwrap().has_xattr = set;
        if expected.is_err() {
            self.things.get_mut(&node).unwrap().has_xattr = has;
        }
    }

    fn look(&mut self, node: u64) {
        let thing = self.things[&node].clone();
        let mut request = Request { ask: Ask::Getattr, node, name: 0, other: 0, other_name: 0 };
        self.expect(request, Ok((thing.nlink, thing.data.len() as u64)));
        request.ask = Ask::Read;
        self.expect(request, Ok((0, hash(&thing.data))));
    }

    fn step(&mut self, dirs: &[u64]) {
        let (place, to) = (self.spot(dirs), self.spot(dirs));
        let (node, name) = place;
        match self.random(12) {
            0 | 1 => self.make(place),
            2 => self.remove(place, Ask::Unlink),
            3 => self.remove(place, Ask::Rmdir),
            4 | 5 => self.rename(place, to),
            6 => {
                let known = self.names.get(&place).copied();
                let expected = known.map(Some).ok_or(Errno::ENOENT);
                let request = Request { ask: Ask::Lookup, node, name, other: 0, other_name: 0 };
                self.entry(request, expected, 0);
            }
            7 => {
                let request = Request { ask: Ask::Tmpfile, node, name: 0, other: 0, other_name: 0 };
                self.entry(request, Ok(None), FILE);
                let made = self.world.line.get(9);
                self.change_data(made);
                self.look(made);
                self.forget(made);
            }
            kind => {
                let Some(file) = self.file() else { return };
                match kind {
                    8 => self.link(file, place),
                    9 => self.change_data(file),
                    10 => self.change_xattr(file),
                    _ => {
                        self.look(file);
                        self.forget(file);
                    }
                }
            }
        }
    }

    /// Takes everything away again.
    fn clean_up(&mut self) {
        let names: Vec<_> = self.names.iter().map(|(place, node)| (*place, *node)).collect();
        // Those in a directory come before the directory: its node id is the higher one.
        for (place, node) in names.into_iter().rev() {
            let ask = if self.things[&node].kind == DIR { Ask::Rmdir } else { Ask::Unlink };
            self.remove(place, ask);
        }
        let known: Vec<u64> = self.things.keys().copied().filter(|node| *node != 1).collect();
        known.into_iter().for_each(|node| self.forget(node));
    }
}

/// The tests share one fd table with their workers, and a takeover closes what nobody knows.
static ONE: Mutex<()> = Mutex::new(());

#[test]
fn nothing_is_lost_or_done_twice_while_workers_are_killed() {
    let _one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let world = World::new();
    let mut client = Client::new(&world, 20_260_729);
    let request = Request { ask: Ask::Mkdir, node: 1, name: 9, other: 0, other_name: 0 };
    client.entry(request, Ok(None), DIR);
    let dir = world.line.get(9);
    client.names.insert((1, 9), dir);
    client.things.get_mut(&dir).unwrap().nlink = 2;
    let began = Instant::now();
    while client.kills < 1200 && began.elapsed() < Duration::from_secs(40) {
        client.step(&[1, dir]);
    }
    assert!(client.kills >= 100, "only {} kills", client.kills);
    assert!(client.finished_late >= 10, "only {} kills hit a request", client.finished_late);
    client.clean_up();
    // Whatever has no name and no lookup is gone, with what it held.
    client.kill();
    client.look_at_the_root();
    assert_eq!(world.mem.counts(), (1, 0), "nodes are left: a lookup was counted twice");
    let fds = world.arena.fds().counts();
    assert_eq!((fds.of(Kind::Content), fds.of(Kind::Own)), (0, 0));
}

impl Client<'_> {
    /// By an answer the takeover is known to be over.
    fn look_at_the_root(&mut self) {
        let request = Request { ask: Ask::Getattr, node: 1, name: 0, other: 0, other_name: 0 };
        self.expect(request, Ok((2, 4096)));
    }
}

#[test]
fn damaged_bits_do_not_bring_it_down() {
    let _one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for seed in 1..100 {
        let world = World::new();
        let mut random = seed * 7919;
        let mut next = move |below: u64| {
            random = u64::wrapping_mul(random, 6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % below
        };
        let ask = |ask: Ask, node: u64, name: u64, other: u64| {
            world.line.post(&Request { ask, node, name, other, other_name: name });
            world.serve(false)
        };
        let mut nodes = vec![1];
        for name in 0..20 {
            let kind = [Ask::Mkdir, Ask::Create, Ask::Symlink][name as usize % 3];
            nodes.push(ask(kind, 1, name, 0).unwrap().0);
        }
        ask(Ask::Write, nodes[2], 0, 0).unwrap();
        ask(Ask::SetXattr, nodes[2], 0, 0).unwrap();
        // The tables, behind the header, the board and the marks.
        let mapping = Mapping::attach(world.arena.fd(), 32 << 30).unwrap();
        let words = mapping.words(0, mapping.length() / 8).unwrap();
        let used = used(world.arena.fd(), words);
        for _ in 0..30 {
            let word = used[next(used.len() as u64) as usize];
            word.fetch_xor(1 << next(64), Ordering::Relaxed);
        }
        let mem = Mem::new(MemConfig::default(), &world.arena).unwrap();
        mem.takeover(&world.arena.fds().counts());
        let world = World { mem, ..world };
        let ask = |ask: Ask, node: u64, name: u64, other: u64| {
            world.line.post(&Request { ask, node, name, other, other_name: name });
            world.serve(false)
        };
        for (name, node) in (0..).zip(nodes.iter().skip(1)) {
            // Whatever comes, it is an answer.
            let _ = ask(Ask::Getattr, *node, 0, 0);
            let _ = ask(Ask::Lookup, 1, name, 0);
            let _ = ask(Ask::Rename, 1, name, 1 | u64::from(libc::RENAME_EXCHANGE) << 40);
            let _ = ask(Ask::Unlink, 1, name, 0);
            let _ = ask(Ask::Rmdir, 1, name, 0);
            let _ = ask(Ask::Forget, *node, 0, 1);
        }
        for fd in world.arena.fds().iter() {
            world.arena.fds().close(fd);
        }
        world.arena.fd().close();
    }
}

/// The words of the tables that are not zero. Only pages that are there are looked at: a look
/// would make the others.
fn used(fd: Fd, words: &'static [AtomicU64]) -> Vec<&'static AtomicU64> {
    let mut used = Vec::new();
    let mut at = 64 << 10;
    while let Ok(data) = file::lseek(fd, at, libc::SEEK_DATA as u32) {
        at = file::lseek(fd, data, libc::SEEK_HOLE as u32).unwrap();
        // The first word of a table says how many records were ever used: more than there are
        // only makes a takeover slow, and take memory.
        let pages = words[data as usize / 8..at as usize / 8].chunks(PAGE / 8);
        used.extend(pages.flat_map(|page| &page[1..]));
    }
    used.retain(|word| word.load(Ordering::Relaxed) != 0);
    used
}

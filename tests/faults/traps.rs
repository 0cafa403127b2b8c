//! A directory of traps: files whose reads, writes or closes bring the worker down, once or each
//! time, and two that are innocent.
//!
//! What happened so far is kept in the arena, and so outlives the worker: how often a trap has
//! sprung, and how often a file was written, by the request that did it last.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fusex::Errno;
use fusex::fs::{Answer, Context, Filesystem, Recovered, Result, Unfinished};
use fusex::recovery::arena::Arena;
use fusex::recovery::fds::Counts;
use fusex::recovery::table::Table;
use fusex::wire::flags::OpenOutFlags;
use fusex::wire::{Attr, AttrReply, Entry, NodeId, Opened, Operation, ops};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::fault::Fault;

/// A file that is only read and written.
pub(crate) const PLAIN: &str = "plain";
/// A file whose reads wait for as long as [`GATE`] is not there.
pub(crate) const SLOW: &str = "slow";
/// In the place: opens the way for reads of [`SLOW`].
pub(crate) const GATE: &str = "gate";
/// In the place: a read of [`SLOW`] has begun.
pub(crate) const BEGUN: &str = "begun";
/// In the place: workers die before they serve.
pub(crate) const UNBORN: &str = "unborn";
/// In the place: workers die as soon as they serve.
pub(crate) const STILLBORN: &str = "stillborn";

/// Where in a request the trap is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Read,
    /// Before the write has happened.
    Write,
    /// When the write has happened and is not answered.
    Written,
    Release,
}

const PLACES: [At; 4] = [At::Read, At::Write, At::Written, At::Release];

/// A file with a trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trap {
    pub(crate) fault: Fault,
    pub(crate) at: At,
    /// It springs each time, not just once.
    pub(crate) always: bool,
}

impl Trap {
    pub(crate) fn once(fault: Fault, at: At) -> Trap {
        Trap { fault, at, always: false }
    }

    pub(crate) fn always(fault: Fault, at: At) -> Trap {
        Trap { fault, at, always: true }
    }

    pub(crate) fn name(self) -> String {
        let often = if self.always { "always" } else { "once" };
        format!("{:?}-{:?}-{often}", self.fault, self.at)
    }

    fn all() -> impl Iterator<Item = Trap> {
        let places = Fault::ALL.into_iter().flat_map(|fault| PLACES.map(|at| (fault, at)));
        places.flat_map(|(fault, at)| [Trap::once(fault, at), Trap::always(fault, at)])
    }

    /// The node of its file: 1 is the root, [`PLAIN`] and [`SLOW`] come next.
    pub(crate) fn node(self) -> u64 {
        FIRST_TRAP + Trap::all().position(|trap| trap == self).unwrap() as u64
    }
}

const NODE_PLAIN: u64 = 2;
const NODE_SLOW: u64 = 3;
const FIRST_TRAP: u64 = 4;

#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Record {
    /// How often the trap has sprung.
    sprung: u64,
    /// How often the file was written.
    writes: u64,
    /// The request that wrote it last.
    request: u64,
}

/// The file system.
pub(crate) struct Traps {
    names: Vec<String>,
    records: Table<Record>,
    one: Mutex<()>,
    /// Threads of this process that are about to do something.
    started: AtomicU32,
    place: PathBuf,
}

impl Traps {
    pub(crate) fn new(arena: &Arena, place: PathBuf) -> Traps {
        let mut names = vec![PLAIN.to_string(), SLOW.to_string()];
        names.extend(Trap::all().map(Trap::name));
        let capacity = NODE_PLAIN as u32 + names.len() as u32;
        let records = Table::new(arena, "traps", capacity, NODE_PLAIN as u32).unwrap();
        for _ in &names {
            records.insert(&Record::default()).unwrap();
        }
        Traps { names, records, one: Mutex::new(()), started: AtomicU32::new(0), place }
    }

    fn text(&self, node: NodeId) -> Result<String> {
        let name = self.names.get(node.0.wrapping_sub(NODE_PLAIN) as usize);
        let writes = self.records.get(node.0).ok_or(Errno::ESTALE)?.writes;
        Ok(content(name.ok_or(Errno::ESTALE)?, writes))
    }

    fn attr(&self, node: NodeId) -> Result<Attr> {
        if node == NodeId::ROOT {
            return Ok(Attr { ino: 1, mode: libc::S_IFDIR | 0o755, nlink: 2, ..Attr::default() });
        }
        let size = self.text(node)?.len() as u64;
        Ok(Attr { ino: node.0, mode: libc::S_IFREG | 0o644, nlink: 1, size, ..Attr::default() })
    }

    /// Where a request comes by: the trap of the node springs if it is here.
    fn pass(&self, node: NodeId, at: At) {
        let index = node.0.checked_sub(FIRST_TRAP);
        let trap = index.and_then(|index| Trap::all().nth(index as usize));
        let Some(trap) = trap.filter(|trap| trap.at == at) else { return };
        let springs = {
            let _one = self.one.lock().unwrap();
            let spring = |record: &mut Record| {
                record.sprung += 1;
                trap.always || record.sprung == 1
            };
            self.records.update(node.0, spring).unwrap()
        };
        if springs {
            trap.fault.happen();
        }
    }

    fn wait_for_gate(&self) {
        std::fs::write(self.place.join(BEGUN), "").unwrap();
        while !self.place.join(GATE).exists() {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// What a file says after so many writes. As long at all times: it is read in parts.
pub(crate) fn content(name: &str, writes: u64) -> String {
    format!("{name}, written {writes:08} times\n")
}

impl Filesystem for Traps {
    fn takeover(&self, _: &Counts) {
        if self.place.join(UNBORN).exists() {
            std::process::abort();
        }
    }

    fn thread_started(&self) {
        // The first time it is about to take over.
        let serves = self.started.fetch_add(1, Ordering::Relaxed) > 0;
        if serves && self.place.join(STILLBORN).exists() {
            std::process::exit(3);
        }
    }

    fn recover(&self, request: &Unfinished<'_>) -> Recovered {
        let unique = request.cx.unique.base().0;
        let Operation::Write(op) = request.operation else { return Recovered::Again };
        let written = self.records.get(request.node.0).is_some_and(|it| it.request == unique);
        let done = Recovered::Done(Answer::Written(op.data.len() as u32));
        if written { done } else { Recovered::Again }
    }

    fn lookup(&self, _: &Context, _: NodeId, op: &ops::Lookup<'_>) -> Result<Entry> {
        let index = self.names.iter().position(|name| name.as_bytes() == op.name.as_bytes());
        let node = NodeId(index.ok_or(Errno::ENOENT)? as u64 + NODE_PLAIN);
        Ok(Entry { node, attr: self.attr(node)?, ..Entry::default() })
    }

    fn getattr(&self, _: &Context, node: NodeId, _: &ops::Getattr) -> Result<AttrReply> {
        Ok(AttrReply { attr: self.attr(node)?, valid: Duration::ZERO })
    }

    fn open(&self, _: &Context, _: NodeId, _: &ops::Open) -> Result<Opened> {
        // Each read and write is to come here.
        Ok(Opened { open_flags: OpenOutFlags::FOPEN_DIRECT_IO, ..Opened::default() })
    }

    fn read(&self, _: &Context, node: NodeId, op: &ops::Read, buf: &mut [u8]) -> Result<usize> {
        self.pass(node, At::Read);
        if node.0 == NODE_SLOW {
            self.wait_for_gate();
        }
        let text = self.text(node)?;
        let rest = text.as_bytes().get(op.offset as usize..).unwrap_or_default();
        let length = rest.len().min(buf.len());
        buf[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn write(&self, cx: &Context, node: NodeId, op: &ops::Write<'_>) -> Result<u32> {
        self.pass(node, At::Write);
        {
            let _one = self.one.lock().unwrap();
            let add = |record: &mut Record| {
                (record.writes, record.request) = (record.writes + 1, cx.unique.base().0);
            };
            self.records.update(node.0, add).ok_or(Errno::ESTALE)?;
        }
        self.pass(node, At::Written);
        Ok(op.data.len() as u32)
    }

    fn release(&self, node: NodeId, _: &ops::Release) {
        self.pass(node, At::Release);
    }
}

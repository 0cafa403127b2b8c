//! A file system that survives being killed: a directory of a hundred counters.
//!
//! `cargo run --example survives MOUNTPOINT`, then `echo >> MOUNTPOINT/7` (each write adds
//! one) and `cat MOUNTPOINT/7`. Kill the process `fusex-worker` as often as you like: no write
//! is lost or counted twice. `umount MOUNTPOINT` ends it. What it takes:
//!
//! 1. State lives in a [`Table`] of the [`Arena`], which outlives the worker: one plain struct a
//!    counter. A change of a record happens whole or not at all. The lock is private, so a
//!    worker that dies holding it leaves nothing locked.
//! 2. Adding one again would be wrong. So the record also says which request changed it last, in
//!    the same change, and [`Filesystem::recover`] can tell. (The kernel lets nobody else write to
//!    the file meanwhile.)
//! 3. [`Service::run`] clones the workers: memory as it was here in `main`, one table of
//!    descriptors. A new one finishes first what the last one had begun.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use fusex::Errno;
use fusex::fs::{Answer, Context, Filesystem, Recovered, Result, Unfinished};
use fusex::mount::{self, Options};
use fusex::recovery::arena::Arena;
use fusex::recovery::table::Table;
use fusex::session::{Session, SessionConfig};
use fusex::supervise::{self, Service};
use fusex::sys::Fd;
use fusex::wire::flags::OpenOutFlags;
use fusex::wire::{Attr, AttrReply, Entry, NodeId, Opened, Operation, ops};
use zerocopy::{FromBytes, Immutable, IntoBytes};

#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Counter {
    value: u64,
    /// The request that changed it last.
    request: u64,
}

/// How many there are; they are named by their numbers.
const COUNTERS: u64 = 100;
/// The first one's node, and record: 1 is the root.
const FIRST: u64 = 2;

struct Counters(Table<Counter>, Mutex<()>);

impl Counters {
    fn text(&self, node: NodeId) -> Result<String> {
        Ok(format!("{}\n", self.0.get(node.0).ok_or(Errno::ESTALE)?.value))
    }

    fn attr(&self, node: NodeId) -> Result<Attr> {
        if node == NodeId::ROOT {
            return Ok(Attr { ino: 1, mode: libc::S_IFDIR | 0o755, nlink: 2, ..Attr::default() });
        }
        let size = self.text(node)?.len() as u64;
        Ok(Attr { ino: node.0, mode: libc::S_IFREG | 0o644, nlink: 1, size, ..Attr::default() })
    }
}

impl Filesystem for Counters {
    fn recover(&self, request: &Unfinished<'_>) -> Recovered {
        let unique = request.cx.unique.base().0;
        let changed = self.0.get(request.node.0).is_some_and(|counter| counter.request == unique);
        let Operation::Write(op) = request.operation else { return Recovered::Again };
        let written = Recovered::Done(Answer::Written(op.data.len() as u32));
        if changed { written } else { Recovered::Again }
    }

    fn lookup(&self, _: &Context, _: NodeId, op: &ops::Lookup<'_>) -> Result<Entry> {
        let number: Option<u64> =
            std::str::from_utf8(op.name.as_bytes()).ok().and_then(|name| name.parse().ok());
        let node = NodeId(number.filter(|number| *number < COUNTERS).ok_or(Errno::ENOENT)? + FIRST);
        Ok(Entry { node, attr: self.attr(node)?, ..Entry::default() })
    }

    fn getattr(&self, _: &Context, node: NodeId, _: &ops::Getattr) -> Result<AttrReply> {
        Ok(AttrReply { attr: self.attr(node)?, valid: Duration::ZERO })
    }

    fn open(&self, _: &Context, _: NodeId, _: &ops::Open) -> Result<Opened> {
        // The kernel does not know what a write does: it keeps nothing.
        Ok(Opened { open_flags: OpenOutFlags::FOPEN_DIRECT_IO, ..Opened::default() })
    }

    fn read(&self, _: &Context, node: NodeId, op: &ops::Read, buf: &mut [u8]) -> Result<usize> {
        let text = self.text(node)?;
        let rest = text.as_bytes().get(op.offset as usize..).unwrap_or_default();
        let length = rest.len().min(buf.len());
        buf[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn write(&self, cx: &Context, node: NodeId, op: &ops::Write<'_>) -> Result<u32> {
        let _one = self.1.lock().unwrap();
        let add = |counter: &mut Counter| {
            (counter.value, counter.request) = (counter.value + 1, cx.unique.base().0);
        };
        self.0.update(node.0, add).ok_or(Errno::ESTALE)?;
        Ok(op.data.len() as u32)
    }
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let path = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: survives MOUNTPOINT")?);
    let mounted = mount::mount(&mount::check::mountpoint(&path)?, "survives", &Options::default())?;
    let arena = Arena::create()?;
    let table = Table::new(&arena, "counters", COUNTERS as u32 + 1, FIRST as u32)?;
    for _ in 0..COUNTERS {
        table.insert(&Counter::default()).ok_or("the table is too small")?;
    }
    let fs = Counters(table, Mutex::new(()));
    let device = Fd::from_owned(mounted.device);
    let session = Session::start_in(&arena, device, fs, SessionConfig::default())?;
    let service = Service::new(session, &arena, Some(path));
    Ok(service.run(&arena, supervise::Config::default(), || {})?)
}

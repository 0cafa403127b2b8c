//! Takeover in the passthrough file system, used as a library, without a mount: what a dead worker
//! has done below is recognised and answered, what it has not done is done, and nothing twice.
//!
//! The dead worker is played in two ways. Where it notes a state before the change, its own
//! code runs with a journal, and its answer is thrown away. Elsewhere the change is made by hand.

mod data;
mod files;
mod names;

use std::ffi::{CStr, CString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use fusex::Errno;
use fusex::fs::passthrough::{Config, Passthrough};
use fusex::fs::{Answer, Context, Filesystem, Recovered, Unfinished};
use fusex::recovery::arena::Arena;
use fusex::recovery::journal::{self, INTENT};
use fusex::recovery::slot::Slots;
use fusex::wire::decode::Operation;
use fusex::wire::flags::{GetattrFlags, OpenInFlags, WriteFlags};
use fusex::wire::{Entry, Extensions, FileHandle, Name, NodeId, Unique, ops};
use nix::time::{ClockId, clock_gettime};
use tempfile::TempDir;

const ROOT: NodeId = NodeId::ROOT;

/// What a dead worker had noted of its request.
type Noted = Option<[u64; INTENT]>;

/// A directory, served.
struct Place {
    dir: TempDir,
    fs: Passthrough,
    slots: Slots,
    cx: Context,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let arena = Arena::create().unwrap();
        let config = Config { passthrough: false, ..Config::default() };
        let fs = Passthrough::new(dir.path(), &config, &arena).unwrap();
        fs.thread_started();
        let slots = Slots::new(&arena, 1, 1 << 16).unwrap();
        let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        Place { dir, fs, slots, cx: Context { unique: Unique(2), uid, gid, pid: 1 } }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn lookup(&self, name: &str) -> NodeId {
        let name = c(name);
        self.fs.lookup(&self.cx, ROOT, &ops::Lookup { name: n(&name) }).unwrap().node
    }

    fn open(&self, node: NodeId, flags: i32) -> FileHandle {
        let op = ops::Open { flags: flags as u32, open_flags: OpenInFlags::empty() };
        self.fs.open(&self.cx, node, &op).unwrap().fh
    }

    /// Runs what the dead worker ran; returns what came of it and what it noted.
    fn with_journal<T>(&self, run: impl FnOnce() -> T) -> (T, Noted) {
        let journal = self.slots.journal(0);
        journal.reset();
        journal.begin();
        journal::attach(Some(journal));
        let result = run();
        journal::attach(None);
        (result, journal.intent())
    }

    /// The same, up to the end.
    #[track_caller]
    fn dies_behind<T>(&self, run: impl FnOnce() -> fusex::fs::Result<T>) -> Noted {
        let (result, noted) = self.with_journal(run);
        assert!(result.is_ok());
        noted
    }

    fn recover(&self, node: NodeId, operation: Operation<'_>, began: Duration) -> Recovered {
        self.recover_noted(node, operation, began, None)
    }

    fn recover_noted(
        &self,
        node: NodeId,
        operation: Operation<'_>,
        began: Duration,
        intent: Noted,
    ) -> Recovered {
        let (cx, operation) = (self.cx, &operation);
        self.fs.recover(&Unfinished { cx, node, operation, began, intent })
    }

    /// The entry is that of this name, and counted once. It is not, afterwards.
    #[track_caller]
    fn is_counted_once(&self, entry: &Entry, name: &str) {
        let lower = fs::symlink_metadata(self.path(name)).unwrap();
        assert_eq!((entry.attr.ino, entry.attr.mode), (lower.ino(), lower.mode()));
        let op = ops::Getattr { flags: GetattrFlags::empty(), fh: None };
        assert!(self.fs.getattr(&self.cx, entry.node, &op).is_ok());
        self.fs.forget(entry.node, 1);
        assert_eq!(self.fs.getattr(&self.cx, entry.node, &op).err(), Some(Errno::ESTALE));
    }
}

/// Now, by the clock that stamps requests.
fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_REALTIME_COARSE).unwrap().into()
}

/// So that what comes is some of the clock's ticks later than what was.
fn ticks() {
    std::thread::sleep(Duration::from_millis(30));
}

fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

fn n(name: &CStr) -> Name<'_> {
    Name::new(name).unwrap()
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[track_caller]
fn again(recovered: &Recovered) {
    assert!(matches!(recovered, Recovered::Again), "{recovered:?}");
}

#[track_caller]
fn done_empty(recovered: &Recovered) {
    assert!(matches!(recovered, Recovered::Done(Answer::Empty)), "{recovered:?}");
}

#[track_caller]
fn failed(recovered: &Recovered, error: Errno) {
    let as_expected = matches!(recovered, Recovered::Done(Answer::Failed(it)) if *it == error);
    assert!(as_expected, "{recovered:?}");
}

#[track_caller]
fn entry(recovered: Recovered) -> Entry {
    let Recovered::Done(Answer::Entry(entry)) = recovered else { panic!("{recovered:?}") };
    entry
}

#[track_caller]
fn written(recovered: &Recovered) -> u32 {
    let Recovered::Done(Answer::Written(size)) = recovered else { panic!("{recovered:?}") };
    *size
}

fn mkdir(name: &CStr) -> ops::Mkdir<'_> {
    ops::Mkdir { mode: 0o755, umask: 0, name: n(name), ext: Extensions::default() }
}

fn mknod(name: &CStr, mode: u32) -> ops::Mknod<'_> {
    ops::Mknod { mode, rdev: 0, umask: 0, name: n(name), ext: Extensions::default() }
}

fn to_target<'a>(name: &'a CStr, target: &'a CStr) -> ops::Symlink<'a> {
    ops::Symlink { name: n(name), target, ext: Extensions::default() }
}

fn create(name: &CStr, flags: i32, mode: u32) -> ops::Create<'_> {
    let (flags, open_flags) = ((flags | libc::O_CREAT) as u32, OpenInFlags::empty());
    ops::Create { flags, mode, umask: 0, open_flags, name: n(name), ext: Extensions::default() }
}

fn rename<'a>(old: &'a CStr, new: &'a CStr, flags: u32) -> ops::Rename2<'a> {
    ops::Rename2 { newdir: ROOT, flags, oldname: n(old), newname: n(new) }
}

fn write(fh: FileHandle, offset: u64, flags: i32, data: &[u8]) -> ops::Write<'_> {
    let (write_flags, flags) = (WriteFlags::empty(), flags as u32);
    ops::Write { fh, offset, write_flags, lock_owner: None, flags, data }
}

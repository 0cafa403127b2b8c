//! Tests of `locks`: owners and circles, the notes in the arena, workers that die in between.

mod deaths;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use super::notes::INLINE;
use super::*;
use crate::recovery::fds::{FIRST, Kind};

const NODE: NodeId = NodeId(1);
const A: LockOwner = LockOwner(10);
const B: LockOwner = LockOwner(20);
const C: LockOwner = LockOwner(30);
/// Where B's lock is: far from all others.
const FAR: u64 = 100_000;
const LAST: u64 = i64::MAX as u64;

thread_local! {
    /// In a thread that is to die: how many steps before, and who is told.
    static DIES: RefCell<Option<(u32, Sender<bool>)>> = const { RefCell::new(None) };
}

/// Does nothing, or never comes back.
pub(super) fn step() {
    DIES.with_borrow_mut(|dies| match dies {
        None => {}
        Some((0, told)) => {
            told.send(true).unwrap();
            loop {
                std::thread::park();
            }
        }
        Some((left, _)) => *left -= 1,
    });
}

/// Does `work` in a worker that dies at step number `at`, unless it is done before: then false.
/// What it held stays as it is: no destructor runs.
fn dies_at(at: u32, work: impl FnOnce() + Send + 'static) -> bool {
    let (told, heard) = channel();
    std::thread::spawn(move || {
        DIES.set(Some((at, told.clone())));
        work();
        told.send(false).unwrap();
    });
    heard.recv().unwrap()
}

/// An arena and a lower file.
struct Place {
    arena: Arena,
    path: PathBuf,
    _dir: tempfile::TempDir,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, b"content").unwrap();
    Place { arena: Arena::create().unwrap(), path, _dir: dir }
}

impl Place {
    /// A worker's locks, with what others have left.
    fn worker(&self) -> Locks {
        let locks = Locks::new(&self.arena).unwrap();
        locks.takeover();
        locks
    }

    fn lock_fds(&self) -> usize {
        self.arena.fds().counts().of(Kind::Lock)
    }

    /// What somebody beside the mount sees of the locks on these bytes.
    fn kernel_has(&self, bytes: std::ops::Range<u64>) -> Vec<u32> {
        let probe = open(&self.path).unwrap();
        let at = |byte| lock::get(probe.get(), WRITE, byte, byte).unwrap();
        bytes.map(|byte| at(byte).map_or(UNLOCK, |(kind, ..)| kind)).collect()
    }
}

/// A lower file. Numbers below [`FIRST`] are not counted.
fn open(path: &Path) -> Result<OpFd> {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let high = nix::fcntl::fcntl(&file, nix::fcntl::F_DUPFD_CLOEXEC(FIRST))?;
    Ok(OpFd::new(Fd::from_number(high)))
}

/// The open file through which all locks of `owner` come.
fn fh(owner: LockOwner) -> FileHandle {
    FileHandle(owner.0 + 1)
}

fn request(owner: LockOwner, start: u64, end: u64, typ: u32) -> ops::Setlk {
    let lk = FileLock { start, end, typ, pid: owner.0 as u32 };
    ops::Setlk { fh: fh(owner), owner, lk, lk_flags: LockFlags::empty() }
}

fn set(locks: &Locks, path: &Path, op: &ops::Setlk) -> Result<()> {
    locks.set(NODE, op, || open(path))
}

/// `count` write locks of two bytes each, four bytes apart.
fn set_many(locks: &Locks, path: &Path, owner: LockOwner, count: usize) {
    for start in (0..count as u64).map(|n| n * 4) {
        set(locks, path, &request(owner, start, start + 1, WRITE)).unwrap();
    }
}

fn write(start: u64, end: u64) -> Range {
    Range { start, end, kind: WRITE }
}

/// A range: start, end, kind.
type Noted = (u64, u64, u32);
/// Who holds what: file, open file, pid, ranges.
type Held = BTreeMap<LockOwner, (i32, FileHandle, u32, Vec<Noted>)>;

fn held(locks: &Locks) -> Held {
    let of = |owner: &Owner| {
        let mut ranges: Vec<_> = owner.ranges.iter().map(|r| (r.start, r.end, r.kind)).collect();
        ranges.sort_unstable();
        (owner.fd.number(), owner.fh, owner.pid, ranges)
    };
    locks.lock().owners(NODE).map(|(owner, state)| (*owner, of(state))).collect()
}

fn with_owners(owners: &[LockOwner]) -> Inner {
    let mut inner = Inner::default();
    for owner in owners {
        let state = Owner {
            record: 0,
            fd: Fd::NONE,
            fh: fh(*owner),
            pid: 1,
            ranges: Vec::new(),
            waiting: 1,
            further: Vec::new(),
            version: 0,
            incomplete: false,
        };
        inner.insert((NODE, *owner), state);
    }
    inner
}

#[test]
fn an_unlock_in_the_middle_leaves_both_ends() {
    let mut inner = with_owners(&[A]);
    let owner = inner.get_mut((NODE, A)).unwrap();
    owner.note(write(0, 99));
    owner.note(Range { start: 40, end: 59, kind: UNLOCK });
    assert_eq!(owner.ranges, [write(0, 39), write(60, 99)]);
    let read = Range { start: 30, end: 70, kind: READ };
    owner.note(read);
    assert_eq!(owner.ranges, [write(0, 29), write(71, 99), read]);
}

#[test]
fn a_circle_of_three_is_seen() {
    let mut inner = with_owners(&[A, B, C]);
    for (owner, byte) in [(A, 0), (B, 1), (C, 2)] {
        inner.get_mut((NODE, owner)).unwrap().note(write(byte, byte));
    }
    inner.wishes.insert(A, (NODE, write(1, 1)));
    assert!(!inner.closes_circle(NODE, B, &write(2, 2)), "B waits for C, who runs");
    inner.wishes.insert(B, (NODE, write(2, 2)));
    assert!(inner.closes_circle(NODE, C, &write(0, 0)));
    assert!(!inner.closes_circle(NODE, C, &write(3, 3)), "nobody holds that");
}

#[test]
fn readers_do_not_hold_readers_up() {
    let mut inner = with_owners(&[A]);
    let read = Range { start: 0, end: 9, kind: READ };
    inner.get_mut((NODE, A)).unwrap().note(read);
    assert!(inner.holders(NODE, B, &read).is_empty());
    assert_eq!(inner.holders(NODE, B, &write(9, 9)), [A]);
}

#[test]
fn a_successor_goes_on_with_the_same_locks() {
    let place = place();
    let first = place.worker();
    set(&first, &place.path, &request(A, 0, 9, WRITE)).unwrap();
    set(&first, &place.path, &request(B, 10, 19, READ)).unwrap();
    set(&first, &place.path, &request(A, 3, 4, UNLOCK)).unwrap();
    let second = place.worker();
    assert_eq!(held(&second), held(&first));
    assert_eq!(held(&second)[&A].3, [(0, 2, WRITE), (5, 9, WRITE)]);
    assert_eq!((held(&second)[&A].1, held(&second)[&A].2), (fh(A), 10));
    // The same file, so no conflict with itself; one with the other owner.
    set(&second, &place.path, &request(A, 0, 5, READ)).unwrap();
    assert_eq!(set(&second, &place.path, &request(A, 10, 10, WRITE)), Err(Errno::EAGAIN));
    second.drop_owner((NODE, A));
    assert_eq!(place.kernel_has(0..12)[9..], [UNLOCK, READ, READ]);
    let third = place.worker();
    assert_eq!(held(&third).into_keys().collect::<Vec<_>>(), [B]);
    third.drop_opened(NODE, fh(A));
    assert_eq!(place.lock_fds(), 1, "not its open file");
    third.drop_opened(NODE, fh(B));
    assert_eq!((place.lock_fds(), third.notes.table.count()), (0, 0));
    assert_eq!(place.kernel_has(0..20), [UNLOCK; 20]);
    assert!(third.lock().nodes.is_empty() && held(&place.worker()).is_empty());
}

#[test]
fn owners_with_many_ranges_have_further_records() {
    let place = place();
    let first = place.worker();
    for (count, records) in [(INLINE, 1), (INLINE + 1, 2), (3 * INLINE, 3), (100, 9)] {
        set_many(&first, &place.path, A, count);
        assert_eq!(first.notes.table.count(), records, "{count} ranges");
        let successor = place.worker();
        assert_eq!(held(&successor), held(&first));
        assert_eq!(held(&successor)[&A].3.len(), count);
    }
    let second = place.worker();
    set(&second, &place.path, &request(A, 8, 1000, UNLOCK)).unwrap();
    assert_eq!((held(&second)[&A].3.len(), second.notes.table.count()), (2, 1));
    assert_eq!(held(&place.worker()), held(&second));
}

#[test]
fn who_only_waits_is_forgotten_and_its_file_closed() {
    let place = place();
    let first = Arc::new(place.worker());
    set(&first, &place.path, &request(A, 0, 0, WRITE)).unwrap();
    let (worker, path) = (first.clone(), place.path.clone());
    let waiting =
        std::thread::spawn(move || worker.wait(NODE, &request(B, 0, 0, WRITE), || open(&path)));
    while first.lock().wishes.is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(place.lock_fds(), 2);
    assert_eq!(first.wait(NODE, &request(A, 0, 0, READ), || open(&place.path)), Ok(()));
    set(&first, &place.path, &request(A, 0, 0, UNLOCK)).unwrap();
    waiting.join().unwrap().unwrap();
    assert_eq!(held(&first)[&B].3, [(0, 0, WRITE)]);
    assert_eq!(held(&place.worker()), held(&first));
    // As a worker leaves it that dies while B waits for a lock.
    let fd = open(&place.path).unwrap();
    let owner = first.notes.create((NODE, C), fd, fh(C), 30).unwrap();
    let index = owner.record as u32;
    assert!(first.holds(index, owner.fd) && !first.holds(index + 1, owner.fd));
    assert!(!first.holds(index, Fd::from_number(owner.fd.number() + 1)));
    assert_eq!(place.lock_fds(), 2);
    assert_eq!(held(&place.worker()), held(&first));
    assert_eq!(place.lock_fds(), 1);
    assert!(!first.holds(index, owner.fd));
}

#[test]
fn a_record_whose_file_is_not_its_own_is_dropped() {
    let place = place();
    let first = place.worker();
    set_many(&first, &place.path, A, 20);
    let fd = Fd::from_number(held(&first)[&A].0);
    // A worker died between closing it and removing the record; the number was used again.
    let fds = place.arena.fds();
    fds.begin(fd, Kind::Handle, 7).unwrap();
    fds.keep(fd, Kind::Handle, 7);
    let second = place.worker();
    assert!(held(&second).is_empty());
    assert_eq!(second.notes.table.count(), 0, "nor its further record");
    assert!(fds.belongs(fd, Kind::Handle, 7));
    fds.close(fd);
}

#[test]
fn a_damaged_record_takes_nothing_else_with_it() {
    let place = place();
    let first = place.worker();
    set_many(&first, &place.path, A, INLINE + 1);
    set(&first, &place.path, &request(B, FAR, FAR, WRITE)).unwrap();
    let record = first.lock().get((NODE, A)).unwrap().record;
    first.notes.table.damage(record);
    let second = place.worker();
    assert_eq!(held(&second).into_keys().collect::<Vec<_>>(), [B]);
    assert_eq!(place.kernel_has(0..3), [WRITE, WRITE, UNLOCK], "nobody else gets what A has");
    set(&second, &place.path, &request(B, FAR, FAR, UNLOCK)).unwrap();
    assert_eq!(place.kernel_has(FAR..FAR + 1), [UNLOCK]);
}

#[test]
fn what_cannot_be_kept_is_no_lock() {
    let place = place();
    let locks = place.worker();
    let op = request(A, 0, 0, WRITE);
    assert_eq!(locks.set(NODE, &op, || Ok(OpFd::new(Fd::NONE))), Err(Errno::ENOLCK));
    assert_eq!(locks.set(NODE, &op, || Err(Errno::EACCES)), Err(Errno::EACCES));
    assert!(held(&locks).is_empty());
    set(&locks, &place.path, &op).unwrap();
    assert_eq!(locks.lock().get((NODE, A)).unwrap().record, 1, "the place was given back");
}

#[test]
fn ranges_that_were_not_noted_keep_the_file_open() {
    let place = place();
    let first = place.worker();
    set_many(&first, &place.path, A, INLINE);
    let record = first.notes.table.get(1).unwrap();
    while first.notes.table.insert(&record).is_some() {}
    assert_eq!(set(&first, &place.path, &request(B, FAR, FAR, WRITE)), Err(Errno::ENOLCK));
    set_many(&first, &place.path, A, INLINE + 2);
    // Only A's own record belongs to a file; the others go.
    let second = place.worker();
    assert_eq!((held(&second)[&A].3.len(), second.notes.table.count()), (INLINE, 1));
    let unlock = |locks: &Locks, start| {
        set(locks, &place.path, &request(A, start, start + 1, UNLOCK)).unwrap();
    };
    (0..INLINE as u64).for_each(|n| unlock(&second, n * 4));
    let rest = [UNLOCK, UNLOCK, WRITE, WRITE, UNLOCK, UNLOCK, WRITE, WRITE];
    assert_eq!(place.kernel_has(46..54), rest);
    let third = place.worker();
    set(&third, &place.path, &request(A, 0, LAST, UNLOCK)).unwrap();
    assert_eq!((place.lock_fds(), third.notes.table.count()), (0, 0));
}

#[test]
fn a_lost_further_record_keeps_the_file_open() {
    let place = place();
    let first = place.worker();
    set_many(&first, &place.path, A, INLINE + 1);
    let further = first.lock().get((NODE, A)).unwrap().further[0];
    assert!(first.notes.table.remove(further));
    let second = place.worker();
    set(&second, &place.path, &request(A, 0, 47, UNLOCK)).unwrap();
    assert_eq!(place.kernel_has(46..50), [UNLOCK, UNLOCK, WRITE, WRITE]);
    second.drop_owner((NODE, A));
    assert_eq!(place.lock_fds(), 0);
}

//! Locks of all three kinds on one file: flock, of open files (OFD) and of the process (POSIX).

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

use super::actor::{Actor, open};
use super::check::{Checked, fine, same, wrong};
use crate::crash::target::{SOON, wait_until};
use crate::sys::{Fd, lock};

/// Bytes that are locked.
const BYTES: usize = 24;
/// The owners of ranges: two open files, and the process.
const OWNERS: usize = 3;
const PROCESS: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Lock {
    None,
    Read,
    Write,
}

impl Lock {
    fn excludes(self, other: Lock) -> bool {
        self != Lock::None && other != Lock::None && (self == Lock::Write || other == Lock::Write)
    }

    fn range(self, start: usize, length: usize) -> libc::flock {
        let l_type = match self {
            Lock::None => libc::F_UNLCK,
            Lock::Read => libc::F_RDLCK,
            Lock::Write => libc::F_WRLCK,
        };
        libc::flock {
            l_type: l_type as i16,
            l_whence: libc::SEEK_SET as i16,
            l_start: start as i64,
            l_len: length as i64,
            l_pid: 0,
        }
    }
}

/// A file that is open twice, and what is locked in it.
pub(crate) struct Locks {
    path: PathBuf,
    files: [File; 2],
    /// By the two open files.
    flocks: [Lock; 2],
    /// By owner and byte.
    ranges: [[Lock; BYTES]; OWNERS],
}

impl Locks {
    /// Makes the file in `fixed`.
    pub(crate) fn start(fixed: &Path) -> Checked<Locks> {
        let path = fixed.join("locked");
        let files = [
            fine(open(&path, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL, 0o600))?,
            fine(open(&path, libc::O_RDWR, 0))?,
        ];
        let (flocks, ranges) = ([Lock::None; 2], [[Lock::None; BYTES]; OWNERS]);
        Ok(Locks { path, files, flocks, ranges })
    }

    /// Who else holds what `owner` cannot have.
    fn in_the_way(&self, owner: usize, lock: Lock, start: usize, end: usize) -> Vec<usize> {
        let others = (0..OWNERS).filter(|other| *other != owner);
        others
            .filter(|other| self.ranges[*other][start..end].iter().any(|it| it.excludes(lock)))
            .collect()
    }

    fn release_all(&mut self) -> Checked {
        for which in 0..2 {
            fine(flock(&self.files[which], libc::LOCK_UN))?;
            fine(fcntl(&self.files[which], FcntlArg::F_OFD_SETLK(&Lock::None.range(0, 0))))?;
        }
        fine(fcntl(&self.files[0], FcntlArg::F_SETLK(&Lock::None.range(0, 0))))?;
        self.flocks = [Lock::None; 2];
        self.ranges = [[Lock::None; BYTES]; OWNERS];
        Ok(())
    }
}

/// flock(2), which is not tried again after EINTR.
fn flock(file: &File, operation: i32) -> nix::Result<()> {
    lock::flock(Fd::from_number(file.as_raw_fd()), operation)
}

impl Actor {
    fn some_lock(&mut self) -> Lock {
        self.random.pick(&[Lock::None, Lock::Read, Lock::Write])
    }

    /// Owner, first byte and the one behind the last.
    fn some_bytes(&mut self) -> (usize, usize, usize) {
        let start = self.random.below(BYTES);
        let length = 1 + self.random.below((BYTES - start).min(9));
        (self.random.below(OWNERS), start, start + length)
    }
}

pub(crate) fn whole(actor: &mut Actor) -> Checked {
    let (which, lock) = (actor.random.below(2), actor.some_lock());
    actor.begin_fixed("locked", format!("flock of open file {which}: {lock:?}"));
    let Some(locks) = &mut actor.locks else { return Ok(()) };
    let operation = match lock {
        Lock::None => libc::LOCK_UN,
        Lock::Read => libc::LOCK_SH,
        Lock::Write => libc::LOCK_EX,
    };
    let got = flock(&locks.files[which], operation | libc::LOCK_NB);
    if locks.flocks[1 - which].excludes(lock) {
        same(got, Err(Errno::EAGAIN))?;
        // Linux: what cannot be changed at once is lost.
        if locks.flocks[which] != lock {
            locks.flocks[which] = Lock::None;
        }
        return Ok(());
    }
    same(got, Ok(()))?;
    locks.flocks[which] = lock;
    Ok(())
}

pub(crate) fn range(actor: &mut Actor) -> Checked {
    let (lock, (owner, start, end)) = (actor.some_lock(), actor.some_bytes());
    actor.begin_fixed("locked", format!("lock of bytes {start} to {end} for {owner}: {lock:?}"));
    let Some(locks) = &mut actor.locks else { return Ok(()) };
    let range = lock.range(start, end - start);
    let got = match owner {
        PROCESS => fcntl(&locks.files[start % 2], FcntlArg::F_SETLK(&range)),
        _ => fcntl(&locks.files[owner], FcntlArg::F_OFD_SETLK(&range)),
    };
    if !locks.in_the_way(owner, lock, start, end).is_empty() {
        return same(got, Err(Errno::EAGAIN));
    }
    same(got.map(drop), Ok(()))?;
    locks.ranges[owner][start..end].fill(lock);
    Ok(())
}

/// Asks who is in the way.
pub(crate) fn test(actor: &mut Actor) -> Checked {
    let (owner, start, end) = actor.some_bytes();
    let lock = actor.random.pick(&[Lock::Read, Lock::Write]);
    actor.begin_fixed("locked", format!("test of bytes {start} to {end} for {owner}: {lock:?}"));
    let Some(locks) = &actor.locks else { return Ok(()) };
    let mut range = lock.range(start, end - start);
    fine(match owner {
        PROCESS => fcntl(&locks.files[0], FcntlArg::F_GETLK(&mut range)),
        _ => fcntl(&locks.files[owner], FcntlArg::F_OFD_GETLK(&mut range)),
    })?;
    let others = locks.in_the_way(owner, lock, start, end);
    if others.is_empty() {
        return same(i32::from(range.l_type), libc::F_UNLCK);
    }
    let told = match i32::from(range.l_type) {
        libc::F_RDLCK => Lock::Read,
        libc::F_WRLCK => Lock::Write,
        _ => Lock::None,
    };
    // Somebody's lock of this kind is just there, and in the way.
    let (first, behind) = (range.l_start as usize, (range.l_start + range.l_len) as usize);
    let fits = told.excludes(lock)
        && (first < end && start < behind && behind <= BYTES)
        && others
            .iter()
            .any(|other| locks.ranges[*other][first..behind].iter().all(|held| *held == told));
    if fits { Ok(()) } else { wrong((told, first, behind), ("a lock of one of", others)) }
}

/// One open file waits for what the other has, and gets it when it is released, not before.
pub(crate) fn hand_over(actor: &mut Actor) -> Checked {
    let (holder, ofd) = (actor.random.below(2), actor.random.once_in(2));
    let hold = Duration::from_micros(actor.random.below(6000) as u64);
    actor.begin_fixed("locked", format!("open file {holder} hands its lock over (OFD: {ofd})"));
    let Some(locks) = &mut actor.locks else { return Ok(()) };
    locks.release_all()?;
    let lock = |which: usize, lock: Lock, wait: bool| -> nix::Result<()> {
        let (file, range) = (&locks.files[which], lock.range(0, 0));
        match (ofd, wait) {
            (true, true) => fcntl(file, FcntlArg::F_OFD_SETLKW(&range)).map(drop),
            (true, false) => fcntl(file, FcntlArg::F_OFD_SETLK(&range)).map(drop),
            (false, _) if lock == Lock::None => flock(file, libc::LOCK_UN),
            (false, true) => flock(file, libc::LOCK_EX),
            (false, false) => flock(file, libc::LOCK_EX | libc::LOCK_NB),
        }
    };
    fine(lock(holder, Lock::Write, false))?;
    let (waiting, released) = (AtomicBool::new(false), AtomicBool::new(false));
    let (unlocked, got) = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            waiting.store(true, Ordering::SeqCst);
            (lock(1 - holder, Lock::Write, true), released.load(Ordering::SeqCst))
        });
        wait_until(SOON, || waiting.load(Ordering::SeqCst));
        std::thread::sleep(hold);
        released.store(true, Ordering::SeqCst);
        (lock(holder, Lock::None, false), waiter.join())
    });
    fine(unlocked)?;
    let Ok(got) = got else { return wrong("the waiting thread panicked", "the lock") };
    same(got, (Ok(()), true))?;
    same(lock(holder, Lock::Write, false), Err(Errno::EAGAIN))?;
    locks.release_all()
}

/// Closes one of the open files: its locks go, and by POSIX all that the process has.
pub(crate) fn open_again(actor: &mut Actor) -> Checked {
    let which = actor.random.below(2);
    actor.begin_fixed(
        "locked",
        format!("open file {which} of the locked one is closed and opened again"),
    );
    let Some(locks) = &mut actor.locks else { return Ok(()) };
    locks.files[which] = fine(open(&locks.path, libc::O_RDWR, 0))?;
    locks.flocks[which] = Lock::None;
    locks.ranges[which] = [Lock::None; BYTES];
    locks.ranges[PROCESS] = [Lock::None; BYTES];
    // The end of an open file is known a moment after close(2) has returned.
    let free = |which: usize| {
        let other = &locks.files[which];
        let all = fcntl(other, FcntlArg::F_OFD_SETLK(&Lock::Write.range(0, 0)));
        all.is_ok() && flock(other, libc::LOCK_EX | libc::LOCK_NB).is_ok()
    };
    // What the other one holds is in its own way no more than before.
    if !wait_until(SOON, || free(1 - which)) {
        return wrong("still locked", "unlocked by the close");
    }
    locks.release_all()
}

//! Locks that somebody waits for while workers end.

use std::fs::File;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;

use crate::common::sys::{flock, let_interrupt, signal_thread};
use crate::common::{DEFAULT, Mode, Mount, SERVED, SINGLE, SOON, wait_until};
use crate::kills::{Killer, Victims};
use crate::need_mounts;

const MODES: &[Mode] = &[DEFAULT, SERVED, SINGLE, &["--no-resend"]];
const KINDS: [Kind; 2] = [Kind::Ofd, Kind::Flock];

#[derive(Clone, Copy, Debug)]
enum Kind {
    Ofd,
    Flock,
}

impl Kind {
    fn lock(self, file: &File, wait: bool) -> nix::Result<()> {
        let all = range(libc::F_WRLCK);
        match self {
            Kind::Ofd if wait => fcntl(file, FcntlArg::F_OFD_SETLKW(&all)).map(drop),
            Kind::Ofd => fcntl(file, FcntlArg::F_OFD_SETLK(&all)).map(drop),
            Kind::Flock => flock(file, libc::LOCK_EX | if wait { 0 } else { libc::LOCK_NB }),
        }
    }

    fn unlock(self, file: &File) -> nix::Result<()> {
        match self {
            Kind::Ofd => fcntl(file, FcntlArg::F_OFD_SETLK(&range(libc::F_UNLCK))).map(drop),
            Kind::Flock => flock(file, libc::LOCK_UN),
        }
    }
}

fn range(kind: i32) -> libc::flock {
    let whence = libc::SEEK_SET as i16;
    libc::flock { l_type: kind as i16, l_whence: whence, l_start: 0, l_len: 0, l_pid: 0 }
}

fn open(path: &Path) -> File {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

/// A thread that waits for a lock: its number, and what its call came to.
fn wait_for_lock(kind: Kind, path: &Path) -> (i32, Receiver<nix::Result<()>>, File) {
    let (file, (number, told), (tell, end)) = (open(path), channel(), channel());
    let own = file.try_clone().unwrap();
    std::thread::spawn(move || {
        let _ = number.send(nix::unistd::gettid().as_raw());
        // Nobody listens any more where the test has failed.
        let _ = tell.send(kind.lock(&own, true));
    });
    (told.recv_timeout(SOON).unwrap(), end, file)
}

fn still_waits(end: &Receiver<nix::Result<()>>) {
    let early = end.recv_timeout(Duration::from_millis(20));
    assert_eq!(early, Err(RecvTimeoutError::Timeout), "it was to wait");
}

fn kill(mount: &Mount, killer: &mut Killer<'_>, times: usize) {
    for _ in 0..times {
        killer.kill().unwrap_or_else(|error| panic!("{error}"));
        // Served meanwhile, by the next one.
        assert!(mount.point().join("file").exists());
    }
}

#[test]
fn is_granted_afterwards() {
    need_mounts!();
    for (mode, kind) in MODES.iter().flat_map(|mode| KINDS.map(|kind| (mode, kind))) {
        let mount = Mount::new(mode);
        let mut killer = Killer::new(&mount, Victims::Worker, &[Signal::SIGKILL]);
        let path = mount.point().join("file");
        let holder = open(&path);
        kind.lock(&holder, false).unwrap();
        let (_, end, waiter) = wait_for_lock(kind, &path);
        still_waits(&end);
        kill(&mount, &mut killer, 5);
        still_waits(&end);
        kind.unlock(&holder).unwrap();
        assert_eq!(end.recv_timeout(SOON), Ok(Ok(())), "{mode:?} {kind:?}");
        // It has the lock, also for later workers, and gives it back.
        kill(&mount, &mut killer, 2);
        assert_eq!(kind.lock(&holder, false), Err(Errno::EAGAIN), "{mode:?} {kind:?}");
        kind.unlock(&waiter).unwrap();
        assert_eq!(kind.lock(&holder, false), Ok(()), "{mode:?} {kind:?}");
    }
}

#[test]
fn is_interrupted_afterwards() {
    need_mounts!();
    let_interrupt(Signal::SIGUSR1);
    for (mode, kind) in MODES.iter().flat_map(|mode| KINDS.map(|kind| (mode, kind))) {
        let mount = Mount::new(mode);
        let mut killer = Killer::new(&mount, Victims::Worker, &[Signal::SIGKILL]);
        let path = mount.point().join("file");
        let holder = open(&path);
        kind.lock(&holder, false).unwrap();
        let (thread, end, _waiter) = wait_for_lock(kind, &path);
        still_waits(&end);
        kill(&mount, &mut killer, 3);
        still_waits(&end);
        signal_thread(std::process::id() as i32, thread, Signal::SIGUSR1).unwrap();
        assert_eq!(end.recv_timeout(SOON), Ok(Err(Errno::EINTR)), "{mode:?} {kind:?}");
        // Nobody gets the lock that nobody waits for any more.
        kind.unlock(&holder).unwrap();
        let other = open(&path);
        assert_eq!(kind.lock(&other, false), Ok(()), "{mode:?} {kind:?}");
    }
}

#[test]
fn is_kept_and_goes_with_its_open_file() {
    need_mounts!();
    for kind in KINDS {
        let mount = Mount::new(DEFAULT);
        let mut killer = Killer::new(&mount, Victims::Worker, &[Signal::SIGKILL]);
        let path = mount.point().join("file");
        let holder = open(&path);
        kind.lock(&holder, false).unwrap();
        kill(&mount, &mut killer, 3);
        let other = open(&path);
        assert_eq!(kind.lock(&other, false), Err(Errno::EAGAIN), "{kind:?}: kept");
        drop(holder);
        // The end of an open file is known a moment after close(2) has returned.
        let free = wait_until(SOON, || kind.lock(&other, false).is_ok());
        assert!(free, "{kind:?}: gone with its open file");
    }
}

//! Locks. Who else would get one is seen with another open file: OFD locks are in the way of
//! POSIX locks and the other way round.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;

use super::{Class, On, Step};
use crate::crash::matrix::scene::{Scene, open};
use crate::sys::{Fd, lock, process};
use crate::wire::Opcode::*;

/// How long a holder keeps its lock, so that somebody comes to wait.
const HOLDS: Duration = Duration::from_millis(30);

fn one(scene: &mut Scene) -> io::Result<()> {
    scene.write("one", b"0123456789")?;
    scene.open("one", OFlag::O_RDWR)
}

/// Two open files; the second one has all bytes locked.
fn held(scene: &mut Scene) -> io::Result<()> {
    one(scene)?;
    scene.open("one", OFlag::O_RDWR)?;
    Ok(lock::set(scene.fd(1), libc::F_WRLCK as u32, 0, u64::MAX, false)?)
}

fn held_by_flock(scene: &mut Scene) -> io::Result<()> {
    one(scene)?;
    scene.open("one", OFlag::O_RDWR)?;
    Ok(lock::flock(scene.fd(1), libc::LOCK_EX)?)
}

fn posix(kind: i32, start: i64, length: i64) -> libc::flock {
    let whence = libc::SEEK_SET as i16;
    libc::flock { l_type: kind as i16, l_whence: whence, l_start: start, l_len: length, l_pid: 0 }
}

/// In a moment somebody does something with a copy of the second file.
fn soon(scene: &mut Scene, act: impl FnOnce(&File) + Send + 'static) {
    let holder = scene.files[1].try_clone();
    scene.helper = Some(std::thread::spawn(move || {
        std::thread::sleep(HOLDS);
        // Without a copy nobody lets go, and the step hangs, which is seen.
        let holder = holder.ok()?;
        act(&holder);
        // Not closed here: POSIX locks of the process go with any close.
        Some(holder)
    }));
}

fn unlock(holder: &File) {
    let fd = Fd::from_number(holder.as_raw_fd());
    // A lock that is not let go of makes the step hang, which is seen.
    let _ = lock::set(fd, libc::F_UNLCK as u32, 0, u64::MAX, false);
}

fn unlock_flock(holder: &File) {
    let _ = lock::flock(Fd::from_number(holder.as_raw_fd()), libc::LOCK_UN);
}

/// What is in the way of another open file, of bytes 0, 3, 6 and of flock.
fn what_is_in_the_way(scene: &mut Scene) {
    let other = match open(&scene.path("one"), OFlag::O_RDWR) {
        Ok(other) => other,
        Err(error) => return scene.say("open", Err::<(), _>(error)),
    };
    let fd = Fd::from_number(other.as_raw_fd());
    for at in [0, 3, 6] {
        let found = lock::get(fd, libc::F_WRLCK as u32, at, at);
        scene.say("in the way", found);
        let found = lock::set(fd, libc::F_RDLCK as u32, at, at, false);
        scene.say("shared", found);
    }
    let found = lock::flock(fd, libc::LOCK_EX | libc::LOCK_NB);
    scene.say("flock", found);
}

pub(super) fn steps() -> Vec<Step> {
    let all = [at_once(), waiting()].concat();
    all.into_iter().map(|step| step.on(On::Directory).look(what_is_in_the_way)).collect()
}

fn at_once() -> Vec<Step> {
    let lock = |name, act| Step::new(name, FUSE_SETLK, Class::Keeps, act).prepared(one);
    vec![
        Step::new("getlk", FUSE_GETLK, Class::Reads, |scene| {
            let found = lock::get(scene.fd(0), libc::F_RDLCK as u32, 2, 4);
            scene.say("getlk", found);
        })
        .prepared(held),
        lock("setlk-posix", |scene| {
            let result = fcntl(&scene.files[0], FcntlArg::F_SETLK(&posix(libc::F_WRLCK, 2, 3)));
            scene.say("setlk", result);
        }),
        lock("setlk-ofd", |scene| {
            let result = lock::set(scene.fd(0), libc::F_RDLCK as u32, 2, 4, false);
            scene.say("setlk", result);
        }),
        lock("setlk-refused", |scene| {
            let result = lock::set(scene.fd(0), libc::F_RDLCK as u32, 2, 4, false);
            scene.say("setlk", result);
        })
        .prepared(held),
        lock("setlk-unlock", |scene| {
            let result = lock::set(scene.fd(1), libc::F_UNLCK as u32, 2, 4, false);
            scene.say("setlk", result);
        })
        .prepared(held),
        lock("flock", |scene| {
            let result = lock::flock(scene.fd(0), libc::LOCK_EX | libc::LOCK_NB);
            scene.say("flock", result);
        }),
        lock("flock-refused", |scene| {
            let result = lock::flock(scene.fd(0), libc::LOCK_SH | libc::LOCK_NB);
            scene.say("flock", result);
        })
        .prepared(held_by_flock),
    ]
}

fn waiting() -> Vec<Step> {
    let wait = |name, act| Step::new(name, FUSE_SETLKW, Class::Waits, act);
    vec![
        Step::new("setlkw", FUSE_SETLKW, Class::Keeps, |scene| {
            let result = lock::set(scene.fd(0), libc::F_WRLCK as u32, 0, 5, true);
            scene.say("setlkw", result);
        })
        .prepared(one),
        wait("setlkw-waits", |scene| {
            soon(scene, unlock);
            let result = lock::set(scene.fd(0), libc::F_WRLCK as u32, 0, 5, true);
            scene.say("setlkw", result);
        })
        .prepared(held),
        wait("setlkw-posix-waits", |scene| {
            soon(scene, unlock);
            let result = fcntl(&scene.files[0], FcntlArg::F_SETLKW(&posix(libc::F_WRLCK, 2, 3)));
            scene.say("setlkw", result);
        })
        .prepared(held),
        wait("flock-waits", |scene| {
            soon(scene, unlock_flock);
            let result = lock::flock(scene.fd(0), libc::LOCK_EX);
            scene.say("flock", result);
        })
        .prepared(held_by_flock),
        Step::new("interrupt", FUSE_INTERRUPT, Class::Tells, |scene| {
            let waits = process::thread_id();
            // A thread that has ended is not interrupted, and says so by what it saw.
            soon(scene, move |_| {
                let _ = process::wake(waits);
            });
            let result = lock::set(scene.fd(0), libc::F_WRLCK as u32, 0, 5, true);
            scene.say("setlkw", result);
        })
        .prepared(held),
    ]
}

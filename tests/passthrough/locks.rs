//! POSIX, OFD and flock locks, between processes.

use std::fs;
use std::path::Path;

use crate::child::Child;
use crate::common::{
    self, DEFAULT, Mode, Mount, SERVED, SINGLE, SOON, WRITEBACK, as_below, wait_until,
};
use crate::need_mounts;

const MODES: &[Mode] = &[DEFAULT, SERVED, WRITEBACK, SINGLE];

/// A file in `dir` and two processes that have it open as 0.
fn two(dir: &Path) -> (Child, Child) {
    let path = dir.join("file");
    fs::write(&path, "content").unwrap();
    (Child::with(&[&path]), Child::with(&[&path]))
}

/// Asks until the answer is `ok`: the end of an open file reaches the server a moment after
/// close(2) has returned.
fn soon_ok(child: &mut Child, line: &str) {
    assert!(wait_until(SOON, || child.ask(line) == "ok"), "{line}: {}", child.ask(line));
}

#[test]
fn posix_locks_conflict_and_name_their_holder() {
    need_mounts!();
    as_below(MODES, |dir| {
        let (mut a, mut b) = two(dir);
        let held = a.ask("posix 0 w 10 20");
        assert_eq!(b.ask("test 0 r 0 0"), format!("ok w 10 20 {}", a.pid()));
        let answers = [
            "posix 0 r 29 1",
            "posix 0 w 0 0",
            "posix 0 w 0 10",
            "posix 0 w 30 0",
            "test 0 w 0 10",
            "test 0 w 30 5",
        ]
        .map(|line| b.ask(line));
        assert_eq!(answers[0], "EAGAIN");
        assert_eq!(a.ask("test 0 w 0 5"), format!("ok w 0 10 {}", b.pid()));
        // Readers share, an upgrade has to be alone, an unlock in the middle leaves two.
        let shared = [a.ask("posix 0 r 10 20"), b.ask("posix 0 r 15 5"), a.ask("posix 0 w 10 20")];
        assert_eq!(shared, ["ok", "ok", "EAGAIN"]);
        let split = [a.ask("posix 0 u 15 5"), b.ask("posix 0 w 15 5"), b.ask("posix 0 w 14 1")];
        assert_eq!(split, ["ok", "ok", "EAGAIN"]);
        (held, answers, b.ask("test 0 w 0 0").replace(&a.pid().to_string(), "A"))
    });
}

#[test]
fn posix_locks_go_with_any_close() {
    need_mounts!();
    as_below(MODES, |dir| {
        let (mut a, mut b) = two(dir);
        assert_eq!(a.ask(&format!("open 1 {}/file", dir.display())), "ok");
        assert_eq!(a.ask("posix 0 w 0 0"), "ok");
        assert_eq!(b.ask("posix 0 w 0 0"), "EAGAIN");
        assert_eq!(a.ask("close 1"), "ok");
        // At once: close(2) returns after the locks are gone.
        assert_eq!(b.ask("posix 0 w 0 0"), "ok");
        assert_eq!(a.ask("posix 0 r 0 1"), "EAGAIN");
    });
}

#[test]
fn ofd_locks_go_with_their_own_close() {
    need_mounts!();
    as_below(MODES, |dir| {
        let (mut a, mut b) = two(dir);
        assert_eq!(a.ask(&format!("open 1 {}/file", dir.display())), "ok");
        assert_eq!(a.ask("ofd 0 w 0 0"), "ok");
        assert_eq!(b.ask("ofd 0 w 0 0"), "EAGAIN");
        assert_eq!(a.ask("ofd 1 r 0 1"), "EAGAIN", "two opens of one process conflict as well");
        assert_eq!(b.ask("posix 0 w 5 1"), "EAGAIN", "and both kinds of locks do");
        assert_eq!(a.ask("close 1"), "ok");
        assert_eq!(b.ask("ofd 0 w 0 0"), "EAGAIN", "another open's close leaves it");
        assert_eq!(a.ask("close 0"), "ok");
        soon_ok(&mut b, "ofd 0 w 0 0");
    });
}

#[test]
fn a_lock_ends_with_its_process() {
    need_mounts!();
    as_below(MODES, |dir| {
        for lock in ["posix 0 w 0 0", "ofd 0 w 0 0", "flock 0 ex"] {
            let (mut a, mut b) = two(dir);
            assert_eq!((a.ask(lock), b.ask(lock)), ("ok".into(), "EAGAIN".into()));
            drop(a);
            soon_ok(&mut b, lock);
        }
    });
}

#[test]
fn flock_does_not_survive_its_close() {
    need_mounts!();
    as_below(MODES, |dir| {
        let (mut a, mut b) = two(dir);
        // `a` opened first, so its file may be what stands behind a passthrough registration.
        assert_eq!(a.ask("flock 0 ex"), "ok");
        assert_eq!(b.ask("flock 0 sh"), "EAGAIN");
        assert_eq!(a.ask("close 0"), "ok");
        soon_ok(&mut b, "flock 0 ex");
        let again = dir.join("file");
        assert_eq!(a.ask(&format!("open 0 {}", again.display())), "ok");
        assert_eq!(a.ask("flock 0 sh"), "EAGAIN");
        assert_eq!([b.ask("flock 0 sh"), a.ask("flock 0 sh")], ["ok", "ok"]);
        assert_eq!(b.ask("flock 0 ex"), "EAGAIN");
        assert_eq!([a.ask("flock 0 un"), b.ask("flock 0 ex")], ["ok", "ok"]);
    });
}

#[test]
fn locks_on_files_open_for_reading_only() {
    need_mounts!();
    as_below(MODES, |dir| {
        let path = dir.join("file");
        fs::write(&path, "").unwrap();
        let mut a = Child::start();
        assert_eq!(a.ask(&format!("read-only 0 {}", path.display())), "ok");
        ["posix 0 r 0 0", "posix 0 w 0 0", "ofd 0 w 0 0", "flock 0 ex"].map(|line| a.ask(line))
    });
}

#[test]
fn locks_meet_those_beside_the_mount() {
    need_mounts!();
    for mode in MODES {
        let mount = Mount::new(mode);
        fs::write(mount.source().join("file"), "").unwrap();
        let mut on = Child::with(&[&mount.point().join("file")]);
        let mut beside = Child::with(&[&mount.source().join("file")]);
        for lock in ["posix 0 w 3 4", "ofd 0 w 3 4", "flock 0 ex"] {
            let unlock = lock.replace(" w ", " u ").replace("ex", "un");
            assert_eq!([on.ask(lock), beside.ask(lock)], ["ok", "EAGAIN"], "{mode:?}");
            assert_eq!([on.ask(&unlock), beside.ask(lock)], ["ok", "ok"], "{mode:?}");
            assert_eq!(on.ask(lock), "EAGAIN");
            if lock != "flock 0 ex" {
                let seen = on.ask("test 0 w 0 0");
                assert!(seen.starts_with("ok w 3 4 "), "{seen}");
            }
            let wait = lock.replacen(' ', "w ", 1);
            on.blocks(&wait);
            assert_eq!(beside.ask(&unlock), "ok");
            assert_eq!(on.answer(), "ok");
            assert_eq!(on.ask(&unlock), "ok");
        }
    }
}

#[test]
fn a_waiting_lock_is_granted() {
    need_mounts!();
    as_below(MODES, |dir| {
        for (lock, wait, unlock) in WAITS {
            let (mut a, mut b) = two(dir);
            assert_eq!(a.ask(lock), "ok");
            b.blocks(wait);
            still_serves(dir);
            assert_eq!(a.ask(unlock), "ok");
            assert_eq!(b.answer(), "ok", "{wait}");
            assert_eq!(a.ask(lock), "EAGAIN", "it has it now");
            // And by the holder's end.
            a.blocks(wait);
            drop(b);
            assert_eq!(a.answer(), "ok", "{wait}");
        }
    });
}

/// How to lock, to wait for it, and to unlock.
const WAITS: [(&str, &str, &str); 3] = [
    ("posix 0 w 0 0", "posixw 0 w 0 0", "posix 0 u 0 0"),
    ("ofd 0 w 0 0", "ofdw 0 w 0 0", "ofd 0 u 0 0"),
    ("flock 0 ex", "flockw 0 ex", "flock 0 un"),
];

/// While somebody waits, others are served.
fn still_serves(dir: &Path) {
    let path = dir.join("meanwhile");
    fs::write(&path, "x").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"x");
    fs::remove_file(&path).unwrap();
}

#[test]
fn a_waiting_lock_is_interrupted() {
    need_mounts!();
    as_below(MODES, |dir| {
        for (lock, wait, unlock) in WAITS {
            let (mut a, mut b) = two(dir);
            assert_eq!(a.ask(lock), "ok");
            for _ in 0..3 {
                b.blocks(wait);
                let start = std::time::Instant::now();
                b.interrupt();
                assert_eq!(b.answer(), "EINTR", "{wait}");
                assert!(start.elapsed().as_secs() < 5, "it took {:?}", start.elapsed());
            }
            still_serves(dir);
            assert_eq!(a.ask(unlock), "ok");
            // Nobody was given the lock that nobody waits for any more.
            assert_eq!(a.ask(lock), "ok");
            assert_eq!(a.ask(unlock), "ok");
            assert_eq!(b.ask(lock), "ok");
        }
    });
}

#[test]
fn a_waiting_process_can_be_killed() {
    need_mounts!();
    for mode in MODES {
        let mount = Mount::new(mode);
        for (lock, wait, unlock) in WAITS {
            let (mut a, mut b) = two(&mount.point());
            assert_eq!(a.ask(lock), "ok");
            b.blocks(wait);
            drop(b);
            let mut c = Child::with(&[&mount.point().join("file")]);
            assert_eq!(a.ask(unlock), "ok");
            soon_ok(&mut c, lock);
        }
    }
}

#[test]
fn many_wait_at_once() {
    need_mounts!();
    for mode in [DEFAULT, SINGLE] {
        let mount = Mount::new(mode);
        let path = mount.point().join("file");
        fs::write(&path, "").unwrap();
        let mut holder = Child::with(&[&path]);
        assert_eq!(holder.ask("posix 0 w 0 0"), "ok");
        let mut waiting: Vec<Child> = (0..20).map(|_| Child::with(&[&path])).collect();
        waiting.iter_mut().for_each(|child| child.blocks("posixw 0 w 0 0"));
        still_serves(&mount.point());
        assert_eq!(holder.ask("posix 0 u 0 0"), "ok");
        // One after the other gets it: each gives it on by its end.
        while !waiting.is_empty() {
            let got = waiting.iter_mut().position(|child| child.has_answer());
            let Some(got) = got else { continue };
            assert_eq!(waiting.remove(got).answer(), "ok");
        }
        drop(holder);
    }
}

#[test]
fn a_circle_of_waiting_processes_is_refused() {
    need_mounts!();
    as_below(MODES, |dir| {
        let (mut a, mut b) = two(dir);
        assert_eq!([a.ask("posix 0 w 0 1"), b.ask("posix 0 w 1 1")], ["ok", "ok"]);
        a.blocks("posixw 0 w 1 1");
        assert_eq!(b.ask("posixw 0 w 0 1"), "EDEADLK");
        assert_eq!(b.ask("posix 0 u 1 1"), "ok");
        assert_eq!(a.answer(), "ok");
    });
}

#[test]
fn a_circle_over_two_files_is_refused() {
    need_mounts!();
    as_below(&[DEFAULT, SINGLE], |dir| {
        let (one, other) = (dir.join("one"), dir.join("other"));
        fs::write(&one, "").unwrap();
        fs::write(&other, "").unwrap();
        let mut a = Child::with(&[&one, &other]);
        let mut b = Child::with(&[&one, &other]);
        assert_eq!([a.ask("posix 0 w 0 0"), b.ask("posix 1 w 0 0")], ["ok", "ok"]);
        a.blocks("posixw 1 w 0 0");
        assert_eq!(b.ask("posixw 0 w 0 0"), "EDEADLK");
        drop(b);
        assert_eq!(a.answer(), "ok");
    });
}

#[test]
fn locks_do_not_outlive_the_mount_of_a_dead_holder() {
    need_mounts!();
    let mount = Mount::new(DEFAULT);
    let source = mount.source().join("file");
    fs::write(&source, "").unwrap();
    let mut a = Child::with(&[&mount.point().join("file")]);
    for lock in ["posix 0 w 0 0", "flock 0 ex"] {
        assert_eq!(a.ask(lock), "ok");
    }
    drop(a);
    let mut beside = Child::with(&[&source]);
    soon_ok(&mut beside, "posix 0 w 0 0");
    soon_ok(&mut beside, "flock 0 ex");
    assert_eq!(common::code(fs::remove_file(mount.point().join("file"))), Ok(()));
}

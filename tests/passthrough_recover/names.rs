//! Names that are made, moved and removed.

use super::*;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown, symlink};

#[test]
fn new_names_are_answered_when_they_are_there() {
    let place = Place::new();
    let (began, name) = (now(), c("it"));
    let path = place.path("it");
    let fifo = libc::S_IFIFO | 0o644;

    fs::create_dir(&path).unwrap();
    let made = entry(place.recover(ROOT, Operation::Mkdir(mkdir(&name)), began));
    place.is_counted_once(&made, "it");
    again(&place.recover(ROOT, Operation::Mknod(mknod(&name, fifo)), began));
    again(&place.recover(ROOT, Operation::Create(create(&name, libc::O_RDWR, 0o644)), began));
    fs::remove_dir(&path).unwrap();

    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
    let made = entry(place.recover(ROOT, Operation::Mknod(mknod(&name, fifo)), began));
    place.is_counted_once(&made, "it");
    again(&place.recover(ROOT, Operation::Mknod(mknod(&name, libc::S_IFREG)), began));
    fs::remove_file(&path).unwrap();

    symlink("some/where", &path).unwrap();
    let op = to_target(&name, c"some/where");
    let made = entry(place.recover(ROOT, Operation::Symlink(op), began));
    place.is_counted_once(&made, "it");
    for other in [c"some/wher", c"some/where/else", c"some/when!"] {
        again(&place.recover(ROOT, Operation::Symlink(to_target(&name, other)), began));
    }
    assert_eq!(place.names(), ["it"]);
}

#[test]
fn a_device_has_its_number() {
    let place = Place::new();
    let (began, name) = (now(), c("null"));
    let op = ops::Mknod { rdev: 0x0103, ..mknod(&name, libc::S_IFCHR | 0o600) };
    if !is_root() || place.fs.mknod(&place.cx, ROOT, &op).is_err() {
        eprintln!("SKIP: devices need CAP_MKNOD");
        return;
    }
    place.fs.forget(place.lookup("null"), 2);
    let made = entry(place.recover(ROOT, Operation::Mknod(op), began));
    assert_eq!(made.attr.rdev, 0x0103);
    place.is_counted_once(&made, "null");
    again(&place.recover(ROOT, Operation::Mknod(ops::Mknod { rdev: 0x0105, ..op }), began));
}

#[test]
fn new_names_are_made_when_they_are_not_there() {
    let place = Place::new();
    let (began, name) = (now(), c("it"));
    again(&place.recover(ROOT, Operation::Mkdir(mkdir(&name)), began));
    again(&place.recover(ROOT, Operation::Mknod(mknod(&name, libc::S_IFIFO)), began));
    again(&place.recover(ROOT, Operation::Symlink(to_target(&name, c"to")), began));
    again(&place.recover(ROOT, Operation::Create(create(&name, libc::O_RDWR, 0o644)), began));
    assert_eq!(place.names(), [""; 0], "asking makes nothing");
    assert!(place.fs.mknod(&place.cx, ROOT, &mknod(&name, libc::S_IFIFO | 0o600)).is_ok());
    assert!(fs::metadata(place.path("it")).unwrap().file_type().is_fifo());
}

#[test]
fn names_from_before_are_somebody_elses() {
    let place = Place::new();
    let (dir, file, link) = (c("dir"), c("file"), c("link"));
    fs::create_dir(place.path("dir")).unwrap();
    fs::write(place.path("file"), "kept").unwrap();
    symlink("to", place.path("link")).unwrap();
    ticks();
    let began = now();
    // Their last change is younger than the request: it is the birth that counts.
    ticks();
    fs::set_permissions(place.path("dir"), PermissionsExt::from_mode(0o700)).unwrap();
    fs::set_permissions(place.path("file"), PermissionsExt::from_mode(0o600)).unwrap();
    again(&place.recover(ROOT, Operation::Mkdir(mkdir(&dir)), began));
    again(&place.recover(ROOT, Operation::Mknod(mknod(&file, libc::S_IFREG)), began));
    again(&place.recover(ROOT, Operation::Symlink(to_target(&link, c"to")), began));
    let op = create(&file, libc::O_RDWR | libc::O_EXCL, 0o600);
    again(&place.recover(ROOT, Operation::Create(op), began));
    // And then it is the error that the first run would have given.
    assert_eq!(place.fs.create(&place.cx, ROOT, &op).err(), Some(Errno::EEXIST));
    assert_eq!(place.fs.mkdir(&place.cx, ROOT, &mkdir(&dir)).err(), Some(Errno::EEXIST));
    assert_eq!(fs::read(place.path("file")).unwrap(), b"kept");
}

#[test]
fn what_somebody_else_made_meanwhile_is_told_by_its_owner() {
    if !is_root() {
        eprintln!("SKIP: acting as another user needs root");
        return;
    }
    let mut place = Place::new();
    place.cx.uid = 1234;
    let (began, name) = (now(), c("it"));
    fs::create_dir(place.path("it")).unwrap();
    let ask = |place: &Place| place.recover(ROOT, Operation::Mkdir(mkdir(&name)), began);
    chown(place.path("it"), Some(4321), None).unwrap();
    again(&ask(&place));
    chown(place.path("it"), Some(1234), None).unwrap();
    place.is_counted_once(&entry(ask(&place)), "it");
    // On a file system without owners everything belongs to one user.
    chown(place.path("it"), Some(77), None).unwrap();
    again(&ask(&place));
    chown(place.dir.path(), Some(77), None).unwrap();
    place.is_counted_once(&entry(ask(&place)), "it");
}

#[test]
fn names_go_once() {
    let place = Place::new();
    let name = c("it");
    let unlink = Operation::Unlink(ops::Unlink { name: n(&name) });
    let rmdir = Operation::Rmdir(ops::Rmdir { name: n(&name) });
    fs::write(place.path("it"), "").unwrap();
    again(&place.recover(ROOT, unlink, now()));
    assert_eq!(place.names(), ["it"]);
    fs::remove_file(place.path("it")).unwrap();
    done_empty(&place.recover(ROOT, unlink, now()));
    fs::create_dir(place.path("it")).unwrap();
    again(&place.recover(ROOT, rmdir, now()));
    assert_eq!(place.names(), ["it"]);
    fs::remove_dir(place.path("it")).unwrap();
    done_empty(&place.recover(ROOT, rmdir, now()));
}

#[test]
fn a_name_moves_once() {
    let place = Place::new();
    let (a, b) = (c("a"), c("b"));
    let plain = ops::Rename { newdir: ROOT, oldname: n(&a), newname: n(&b) };
    for op in [
        Operation::Rename(plain),
        Operation::Rename2(rename(&a, &b, 0)),
        Operation::Rename2(rename(&a, &b, libc::RENAME_NOREPLACE)),
    ] {
        again(&place.recover(ROOT, op, now()));
        fs::write(place.path("a"), "a").unwrap();
        again(&place.recover(ROOT, op, now()));
        fs::write(place.path("b"), "b").unwrap();
        again(&place.recover(ROOT, op, now()));
        fs::rename(place.path("a"), place.path("b")).unwrap();
        done_empty(&place.recover(ROOT, op, now()));
        assert_eq!(fs::read(place.path("b")).unwrap(), b"a");
        fs::remove_file(place.path("b")).unwrap();
    }
    // Two names of one file stay two: there is nothing to recognise, and nothing to spoil.
    fs::write(place.path("a"), "a").unwrap();
    fs::hard_link(place.path("a"), place.path("b")).unwrap();
    again(&place.recover(ROOT, Operation::Rename2(rename(&a, &b, 0)), now()));
    place.fs.rename(&place.cx, ROOT, &rename(&a, &b, 0)).unwrap();
    assert_eq!(place.names(), ["a", "b"]);
}

#[test]
fn names_are_exchanged_once() {
    let place = Place::new();
    let (a, b) = (c("a"), c("b"));
    fs::write(place.path("a"), "a").unwrap();
    fs::write(place.path("b"), "b").unwrap();
    let op = rename(&a, &b, libc::RENAME_EXCHANGE);
    let noted = place.dies_behind(|| place.fs.rename(&place.cx, ROOT, &op));
    assert!(noted.is_some());
    assert_eq!(fs::read(place.path("a")).unwrap(), b"b");
    let ask = |noted| place.recover_noted(ROOT, Operation::Rename2(op), now(), noted);
    done_empty(&ask(noted));
    assert_eq!(fs::read(place.path("a")).unwrap(), b"b", "and not back");
    // As if it had died before.
    place.fs.rename(&place.cx, ROOT, &op).unwrap();
    again(&ask(noted));
    again(&ask(None));
}

#[test]
fn a_whiteout_is_left_once() {
    let place = Place::new();
    let (a, b) = (c("a"), c("b"));
    fs::write(place.path("a"), "a").unwrap();
    let op = rename(&a, &b, libc::RENAME_WHITEOUT);
    if !is_root() || place.fs.rename(&place.cx, ROOT, &op).is_err() {
        eprintln!("SKIP: whiteouts need CAP_MKNOD and a file system that has them");
        return;
    }
    // The whiteout that is there now is moved, and another one left in its place.
    let noted = place.dies_behind(|| place.fs.rename(&place.cx, ROOT, &op));
    let ask = |noted| place.recover_noted(ROOT, Operation::Rename2(op), now(), noted);
    assert!(fs::metadata(place.path("b")).unwrap().file_type().is_char_device());
    done_empty(&ask(noted));
    fs::rename(place.path("b"), place.path("a")).unwrap();
    again(&ask(noted));
    again(&ask(None));
}

#[test]
fn a_link_is_made_once() {
    let place = Place::new();
    let name = c("new");
    fs::write(place.path("old"), "").unwrap();
    let old = place.lookup("old");
    let op = Operation::Link(ops::Link { oldnode: old, newname: n(&name) });
    again(&place.recover(ROOT, op, now()));
    fs::write(place.path("new"), "").unwrap();
    again(&place.recover(ROOT, op, now()));
    fs::remove_file(place.path("new")).unwrap();
    fs::hard_link(place.path("old"), place.path("new")).unwrap();
    let made = entry(place.recover(ROOT, op, now()));
    assert_eq!((made.node, made.attr.nlink), (old, 2));
    // Looked up once, linked once.
    place.fs.forget(old, 1);
    place.is_counted_once(&made, "new");
}

#[test]
fn what_cannot_be_told_is_not_done_twice() {
    let place = Place::new();
    let (long, b) = (c(&"a".repeat(300)), c("b"));
    let noted = Some([0; INTENT]);
    let exchange = Operation::Rename2(rename(&long, &b, libc::RENAME_EXCHANGE));
    failed(&place.recover_noted(ROOT, exchange, now(), noted), Errno::ENAMETOOLONG);
    again(&place.recover(ROOT, exchange, now()));
    let append = Operation::Write(write(FileHandle(99), 0, libc::O_APPEND, b"data"));
    failed(&place.recover_noted(ROOT, append, now(), noted), Errno::EBADF);
    // Harmless: the operation itself says what is wrong.
    again(&place.recover(ROOT, Operation::Unlink(ops::Unlink { name: n(&long) }), now()));
    again(&place.recover(ROOT, Operation::Mkdir(mkdir(&long)), now()));
}

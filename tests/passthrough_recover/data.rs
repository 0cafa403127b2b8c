//! Attributes and data.

use super::*;
use fusex::wire::flags::{SetattrValid, SetxattrFlags};
use fusex::wire::ops::SetTime;
use std::os::unix::fs::FileExt;
use std::path::Path;

fn setxattr<'a>(name: &'a CStr, value: &'a [u8], flags: i32) -> ops::Setxattr<'a> {
    ops::Setxattr { flags: flags as u32, setxattr_flags: SetxattrFlags::empty(), name, value }
}

/// A file `f` without attributes of ours; `None`: the lower file system has no such attributes.
fn with_attributes() -> Option<(Place, NodeId)> {
    let place = Place::new();
    fs::write(place.path("f"), "").unwrap();
    let node = place.lookup("f");
    let probe = place.fs.setxattr(&place.cx, node, &setxattr(c"user.probe", b"", 0));
    if probe.is_err() {
        eprintln!("SKIP: the lower file system has no extended attributes");
    }
    probe.ok().map(|()| (place, node))
}

#[test]
fn an_attribute_is_created_once() {
    let Some((place, node)) = with_attributes() else { return };
    let ask = |op, noted| place.recover_noted(node, Operation::Setxattr(op), now(), noted);
    let create = setxattr(c"user.it", b"value", libc::XATTR_CREATE);
    let noted = place.dies_behind(|| place.fs.setxattr(&place.cx, node, &create));
    done_empty(&ask(create, noted));
    again(&ask(create, None));
    for other in [&b"valu"[..], b"values", b"VALUE", b""] {
        again(&ask(setxattr(c"user.it", other, libc::XATTR_CREATE), noted));
    }
    // There before: the error is the answer, the second time too.
    let (result, existed) = place.with_journal(|| place.fs.setxattr(&place.cx, node, &create));
    assert_eq!(result, Err(Errno::EEXIST));
    again(&ask(create, existed));
    // As if it had died before.
    place.fs.removexattr(&place.cx, node, &ops::Removexattr { name: c"user.it" }).unwrap();
    again(&ask(create, noted));
    // A value without a byte.
    let empty = setxattr(c"user.it", b"", libc::XATTR_CREATE);
    again(&ask(empty, noted));
    let noted = place.dies_behind(|| place.fs.setxattr(&place.cx, node, &empty));
    done_empty(&ask(empty, noted));
}

#[test]
fn an_attribute_is_set_again() {
    let Some((place, node)) = with_attributes() else { return };
    for flags in [0, libc::XATTR_REPLACE] {
        let op = setxattr(c"user.probe", b"other", flags);
        let noted = place.dies_behind(|| place.fs.setxattr(&place.cx, node, &op));
        assert_eq!(noted, None);
        again(&place.recover_noted(node, Operation::Setxattr(op), now(), noted));
    }
}

#[test]
fn an_attribute_is_removed_once() {
    let Some((place, node)) = with_attributes() else { return };
    let remove = ops::Removexattr { name: c"user.probe" };
    let ask = |noted| place.recover_noted(node, Operation::Removexattr(remove), now(), noted);
    let noted = place.dies_behind(|| place.fs.removexattr(&place.cx, node, &remove));
    done_empty(&ask(noted));
    again(&ask(None));
    // Not there before: the error is the answer, the second time too.
    let (result, missing) = place.with_journal(|| place.fs.removexattr(&place.cx, node, &remove));
    assert_eq!(result, Err(Errno::ENODATA));
    again(&ask(missing));
    // As if it had died before.
    place.fs.setxattr(&place.cx, node, &setxattr(c"user.probe", b"", 0)).unwrap();
    again(&ask(noted));
}

#[test]
fn now_is_when_the_request_began() {
    let place = Place::new();
    fs::write(place.path("f"), "").unwrap();
    let node = place.lookup("f");
    let op = ops::Setattr {
        valid: SetattrValid::FATTR_MTIME | SetattrValid::FATTR_MTIME_NOW,
        fh: None,
        lock_owner: None,
        mode: Some(0o640),
        uid: None,
        gid: None,
        size: None,
        atime: None,
        mtime: Some(SetTime::Now),
        ctime: None,
    };
    let began = now() - Duration::from_secs(3600);
    again(&place.recover(node, Operation::Setattr(op), began));
    let noted = place.dies_behind(|| place.fs.setattr(&place.cx, node, &op));
    let time = || fs::metadata(place.path("f")).unwrap().modified().unwrap();
    let expected = std::time::UNIX_EPOCH + began;
    assert_ne!(time(), expected);
    let recovered = place.recover_noted(node, Operation::Setattr(op), began, noted);
    let Recovered::Done(Answer::Attr(reply)) = recovered else { panic!("{recovered:?}") };
    assert_eq!(time(), expected);
    assert_eq!((reply.attr.mtime.secs as u64, reply.attr.mode & 0o777), (began.as_secs(), 0o640));
    // Without such a time nothing is noted, and it is done again.
    let absolute = ops::Setattr { mtime: None, ..op };
    assert_eq!(place.dies_behind(|| place.fs.setattr(&place.cx, node, &absolute)), None);
}

/// An append-only file with four bytes, which nobody can remove while it is one.
struct AppendOnly(PathBuf);

impl AppendOnly {
    fn new(path: PathBuf) -> Option<AppendOnly> {
        fs::write(&path, "0123").unwrap();
        chattr("+a", &path).then_some(AppendOnly(path))
    }
}

impl Drop for AppendOnly {
    fn drop(&mut self) {
        chattr("-a", &self.0);
    }
}

fn chattr(flag: &str, path: &Path) -> bool {
    let done = std::process::Command::new("chattr").arg(flag).arg(path).output();
    done.is_ok_and(|output| output.status.success())
}

#[test]
fn what_is_appended_is_appended_once() {
    let place = Place::new();
    let Some(file) = AppendOnly::new(place.path("log")) else {
        eprintln!("SKIP: chattr +a does not work here");
        return;
    };
    let node = place.lookup("log");
    let flags = libc::O_WRONLY | libc::O_APPEND;
    let op = write(place.open(node, flags), 4, flags, b"456789");
    let text = || fs::read_to_string(&file.0).unwrap();
    let ask = |noted| place.recover_noted(node, Operation::Write(op), now(), noted);

    again(&ask(None));
    let noted = place.dies_behind(|| place.fs.write(&place.cx, node, &op));
    assert_eq!(text(), "0123456789");
    assert_eq!(written(&ask(noted)), 6);
    assert_eq!(text(), "0123456789", "and not twice");
    // Another one: it dies before the call, then in the middle of it.
    let noted = Some([10, 0, 0, 0, 0, 0, 0, 0]);
    again(&ask(noted));
    let appender = fs::OpenOptions::new().append(true).open(&file.0).unwrap();
    appender.write_at(b"45", 0).unwrap();
    assert_eq!(written(&ask(noted)), 6);
    assert_eq!(text(), "0123456789456789");
    assert_eq!(written(&ask(noted)), 6, "asked by the next successor");
    assert_eq!(text(), "0123456789456789");
}

#[test]
fn what_goes_to_the_same_place_is_done_again() {
    let place = Place::new();
    fs::write(place.path("f"), "").unwrap();
    let node = place.lookup("f");
    let fh = place.open(node, libc::O_RDWR);
    for flags in [libc::O_RDWR, libc::O_RDWR | libc::O_APPEND] {
        let op = write(fh, 0, flags, b"data");
        let noted = place.dies_behind(|| place.fs.write(&place.cx, node, &op));
        assert_eq!(noted, None, "the lower file does not append");
        again(&place.recover_noted(node, Operation::Write(op), now(), noted));
    }
    assert_eq!(fs::read(place.path("f")).unwrap(), b"data");
    let op = ops::Fallocate { fh, offset: 0, length: 10, mode: 0 };
    again(&place.recover(node, Operation::Fallocate(op), now()));
    let op = ops::Open { flags: libc::O_RDWR as u32, open_flags: OpenInFlags::empty() };
    again(&place.recover(node, Operation::Open(op), now()));
}

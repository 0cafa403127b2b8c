//! CREATE: the file that a dead worker has made is opened.

use super::*;
use fusex::wire::flags::{ReadFlags, ReleaseFlags};
use fusex::wire::{LockOwner, Opened};
use std::os::unix::fs::{PermissionsExt, chown};

#[track_caller]
fn created(recovered: Recovered) -> (Entry, Opened) {
    let Recovered::Done(Answer::Created(entry, opened)) = recovered else {
        panic!("{recovered:?}")
    };
    (entry, opened)
}

fn read(fh: FileHandle) -> ops::Read {
    let read_flags = ReadFlags::empty();
    ops::Read { fh, offset: 0, size: 4, read_flags, lock_owner: None, flags: 0 }
}

fn release(fh: FileHandle) -> ops::Release {
    ops::Release { fh, flags: 0, release_flags: ReleaseFlags::empty(), lock_owner: LockOwner(0) }
}

#[test]
fn a_file_that_was_made_is_opened_as_was_asked() {
    let place = Place::new();
    let name = c("it");
    for (access, reads, writes) in
        [(libc::O_RDWR, true, true), (libc::O_WRONLY, false, true), (libc::O_RDONLY, true, false)]
    {
        let op = create(&name, access | libc::O_EXCL, 0o644);
        let began = now();
        fs::write(place.path("it"), "").unwrap();
        let (made, opened) = created(place.recover(ROOT, Operation::Create(op), began));
        let (cx, fs, fh) = (&place.cx, &place.fs, opened.fh);
        let write = fs.write(cx, made.node, &write(fh, 0, access, b"data"));
        assert_eq!(write.is_ok(), writes, "{access}");
        assert_eq!(std::fs::read(place.path("it")).unwrap().is_empty(), !writes);
        assert_eq!(fs.read(cx, made.node, &read(fh), &mut [0; 4]).is_ok(), reads, "{access}");
        fs.release(made.node, &release(fh));
        let seek = ops::Lseek { fh, offset: 0, whence: libc::SEEK_END as u32 };
        assert_eq!(fs.lseek(cx, made.node, &seek).err(), Some(Errno::EBADF), "closed");
        assert_eq!(fs.counts().1, 0, "it was the only handle");
        place.is_counted_once(&made, "it");
        std::fs::remove_file(place.path("it")).unwrap();
    }
}

/// The open that makes a file may write it, whatever its mode; no later one may.
#[test]
fn a_file_that_may_not_be_opened_is_made_anew() {
    if is_root() {
        return as_nobody("files::a_file_that_may_not_be_opened_is_made_anew");
    }
    let place = Place::new();
    let (began, name) = (now(), c("it"));
    let op = create(&name, libc::O_RDWR | libc::O_EXCL, 0o444);
    fs::write(place.path("it"), "").unwrap();
    fs::set_permissions(place.path("it"), PermissionsExt::from_mode(0o444)).unwrap();
    again(&place.recover(ROOT, Operation::Create(op), began));
    let (made, opened) = place.fs.create(&place.cx, ROOT, &op).unwrap();
    place.fs.write(&place.cx, made.node, &write(opened.fh, 0, 0, b"data")).unwrap();
    assert_eq!(fs::read(place.path("it")).unwrap(), b"data");
    // One with data in it is known to somebody: it stays.
    failed(&place.recover(ROOT, Operation::Create(op), began), Errno::EACCES);
    assert_eq!(fs::read(place.path("it")).unwrap(), b"data");
}

/// Runs one test of this program once more, as an ordinary user.
fn as_nobody(test: &str) {
    use std::os::unix::process::CommandExt;
    let dir = tempfile::tempdir().unwrap();
    chown(dir.path(), Some(65534), Some(65534)).unwrap();
    let program = dir.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut command = std::process::Command::new(program);
    command.args([test, "--exact", "--nocapture"]).env("TMPDIR", dir.path());
    let output = command.uid(65534).gid(65534).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
}

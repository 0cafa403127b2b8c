//! Bits of the arena that flip under a mount at work: what they hit is lost and says so, the
//! rest goes on, and no process comes to harm by them.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::mpsc::channel;

use fusex::crash::workload::Random;
use nix::errno::Errno;

use crate::arena::LiveArena;
use crate::common::{Mode, Mount, SOON, code, errno};
use crate::kept::{kill_worker, new_file};
use crate::line::{nothing_left, number, status, stop};
use crate::need_mounts;

/// Each fstat(2) asks the server.
const ASKED: Mode = &["-o", "nopassthrough,attr_timeout=0"];

/// A hold on an inode, which the kernel does not forget then, that opens nothing.
pub(crate) fn hold(path: &Path) -> File {
    OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path).unwrap()
}

/// The supervisor is the one that it was, nobody has panicked, and the mount can be stopped.
pub(crate) fn ends_well(mount: &Mount, supervisor: u64) {
    let point = mount.point();
    let status = status(&point);
    assert_eq!(number(&status, "supervisor_pid"), supervisor, "{}", mount.log());
    assert_eq!(number(&status, "supervisor_deaths"), 0);
    stop(mount);
    nothing_left(mount.place());
    assert!(!mount.log().contains("panicked"), "{}", mount.log());
}

pub(crate) fn supervisor(mount: &Mount) -> u64 {
    number(&status(&mount.point()), "supervisor_pid")
}

fn damaged(mount: &Mount) -> u64 {
    number(&status(&mount.point()), "damaged_records")
}

#[test]
fn a_damaged_inode_is_stale_and_the_rest_goes_on() {
    need_mounts!();
    let mount = Mount::new(ASKED);
    let (hurt, whole) = (mount.point().join("hurt"), mount.point().join("whole"));
    let file = new_file(&whole);
    file.write_all_at(b"whole", 0).unwrap();
    fs::write(&hurt, "hurt").unwrap();
    let (held, other) = (hold(&hurt), hold(&whole));
    let (ino, supervisor) = (held.metadata().unwrap().ino(), supervisor(&mount));
    assert_eq!(damaged(&mount), 0);
    let arena = LiveArena::of(&mount);
    arena.damage("nodes", arena.node(ino));
    let look = |when: &str| {
        assert_eq!(code(held.metadata()), Err(Errno::ESTALE), "{when}");
        assert_eq!(other.metadata().unwrap().len(), 5, "{when}");
        let mut seen = [0; 5];
        file.read_exact_at(&mut seen, 0).unwrap();
        assert_eq!(&seen, b"whole", "{when}");
        fs::write(mount.point().join(when), when).unwrap();
        assert_eq!(fs::read(mount.point().join(when)).unwrap(), when.as_bytes());
    };
    look("before");
    assert_ne!(damaged(&mount), 0, "it is counted");
    kill_worker(&mount);
    look("after");
    // By its name it is looked up anew, and is another node.
    assert_eq!(fs::read(&hurt).unwrap(), b"hurt");
    drop((held, other, file));
    ends_well(&mount, supervisor);
}

#[test]
fn a_damaged_open_file_is_lost_and_the_rest_goes_on() {
    need_mounts!();
    let mount = Mount::new(ASKED);
    let hurt = new_file(&mount.point().join("hurt"));
    let whole = new_file(&mount.point().join("whole"));
    let supervisor = supervisor(&mount);
    // The first record is the first open file's.
    LiveArena::of(&mount).damage("handles", 1);
    for data in [b"before", b"after "] {
        assert_eq!(hurt.write_at(data, 0).map_err(errno), Err(Errno::EBADF));
        whole.write_all_at(data, 0).unwrap();
        assert_eq!(fs::read(mount.source().join("whole")).unwrap(), data);
        kill_worker(&mount);
    }
    assert_ne!(damaged(&mount), 0);
    drop((hurt, whole));
    ends_well(&mount, supervisor);
}

#[test]
fn a_damaged_root_harms_no_supervisor() {
    need_mounts!();
    let mount = Mount::new(ASKED);
    let supervisor = supervisor(&mount);
    let root = hold(&mount.point());
    LiveArena::of(&mount).damage("nodes", 1);
    for _ in 0..2 {
        assert_eq!(code(root.metadata()), Err(Errno::ESTALE));
        assert_eq!(code(fs::read_dir(mount.point())), Err(Errno::ESTALE));
        assert_eq!(code(fs::write(mount.point().join("file"), "")), Err(Errno::ESTALE));
        let generation = number(&status(&mount.point()), "generation");
        crate::kills::Killer::new(
            &mount,
            crate::kills::Victims::Worker,
            &[nix::sys::signal::Signal::SIGKILL],
        )
        .kill()
        .unwrap();
        crate::line::until(&mount.point(), "another worker", |it| {
            number(it, "generation") > generation
        });
    }
    drop(root);
    ends_well(&mount, supervisor);
}

/// Uses what may be damaged: whatever comes of each call, it returns.
fn use_all(dir: &Path, files: &[File]) {
    for (number, file) in files.iter().enumerate() {
        let path = dir.join(format!("file-{number}"));
        let mut bytes = [0; 100];
        // Any error may come of damage.
        let _ = (file.read_at(&mut bytes, 0), file.write_at(b"x", 7), file.metadata());
        let _ = (fs::metadata(&path), fs::read(&path), fs::rename(&path, dir.join("other")));
        let _ = fs::rename(dir.join("other"), &path);
    }
    let _ = fs::read_dir(dir).map(|entries| entries.count());
}

/// Runs `body` in a thread, which has to come to its end.
pub(crate) fn ends<T: Send + 'static>(what: &str, body: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, result) = channel();
    std::thread::spawn(move || sender.send(body()));
    result.recv_timeout(SOON).unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// Where bits flip, but for the first units: a table's own words, and the root, without which
/// there is no rest.
const REGIONS: [(&str, u64); 10] = [
    ("nodes", 2),
    ("node heads", 0),
    ("node links", 0),
    ("node counts", 0),
    ("handles", 2),
    ("mounts", 2),
    ("locks", 1),
    ("session", 1),
    ("parked", 1),
    ("early", 0),
];

/// Bits anywhere in the tables, with deaths between them and without.
fn flip_anywhere(deaths: bool, seed: u64) {
    let mount = Mount::new(ASKED);
    let (supervisor, point) = (supervisor(&mount), mount.point());
    let mut random = Random::new(crate::common::seed(seed));
    let arena = LiveArena::of(&mount);
    for round in 0..5 {
        let dir = point.join(format!("dir-{round}"));
        fs::create_dir(&dir).unwrap();
        let files: Vec<File> =
            (0..20).map(|number| new_file(&dir.join(format!("file-{number}")))).collect();
        for (name, skipped) in REGIONS {
            arena.damage_anywhere(arena.region(name), skipped, 20, &mut random);
        }
        arena.damage_anywhere(arena.marks(), 64, 20, &mut random);
        if deaths {
            kill_worker(&mount);
        }
        ends("calls on what is damaged", move || use_all(&dir, &files));
        let new = point.join(format!("new-{round}"));
        ends("a new file", move || {
            fs::write(&new, "new").unwrap();
            assert_eq!(fs::read(&new).unwrap(), b"new");
        });
    }
    assert_ne!(damaged(&mount), 0);
    ends_well(&mount, supervisor);
}

#[test]
fn bits_anywhere_and_deaths() {
    need_mounts!();
    flip_anywhere(true, 5);
}

#[test]
fn bits_anywhere_and_no_death() {
    need_mounts!();
    flip_anywhere(false, 6);
}

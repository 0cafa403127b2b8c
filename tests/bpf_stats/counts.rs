//! Counts, errors and bytes: to the last request, on each server.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;

use fusex::wire::opcode::Opcode;
use nix::sys::statvfs::statvfs;

use crate::common::sys::{get_xattr, list_xattrs_into, set_xattr};
use crate::common::{ALWAYS, Mount, Place, code};
use crate::served::Served;
use crate::servers::{TRUSTED, UNTRUSTED, bindfs, mergerfs, passthrough_ll, sshfs};
use crate::watch::{Count, Counts, OFTEN, Watch};
use crate::{need, need_counts};

/// Files that are there, and names that are not.
const FILES: usize = 37;
const ABSENT: usize = 23;
/// Of the file that is read, and of the one that is written.
const READ: usize = 300_000;
const WRITTEN: usize = 100_000;

fn prepare(source: &Path) {
    for number in 0..FILES {
        fs::write(source.join(format!("file-{number}")), "").unwrap();
    }
    fs::write(source.join("data"), vec![7; READ]).unwrap();
    fs::create_dir(source.join("full")).unwrap();
    fs::write(source.join("full/file"), "x").unwrap();
    symlink("where it leads", source.join("link")).unwrap();
}

fn look_up(point: &Path) {
    for number in 0..FILES {
        assert!(point.join(format!("file-{number}")).exists());
    }
    for number in 0..ABSENT {
        assert!(!point.join(format!("absent-{number}")).exists());
    }
}

/// Calls of all kinds; what they come to is the server's affair.
fn everything(point: &Path) {
    look_up(point);
    assert_eq!(fs::read(point.join("data")).unwrap().len(), READ);
    fs::write(point.join("written"), vec![8; WRITTEN]).unwrap();
    let file = File::options().write(true).open(point.join("written")).unwrap();
    file.write_all_at(&[9; 11], 5).unwrap();
    file.sync_all().unwrap();
    file.set_len(17).unwrap();
    drop(file);
    fs::create_dir(point.join("dir")).unwrap();
    fs::rename(point.join("written"), point.join("dir/renamed")).unwrap();
    fs::hard_link(point.join("dir/renamed"), point.join("dir/linked")).unwrap();
    fs::remove_file(point.join("dir/renamed")).unwrap();
    assert!(code(fs::remove_dir(point.join("dir"))).is_err());
    fs::remove_file(point.join("dir/linked")).unwrap();
    fs::remove_dir(point.join("dir")).unwrap();
    assert!(code(fs::remove_dir(point.join("full"))).is_err());
    symlink("elsewhere", point.join("new link")).unwrap();
    assert_eq!(fs::read_link(point.join("link")).unwrap().as_os_str().len(), 14);
    assert_eq!(fs::read_dir(point).unwrap().count(), FILES + 4);
    let (file, there, absent) = (point.join("file-0"), c"trusted.there", c"trusted.absent");
    set_xattr(&file, there, b"twenty-one bytes long", 0).unwrap();
    for room in [100, 0] {
        assert_eq!(get_xattr(&file, there, room).unwrap().0, 21);
    }
    assert!(get_xattr(&file, absent, 100).is_err());
    list_xattrs_into(&file, 100).unwrap();
    list_xattrs_into(&file, 0).unwrap();
    fs::set_permissions(&file, fs::metadata(point).unwrap().permissions()).unwrap();
    statvfs(point).unwrap();
}

/// What the server says that it was asked is what is counted: of all, by errno and in bytes.
fn agrees(served: &Served) {
    prepare(&served.source());
    let known = served.said();
    let mut watch = Watch::start(OFTEN);
    let first = watch.reports.len();
    everything(&served.point());
    let mut expected = served.said().behind(&known).counts();
    // The server does not say how long a name is.
    expected.get_mut(&(Opcode::FUSE_SETXATTR as u32)).unwrap().bytes = 21;
    let of = |opcode: Opcode| &expected[&(opcode as u32)];
    assert!(expected.len() >= 20, "{expected:?}");
    assert!(of(Opcode::FUSE_LOOKUP).count >= (FILES + ABSENT) as u64, "{expected:?}");
    assert!(of(Opcode::FUSE_LOOKUP).errors["ENOENT"] >= ABSENT as u64, "{expected:?}");
    assert_eq!(of(Opcode::FUSE_RMDIR).errors["ENOTEMPTY"], 2);
    assert_eq!(of(Opcode::FUSE_READ).bytes, READ as u64);
    assert_eq!(of(Opcode::FUSE_WRITE).bytes, (WRITTEN + 11) as u64);
    watch.agrees(served.connection(), first, &expected);
}

#[test]
fn bindfs_to_the_last_request() {
    need_counts!();
    agrees(&need!(bindfs(TRUSTED)));
    agrees(&need!(bindfs(UNTRUSTED)));
}

#[test]
fn the_libfuse_example_to_the_last_request() {
    need_counts!();
    agrees(&need!(passthrough_ll()));
}

/// How a server says that a name is not there: with an error, or with an entry without a node.
enum Absent {
    Error,
    Entry,
}

/// Counts of a known workload, with a server that does not say what it is asked.
fn counts_what_was_done(source: &Path, point: &Path, connection: u64, absent: Absent) {
    prepare(source);
    let mut watch = Watch::start(OFTEN);
    let first = watch.reports.len();
    look_up(point);
    let mut data = Vec::new();
    File::open(point.join("data")).unwrap().read_to_end(&mut data).unwrap();
    assert_eq!(data.len(), READ);
    let file = File::create_new(point.join("written")).unwrap();
    file.write_all_at(&[8; WRITTEN], 0).unwrap();
    drop(file);
    fs::create_dir(point.join("dir")).unwrap();
    fs::remove_dir(point.join("dir")).unwrap();
    fs::remove_file(point.join("written")).unwrap();
    assert!(fs::remove_dir(point.join("full")).is_err());

    // Looked up: all names, of which the absent ones, 'written' and 'dir' are not there. One of
    // 'data' and one of 'full'.
    let looked_up = (FILES + ABSENT + 4) as u64;
    let enoent = match absent {
        Absent::Error => [("ENOENT".to_string(), ABSENT as u64 + 2)].into(),
        Absent::Entry => BTreeMap::new(),
    };
    let not_empty = watch_until_known(&mut watch, connection, first);
    let counts = watch.counts(connection, first);
    let of = |opcode: Opcode| counts.get(&(opcode as u32)).cloned().unwrap_or_default();
    let lookups = of(Opcode::FUSE_LOOKUP);
    assert_eq!((lookups.count, &lookups.errors), (looked_up, &enoent));
    assert_eq!(of(Opcode::FUSE_READ).bytes, READ as u64);
    assert_eq!(of(Opcode::FUSE_WRITE).bytes, WRITTEN as u64);
    let one = Count { count: 1, ..Count::default() };
    for opcode in [Opcode::FUSE_CREATE, Opcode::FUSE_MKDIR, Opcode::FUSE_UNLINK] {
        assert_eq!(of(opcode), one, "{opcode:?}");
    }
    assert_eq!(not_empty, 1);
    assert_eq!(of(Opcode::FUSE_RMDIR).count, 2);
    watch.lost_nothing();
}

/// Reads reports until the last request of the workload, and two more; how many RMDIR failed.
fn watch_until_known(watch: &mut Watch, connection: u64, first: usize) -> u64 {
    let failed = |counts: &Counts| {
        let removals = counts.get(&(Opcode::FUSE_RMDIR as u32));
        removals.map_or(0, |removals| removals.errors.values().sum::<u64>())
    };
    for _ in 0..20 {
        watch.report();
        if failed(&watch.counts(connection, first)) > 0 {
            break;
        }
    }
    watch.report();
    watch.report();
    failed(&watch.counts(connection, first))
}

#[test]
fn mergerfs_counts() {
    need_counts!();
    let served = need!(mergerfs());
    counts_what_was_done(&served.source(), &served.point(), served.connection(), Absent::Entry);
}

#[test]
fn sshfs_counts() {
    need_counts!();
    let served = need!(sshfs());
    counts_what_was_done(&served.source(), &served.point(), served.connection(), Absent::Error);
}

#[test]
fn our_own_counts() {
    need_counts!();
    for supervised in [&[][..], &["--no-supervise"]] {
        let mount = Mount::at(Place::new(), &[ALWAYS, supervised].concat(), None);
        let connection = mount.connection().into();
        counts_what_was_done(&mount.source(), &mount.point(), connection, Absent::Entry);
    }
}

#[test]
fn two_connections_are_told_apart() {
    need_counts!();
    let [one, other] = [need!(bindfs(TRUSTED)), need!(bindfs(TRUSTED))];
    let known = [one.said(), other.said()];
    let mut watch = Watch::start(OFTEN);
    let first = watch.reports.len();
    for turn in 0..30 {
        assert!(!one.point().join(format!("absent-{turn}")).exists());
        if turn % 3 == 0 {
            assert!(!other.point().join(format!("absent-{turn}")).exists());
        }
    }
    let expected = [one.said().behind(&known[0]).counts(), other.said().behind(&known[1]).counts()];
    let lookups = expected.each_ref().map(|counts| counts[&(Opcode::FUSE_LOOKUP as u32)].count);
    assert_eq!(lookups, [30, 10]);
    watch.agrees(one.connection(), first, &expected[0]);
    watch.agrees(other.connection(), first, &expected[1]);
    // Each has its own place and type.
    let last = watch.reports.last().unwrap();
    for served in [&one, &other] {
        let found = crate::watch::find(last, served.connection()).unwrap();
        assert_eq!(found["mount_point"].as_str(), served.point().to_str());
        assert_eq!(found["server_pid"], served.pid());
    }
}

#[test]
fn one_mount_alone() {
    need_counts!();
    let [one, other] = [need!(bindfs(TRUSTED)), need!(bindfs(TRUSTED))];
    let mut watch = Watch::start(&[OFTEN, &[one.point().to_str().unwrap()]].concat());
    let first = watch.reports.len();
    for served in [&one, &other] {
        assert!(!served.point().join("absent").exists());
    }
    let known = [(
        Opcode::FUSE_LOOKUP as u32,
        Count { count: 1, errors: [("ENOENT".to_string(), 1)].into(), bytes: 0 },
    )];
    watch.agrees(one.connection(), first, &known.into());
    for report in &watch.reports {
        assert_eq!(report["connections"].as_array().unwrap().len(), 1, "{report}");
    }
}

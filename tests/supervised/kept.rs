//! What callers have open, and what was agreed on, across one death of the worker.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use fusex::crash::workload::Random;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use nix::sys::statvfs::statvfs;

use crate::common::sys::{Map, Stream};
use crate::common::{DEFAULT, Mode, Mount, NEVER, Place, SERVED, sum};
use crate::kills::{Killer, Victims, supervisor};
use crate::line::{number, status};
use crate::need_mounts;

const MODES: [Mode; 2] = [DEFAULT, SERVED];
const MEBIBYTE: usize = 1 << 20;

/// One death of the worker, which the status has to count.
pub(crate) fn kill_worker(mount: &Mount) {
    let before = number(&status(&mount.point()), "generation");
    let mut killer = Killer::new(mount, Victims::Worker, &[Signal::SIGKILL]);
    killer.kill().unwrap_or_else(|error| panic!("{error}"));
    fs::metadata(mount.point()).unwrap();
    crate::line::until(&mount.point(), "the next worker", |it| number(it, "generation") > before);
}

pub(crate) fn new_file(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).create_new(true).open(path).unwrap()
}

#[test]
fn a_directory_is_read_on_from_where_it_was() {
    need_mounts!();
    for mode in [DEFAULT, NEVER] {
        let mount = Mount::new(mode);
        let names: BTreeSet<String> =
            (0..600).map(|n| format!("{n:03}-{}", "x".repeat(40))).collect();
        names.iter().for_each(|name| fs::write(mount.source().join(name), "").unwrap());
        let mut stream = Stream::open(&mount.point()).unwrap();
        let take = |stream: &mut Stream, count: usize| -> Vec<_> {
            (0..count).map(|_| stream.entry().unwrap().expect("more").0).collect()
        };
        let mut listed = take(&mut stream, 100);
        let position = stream.tell();
        listed.extend(take(&mut stream, 100));
        kill_worker(&mount);
        listed.extend(stream.rest().unwrap());
        let seen: BTreeSet<_> = listed.iter().map(|name| name.to_str().unwrap().into()).collect();
        assert_eq!((listed.len(), seen), (600, names), "{mode:?}");
        stream.seek(position);
        assert_eq!(stream.rest().unwrap(), listed[100..], "{mode:?}: a position of before");
    }
}

#[test]
fn a_file_without_a_name_keeps_its_data() {
    need_mounts!();
    for mode in MODES {
        let mount = Mount::new(mode);
        let path = mount.point().join("file");
        let file = new_file(&path);
        let data = Random::new(1).bytes(100_000);
        file.write_all_at(&data[..60_000], 0).unwrap();
        fs::remove_file(&path).unwrap();
        kill_worker(&mount);
        file.write_all_at(&data[60_000..], 60_000).unwrap();
        let mut seen = vec![0; data.len()];
        file.read_exact_at(&mut seen, 0).unwrap();
        assert_eq!(sum(&seen), sum(&data), "{mode:?}");
        let meta = file.metadata().unwrap();
        assert_eq!((meta.nlink(), meta.len()), (0, 100_000), "{mode:?}");
        assert!(fs::read_dir(mount.source()).unwrap().next().is_none(), "{mode:?}");
    }
}

/// The flags of the open files that the servers have of the source, by path.
fn lower_flags(mount: &Mount) -> Vec<String> {
    let process = format!("/proc/{}", supervisor(mount));
    let mut all = Vec::new();
    for entry in fs::read_dir(format!("{process}/fd")).unwrap().flatten() {
        let path = fs::read_link(entry.path()).unwrap_or_default();
        if path.starts_with(mount.source()) {
            let number = entry.file_name().into_string().unwrap();
            let info = fs::read_to_string(format!("{process}/fdinfo/{number}")).unwrap();
            let flags = info.lines().find(|line| line.starts_with("flags:")).unwrap();
            all.push(format!("{number} {} {flags}", path.display()));
        }
    }
    all.sort();
    all
}

fn flags(file: &File) -> OFlag {
    OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL).unwrap())
}

#[test]
fn flags_of_open_files_are_kept() {
    need_mounts!();
    for mode in MODES {
        let mount = Mount::new(mode);
        let path = mount.point().join("file");
        let first = new_file(&path);
        let mut append = OpenOptions::new().append(true).open(&path).unwrap();
        let direct = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(&path);
        append.write_all(b"before ").unwrap();
        let before = (lower_flags(&mount), flags(&append), direct.as_ref().map(flags).ok());
        assert!(before.0.len() >= 3, "{before:?}");
        kill_worker(&mount);
        first.write_all_at(b"BEFORE others ", 0).unwrap();
        append.write_all(b"after").unwrap();
        assert_eq!(fs::read(mount.source().join("file")).unwrap(), b"BEFORE others after");
        let after = (lower_flags(&mount), flags(&append), direct.as_ref().map(flags).ok());
        assert_eq!(after, before, "{mode:?}");
        assert!(after.1.contains(OFlag::O_APPEND));
        match &direct {
            Ok(file) => read_directly(file, b"BEFORE others after"),
            Err(error) => eprintln!("{mode:?}: no O_DIRECT here: {error}"),
        }
    }
}

/// Room for `length` bytes from a page's beginning on, which is returned too.
fn aligned(length: usize) -> (Vec<u8>, usize) {
    let space = vec![0; length + 4096];
    let start = space.as_ptr().align_offset(4096);
    (space, start)
}

/// Reads with O_DIRECT, which wants aligned memory.
fn read_directly(file: &File, expected: &[u8]) {
    assert!(flags(file).contains(OFlag::O_DIRECT));
    let (mut space, start) = aligned(4096);
    let length = file.read_at(&mut space[start..start + 4096], 0).unwrap();
    assert_eq!(&space[start..start + length], expected);
}

#[test]
fn mapped_memory_stays_the_file() {
    need_mounts!();
    for mode in MODES {
        let mount = Mount::new(mode);
        let file = new_file(&mount.point().join("file"));
        let mut data = Random::new(2).bytes(MEBIBYTE);
        file.write_all_at(&data, 0).unwrap();
        let map = Map::new(&file, MEBIBYTE, true, true).unwrap();
        let mut write = |at: usize, bytes: &[u8]| {
            map.write(at, bytes).unwrap();
            data[at..at + bytes.len()].copy_from_slice(bytes);
        };
        write(5000, b"before the death");
        kill_worker(&mount);
        write(500_000, b"after the death");
        map.sync().unwrap();
        assert_eq!(sum(&map.read(0, MEBIBYTE).unwrap()), sum(&data), "{mode:?}: mapped");
        let mut seen = vec![0; MEBIBYTE];
        file.read_exact_at(&mut seen, 0).unwrap();
        assert_eq!(sum(&seen), sum(&data), "{mode:?}: read");
        let lower = fs::read(mount.source().join("file")).unwrap();
        assert_eq!(sum(&lower), sum(&data), "{mode:?}: below");
    }
}

#[test]
fn what_was_negotiated_stays_so() {
    need_mounts!();
    let place = Place::new();
    // Of its own, so that nobody else changes how full it is.
    place.tmpfs(&place.source(), "size=64M");
    let mode = ["-d", "-o", "nopassthrough,cache=never"];
    let mount = Mount::at(place, &mode, None);
    let file = new_file(&mount.point().join("file"));
    // One page more than a request carries, if it began anywhere else.
    let (mut space, start) = aligned(MEBIBYTE);
    let data = &mut space[start..start + MEBIBYTE];
    data.copy_from_slice(&Random::new(3).bytes(MEBIBYTE));
    let one_write = || {
        let size = format!("size={MEBIBYTE}");
        let count = || mount.log().lines().filter(|line| line.contains(&size)).count();
        let before = count();
        assert_eq!(file.write_at(data, 0).unwrap(), MEBIBYTE);
        assert_eq!(count(), before + 1, "one request carries all of it: {}", mount.log());
    };
    one_write();
    let before = statvfs(&mount.point()).unwrap();
    kill_worker(&mount);
    one_write();
    assert_eq!(statvfs(&mount.point()).unwrap(), before);
    assert_eq!(sum(&fs::read(mount.source().join("file")).unwrap()), sum(data));
}

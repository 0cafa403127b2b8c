//! Listing directories: while they change, from any position, and when they are large.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::Path;

use crate::common::sys::Stream;
use crate::common::{ALL, ALWAYS, DEFAULT, Mode, Mount, NEVER, SINGLE, as_below, code};
use crate::need_mounts;

const MODES: &[Mode] = &[DEFAULT, NEVER, ALWAYS, SINGLE];

fn name(number: usize) -> OsString {
    // Of several lengths, so that entries end at no particular place of a buffer.
    format!("{number:05}{}", "x".repeat(number * 7 % 40)).into()
}

fn fill(dir: &Path, count: usize) {
    (0..count).for_each(|number| fs::write(dir.join(name(number)), "").unwrap());
}

/// Counts names, and panics at the first that comes twice.
fn once(names: impl IntoIterator<Item = OsString>) -> BTreeSet<OsString> {
    let mut seen = BTreeSet::new();
    for name in names {
        assert!(seen.insert(name.clone()), "{name:?} comes twice");
    }
    seen
}

#[test]
fn names_that_stay_are_listed_once_while_others_go() {
    need_mounts!();
    const COUNT: usize = 1200;
    for mode in MODES {
        let mount = Mount::new(mode);
        let dir = mount.point();
        fill(&dir, COUNT);
        fs::write(dir.join("gone before"), "").unwrap();
        fs::remove_file(dir.join("gone before")).unwrap();
        let mut stream = Stream::open(&dir).unwrap();
        let (mut listed, mut next) = (Vec::new(), 0);
        while let Some((found, _)) = stream.entry().unwrap() {
            listed.push(found);
            // After each a few are removed, some already listed and some not: all but each third.
            for number in next..(next + 5).min(COUNT) {
                if number % 3 != 0 {
                    fs::remove_file(dir.join(name(COUNT - 1 - number))).unwrap();
                }
            }
            next += 5;
        }
        let listed = once(listed);
        let stay = (0..COUNT).filter(|number| number % 3 == 0).map(|n| name(COUNT - 1 - n));
        let stay: BTreeSet<_> = stay.collect();
        let missing: Vec<_> = stay.difference(&listed).collect();
        assert!(missing.is_empty(), "{mode:?}: not listed: {missing:?}");
        assert!(!listed.contains(OsStr::new("gone before")), "{mode:?}: a ghost");
        // And afterwards exactly those.
        let after = once(fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()));
        assert!(after == stay, "{mode:?}: {} are listed, {} are there", after.len(), stay.len());
    }
}

#[test]
fn names_that_stay_are_listed_once_while_others_come() {
    need_mounts!();
    const COUNT: usize = 500;
    for mode in MODES {
        let mount = Mount::new(mode);
        let dir = mount.point();
        fill(&dir, COUNT);
        let mut stream = Stream::open(&dir).unwrap();
        let (mut listed, mut made) = (Vec::new(), 0);
        while let Some((found, _)) = stream.entry().unwrap() {
            listed.push(found);
            if made < COUNT {
                fs::write(dir.join(format!("new {made}")), "").unwrap();
                made += 1;
            }
        }
        let listed = once(listed);
        let missing: Vec<_> = (0..COUNT).map(name).filter(|name| !listed.contains(name)).collect();
        assert!(missing.is_empty(), "{mode:?}: not listed: {missing:?}");
        drop(stream);
        let all = once(fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()));
        assert_eq!(all.len(), COUNT + made, "{mode:?}");
    }
}

#[test]
fn everything_is_removed_while_it_is_listed() {
    need_mounts!();
    as_below(MODES, |dir| {
        let own = dir.join("own");
        fs::create_dir(&own).unwrap();
        fill(&own, 1200);
        let mut removed = 0;
        // As rm -r does it: one stream, and each name gone as soon as it is known.
        for entry in fs::read_dir(&own).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
            removed += 1;
        }
        (removed, code(fs::remove_dir(&own)))
    });
}

#[test]
fn positions_stay_good_during_changes() {
    need_mounts!();
    const COUNT: usize = 1100;
    for mode in MODES {
        let mount = Mount::new(mode);
        let dir = mount.point();
        fill(&dir, COUNT);
        let mut stream = Stream::open(&dir).unwrap();
        let mut order = Vec::new();
        loop {
            let position = stream.tell();
            let Some((found, _)) = stream.entry().unwrap() else { break };
            order.push((position, found));
        }
        assert_eq!(order.len(), COUNT);
        for index in [0, 1, COUNT / 2, 17, COUNT - 1, 900, 3] {
            stream.seek(order[index].0);
            assert_eq!(stream.entry().unwrap().unwrap().0, order[index].1, "{mode:?} {index}");
        }
        // Every other name is removed; a position then stands before the next that is left.
        for (_, gone) in order.iter().skip(1).step_by(2) {
            fs::remove_file(dir.join(gone)).unwrap();
        }
        for index in [0usize, 2, 700, 1000, 20] {
            stream.seek(order[index].0);
            let rest = once(stream.rest().unwrap());
            let expected = order[index..].iter().enumerate();
            let expected = expected.filter(|(i, _)| (i + index) % 2 == 0).map(|(_, (_, n))| n);
            let missing: Vec<_> = expected.filter(|name| !rest.contains(*name)).collect();
            assert!(missing.is_empty(), "{mode:?} from {index}: {missing:?}");
            let before = order[..index].iter().filter(|(_, name)| rest.contains(name)).count();
            assert_eq!(before, 0, "{mode:?} from {index}: names from before the position");
        }
    }
}

#[test]
fn a_stream_rewound_is_fresh() {
    need_mounts!();
    as_below(ALL, |dir| {
        fill(dir, 10);
        let mut stream = Stream::open(dir).unwrap();
        let start = stream.tell();
        assert_eq!(stream.rest().unwrap().len(), 10);
        fs::write(dir.join("new"), "").unwrap();
        fs::remove_file(dir.join(name(3))).unwrap();
        stream.seek(start);
        once(stream.rest().unwrap())
    });
}

#[test]
fn listing_a_directory_that_was_removed() {
    need_mounts!();
    as_below(ALL, |dir| {
        let own = dir.join("own");
        fs::create_dir(&own).unwrap();
        let mut stream = Stream::open(&own).unwrap();
        let file = File::open(&own).unwrap();
        fs::remove_dir(&own).unwrap();
        (stream.rest(), file.metadata().unwrap().nlink(), code(fs::read_dir(&own)))
    });
}

#[test]
fn entries_tell_kind_and_number() {
    need_mounts!();
    use nix::sys::stat::{Mode as Permissions, SFlag, mknod};
    for mode in MODES {
        let mount = Mount::new(mode);
        let dir = mount.point();
        fs::write(dir.join("file"), "").unwrap();
        fs::create_dir(dir.join("dir")).unwrap();
        std::os::unix::fs::symlink("file", dir.join("link")).unwrap();
        let all = Permissions::from_bits_retain(0o666);
        mknod(&dir.join("pipe"), SFlag::S_IFIFO, all, 0).unwrap();
        for pass in 0..2 {
            let mut count = 0;
            for entry in fs::read_dir(&dir).unwrap() {
                let entry = entry.unwrap();
                let stat = fs::symlink_metadata(entry.path()).unwrap();
                assert_eq!(entry.file_type().unwrap(), stat.file_type(), "{mode:?} {pass}");
                assert_eq!(entry.ino(), stat.ino(), "{mode:?} {pass} {entry:?}");
                let below = fs::symlink_metadata(mount.source().join(entry.file_name())).unwrap();
                assert_eq!(stat.ino(), below.ino());
                count += 1;
            }
            assert_eq!(count, 4);
        }
    }
}

#[test]
fn a_hundred_thousand_entries() {
    need_mounts!();
    const COUNT: usize = 100_000;
    for mode in [DEFAULT, ALWAYS] {
        let mount = Mount::new(mode);
        // Few inodes under many names: it is the names that count.
        for number in 0..COUNT {
            let (path, step) = (mount.source().join(name(number)), number % 10_000);
            if step == 0 {
                fs::write(&path, format!("{number}")).unwrap();
            } else {
                fs::hard_link(mount.source().join(name(number - step)), &path).unwrap();
            }
        }
        for _ in 0..2 {
            let mut numbers = BTreeMap::<u64, usize>::new();
            let mut stream = Stream::open(&mount.point()).unwrap();
            let mut names = Vec::new();
            while let Some((name, ino)) = stream.entry().unwrap() {
                names.push(name);
                *numbers.entry(ino).or_default() += 1;
            }
            assert_eq!(once(names).len(), COUNT);
            assert_eq!(numbers.len(), COUNT / 10_000);
            assert!(numbers.values().all(|count| *count == 10_000));
        }
        for number in (0..COUNT).step_by(997) {
            let text = fs::read_to_string(mount.point().join(name(number))).unwrap();
            assert_eq!(text, format!("{}", number - number % 10_000));
        }
        fs::remove_file(mount.point().join(name(5))).unwrap();
        assert_eq!(fs::read_dir(mount.point()).unwrap().count(), COUNT - 1);
    }
}

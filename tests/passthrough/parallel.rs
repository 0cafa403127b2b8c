//! Many at once.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use nix::errno::Errno;

use crate::common::{self, ALWAYS, DEFAULT, Mode, Mount, SERVED, SINGLE, WRITEBACK};
use crate::need_mounts;

const THREADS: usize = 16;
const ROUNDS: usize = 40;

/// A content that shows by itself whether it is whole.
fn content(thread: usize, round: usize) -> Vec<u8> {
    let line = format!("thread {thread} round {round}\n");
    line.repeat(1 + (thread * 31 + round * 7) % 400).into_bytes()
}

fn is_whole(data: &[u8]) -> bool {
    let text = std::str::from_utf8(data).unwrap();
    let numbers: Vec<usize> = text
        .lines()
        .next()
        .unwrap_or_default()
        .split(' ')
        .filter_map(|word| word.parse().ok())
        .collect();
    matches!(numbers[..], [thread, round] if data == content(thread, round))
}

/// One thread's life: files of its own, and names that all fight for.
fn work(dir: &Path, thread: usize) {
    for round in 0..ROUNDS {
        let own = dir.join(format!("own-{thread}-{}", round % 5));
        let data = content(thread, round);
        fs::write(&own, &data).unwrap();
        assert_eq!(fs::metadata(&own).unwrap().len(), data.len() as u64);
        assert!(fs::read(&own).unwrap() == data, "thread {thread} round {round}");
        let shared = dir.join(format!("shared-{}", (thread + round) % 4));
        match round % 4 {
            // Put in place at once: others see the old or the new one, whole.
            0 => fs::rename(&own, &shared).unwrap(),
            1 => match fs::read(&shared) {
                Ok(data) => assert!(is_whole(&data), "thread {thread} round {round}"),
                Err(error) => assert_eq!(common::errno(error), Errno::ENOENT),
            },
            2 => {
                let result = common::code(fs::remove_file(&shared));
                assert!(matches!(result, Ok(()) | Err(Errno::ENOENT)), "{result:?}");
                fs::remove_file(&own).unwrap();
                assert_eq!(common::code(fs::metadata(&own)), Err(Errno::ENOENT));
            }
            _ => {
                let link = dir.join(format!("link-{thread}"));
                fs::hard_link(&own, &link).unwrap();
                assert_eq!(fs::metadata(&own).unwrap().nlink(), 2);
                let file = fs::OpenOptions::new().write(true).open(&link).unwrap();
                file.write_all_at(b"THREAD", 0).unwrap();
                assert_eq!(&fs::read(&own).unwrap()[..6], b"THREAD");
                fs::remove_file(&link).unwrap();
                fs::remove_file(&own).unwrap();
            }
        }
        let below = dir.join(format!("dir-{thread}"));
        fs::create_dir(&below).unwrap();
        fs::write(below.join("file"), "x").unwrap();
        assert_eq!(common::code(fs::remove_dir(&below)), Err(Errno::ENOTEMPTY));
        fs::remove_file(below.join("file")).unwrap();
        fs::remove_dir(&below).unwrap();
    }
}

fn names(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
    });
    let mut names: Vec<_> = entries.collect();
    names.sort();
    names
}

#[test]
fn sixteen_threads() {
    need_mounts!();
    const MODES: &[Mode] = &[DEFAULT, SERVED, WRITEBACK, ALWAYS, SINGLE];
    for mode in MODES {
        let mount = Mount::new(mode);
        let point = mount.point();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let point = &point;
                scope.spawn(move || work(point, thread));
            }
        });
        nix::unistd::syncfs(fs::File::open(&point).unwrap()).unwrap();
        let (seen, below) = (names(&point), names(&mount.source()));
        assert!(!seen.is_empty());
        assert!(seen == below, "{mode:?}: the mount shows something else than lies below");
    }
}

#[test]
fn one_file_written_in_many_places() {
    need_mounts!();
    for mode in [DEFAULT, SERVED, WRITEBACK, common::NEVER] {
        let mount = Mount::new(mode);
        let path = mount.point().join("file");
        fs::write(&path, "").unwrap();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let path = &path;
                scope.spawn(move || {
                    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
                    for round in 0..100 {
                        let at = (round * THREADS + thread) as u64 * 1000;
                        file.write_all_at(&[thread as u8 + 1; 1000], at).unwrap();
                        let mut seen = [0; 1000];
                        file.read_exact_at(&mut seen, at).unwrap();
                        assert!(seen == [thread as u8 + 1; 1000]);
                    }
                });
            }
        });
        let data = fs::read(&path).unwrap();
        assert_eq!(data.len(), 100 * THREADS * 1000);
        let wrong = data.iter().enumerate().find(|(i, b)| **b as usize != i / 1000 % THREADS + 1);
        assert_eq!(wrong, None, "{mode:?}");
    }
}

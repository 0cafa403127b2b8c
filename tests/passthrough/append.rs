//! O_APPEND: at the end as the kernel sees it, and nowhere else.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::common::{ALL, Mount, as_below, sys};
use crate::{need_mounts, skip};

fn appender(path: &Path) -> File {
    OpenOptions::new().read(true).append(true).create(true).open(path).unwrap()
}

#[test]
fn two_writers_lose_nothing() {
    need_mounts!();
    const LINES: usize = 1500;
    for mode in ALL {
        let mount = Mount::new(mode);
        let path = mount.point().join("log");
        let write = |who: char| {
            let mut file = appender(&path);
            for number in 0..LINES {
                // Of all lengths, so that a write in the wrong place shows.
                let line = format!("{who} {number} {}\n", "-".repeat(number % 97));
                file.write_all(line.as_bytes()).unwrap();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| write('a'));
            write('b');
        });
        let text = fs::read_to_string(&path).unwrap();
        for who in ["a", "b"] {
            let mut numbers = text.lines().filter_map(|line| {
                let (number, dashes) = line.strip_prefix(who)?.trim_start().split_once(' ')?;
                let number: usize = number.parse().unwrap();
                assert_eq!(dashes.len(), number % 97, "{mode:?}");
                Some(number)
            });
            assert!(numbers.by_ref().eq(0..LINES), "{mode:?}: every line of {who}, in order");
        }
        assert_eq!(text.lines().count(), 2 * LINES);
        drop(mount);
    }
}

#[test]
fn appending_through_create_and_mapped_memory() {
    need_mounts!();
    as_below(ALL, |dir| {
        let path = dir.join("file");
        // The very open that makes the file.
        let options = OpenOptions::new().read(true).append(true).create_new(true).open(&path);
        let mut file = options.unwrap();
        file.write_all(&[b'a'; 5000]).unwrap();
        // O_APPEND only concerns write(2); what is mapped is written where it stands.
        let writer = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let map = sys::Map::new(&writer, 5000, true, true).unwrap();
        map.write(10, b"mapped").unwrap();
        map.sync().unwrap();
        assert_eq!(file.metadata().unwrap().len(), 5000, "msync appends nothing");
        file.write_all(b"appended").unwrap();
        map.write(4990, b"again").unwrap();
        map.sync().unwrap();
        drop(map);
        file.sync_all().unwrap();
        let data = fs::read(&path).unwrap();
        assert_eq!(data.len(), 5008);
        assert_eq!((&data[10..16], &data[4990..4995]), (&b"mapped"[..], &b"again"[..]));
        assert_eq!(&data[5000..], b"appended");
        // As on every Linux file system pwrite(2) appends too.
        file.write_at(b"!", 0).unwrap();
        fs::read(&path).unwrap()
    });
}

#[test]
fn a_mapping_of_the_appending_file_itself() {
    need_mounts!();
    as_below(ALL, |dir| {
        let path = dir.join("file");
        let mut file =
            OpenOptions::new().read(true).append(true).create_new(true).open(&path).unwrap();
        file.write_all(&[b'.'; 4096]).unwrap();
        let map = sys::Map::new(&file, 4096, true, true).unwrap();
        for round in 0..8 {
            map.write(round * 500, b"mapped").unwrap();
            file.write_all(b"appended").unwrap();
            if round % 2 == 0 {
                map.sync().unwrap();
            }
        }
        drop(map);
        drop(file);
        let data = fs::read(&path).unwrap();
        assert_eq!(data.len(), 4096 + 64);
        data
    });
}

#[test]
fn appending_begun_and_ended_on_an_open_file() {
    need_mounts!();
    as_below(ALL, |dir| {
        let path = dir.join("file");
        fs::write(&path, "0123456789").unwrap();
        let mut file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        file.write_all(b"a").unwrap();
        fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND)).unwrap();
        file.write_all(b"b").unwrap();
        fcntl(&file, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
        file.write_at(b"c", 5).unwrap();
        fs::read_to_string(&path).unwrap()
    });
}

#[test]
fn append_only_files_open_for_appending_only() {
    need_mounts!();
    let chattr = |flag: &str, path: &Path| {
        let done = std::process::Command::new("chattr").arg(flag).arg(path).output();
        done.is_ok_and(|output| output.status.success())
    };
    for mode in ALL {
        let mount = Mount::new(mode);
        let below = mount.source().join("log");
        fs::write(&below, "one\n").unwrap();
        if !chattr("+a", &below) {
            skip!("chattr +a does not work on the lower file system");
        }
        let path = mount.point().join("log");
        let appended = OpenOptions::new().append(true).open(&path).map(|mut file| {
            file.write_all(b"two\n").unwrap();
        });
        let overwritten = OpenOptions::new().write(true).open(&path).map(drop);
        assert!(chattr("-a", &below));
        overwritten.expect_err("opened for writing anywhere");
        // Under writeback the kernel writes where it likes: such a file stays read-only.
        if !mode.contains(&"writeback") {
            appended.unwrap();
            assert_eq!(fs::read_to_string(&below).unwrap(), "one\ntwo\n", "{mode:?}");
        }
    }
}

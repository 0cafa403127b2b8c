//! Mapped memory and the file behind it.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::Duration;

use crate::common::{self, ALL, DEFAULT, Mount, as_below, sys};
use crate::data::new_file;
use crate::need_mounts;

#[test]
fn shared_memory_and_the_file_are_one() {
    need_mounts!();
    as_below(ALL, |dir| {
        let path = dir.join("file");
        let file = new_file(&path);
        file.write_all_at(&[b'.'; 12_288], 0).unwrap();
        let map = sys::Map::new(&file, 12_288, true, true).unwrap();
        assert_eq!(map.read(5000, 3).unwrap(), b"...");
        file.write_all_at(b"written", 5000).unwrap();
        assert_eq!(map.read(5000, 7).unwrap(), b"written");
        map.write(9000, b"mapped").unwrap();
        let mut seen = [0; 6];
        file.read_exact_at(&mut seen, 9000).unwrap();
        assert_eq!(&seen, b"mapped", "without msync");
        // Another open and another mapping of the same file.
        let other = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let second = sys::Map::new(&other, 12_288, true, true).unwrap();
        assert_eq!(second.read(9000, 6).unwrap(), b"mapped");
        second.write(100, b"both").unwrap();
        assert_eq!(map.read(100, 4).unwrap(), b"both");
        map.sync().unwrap();
        drop((map, second));
        fs::read(&path).unwrap()
    });
}

#[test]
fn private_memory_stays_private() {
    need_mounts!();
    as_below(ALL, |dir| {
        let path = dir.join("file");
        fs::write(&path, [b'.'; 8192]).unwrap();
        let file = File::open(&path).unwrap();
        let map = sys::Map::new(&file, 8192, true, false).unwrap();
        map.write(10, b"private").unwrap();
        assert_eq!(map.read(9, 9).unwrap(), b".private.");
        assert!(fs::read(&path).unwrap() == [b'.'; 8192]);
        // Of a file that is not open for writing a shared mapping cannot be written.
        sys::Map::new(&file, 8192, true, true).err()
    });
}

#[test]
fn memory_outlives_the_descriptor_and_the_name() {
    need_mounts!();
    as_below(ALL, |dir| {
        let path = dir.join("file");
        let file = new_file(&path);
        file.write_all_at(&[b'.'; 4096], 0).unwrap();
        let map = sys::Map::new(&file, 4096, true, true).unwrap();
        drop(file);
        map.write(0, b"closed").unwrap();
        assert_eq!(&fs::read(&path).unwrap()[..6], b"closed");
        fs::remove_file(&path).unwrap();
        map.write(0, b"unlinked").unwrap();
        map.sync().unwrap();
        assert_eq!(map.read(0, 8).unwrap(), b"unlinked");
    });
}

#[test]
fn a_shorter_and_longer_file_shows_zeros() {
    need_mounts!();
    as_below(ALL, |dir| {
        let path = dir.join("file");
        let file = new_file(&path);
        file.write_all_at(&[b'x'; 12_288], 0).unwrap();
        let map = sys::Map::new(&file, 12_288, true, true).unwrap();
        map.write(6000, b"dirty").unwrap();
        file.set_len(5000).unwrap();
        file.set_len(12_288).unwrap();
        assert_eq!(map.read(4998, 4).unwrap(), [b'x', b'x', 0, 0]);
        assert_eq!(map.read(6000, 5).unwrap(), [0; 5]);
        fs::read(&path).unwrap()
    });
}

#[test]
fn mapped_writes_move_mtime() {
    need_mounts!();
    for mode in ALL {
        let mount = Mount::new(mode);
        let (path, below) = (mount.point().join("file"), mount.source().join("file"));
        fs::write(&path, [b'.'; 4096]).unwrap();
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let map = sys::Map::new(&file, 4096, true, true).unwrap();
        let mut last = fs::metadata(&path).unwrap();
        for round in 0..3 {
            std::thread::sleep(Duration::from_millis(30));
            map.write(round * 10, b"mapped").unwrap();
            map.sync().unwrap();
            // While it is open, through both, and with what the kernel was told just before.
            let now = fs::metadata(&path).unwrap();
            assert!(now.modified().unwrap() > last.modified().unwrap(), "{mode:?} {round}");
            assert_eq!(now.mtime(), file.metadata().unwrap().mtime());
            last = now;
        }
        std::thread::sleep(Duration::from_millis(30));
        map.write(0, b"the last").unwrap();
        drop(map);
        drop(file);
        assert!(
            common::wait_until(common::SOON, || {
                let now = fs::metadata(&path).unwrap().modified().unwrap();
                now > last.modified().unwrap()
                    && now == fs::metadata(&below).unwrap().modified().unwrap()
            }),
            "{mode:?}: the same as below in the end"
        );
    }
}

#[test]
fn under_passthrough_the_memory_is_that_below() {
    need_mounts!();
    let mount = Mount::new(DEFAULT);
    if !mount.report.contains("FUSE_PASSTHROUGH") {
        crate::skip!("the kernel offers no passthrough");
    }
    let file = new_file(&mount.point().join("file"));
    file.write_all_at(&[b'.'; 4096], 0).unwrap();
    let map = sys::Map::new(&file, 4096, true, true).unwrap();
    let below =
        OpenOptions::new().read(true).write(true).open(mount.source().join("file")).unwrap();
    let map_below = sys::Map::new(&below, 4096, true, true).unwrap();
    map.write(0, b"from above").unwrap();
    assert_eq!(map_below.read(0, 10).unwrap(), b"from above");
    map_below.write(0, b"from below").unwrap();
    assert_eq!(map.read(0, 10).unwrap(), b"from below");
    below.write_all_at(b"written below", 0).unwrap();
    assert_eq!(map.read(0, 13).unwrap(), b"written below");
}

#[test]
fn a_running_program_is_not_truncated() {
    need_mounts!();
    as_below(ALL, |dir| {
        let path = dir.join("sleep");
        fs::copy("/bin/sleep", &path).unwrap();
        let size = fs::metadata(&path).unwrap().len();
        let mut running = std::process::Command::new(&path).arg("60").spawn().unwrap();
        let refused = [libc::O_RDONLY | libc::O_TRUNC, libc::O_WRONLY, libc::O_RDWR].map(|flags| {
            let flags = nix::fcntl::OFlag::from_bits_retain(flags);
            nix::fcntl::open(&path, flags, nix::sys::stat::Mode::empty()).map(drop)
        });
        let alive = running.try_wait().unwrap().is_none();
        running.kill().unwrap();
        running.wait().unwrap();
        assert!(alive, "its text is gone");
        assert_eq!(fs::metadata(&path).unwrap().len(), size);
        refused
    });
}

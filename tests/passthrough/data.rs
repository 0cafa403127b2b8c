//! What is in files: holes, allocation, copying, direct I/O, large transfers.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, SpliceFFlags, copy_file_range, fallocate, splice};
use nix::unistd::{Whence, lseek};

use crate::common::{
    self, ALL, ALWAYS, DEFAULT, NEVER, SERVED, SINGLE, WRITEBACK, as_below, code, sys,
};
use crate::need_mounts;

pub(crate) fn new_file(path: &Path) -> File {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true).open(path).unwrap()
}

/// Bytes that tell where they belong.
fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let byte = |i: usize| (i as u64).wrapping_mul(0x9e37_79b9).wrapping_add(seed).to_le_bytes()[2];
    (0..length).map(byte).collect()
}

/// The segments of data, as lseek(2) tells them.
fn segments(file: &File) -> Result<Vec<(i64, i64)>, Errno> {
    let (mut found, mut at) = (Vec::new(), 0);
    loop {
        let start = match lseek(file, at, Whence::SeekData) {
            Err(Errno::ENXIO) => return Ok(found),
            start => start?,
        };
        at = lseek(file, start, Whence::SeekHole)?;
        found.push((start, at));
    }
}

#[test]
fn holes_are_found_in_files_at_rest() {
    need_mounts!();
    as_below(&[DEFAULT, SERVED, NEVER, ALWAYS, SINGLE], |dir| {
        let path = dir.join("sparse");
        let file = new_file(&path);
        file.write_at(&[1; 4096], 1 << 20).unwrap();
        file.write_at(&[2; 70_000], 5 << 20).unwrap();
        file.set_len(10 << 20).unwrap();
        file.sync_all().unwrap();
        drop(file);
        let file = File::open(&path).unwrap();
        let meta = file.metadata().unwrap();
        let before = lseek(&file, 100, Whence::SeekCur);
        let past = [Whence::SeekData, Whence::SeekHole].map(|how| lseek(&file, 10 << 20, how));
        // The end of the file that made it may be known a moment later.
        let mut all = segments(&file);
        common::wait_until(common::SOON, || {
            all = segments(&file);
            all.as_ref().is_ok_and(|found| found.len() == 2)
        });
        (before, past, meta.blocks() * 512 < 1 << 20, all)
    });
}

#[test]
fn data_not_yet_written_is_no_hole() {
    need_mounts!();
    as_below(ALL, |dir| {
        let path = dir.join("sparse");
        let file = new_file(&path);
        file.set_len(8 << 20).unwrap();
        file.write_at(&[1; 10], 1 << 20).unwrap();
        let map = sys::Map::new(&file, 8 << 20, true, true).unwrap();
        map.write(4 << 20, b"mapped").unwrap();
        let other = File::open(&path).unwrap();
        for file in [&file, &other] {
            let segments = segments(file).unwrap();
            for at in [1 << 20, 4 << 20] {
                let within = segments.iter().any(|(start, end)| (*start..*end).contains(&at));
                assert!(within, "{at} is not in {segments:?}");
            }
        }
        map.sync().unwrap();
    });
}

#[test]
fn fallocate_does_what_it_does_below() {
    need_mounts!();
    let keep = FallocateFlags::FALLOC_FL_KEEP_SIZE;
    let modes = [
        FallocateFlags::empty(),
        keep,
        FallocateFlags::FALLOC_FL_PUNCH_HOLE | keep,
        FallocateFlags::FALLOC_FL_ZERO_RANGE,
        FallocateFlags::FALLOC_FL_ZERO_RANGE | keep,
        FallocateFlags::FALLOC_FL_PUNCH_HOLE,
    ];
    as_below(ALL, |dir| {
        modes.map(|mode| {
            [(0, 100_000), (3000, 10_000), (30_000, 30_000), (0, 0), (8192, 8192)].map(
                |(offset, length)| {
                    let path = dir.join("file");
                    let mut file = new_file(&path);
                    file.write_all(&pattern(40_000, 7)).unwrap();
                    // Known to the kernel, so that what is stale shows.
                    assert_eq!(fs::read(&path).unwrap().len(), 40_000);
                    let result = fallocate(&file, mode, offset, length);
                    let meta = file.metadata().unwrap();
                    (result, meta.len(), common::sum(&fs::read(&path).unwrap()))
                },
            )
        })
    });
}

#[test]
fn fallocate_modes_that_the_kernel_does_not_hand_on() {
    need_mounts!();
    let mount = common::Mount::new(DEFAULT);
    let mut file = new_file(&mount.point().join("file"));
    file.write_all(&pattern(40_000, 7)).unwrap();
    for mode in [FallocateFlags::FALLOC_FL_COLLAPSE_RANGE, FallocateFlags::FALLOC_FL_INSERT_RANGE] {
        assert_eq!(fallocate(&file, mode, 4096, 4096), Err(Errno::EOPNOTSUPP));
    }
    assert_eq!(fs::read(mount.source().join("file")).unwrap(), pattern(40_000, 7));
}

#[test]
fn ranges_are_copied() {
    need_mounts!();
    as_below(ALL, |dir| {
        let (from, to) = (new_file(&dir.join("from")), new_file(&dir.join("to")));
        from.write_all_at(&pattern(300_000, 1), 0).unwrap();
        to.write_all_at(&pattern(50_000, 2), 0).unwrap();
        // Known to the kernel before.
        assert_eq!(fs::read(dir.join("to")).unwrap().len(), 50_000);
        let copy = |from: &File, mut at: i64, to: &File, mut to_at: i64, length: usize| {
            let (mut done, last) = (0, at);
            while done < length {
                let some =
                    copy_file_range(from, Some(&mut at), to, Some(&mut to_at), length - done);
                match some {
                    Ok(0) => break,
                    Ok(some) => done += some,
                    Err(error) => return Err(error),
                }
            }
            assert_eq!(at - last, done as i64);
            Ok(done)
        };
        let results = [
            copy(&from, 1000, &to, 20_000, 200_000),
            copy(&from, 290_000, &to, 0, 50_000),
            copy(&from, 400_000, &to, 0, 10),
            copy(&from, 0, &from, 100_000, 100_000),
            copy(&from, 0, &from, 500, 100_000),
            copy(&from, 0, &to, 1 << 20, 100),
        ];
        assert_eq!(to.metadata().unwrap().len(), (1 << 20) + 100);
        let read_only = File::open(dir.join("to")).unwrap();
        let refused = copy(&from, 0, &read_only, 0, 10);
        let sums = ["from", "to"].map(|name| common::sum(&fs::read(dir.join(name)).unwrap()));
        (results, refused, sums)
    });
}

#[test]
fn data_through_a_pipe() {
    need_mounts!();
    as_below(ALL, |dir| {
        let data = pattern(200_000, 3);
        fs::write(dir.join("from"), &data).unwrap();
        let (from, to) = (File::open(dir.join("from")).unwrap(), new_file(&dir.join("to")));
        let (out, into) = nix::unistd::pipe().unwrap();
        let none = SpliceFFlags::empty();
        loop {
            let mut some = splice(&from, None, &into, None, 50_000, none).unwrap();
            if some == 0 {
                break;
            }
            while some > 0 {
                some -= splice(&out, None, &to, None, some, none).unwrap();
            }
        }
        assert!(fs::read(dir.join("to")).unwrap() == data);
    });
}

/// A page at an address that O_DIRECT accepts.
#[repr(align(4096))]
struct Aligned([u8; 16_384]);

#[test]
fn direct_io_and_the_cache_agree() {
    need_mounts!();
    as_below(ALL, |dir| {
        let path = dir.join("file");
        let mut plain = new_file(&path);
        plain.write_all(&[b'p'; 65_536]).unwrap();
        let mut options = OpenOptions::new();
        let direct = options.read(true).write(true).custom_flags(libc::O_DIRECT).open(&path);
        let direct = match direct {
            // A lower file system without direct I/O: the refusal is the result.
            Err(error) => return Err(common::errno(error)),
            Ok(direct) => direct,
        };
        let mut page = Aligned([0; 16_384]);
        direct.read_exact_at(&mut page.0, 16_384).unwrap();
        assert!(page.0 == [b'p'; 16_384], "what was just written by the other way");
        page.0.fill(b'd');
        direct.write_all_at(&page.0, 32_768).unwrap();
        let mut seen = vec![0; 65_536];
        plain.read_exact_at(&mut seen, 0).unwrap();
        assert!(seen[32_768..49_152].iter().all(|byte| *byte == b'd'));
        // Behind the end: the file grows.
        direct.write_all_at(&page.0, 65_536).unwrap();
        assert_eq!(plain.metadata().unwrap().len(), 81_920);
        Ok(common::sum(&fs::read(&path).unwrap()))
    });
}

#[test]
fn large_and_odd_transfers() {
    need_mounts!();
    as_below(ALL, |dir| {
        let path = dir.join("large");
        let data = pattern(5_000_001, 4);
        let mut file = new_file(&path);
        file.write_all(&data).unwrap();
        for (offset, length) in [(0, 1), (4095, 2), (131_071, 262_147), (4_999_990, 11)] {
            let mut part = vec![0; length];
            file.read_exact_at(&mut part, offset as u64).unwrap();
            assert!(part == data[offset..offset + length], "{offset} {length}");
            file.write_all_at(&pattern(length, 9), offset as u64).unwrap();
        }
        let mut room = [0; 100];
        assert_eq!(file.read_at(&mut room, 5_000_000).unwrap(), 1);
        assert_eq!(file.read_at(&mut room, 5_000_001).unwrap(), 0);
        assert_eq!(file.read_at(&mut room, 1 << 40).unwrap(), 0);
        file.seek(SeekFrom::End(-11)).unwrap();
        let mut end = Vec::new();
        file.read_to_end(&mut end).unwrap();
        assert_eq!(end, pattern(11, 9));
        drop(file);
        common::sum(&fs::read(&path).unwrap())
    });
}

#[test]
fn sizes_are_known_at_once() {
    need_mounts!();
    as_below(ALL, |dir| {
        let path = dir.join("file");
        let (one, mut other) =
            (new_file(&path), OpenOptions::new().append(true).open(&path).unwrap());
        let size = || fs::metadata(&path).unwrap().len();
        let mut seen = vec![size()];
        one.write_all_at(b"0123456789", 0).unwrap();
        seen.push(size());
        other.write_all(b"appended").unwrap();
        seen.extend([size(), one.metadata().unwrap().len()]);
        one.set_len(4).unwrap();
        seen.push(other.metadata().unwrap().len());
        nix::unistd::truncate(&path, 4000).unwrap();
        seen.extend([size(), one.metadata().unwrap().len()]);
        assert_eq!(seen, [0, 10, 18, 18, 4, 4000, 4000]);
        drop(OpenOptions::new().write(true).truncate(true).open(&path).unwrap());
        assert_eq!(one.metadata().unwrap().len(), 0);
        let huge = [code(one.set_len(1 << 43)), code(one.set_len(i64::MAX as u64))];
        (huge, size())
    });
    // Not with writeback: the kernel gathers what the lower file system refuses later.
    as_below(&[DEFAULT, SERVED, NEVER], |dir| {
        let file = new_file(&dir.join("file"));
        (code(file.write_at(b"x", i64::MAX as u64 - 10)), file.metadata().unwrap().len())
    });
}

#[test]
fn what_the_open_does_not_allow() {
    need_mounts!();
    as_below(&[DEFAULT, SERVED, WRITEBACK], |dir| {
        let path = dir.join("file");
        fs::write(&path, "content").unwrap();
        let mut reader = File::open(&path).unwrap();
        let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
        let mut room = [0; 4];
        [
            code(reader.write(b"x")),
            code(writer.read(&mut room)),
            code(reader.set_len(1)),
            code(File::open(dir.join("file/below"))),
            code(OpenOptions::new().write(true).open(dir)),
            code(OpenOptions::new().write(true).create_new(true).open(&path)),
            code(OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(&path)),
            code(nix::unistd::truncate(dir, 0).map_err(Into::into)),
            code(writer.sync_all()),
            code(writer.sync_data()),
            code(nix::unistd::syncfs(&reader).map_err(Into::into)),
            code(File::open(dir).unwrap().sync_all()),
        ]
    });
}

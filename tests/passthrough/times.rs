//! Time stamps, and what shows changes that were made below.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::statvfs::statvfs;
use nix::sys::time::TimeSpec;

use crate::common::{
    self, ALL, ALWAYS, Caller, DEFAULT, Mode, Mount, NEVER, SERVED, SINGLE, USER, WRITEBACK,
    as_below, code, sys, wait_until,
};
use crate::need_mounts;

#[test]
fn birth_times_are_those_below() {
    need_mounts!();
    let mount = Mount::new(DEFAULT);
    fs::write(mount.source().join("old"), "").unwrap();
    std::thread::sleep(Duration::from_millis(20));
    fs::write(mount.point().join("new"), "").unwrap();
    fs::create_dir(mount.point().join("dir")).unwrap();
    for name in ["old", "new", "dir"] {
        let below = fs::metadata(mount.source().join(name)).unwrap().created();
        let Ok(below) = below else { crate::skip!("the lower file system has no birth times") };
        let seen = fs::metadata(mount.point().join(name)).unwrap().created().unwrap();
        assert_eq!(seen, below, "{name}");
    }
}

fn set(path: &Path, atime: TimeSpec, mtime: TimeSpec) -> nix::Result<()> {
    utimensat(AT_FDCWD, path, &atime, &mtime, UtimensatFlags::NoFollowSymlink)
}

fn stamps(path: &Path) -> [(i64, i64); 2] {
    let stat = fs::symlink_metadata(path).unwrap();
    [(stat.atime(), stat.atime_nsec()), (stat.mtime(), stat.mtime_nsec())]
}

#[test]
fn times_are_set_to_the_nanosecond() {
    need_mounts!();
    let times = [
        TimeSpec::new(1, 1),
        TimeSpec::new(1_700_000_000, 123_456_789),
        TimeSpec::new(-1, 999_999_999),
        TimeSpec::new(-2_000_000_000, 1),
        TimeSpec::new(5_000_000_000, 7),
    ];
    // Beyond what ext4 can have; with writeback the kernel shows what it was told.
    as_below(&[DEFAULT, SERVED], |dir| {
        fs::write(dir.join("file"), "").unwrap();
        let far = TimeSpec::new(1 << 40, 0);
        (set(&dir.join("file"), far, far), stamps(&dir.join("file")))
    });
    as_below(ALL, |dir| {
        fs::write(dir.join("file"), "").unwrap();
        fs::create_dir(dir.join("dir")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.join("link")).unwrap();
        ["file", "dir", "link"].map(|name| {
            let path = dir.join(name);
            let set_all = times.map(|time| {
                let result = set(&path, time, TimeSpec::new(time.tv_sec() + 1, 999_999_998));
                (result, stamps(&path))
            });
            assert_eq!(set_all[1].1, [(1_700_000_000, 123_456_789), (1_700_000_001, 999_999_998)]);
            let omit = TimeSpec::UTIME_OMIT;
            let only_atime = (set(&path, TimeSpec::new(5, 6), omit), stamps(&path));
            let only_mtime = (set(&path, omit, TimeSpec::new(7, 8)), stamps(&path));
            assert_eq!(only_mtime.1, [(5, 6), (7, 8)]);
            let none = (set(&path, omit, omit), stamps(&path));
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
            set(&path, TimeSpec::new(9, 9), TimeSpec::UTIME_NOW).unwrap();
            let [atime, mtime] = stamps(&path);
            assert_eq!(atime, (9, 9));
            assert!((mtime.0 - now as i64).abs() < 30, "{mtime:?}");
            (set_all, only_atime, only_mtime, none)
        })
    });
}

#[test]
fn who_may_set_times() {
    need_mounts!();
    as_below(&[DEFAULT, SERVED], |dir| {
        let (writable, closed) = (dir.join("writable"), dir.join("closed"));
        fs::write(&writable, "").unwrap();
        fs::write(&closed, "").unwrap();
        fs::set_permissions(&writable, Permissions::from_mode(0o666)).unwrap();
        let (now, omit) = (TimeSpec::UTIME_NOW, TimeSpec::UTIME_OMIT);
        USER.run(|| {
            [&writable, &closed].map(|path| {
                [
                    set(path, now, now),
                    set(path, now, omit),
                    set(path, TimeSpec::new(1, 2), TimeSpec::new(1, 2)),
                    set(path, omit, omit),
                ]
            })
        })
    });
}

type Step = fn(&Path) -> std::io::Result<()>;

/// What is done to `file`; each may move the times of it and of its directory.
const STEPS: &[(&str, Step)] = &[
    ("write", |file| OpenOptions::new().write(true).open(file)?.write_all(b"x")),
    ("truncate", |file| nix::unistd::truncate(file, 3).map_err(Into::into)),
    ("truncate to the same", |file| nix::unistd::truncate(file, 3).map_err(Into::into)),
    ("open and truncate", |file| File::create(file).map(drop)),
    ("chmod", |file| fs::set_permissions(file, Permissions::from_mode(0o600))),
    ("chown", |file| std::os::unix::fs::chown(file, Some(1), Some(1))),
    ("link", |file| fs::hard_link(file, file.with_extension("link"))),
    ("unlink", |file| fs::remove_file(file.with_extension("link"))),
    ("rename", |file| {
        fs::rename(file, file.with_extension("new"))?;
        fs::rename(file.with_extension("new"), file)
    }),
    ("xattr", |file| Ok(sys::set_xattr(file, c"user.x", b"y", 0)?)),
    ("no xattr", |file| Ok(sys::remove_xattr(file, c"user.x")?)),
    ("mkdir", |file| fs::create_dir(file.with_extension("dir"))),
    ("rmdir", |file| fs::remove_dir(file.with_extension("dir"))),
    ("stat", |file| fs::metadata(file).map(drop)),
    ("fallocate", |file| {
        let file = OpenOptions::new().write(true).open(file)?;
        let none = nix::fcntl::FallocateFlags::empty();
        nix::fcntl::fallocate(&file, none, 0, 10_000).map_err(Into::into)
    }),
];

#[test]
fn what_moves_which_times() {
    need_mounts!();
    let body = |dir: &Path, steps: &[(&'static str, Step)]| {
        let file = dir.join("file");
        fs::write(&file, "content").unwrap();
        let look = |path: &Path| {
            let stat = fs::metadata(path).unwrap();
            [(stat.mtime(), stat.mtime_nsec()), (stat.ctime(), stat.ctime_nsec())]
        };
        let moved = |name: &'static str, step: &Step| {
            let before = [look(&file), look(dir)];
            // Longer than the kernel's clock for time stamps takes for a step.
            std::thread::sleep(Duration::from_millis(12));
            step(&file).unwrap();
            let after = [look(&file), look(dir)];
            let moved = [0, 1].map(|i| [0, 1].map(|j| before[i][j] != after[i][j]));
            format!("{name}: file [mtime, ctime], directory: {moved:?}")
        };
        steps.iter().map(|(name, step)| moved(name, step)).collect::<Vec<_>>()
    };
    as_below(&[DEFAULT, SERVED, NEVER, ALWAYS, SINGLE], |dir| body(dir, STEPS));
    // With writeback the kernel keeps mtime, and to the same size is no change for it.
    let mut steps = STEPS.to_vec();
    steps.retain(|(name, _)| *name != "truncate to the same");
    as_below(&[WRITEBACK], |dir| body(dir, &steps));
}

#[test]
fn changes_below_show() {
    need_mounts!();
    const UNCACHED: Mode = &["-o", "nopassthrough,cache=never"];
    for mode in [UNCACHED, DEFAULT, SERVED] {
        let mount = Mount::new(mode);
        let (path, below) = (mount.point().join("file"), mount.source().join("file"));
        fs::write(&path, "old").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        std::thread::sleep(Duration::from_millis(12));
        fs::write(&below, "newer and longer").unwrap();
        fs::write(mount.source().join("another"), "").unwrap();
        fs::set_permissions(&below, Permissions::from_mode(0o600)).unwrap();
        // At once without a cache, otherwise within the second for which things are trusted.
        let limit = if mode == UNCACHED { Duration::ZERO } else { Duration::from_secs(3) };
        let fresh = || {
            let stat = fs::metadata(&path).unwrap();
            stat.len() == 16 && stat.mode() & 0o777 == 0o600
        };
        assert!(wait_until(limit, fresh), "{mode:?}");
        assert_eq!(fs::read(&path).unwrap(), b"newer and longer", "{mode:?}");
        fs::metadata(mount.point().join("another")).unwrap();
        fs::remove_file(&below).unwrap();
        let gone = || fs::metadata(&path).is_err();
        assert!(wait_until(limit, gone), "{mode:?}");
        assert_eq!(fs::read_dir(mount.point()).unwrap().count(), 1);
    }
}

#[test]
fn statfs_is_that_below() {
    need_mounts!();
    let mount = Mount::new(NEVER);
    let (seen, below) = (statvfs(&mount.point()).unwrap(), statvfs(&mount.source()).unwrap());
    let fixed = |stat: &nix::sys::statvfs::Statvfs| {
        (stat.block_size(), stat.fragment_size(), stat.blocks(), stat.files(), stat.name_max())
    };
    assert_eq!(fixed(&seen), fixed(&below));
    // What is free changes all the time, but not by much.
    let near = |a: u64, b: u64| a.abs_diff(b) < seen.blocks() / 20 + 1000;
    assert!(near(seen.blocks_free(), below.blocks_free()));
    assert!(near(seen.files_free(), below.files_free()));
    let other = Caller { ..USER };
    assert!(other.run(|| statvfs(&mount.point())).is_ok());
}

#[test]
fn the_flags_of_chattr() {
    need_mounts!();
    const IMMUTABLE: u32 = 0x10;
    const APPEND_ONLY: u32 = 0x20;
    const NO_DUMP: u32 = 0x40;
    as_below(&[DEFAULT, SERVED], |dir| {
        let path = dir.join("file");
        fs::write(&path, "content").unwrap();
        let (file, of_dir) = (File::open(&path).unwrap(), File::open(dir).unwrap());
        let flags = sys::get_flags(&file);
        let Ok(before) = flags else { return Err(flags) };
        let dir_flags = sys::get_flags(&of_dir);
        sys::set_flags(&file, before | NO_DUMP).unwrap();
        let with = sys::get_flags(&file);
        let mut tried = Vec::new();
        for flag in [IMMUTABLE, APPEND_ONLY] {
            sys::set_flags(&file, before | flag).unwrap();
            if flag == IMMUTABLE {
                // The server never appends below, so it cannot open what can only be appended to.
                tried.push(code(OpenOptions::new().append(true).open(&path)));
            }
            tried.extend([
                code(OpenOptions::new().write(true).open(&path)),
                code(nix::unistd::truncate(&path, 0).map_err(Into::into)),
                code(fs::remove_file(&path)),
                code(fs::rename(&path, path.with_extension("new"))),
                code(fs::set_permissions(&path, Permissions::from_mode(0o600))),
            ]);
            sys::set_flags(&file, before).unwrap();
        }
        let by_user = USER.run(|| sys::set_flags(&file, before | NO_DUMP));
        Ok((before, dir_flags, with, tried, by_user, common::code(fs::read(&path))))
    });
}

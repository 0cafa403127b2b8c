//! Set-user-id and set-group-id bits and file capabilities: what takes them away.

use std::ffi::CStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Seek, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown};
use std::path::Path;

use nix::fcntl::{FallocateFlags, copy_file_range, fallocate};

use crate::common::{ALL, Caller, Mode, Mount, ROOT, USER, as_below, code, sys};
use crate::need_mounts;

const CAPABILITY: &CStr = c"security.capability";

/// cap_net_raw=ep.
fn capability() -> Vec<u8> {
    [0x0200_0001u32, 1 << 13, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect()
}

type Action = fn(&Path) -> std::io::Result<()>;

fn writable(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

const ACTIONS: &[(&str, Action)] = &[
    ("write", |path| writable(path)?.write_all(b"x")),
    ("write nothing", |path| writable(path)?.write(b"").map(drop)),
    ("write at", |path| writable(path)?.write_all_at(b"x", 8192)),
    ("append", |path| OpenOptions::new().append(true).open(path)?.write_all(b"x")),
    ("truncate", |path| nix::unistd::truncate(path, 3).map_err(Into::into)),
    ("truncate to the same", |path| nix::unistd::truncate(path, 7).map_err(Into::into)),
    ("ftruncate", |path| writable(path)?.set_len(100)),
    ("open and truncate", |path| {
        OpenOptions::new().write(true).truncate(true).open(path).map(drop)
    }),
    ("fallocate", |path| {
        fallocate(&writable(path)?, FallocateFlags::empty(), 0, 9000).map_err(Into::into)
    }),
    ("punch", |path| {
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(&writable(path)?, flags, 0, 4).map_err(Into::into)
    }),
    ("copy range", |path| {
        let (from, to) = (File::open(path.with_extension("from"))?, writable(path)?);
        copy_file_range(&from, None, &to, None, 4).map(drop).map_err(Into::into)
    }),
    ("mapped write", |path| {
        let map = sys::Map::new(&writable(path)?, 7, true, true)?;
        map.write(0, b"X").unwrap();
        map.sync().map_err(Into::into)
    }),
    ("chown to the same", |path| {
        let stat = fs::metadata(path)?;
        chown(path, Some(stat.uid()), Some(stat.gid()))
    }),
    ("chgrp", |path| chown(path, None, Some(USER.groups[0]))),
    ("chown to nobody", |path| chown(path, None, None)),
    ("utimens", |path| writable(path)?.set_modified(std::time::UNIX_EPOCH)),
    ("read", |path| fs::read(path).map(drop)),
    ("chmod", |path| fs::set_permissions(path, Permissions::from_mode(0o6755))),
    ("two writes", |path| {
        let mut file = writable(path)?;
        file.write_all(b"one")?;
        file.rewind()?;
        file.write_all(b"two")
    }),
];

/// Bits, and whether the file has a capability too. Set-group-id without the group's execute
/// bit is not among them: it has no effect, and FUSE leaves it to the server, which does not know
/// all groups of the caller.
const FILES: &[(u32, bool)] =
    &[(0o6777, false), (0o4755, false), (0o2777, false), (0o4777, true), (0o777, true)];

/// What each action leaves of bits and capabilities on files of `owner`, done by `caller`.
fn after_each(dir: &Path, caller: &Caller, owner: (u32, u32)) -> Vec<String> {
    let mut all = Vec::new();
    for (name, action) in ACTIONS {
        for (mode, capable) in FILES {
            // Mapped writes reach the lower file as writes, which always take capabilities; those
            // of a foreign file the kernel removes before it asks whether the chown is allowed.
            let by_stranger = ![0, owner.0].contains(&caller.uid);
            let differs = *name == "mapped write" || *name == "chown to nobody" && by_stranger;
            if *capable && differs {
                continue;
            }
            let path = dir.join("file");
            fs::write(&path, "content").unwrap();
            fs::write(path.with_extension("from"), "other content").unwrap();
            chown(&path, Some(owner.0), Some(owner.1)).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(*mode)).unwrap();
            if *capable {
                sys::set_xattr(&path, CAPABILITY, &capability(), 0).unwrap();
            }
            // Known to the kernel with its bits and capabilities.
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, *mode);
            assert_eq!(sys::get_xattr(&path, CAPABILITY, 100).is_ok(), *capable);
            let result = caller.run(|| code(action(&path)));
            let left = fs::metadata(&path).unwrap().mode() & 0o7777;
            let still = sys::get_xattr(&path, CAPABILITY, 100).is_ok();
            all.push(format!(
                "{name} of {mode:o}, capable {capable}: {result:?}, {left:o}, {still}"
            ));
            fs::remove_file(&path).unwrap();
        }
    }
    all
}

/// Does it all on mounts and beside them, and shows the lines that differ.
fn compare(modes: &[Mode], caller: Caller, owner: (u32, u32)) {
    let mut different = Vec::new();
    for mode in modes {
        let mount = Mount::new(mode);
        let below = after_each(&mount.plain(), &caller, owner);
        let seen = after_each(&mount.point(), &caller, owner);
        let pairs = below.into_iter().zip(seen).filter(|(below, seen)| below != seen);
        different.extend(pairs.map(|(below, seen)| format!("{mode:?} {seen} and not {below}")));
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn for_the_owner() {
    need_mounts!();
    compare(ALL, USER, (USER.uid, USER.gid));
}

#[test]
fn for_somebody_else() {
    need_mounts!();
    compare(ALL, USER, (0, 0));
}

#[test]
fn for_root() {
    need_mounts!();
    compare(ALL, ROOT, (USER.uid, USER.gid));
}

#[test]
fn a_write_by_another_user_takes_them() {
    need_mounts!();
    // Said without comparison: these three must go.
    let path_of = |dir: &Path| dir.join("program");
    as_below(ALL, |dir| {
        let path = path_of(dir);
        fs::write(&path, "content").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o6777)).unwrap();
        sys::set_xattr(&path, CAPABILITY, &capability(), 0).unwrap();
        USER.run(|| writable(&path).unwrap().write_all(b"x").unwrap());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o777);
        assert_eq!(
            sys::get_xattr(&path, CAPABILITY, 100).map(drop),
            Err(nix::errno::Errno::ENODATA)
        );
    });
}

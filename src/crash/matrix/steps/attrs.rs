//! Attributes, extended attributes, and what is said of the file system.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::{UtimensatFlags, lstat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{AccessFlags, access};

use super::{Class, On, Step};
use crate::crash::matrix::scene::Scene;
use crate::sys::{file, xattr};
use crate::wire::Opcode::*;

fn one(scene: &mut Scene) -> io::Result<()> {
    scene.write("one", b"twelve bytes")
}

/// A file that is open, with one extended attribute.
fn named(scene: &mut Scene) -> io::Result<()> {
    one(scene)?;
    scene.open("one", OFlag::O_RDWR)?;
    Ok(xattr::set(scene.fd(0), c"user.old", b"value", 0)?)
}

pub(super) fn steps() -> Vec<Step> {
    [changes(), reads(), xattrs()].concat()
}

fn changes() -> Vec<Step> {
    let change = |name, act| Step::new(name, FUSE_SETATTR, Class::Changes, act).prepared(one);
    vec![
        change("chmod", |scene| {
            let path = scene.path("one");
            let mode = std::fs::Permissions::from_mode(0o4751);
            scene.say("chmod", std::fs::set_permissions(path, mode));
        }),
        change("chown", |scene| {
            let path = scene.path("one");
            scene.say("chown", chown(path, Some(12), Some(34)));
        }),
        change("truncate", |scene| {
            let path = scene.path("one");
            scene.say("truncate", nix::unistd::truncate(&path, 5));
        }),
        change("truncate-longer", |scene| {
            let path = scene.path("one");
            scene.say("truncate", nix::unistd::truncate(&path, 5000));
        }),
        change("utimens", |scene| {
            let times = [TimeSpec::new(1_000_000, 7), TimeSpec::new(2_000_000, 9)];
            set_times(scene, times);
            let told = lstat(&scene.path("one"));
            scene.say("mtime", told.map(|stat| (stat.st_mtime, stat.st_mtime_nsec)));
        }),
        change("utimens-now", |scene| {
            set_times(scene, [TimeSpec::UTIME_NOW, TimeSpec::UTIME_OMIT]);
            let told = lstat(&scene.path("one"));
            scene.say("atime", told.map(|stat| is_now(stat.st_atime)));
        }),
    ]
}

fn set_times(scene: &mut Scene, [atime, mtime]: [TimeSpec; 2]) {
    let path = scene.path("one");
    let flags = UtimensatFlags::NoFollowSymlink;
    scene.say("utimens", utimensat(AT_FDCWD, &path, &atime, &mtime, flags));
}

/// Within the minute.
fn is_now(seconds: i64) -> bool {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.is_ok_and(|now| (now.as_secs() as i64 - seconds).abs() < 60)
}

fn reads() -> Vec<Step> {
    let read = |name, opcode, act| Step::new(name, opcode, Class::Reads, act).prepared(one);
    vec![
        read("getattr", FUSE_GETATTR, |scene| {
            let told = nix::sys::stat::fstat(&scene.files[0]);
            scene.say("fstat", told.map(|stat| (stat.st_mode, stat.st_size, stat.st_nlink)));
        })
        .prepared(named),
        read("statx", FUSE_STATX, |scene| {
            let told = file::fstatx(scene.fd(0));
            scene.say("statx", told.map(|stat| (stat.stx_mode, stat.stx_size, stat.stx_mask)));
        })
        .prepared(named),
        read("readlink", FUSE_READLINK, |scene| {
            let path = scene.path("link");
            scene.say("readlink", std::fs::read_link(path));
        })
        .prepared(|scene| std::os::unix::fs::symlink("some/where", scene.path("link"))),
        read("statfs", FUSE_STATFS, |scene| {
            let told = file::fstatfs(scene.fd(0));
            scene.say("statfs", told.map(|fs| (fs.f_type, fs.f_bsize, fs.f_namelen)));
        })
        .prepared(named),
        read("access", FUSE_ACCESS, |scene| {
            let path = scene.path("one");
            scene.say("access", access(&path, AccessFlags::R_OK | AccessFlags::W_OK));
            scene.say("access", access(&path, AccessFlags::X_OK));
        })
        .on(On::Directory),
        Step::new("lookup", FUSE_LOOKUP, Class::Keeps, |scene| {
            let told = lstat(&scene.path("one"));
            scene.say("stat", told.map(|stat| (stat.st_mode, stat.st_size)));
        })
        .prepared(|scene| {
            one(scene)?;
            scene.open("one", OFlag::O_RDONLY)
        })
        .look(same_inode),
        Step::new("lookup-missing", FUSE_LOOKUP, Class::Keeps, |scene| {
            let told = lstat(&scene.path("none"));
            scene.say("stat", told.map(|stat| stat.st_mode));
        }),
        Step::new("lookup-new", FUSE_LOOKUP, Class::Keeps, |scene| {
            let told = lstat(&scene.path("late"));
            scene.say("stat", told.map(|stat| (stat.st_mode, stat.st_size)));
        })
        .prepared(|scene| match &scene.lower {
            // The kernel and the server have never heard of it.
            Some(lower) => std::fs::write(lower.join("late"), b"came from below"),
            None => Ok(()),
        })
        .on(On::Directory),
    ]
}

/// The name still leads to the file that is open.
fn same_inode(scene: &mut Scene) {
    let named = std::fs::metadata(scene.path("one"));
    let same = named.and_then(|meta| Ok(meta.ino() == scene.files[0].metadata()?.ino()));
    scene.say("the open file has the name", same);
}

fn xattrs() -> Vec<Step> {
    let change = |name, act| Step::new(name, FUSE_SETXATTR, Class::Changes, act).prepared(named);
    let read = |name, opcode, act| Step::new(name, opcode, Class::Reads, act).prepared(named);
    vec![
        change("setxattr", |scene| {
            let result = xattr::set(scene.fd(0), c"user.new", b"some value", 0);
            scene.say("setxattr", result);
        }),
        change("setxattr-create", |scene| {
            let create = nix::libc::XATTR_CREATE as u32;
            let result = xattr::set(scene.fd(0), c"user.new", b"some value", create);
            scene.say("setxattr", result);
        }),
        change("setxattr-replace", |scene| {
            let replace = nix::libc::XATTR_REPLACE as u32;
            let result = xattr::set(scene.fd(0), c"user.old", b"another", replace);
            scene.say("setxattr", result);
        }),
        Step::new("removexattr", FUSE_REMOVEXATTR, Class::Changes, |scene| {
            let result = xattr::remove(scene.fd(0), c"user.old");
            scene.say("removexattr", result);
        })
        .prepared(named),
        Step::new("removexattr-missing", FUSE_REMOVEXATTR, Class::Keeps, |scene| {
            let result = xattr::remove(scene.fd(0), c"user.none");
            scene.say("removexattr", result);
        })
        .prepared(named),
        read("getxattr", FUSE_GETXATTR, |scene| {
            let mut value = [0; 64];
            let result = xattr::get(scene.fd(0), c"user.old", &mut value);
            scene.say("getxattr", result.map(|length| value[..length].to_vec()));
        }),
        read("listxattr", FUSE_LISTXATTR, |scene| {
            let mut names = [0; 256];
            let result = xattr::list(scene.fd(0), &mut names);
            scene.say("listxattr", result.map(|length| names[..length].to_vec()));
        }),
    ]
}

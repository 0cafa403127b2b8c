//! What makes, removes and moves names.
//!
//! What the kernel finds out with a LOOKUP of its own (a name that is there already, or is not) it
//! never asks the server for: the steps that fail fail for other reasons.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;

use nix::fcntl::{AT_FDCWD, OFlag, RenameFlags, renameat2};
use nix::sys::stat::{Mode, SFlag, lstat, makedev, mknod};
use nix::unistd::mkdir;

use super::{Class, On, Step};
use crate::crash::matrix::scene::Scene;
use crate::wire::Opcode::*;

/// Steps of this file all change something.
fn step(name: &'static str, opcode: crate::wire::Opcode, act: fn(&mut Scene)) -> Step {
    Step::new(name, opcode, Class::Changes, act)
}

fn one(scene: &mut Scene) -> io::Result<()> {
    scene.write("one", b"first")
}

fn two(scene: &mut Scene) -> io::Result<()> {
    scene.write("one", b"first")?;
    scene.write("two", b"the second")
}

fn rename(scene: &mut Scene, flags: RenameFlags) {
    let (from, to) = (scene.path("one"), scene.path("two"));
    scene.say("rename", renameat2(AT_FDCWD, &from, AT_FDCWD, &to, flags));
}

pub(super) fn steps() -> Vec<Step> {
    [makes(), removes(), moves()].concat()
}

fn makes() -> Vec<Step> {
    vec![
        step("mkdir", FUSE_MKDIR, |scene| {
            let path = scene.path("new");
            scene.say("mkdir", mkdir(&path, Mode::from_bits_truncate(0o750)));
        }),
        step("mknod", FUSE_MKNOD, |scene| {
            let path = scene.path("new");
            scene.say("mknod", mknod(&path, SFlag::S_IFCHR, Mode::S_IRUSR, makedev(1, 3)));
        }),
        step("mkfifo", FUSE_MKNOD, |scene| {
            let path = scene.path("new");
            scene.say("mknod", mknod(&path, SFlag::S_IFIFO, Mode::S_IRUSR, 0));
        }),
        step("symlink", FUSE_SYMLINK, |scene| {
            let path = scene.path("new");
            scene.say("symlink", symlink("some/where", path));
        }),
        step("link", FUSE_LINK, |scene| {
            let (from, to) = (scene.path("one"), scene.path("new"));
            scene.say("link", fs::hard_link(from, to));
        })
        .prepared(one),
        step("create", FUSE_CREATE, |scene| create(scene, OFlag::empty())).on(On::Backed),
        step("create-excl", FUSE_CREATE, |scene| create(scene, OFlag::O_EXCL)).on(On::Backed),
        step("create-trunc", FUSE_CREATE, |scene| create(scene, OFlag::O_TRUNC)).on(On::Backed),
    ]
}

fn create(scene: &mut Scene, more: OFlag) {
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | more;
    let file = crate::crash::matrix::scene::open(&scene.path("new"), flags);
    scene.keep("create", file);
}

fn removes() -> Vec<Step> {
    vec![
        step("unlink", FUSE_UNLINK, |scene| {
            let path = scene.path("one");
            scene.say("unlink", fs::remove_file(path));
        })
        .prepared(one),
        step("unlink-open", FUSE_UNLINK, |scene| {
            let path = scene.path("one");
            scene.say("unlink", fs::remove_file(path));
        })
        .prepared(|scene| {
            scene.write("one", b"still read afterwards")?;
            scene.open("one", OFlag::O_RDWR)
        })
        .on(On::Backed),
        step("unlink-linked", FUSE_UNLINK, |scene| {
            let path = scene.path("one");
            scene.say("unlink", fs::remove_file(path));
        })
        .prepared(|scene| {
            one(scene)?;
            fs::hard_link(scene.path("one"), scene.path("other"))
        }),
        step("rmdir", FUSE_RMDIR, |scene| {
            let path = scene.path("dir");
            scene.say("rmdir", fs::remove_dir(path));
        })
        .prepared(|scene| fs::create_dir(scene.path("dir"))),
        step("rmdir-full", FUSE_RMDIR, |scene| {
            let path = scene.path("dir");
            scene.say("rmdir", fs::remove_dir(path));
        })
        .prepared(|scene| {
            fs::create_dir(scene.path("dir"))?;
            scene.write("dir/file", b"")
        }),
    ]
}

fn moves() -> Vec<Step> {
    vec![
        step("rename", FUSE_RENAME, |scene| rename(scene, RenameFlags::empty())).prepared(one),
        step("rename-over", FUSE_RENAME, |scene| rename(scene, RenameFlags::empty())).prepared(two),
        step("rename-over-open", FUSE_RENAME, |scene| rename(scene, RenameFlags::empty()))
            .prepared(|scene| {
                two(scene)?;
                scene.open("one", OFlag::O_RDWR)?;
                scene.open("two", OFlag::O_RDWR)
            }),
        step("rename-into", FUSE_RENAME, |scene| {
            let (from, to) = (scene.path("dir"), scene.path("other/dir"));
            scene.say("rename", fs::rename(from, to));
        })
        .prepared(|scene| {
            fs::create_dir(scene.path("dir"))?;
            scene.write("dir/file", b"moves with it")?;
            fs::create_dir(scene.path("other"))
        }),
        step("rename-noreplace", FUSE_RENAME2, |scene| {
            rename(scene, RenameFlags::RENAME_NOREPLACE);
        })
        .prepared(one),
        step("rename-exchange", FUSE_RENAME2, |scene| {
            rename(scene, RenameFlags::RENAME_EXCHANGE);
            let size = lstat(&scene.path("one")).map(|stat| stat.st_size);
            scene.say("stat", size);
        })
        .prepared(two),
        step("rename-whiteout", FUSE_RENAME2, |scene| {
            rename(scene, RenameFlags::RENAME_WHITEOUT);
        })
        .prepared(one),
    ]
}

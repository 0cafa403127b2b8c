//! Opening and closing.

use std::io;
use std::os::unix::fs::FileExt;

use nix::fcntl::OFlag;

use super::{Class, On, Step};
use crate::crash::matrix::scene::{Scene, open};
use crate::sys::Fd;
use crate::wire::Opcode::*;

fn one(scene: &mut Scene) -> io::Result<()> {
    scene.write("one", b"some content")
}

fn one_open(scene: &mut Scene) -> io::Result<()> {
    one(scene)?;
    scene.open("one", OFlag::O_RDWR)
}

/// Opens `one` once more, and reads and writes through both.
fn open_again(scene: &mut Scene, flags: OFlag) {
    let file = open(&scene.path("one"), flags);
    scene.keep("open", file);
}

fn use_all(scene: &mut Scene) {
    for number in 0..scene.files.len() {
        let written = scene.files[number].write_at(&[b'a' + number as u8; 3], 4 * number as u64);
        scene.say("write", written);
    }
    // And once more by a file that is opened only now.
    let file = open(&scene.path("one"), OFlag::O_RDWR);
    let read = file.and_then(|file| {
        file.write_at(b"zz", 20)?;
        let mut content = vec![0; 30];
        let length = file.read_at(&mut content, 0)?;
        content.truncate(length);
        Ok(content)
    });
    scene.say("read", read);
}

pub(super) fn steps() -> Vec<Step> {
    let opens = |name, act| Step::new(name, FUSE_OPEN, Class::Keeps, act).on(On::Backed);
    vec![
        opens("open", |scene| open_again(scene, OFlag::O_RDWR)).prepared(one).look(use_all),
        opens("open-again", |scene| open_again(scene, OFlag::O_RDWR))
            .prepared(one_open)
            .look(use_all),
        opens("open-append", |scene| open_again(scene, OFlag::O_WRONLY | OFlag::O_APPEND))
            .prepared(one)
            .look(use_all),
        opens("open-trunc", |scene| open_again(scene, OFlag::O_RDWR | OFlag::O_TRUNC))
            .prepared(one)
            .look(use_all),
        Step::new("tmpfile", FUSE_TMPFILE, Class::Changes, |scene| {
            let file = open(&scene.dir, OFlag::O_RDWR | OFlag::O_TMPFILE);
            scene.keep("open", file);
        })
        .look(|scene| {
            let Some(file) = scene.files.first() else { return };
            let written = file.write_at(b"without a name", 3);
            scene.say("write", written);
        }),
        Step::new("flush", FUSE_FLUSH, Class::Keeps, |scene| {
            scene.say("flush", Fd::flush(scene.fd(0)));
        })
        .prepared(one_open)
        .look(use_all)
        .on(On::Backed),
        Step::new("fsync", FUSE_FSYNC, Class::Reads, |scene| {
            let synced = scene.files[0].sync_all();
            scene.say("fsync", synced);
        })
        .prepared(one_open)
        .on(On::Directory),
        Step::new("fdatasync", FUSE_FSYNC, Class::Reads, |scene| {
            let synced = scene.files[0].sync_data();
            scene.say("fdatasync", synced);
        })
        .prepared(one_open)
        .on(On::Directory),
        Step::new("release", FUSE_RELEASE, Class::Keeps, |scene| {
            drop(scene.files.pop());
        })
        .prepared(|scene| {
            one_open(scene)?;
            scene.open("one", OFlag::O_RDWR)
        })
        .look(use_all)
        .on(On::Backed),
        Step::new("release-unlinked", FUSE_RELEASE, Class::Keeps, |scene| {
            drop(scene.files.pop());
        })
        .prepared(|scene| {
            one_open(scene)?;
            std::fs::remove_file(scene.path("one"))
        })
        .on(On::Backed),
    ]
}

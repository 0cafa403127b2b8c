//! Directories.

use std::io;
use std::os::fd::AsRawFd;

use nix::fcntl::OFlag;

use super::{Class, On, Step};
use crate::crash::matrix::scene::{Scene, open};
use crate::sys::{Fd, dir};
use crate::wire::Opcode::*;

/// So many that one answer of the server does not hold them.
const FILES: usize = 60;
/// Little more than a page of entries.
const ROOM: usize = 4096;

/// Files that the kernel has not heard of, where there is a way to make them.
fn full(scene: &mut Scene) -> io::Result<()> {
    let dir = scene.lower.clone().unwrap_or_else(|| scene.dir.clone());
    for number in 0..FILES {
        std::fs::write(dir.join(format!("a file with a longer name, number {number}")), b"")?;
    }
    Ok(())
}

fn opened(scene: &mut Scene) -> io::Result<()> {
    let directory = open(&scene.dir, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
    scene.files.push(directory);
    Ok(())
}

/// One getdents; false at the end.
fn list(scene: &mut Scene) -> bool {
    let mut buffer = vec![0; ROOM];
    let fd = Fd::from_number(scene.files[0].as_raw_fd());
    let result = dir::getdents(fd, &mut buffer);
    let more = result.is_ok_and(|length| length > 0);
    let told = result.map(|length| {
        let entries = dir::entries(&buffer[..length]);
        entries
            .map(|entry| format!("{} {}", entry.name.to_string_lossy(), entry.kind))
            .filter(|entry| !entry.starts_with('.'))
            .collect::<Vec<_>>()
    });
    match told {
        // In the order of the directory, which is another one in each.
        Ok(names) => scene.said.extend(names),
        Err(error) => scene.say("getdents", Err::<(), _>(error)),
    }
    more
}

/// All of them once, in any order.
fn sort(scene: &mut Scene) {
    scene.said.sort();
}

pub(super) fn steps() -> Vec<Step> {
    vec![
        Step::new("opendir", FUSE_OPENDIR, Class::Keeps, |scene| {
            let directory = open(&scene.dir, OFlag::O_RDONLY | OFlag::O_DIRECTORY);
            scene.keep("opendir", directory);
        })
        .prepared(|scene| scene.write("file", b""))
        .look(|scene| while !scene.files.is_empty() && list(scene) {})
        .on(On::Directory),
        Step::new("readdirplus", FUSE_READDIRPLUS, Class::Keeps, |scene| while list(scene) {})
            .prepared(|scene| {
                full(scene)?;
                opened(scene)
            })
            .look(sort),
        Step::new("readdir", FUSE_READDIR, Class::Reads, |scene| while list(scene) {})
            .prepared(|scene| {
                full(scene)?;
                opened(scene)?;
                // The kernel asks for attributes too with the first answer alone.
                list(scene);
                Ok(())
            })
            .look(sort),
        Step::new("releasedir", FUSE_RELEASEDIR, Class::Keeps, |scene| {
            drop(scene.files.pop());
        })
        .prepared(opened)
        .on(On::Directory),
        Step::new("fsyncdir", FUSE_FSYNCDIR, Class::Reads, |scene| {
            let synced = scene.files[0].sync_all();
            scene.say("fsync", synced);
        })
        .prepared(opened)
        .on(On::Directory),
    ]
}

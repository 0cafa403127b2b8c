//! Reading and writing.

use std::io::{self, Read, Seek, SeekFrom, Write};

use nix::fcntl::{
    FallocateFlags, OFlag, PosixFadviseAdvice, copy_file_range, fallocate, posix_fadvise,
};
use nix::unistd::{Whence, lseek};
use xxhash_rust::xxh3::xxh3_64;

use super::{Class, On, Step};
use crate::crash::matrix::scene::Scene;
use crate::sys::file;
use crate::wire::Opcode::*;

/// Bytes that are not the same anywhere.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 % 251) as u8).collect()
}

/// Two pages and a bit, open.
fn one(scene: &mut Scene) -> io::Result<()> {
    scene.write("one", &pattern(9000))?;
    scene.open("one", OFlag::O_RDWR)
}

fn two(scene: &mut Scene) -> io::Result<()> {
    one(scene)?;
    scene.write("two", b"target")?;
    scene.open("two", OFlag::O_RDWR)
}

fn appending(scene: &mut Scene) -> io::Result<()> {
    scene.write("one", b"begin ")?;
    scene.open("one", OFlag::O_WRONLY | OFlag::O_APPEND)
}

pub(super) fn steps() -> Vec<Step> {
    [reads(), writes(), ranges()].concat()
}

fn reads() -> Vec<Step> {
    vec![
        Step::new("read", FUSE_READ, Class::Reads, |scene| {
            let mut content = vec![0; 6000];
            let read = scene.files[0].read(&mut content);
            scene.say("read", read.map(|length| (length, xxh3_64(&content))));
        })
        .prepared(|scene| {
            one(scene)?;
            // In memory the kernel keeps what was written.
            posix_fadvise(&scene.files[0], 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
            scene.files[0].seek(SeekFrom::Start(100)).map(drop)
        }),
        Step::new("lseek-data", FUSE_LSEEK, Class::Reads, |scene| {
            let found = lseek(&scene.files[0], 10, Whence::SeekData);
            scene.say("lseek", found);
        })
        .prepared(sparse),
        Step::new("lseek-hole", FUSE_LSEEK, Class::Reads, |scene| {
            let found = lseek(&scene.files[0], 1 << 20, Whence::SeekHole);
            scene.say("lseek", found);
        })
        .prepared(sparse),
        Step::new("getflags", FUSE_IOCTL, Class::Keeps, |scene| {
            const FS_IOC_GETFLAGS: u32 = 0x8008_6601;
            let mut data = [0; 32];
            let result = file::ioctl(scene.fd(0), FS_IOC_GETFLAGS, &mut data);
            scene.say("ioctl", result.map(|value| (value, data)));
        })
        .prepared(one)
        .on(On::Directory),
    ]
}

/// A hole of a mebibyte, and data behind it. A file that was shorter and had data may show some
/// for a while.
fn sparse(scene: &mut Scene) -> io::Result<()> {
    scene.open("one", OFlag::O_RDWR | OFlag::O_CREAT)?;
    scene.files[0].seek(SeekFrom::Start(1 << 20))?;
    scene.files[0].write_all(&pattern(8192))?;
    scene.files[0].sync_data()
}

fn writes() -> Vec<Step> {
    let write = |name, act| Step::new(name, FUSE_WRITE, Class::Changes, act);
    vec![
        write("write", |scene| {
            let written = scene.files[0].write(b"written");
            scene.say("write", written);
            // At the position behind it.
            let written = scene.files[0].write(b"behind");
            scene.say("write", written);
        })
        .prepared(one),
        write("write-large", |scene| {
            let written = scene.files[0].write(&pattern(1 << 20));
            scene.say("write", written);
        })
        .prepared(one),
        write("append", |scene| {
            let written = scene.files[0].write(b"appended once");
            scene.say("write", written);
        })
        .prepared(appending),
        write("append-large", |scene| {
            let written = scene.files[0].write(&pattern(1 << 20));
            scene.say("write", written);
        })
        .prepared(appending),
    ]
}

fn ranges() -> Vec<Step> {
    let range = |name, act| Step::new(name, FUSE_FALLOCATE, Class::Changes, act).prepared(one);
    vec![
        range("fallocate", |scene| allocate(scene, FallocateFlags::empty(), 8000, 5000)),
        range("fallocate-keep", |scene| {
            allocate(scene, FallocateFlags::FALLOC_FL_KEEP_SIZE, 8000, 5000);
        }),
        range("fallocate-punch", |scene| {
            let keep = FallocateFlags::FALLOC_FL_KEEP_SIZE;
            allocate(scene, FallocateFlags::FALLOC_FL_PUNCH_HOLE | keep, 1000, 5000);
        }),
        range("fallocate-zero", |scene| {
            allocate(scene, FallocateFlags::FALLOC_FL_ZERO_RANGE, 6000, 6000);
        }),
        Step::new("copy-file-range", FUSE_COPY_FILE_RANGE_64, Class::Changes, |scene| {
            copy(scene, 0, 1, 0);
        })
        .prepared(two),
        Step::new("copy-within", FUSE_COPY_FILE_RANGE_64, Class::Changes, |scene| {
            copy(scene, 0, 0, 4096);
        })
        .prepared(one),
    ]
}

fn allocate(scene: &mut Scene, mode: FallocateFlags, at: i64, length: i64) {
    let result = fallocate(&scene.files[0], mode, at, length);
    scene.say("fallocate", result);
}

fn copy(scene: &mut Scene, from: usize, to: usize, at: i64) {
    let (mut here, mut there) = (0, at);
    let (from, to) = (&scene.files[from], &scene.files[to]);
    let result = copy_file_range(from, Some(&mut here), to, Some(&mut there), 4000);
    scene.say("copy_file_range", result.map(|length| (length, here, there)));
}

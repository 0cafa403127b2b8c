//! The program of [`fusex::crash::workload`] where nobody dies: it has to find nothing.

use std::path::Path;

use fusex::crash::workload::{Setup, kinds, probe};

use crate::common::{DEFAULT, Mode, Mount, NEVER, Place, SERVED, SINGLE, USER, WRITEBACK};
use crate::program::{self, setup};
use crate::{need_mounts, skip};

/// Operations of one thread.
const COUNT: u64 = 3000;

fn finds_nothing(dir: &Path, lower: Option<&Path>, seed: u64) {
    let abilities = probe(dir).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(abilities.missing(), [], "a local file system can do all of it");
    let setup = setup(dir, lower, seed);
    let outcome = program::finds_nothing(&setup, |count| count >= COUNT);
    assert!(outcome.operations >= 4 * COUNT);
    let never = |kind: &&str| outcome.by_kind.get(kind).copied().unwrap_or(0) == 0;
    assert_eq!(kinds().into_iter().filter(never).collect::<Vec<_>>(), [""; 0], "never done");
}

#[test]
fn in_a_directory() {
    need_mounts!();
    let place = Place::new();
    finds_nothing(&place.plain(), None, 1);
}

#[test]
fn in_a_tmpfs() {
    need_mounts!();
    let place = Place::new();
    place.tmpfs(&place.plain(), "size=256m");
    finds_nothing(&place.plain(), None, 2);
}

/// What is missing is told, and nothing else is found.
fn finds_nothing_but(dir: &Path, missing: &[&str], seed: u64) {
    let abilities = probe(dir).unwrap_or_else(|error| panic!("{error}"));
    eprintln!("{:?}", abilities.missing());
    let told: Vec<_> = abilities.missing().into_iter().map(|(what, _)| what).collect();
    assert!(missing.iter().all(|what| told.contains(what)), "{told:?}");
    assert_eq!(std::fs::read_dir(dir).unwrap().count(), 0, "the probe leaves nothing");
    let setup = Setup { abilities, ..setup(dir, None, seed) };
    let outcome = program::finds_nothing(&setup, |count| count >= COUNT);
    assert!(outcome.operations >= 4 * COUNT);
}

#[test]
fn in_a_directory_of_a_user() {
    need_mounts!();
    let place = Place::new();
    std::os::unix::fs::chown(place.plain(), Some(USER.uid), Some(USER.gid)).unwrap();
    USER.run(|| finds_nothing_but(&place.plain(), &["chown"], 9));
}

/// One that gives open files that are removed another name, and cannot do much else.
#[test]
fn in_a_foreign_mount() {
    need_mounts!();
    let place = Place::new();
    let mut bindfs = std::process::Command::new("bindfs");
    let mounted = bindfs.arg(place.source()).arg(place.point()).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        skip!("bindfs is not there");
    }
    finds_nothing_but(&place.point(), &["O_TMPFILE", "open files without a name"], 10);
}

fn mounted(mode: Mode, seed: u64) {
    let mount = Mount::new(mode);
    let lower = mount.source();
    finds_nothing(&mount.point(), (!mode.contains(&"mem")).then_some(&lower), seed);
}

#[test]
fn mounted_as_usual() {
    need_mounts!();
    mounted(DEFAULT, 3);
}

#[test]
fn mounted_with_one_thread() {
    need_mounts!();
    mounted(SINGLE, 4);
}

#[test]
fn mounted_without_passthrough() {
    need_mounts!();
    mounted(SERVED, 5);
}

#[test]
fn mounted_with_writeback() {
    need_mounts!();
    mounted(WRITEBACK, 6);
}

#[test]
fn mounted_without_caches() {
    need_mounts!();
    mounted(NEVER, 7);
}

#[test]
fn mounted_in_memory() {
    need_mounts!();
    mounted(&["-t", "mem"], 8);
}

//! The program of [`crate::oracle`] where nobody dies: it has to find nothing.

use std::path::Path;

use crate::common::{DEFAULT, Mode, Mount, NEVER, Place, SERVED, SINGLE, WRITEBACK};
use crate::need_mounts;
use crate::oracle::{Setup, run};
use crate::random::seed;

/// Operations of one thread.
const COUNT: u64 = 3000;

fn finds_nothing(dir: &Path, lower: Option<&Path>, seed_of_test: u64) {
    let setup = Setup { dir, lower, seed: seed(seed_of_test), threads: 4 };
    match run(&setup, |count| count >= COUNT) {
        Ok(count) => assert!(count >= 4 * COUNT),
        Err(report) => panic!("{report}"),
    }
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

//! Called as mount(8) calls it for a line in fstab.

use std::os::unix::fs::symlink;

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use crate::{Place, program};

const NAMES: [&str; 3] = ["mount.fusex", "mount.fuse.fusex", "mount.fuse3.fusex"];

/// The program under another name.
fn helper(place: &Place, name: &str, arguments: &[&str]) -> Command {
    let path = place.path(name);
    if !path.exists() {
        symlink(env!("CARGO_BIN_EXE_fusex"), &path).unwrap();
    }
    program(&path, &place.fill(arguments))
}

#[test]
fn errors_have_the_same_form() {
    let place = Place::new();
    for name in NAMES {
        let mut command = helper(&place, name, &["@/source", "@/no", "-o", "rw"]);
        let missing = "mount point @/no: No such file or directory: create it with 'mkdir -p'";
        place.refused_command(&mut command, 32, missing);
        let mut command = helper(&place, name, &["@/source"]);
        let usage = "the following required arguments were not provided: <DIR>: try 'mount.fusex \
                     --help'";
        place.refused_command(&mut command, 1, usage);
    }
    let mut command = helper(&place, NAMES[0], &["@/source", "@/point", "-t", "ext4"]);
    let line = "invalid value 'ext4' for '-t <TYPE>': give fuse.fusex, fusex, dir, mem, \
                fusex.mem, merge or fusex.merge: try 'mount.fusex --help'";
    place.refused_command(&mut command, 1, line);
}

#[test]
fn fake_checks_everything_and_mounts_nothing() {
    let place = Place::new();
    let options = "rw,noatime,x-systemd.automount,_netdev,user=me,nofail";
    let good = ["@/source", "@/point", "-f", "-n", "-o", options, "-t", "fuse.fusex"];
    helper(&place, NAMES[0], &good).assert().code(0).stdout("").stderr("");
    place.nothing_is_mounted();
    let mut bad = helper(&place, NAMES[0], &["@/no", "@/point", "-f"]);
    let missing = "source @/no: No such file or directory: create it, or correct the path";
    place.refused_command(&mut bad, 32, missing);
}

#[test]
fn sloppy_leaves_unknown_options_out() {
    let place = Place::new();
    let strict = ["@/source", "@/point", "-f", "-o", "fslevel=3"];
    let line = "option 'fslevel': unknown: 'fusex mount --help' lists all options";
    place.refused_command(&mut helper(&place, NAMES[0], &strict), 1, line);
    let sloppy = ["@/source", "@/point", "-sf", "-o", "fslevel=3"];
    helper(&place, NAMES[0], &sloppy).assert().code(0).stdout("").stderr("");
    let value = ["@/source", "@/point", "-sf", "-o", "max_threads=0"];
    let line = "option 'max_threads': bad value '0': give a whole number from 1 to 4096";
    place.refused_command(&mut helper(&place, NAMES[0], &value), 1, line);
}

#[test]
fn a_namespace_that_is_not_there() {
    let place = Place::new();
    let line = "namespace @/no: No such file or directory: give a process id or the path of a \
                mount namespace";
    let mut command = helper(&place, NAMES[0], &["@/source", "@/point", "-f", "-N", "@/no"]);
    place.refused_command(&mut command, 32, line);
}

#[test]
fn the_log_goes_to_stderr_without_colours_and_the_environment_wins() {
    let place = Place::new();
    let fake = ["@/source", "@/point", "-f", "-v"];
    helper(&place, NAMES[0], &fake).assert().code(0).stdout("").stderr("");
    let plain = contains("DEBUG checked").and(contains("\u{1b}").not());
    let mut command = helper(&place, NAMES[0], &fake);
    command.env("RUST_LOG", "debug").assert().code(0).stdout("").stderr(plain);
}

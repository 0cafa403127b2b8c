//! The program as its users call it: every error has its exit code and its one line, nothing is
//! left mounted, and nothing hangs.

#[path = "../common/mod.rs"]
mod common;

mod bpf_load;
mod bpf_stats;
mod crash_test;
mod doctor;
mod helper;
mod mount;
mod splice_bench;
mod umount;

use std::path::{Path, PathBuf};
use std::time::Duration;

use assert_cmd::Command;
use tempfile::TempDir;

/// A directory with a source and a mount point in it; nothing may be mounted below when it goes.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        for name in ["source", "point"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        std::fs::write(dir.path().join("file"), "").unwrap();
        Place { dir }
    }

    /// The path of something in it.
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs `fusex` with these arguments: it must fail with this code and this one line, in which
    /// `@` stands for the directory, as it does in the arguments.
    fn refused(&self, arguments: &[&str], code: i32, line: &str) {
        self.refused_command(&mut fusex(&self.fill(arguments)), code, line);
    }

    fn refused_command(&self, command: &mut Command, code: i32, line: &str) {
        let line = format!("fusex: {}\n", line.replace('@', self.dir.path().to_str().unwrap()));
        command.assert().code(code).stdout("").stderr(line);
        self.nothing_is_mounted();
    }

    /// The arguments with the directory in place of `@`.
    fn fill(&self, arguments: &[&str]) -> Vec<String> {
        let dir = self.dir.path().to_str().unwrap();
        arguments.iter().map(|argument| argument.replace('@', dir)).collect()
    }

    fn nothing_is_mounted(&self) {
        let dir = self.dir.path().canonicalize().unwrap();
        let table = fusex::mount::mountinfo::read().unwrap();
        let left: Vec<_> = table.iter().filter(|it| it.mount_point.starts_with(&dir)).collect();
        assert!(left.is_empty(), "left mounted: {left:?}");
    }
}

/// The program, to be run for 20 s at most and without what the environment could change.
fn fusex(arguments: &[impl AsRef<std::ffi::OsStr>]) -> Command {
    program(Path::new(env!("CARGO_BIN_EXE_fusex")), arguments)
}

fn program(path: &Path, arguments: &[impl AsRef<std::ffi::OsStr>]) -> Command {
    let mut command = Command::new(path);
    command.args(arguments).env_remove("RUST_LOG").timeout(Duration::from_secs(20));
    command
}

/// Whether the test runs as root; says why it is skipped otherwise.
fn is_root(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        println!("skipped: {test}: needs root");
    }
    root
}

#[test]
fn no_subcommand_and_unknown_ones() {
    let place = Place::new();
    place.refused(&[], 1, "no subcommand: try 'fusex --help'");
    let line = "unrecognized subcommand 'unmoun': a similar subcommand exists: 'umount'";
    place.refused(&["unmoun"], 1, line);
    place.refused(&["--colour"], 1, "unexpected argument '--colour' found: try 'fusex --help'");
}

#[test]
fn help_and_version_are_no_errors() {
    let version = format!("fusex {}\n", env!("CARGO_PKG_VERSION"));
    fusex(&["--version"]).assert().code(0).stdout(version).stderr("");
    for arguments in [&["-h"][..], &["mount", "-h"], &["mount", "--help"], &["umount", "--help"]] {
        let usage = predicates::str::contains("Usage: fusex");
        fusex(arguments).assert().code(0).stdout(usage).stderr("");
    }
}

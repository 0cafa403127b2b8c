//! Real programs on the mount, compared with the same on the lower directory.
//!
//! A workload is a script beside this file, run by bash in an empty directory; `$OUTSIDE` is
//! another empty one, never on the mount. There are two kinds:
//!
//! * *compared*: the script fails on the first thing that is wrong, and what it prints must be
//!   the same on the mount and on the lower directory;
//! * *jobs*: its arguments are jobs, and for each that failed it prints `not ok JOB: WHY`. Such a
//!   job is tried on the lower directory: failing there too, it is noted as skipped.
//!
//! Exit code 77 means that it cannot be run here; the last line of stderr says why.

#[path = "../common/mod.rs"]
mod common;

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Mode, Mount, wait_until};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// How long one script may take.
const LIMIT: Duration = Duration::from_secs(100);
/// The exit code of a script that cannot be run.
const CANNOT: i32 = 77;
/// What every script begins with.
const LIB: &str = include_str!("lib.sh");

/// A script, the programs it needs, and its jobs.
struct Workload {
    text: &'static str,
    tools: &'static [&'static str],
    jobs: &'static str,
}

/// Why a script was not run.
struct Cannot(String);

/// One module a workload, with one test for each way of mounting.
macro_rules! workloads {
    ($($run:ident $name:ident $script:literal $tools:tt $jobs:literal: $($mode:ident),*;)*) => {
        $(mod $name {
            const WORKLOAD: crate::Workload = crate::Workload {
                text: include_str!($script),
                tools: &$tools,
                jobs: $jobs,
            };

            $(#[test]
            fn $mode() {
                crate::need_mounts!();
                if let Some(reason) = crate::common::uring::why_not(crate::mode::$mode) {
                    crate::skip!(reason);
                }
                if let Some(reason) = crate::$run(&WORKLOAD, crate::mode::$mode) {
                    crate::skip!(reason);
                }
            })*
        })*
    };
}

/// Ways of mounting, by the names that tests have.
#[allow(non_upper_case_globals)]
mod mode {
    use crate::common::{self, Mode};

    pub(crate) const passthrough: Mode = common::DEFAULT;
    pub(crate) const single: Mode = common::SINGLE;
    pub(crate) const served: Mode = common::SERVED;
    pub(crate) const writeback: Mode = common::WRITEBACK;
    pub(crate) const spliced: Mode = common::SPLICED;
    pub(crate) const mem: Mode = &["-t", "mem"];
    pub(crate) const uring: Mode = common::uring::URING;
    pub(crate) const uring_mem: Mode = &["--no-supervise", "--transport", "uring", "-t", "mem"];
}

workloads! {
    compared git "git.sh" ["git"] "":
        passthrough, single, served, spliced, writeback, mem, uring;
    compared tar "tar.sh" ["tar", "setfattr", "setfacl"] "":
        passthrough, single, served, spliced, writeback, uring;
    compared rsync "rsync.sh" ["rsync", "setfattr", "setfacl"] "":
        passthrough, single, served, spliced, writeback, uring;
    compared sqlite "sqlite.sh" ["sqlite3"] "":
        passthrough, single, served, spliced, writeback, mem, uring, uring_mem;
    compared build "build.sh" ["make", "cc", "cargo"] "":
        passthrough, single, served, spliced, writeback, mem, uring;
    jobs fio "fio.sh" ["fio"] "seq-4k seq-1m rand-4k rand-mixed direct-seq direct-rand aio-direct \
        uring-direct mmap overwrite fsync":
        passthrough, single, served, spliced, writeback, mem, uring, uring_mem;
    jobs stress_names "stress.sh" ["stress-ng"] "dentry dir dirdeep dirmany filename getdent link \
        mknod open rename symlink touch": passthrough, single, mem, uring;
    jobs stress_attributes "stress.sh" ["stress-ng"] "access chdir chmod chown file-ioctl fstat \
        handle inode-flags inotify utime xattr": passthrough, uring;
    jobs stress_locks "stress.sh" ["stress-ng"] "fcntl flock lease locka lockf lockofd":
        passthrough, single, uring;
    jobs stress_data "stress.sh" ["stress-ng"] "aio aiol copy-file fallocate fiemap fpunch hdd \
        iomix mmap msync readahead revio seek sendfile splice sync-file":
        passthrough, served, spliced, writeback, mem, uring, uring_mem;
}

/// Runs a script on a mount and on the lower directory: the output must be the same.
fn compared(workload: &Workload, mode: Mode) -> Option<String> {
    if let Some(reason) = workload.missing() {
        return Some(reason);
    }
    let mount = Mount::new(mode);
    let expected = match workload.run(&plain(&mount), &[]) {
        Ok(output) => output,
        Err(Cannot(reason)) => return Some(reason),
    };
    match workload.run(&mount.point(), &[]) {
        Ok(output) => assert_same(&output, &expected),
        Err(Cannot(reason)) => panic!("only on the mount: {reason}"),
    }
    None
}

/// Runs jobs on a mount: one that fails must fail on the lower directory too.
fn jobs(workload: &Workload, mode: Mode) -> Option<String> {
    if let Some(reason) = workload.missing() {
        return Some(reason);
    }
    let jobs: Vec<&str> = workload.jobs.split_whitespace().collect();
    let mount = Mount::new(mode);
    let failed = match workload.run(&mount.point(), &jobs) {
        Ok(output) => failures(&output, &jobs),
        Err(Cannot(reason)) => return Some(reason),
    };
    if failed.is_empty() {
        return None;
    }
    let names: Vec<&str> = failed.iter().map(|(name, _)| *name).collect();
    let below = match workload.run(&plain(&mount), &names) {
        Ok(output) => failures(&output, &names),
        Err(Cannot(reason)) => panic!("only on the lower directory: {reason}"),
    };
    let (also, only): (Vec<_>, Vec<_>) =
        failed.into_iter().partition(|(name, _)| below.iter().any(|(other, _)| other == name));
    assert!(only.is_empty(), "only on the mount: {only:#?}");
    let also: Vec<String> = also
        .iter()
        .map(|(name, why)| format!("{name} ({})", why.chars().take(150).collect::<String>()))
        .collect();
    Some(format!("failed here and on the lower directory, the other jobs passed: {also:?}"))
}

/// The jobs that failed, and why.
fn failures<'a>(output: &str, jobs: &[&'a str]) -> Vec<(&'a str, String)> {
    let lines = output.lines().map(|line| {
        let failed = line.strip_prefix("not ok ").and_then(|rest| rest.split_once(": "));
        let (name, why) = failed.unwrap_or_else(|| panic!("unexpected output: {line}"));
        let name = jobs.iter().find(|job| **job == name).expect("one of the jobs");
        (*name, why.to_string())
    });
    lines.collect()
}

/// A directory on the lower file system that is not served.
fn plain(mount: &Mount) -> PathBuf {
    mount.point().with_file_name("plain")
}

fn assert_same(seen: &str, expected: &str) {
    let differing = seen.lines().zip(expected.lines()).find(|(seen, expected)| seen != expected);
    if let Some((seen, expected)) = differing {
        panic!("on the mount: {seen}\nbelow:        {expected}");
    }
    assert_eq!(seen.lines().count(), expected.lines().count(), "{seen}\n---\n{expected}");
}

impl Workload {
    /// Why it cannot be run here.
    fn missing(&self) -> Option<String> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let is_there = |tool: &str| directories.iter().any(|dir| dir.join(tool).exists());
        let missing: Vec<_> = self.tools.iter().copied().filter(|tool| !is_there(tool)).collect();
        (!missing.is_empty()).then(|| format!("not installed: {}", missing.join(" ")))
    }

    /// Runs the script in `directory`; its output. Ends whatever it leaves running.
    fn run(&self, directory: &Path, arguments: &[&str]) -> Result<String, Cannot> {
        let outside = directory.with_file_name("outside");
        std::fs::create_dir(&outside).unwrap();
        let logs = ["stdout", "stderr"].map(|name| directory.with_file_name(name));
        let [stdout, stderr] = logs.each_ref().map(|path| File::create(path).unwrap());
        let mut command = Command::new("bash");
        // The directory is an argument too: what is left running is found by it.
        command.arg("-c").arg(format!("{LIB}\n{}", self.text)).arg(directory).args(arguments);
        command.current_dir(directory).env("OUTSIDE", &outside).process_group(0);
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        let mut shell = command.spawn().unwrap();
        let ended = wait_until(LIMIT, || shell.try_wait().unwrap().is_some());
        // Nobody is left where all went well.
        let _ = killpg(Pid::from_raw(shell.id() as i32), Signal::SIGKILL);
        let status = shell.wait().unwrap();
        let [output, errors] =
            logs.map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned());
        let last = errors.lines().last().unwrap_or("no reason given").to_string();
        if status.code() == Some(CANNOT) {
            return Err(Cannot(last));
        }
        assert!(ended, "no end after {LIMIT:?} in {}: {errors}", directory.display());
        assert!(status.success(), "{status} in {}:\n{errors}{output}", directory.display());
        std::fs::remove_dir_all(outside).unwrap();
        Ok(output)
    }
}

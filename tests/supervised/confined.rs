//! What the worker of a real mount is left with, as /proc shows it, also behind a death.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use fusex::supervise::confine::KEPT;

use crate::common::{DEFAULT, Mode, Mount};
use crate::kept::kill_worker;
use crate::line::{number, status, stop, until};
use crate::need_mounts;

const SANDBOX: Mode = &["--sandbox"];

/// A line of a status file in /proc.
fn field(path: &Path, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_else(|it| panic!("{}: {it}", path.display()));
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("no {name}: {text}")).trim().to_string()
}

fn capabilities(path: &Path, name: &str) -> u64 {
    u64::from_str_radix(&field(path, name), 16).unwrap()
}

/// All threads of the process have given up the same.
fn is_confined(pid: u64) {
    let own = Path::new("/proc/self/status");
    for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let status = thread.unwrap().path().join("status");
        assert_eq!(field(&status, "NoNewPrivs"), "1");
        assert_eq!(field(&status, "Seccomp"), "2");
        // What this process does not have it could not hand down.
        assert_eq!(capabilities(&status, "CapEff"), capabilities(own, "CapEff") & KEPT);
        assert_eq!(capabilities(&status, "CapPrm"), capabilities(own, "CapPrm") & KEPT);
        assert_eq!(capabilities(&status, "CapBnd"), capabilities(own, "CapBnd") & KEPT);
        assert_eq!(capabilities(&status, "CapInh"), 0);
        assert_eq!(capabilities(&status, "CapAmb"), 0);
    }
}

fn worker(mount: &Mount) -> u64 {
    number(&until(&mount.point(), "a worker", |it| number(it, "worker_pid") != 0), "worker_pid")
}

/// Whether it serves, which also starts threads.
fn serves(mount: &Mount, name: &str) {
    std::thread::scope(|scope| {
        for number in 0..6 {
            let path = mount.point().join(format!("{name}-{number}"));
            scope.spawn(move || {
                fs::write(&path, "x").unwrap();
                fs::set_permissions(&path, fs::metadata(&path).unwrap().permissions()).unwrap();
                fs::remove_file(&path).unwrap();
            });
        }
    });
}

#[test]
fn rights_are_given_up_by_every_worker() {
    need_mounts!();
    for mode in [DEFAULT, SANDBOX, &["-t", "mem"]] {
        let mount = Mount::new(mode);
        serves(&mount, "first");
        is_confined(worker(&mount));
        kill_worker(&mount);
        serves(&mount, "second");
        is_confined(worker(&mount));
        let supervisor = number(&status(&mount.point()), "supervisor_pid");
        let seccomp = field(Path::new(&format!("/proc/{supervisor}/status")), "Seccomp");
        assert_eq!(seccomp, field(Path::new("/proc/self/status"), "Seccomp"), "{mode:?}");
        stop(&mount);
    }
}

/// The mount namespace of a process.
fn namespace(pid: u64) -> String {
    fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap().display().to_string()
}

/// The names in `/` as the process sees it.
fn root(pid: u64) -> BTreeSet<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/root/")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_sandbox_shows_the_source_alone() {
    need_mounts!();
    let mount = Mount::new(SANDBOX);
    fs::create_dir(mount.source().join("dir")).unwrap();
    fs::write(mount.source().join("file"), "x").unwrap();
    let supervisor = number(&status(&mount.point()), "supervisor_pid");
    let look = |pid: u64| {
        assert_eq!(root(pid), ["dir", "file"].map(String::from).into(), "{pid}");
        let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
        let mounts: Vec<&str> = table.lines().filter_map(|it| it.split(' ').nth(4)).collect();
        assert_eq!(mounts, ["/"], "{pid}: {table}");
        // `..` of its root is the root.
        assert!(!Path::new(&format!("/proc/{pid}/root/../../etc")).exists());
        assert_ne!(namespace(pid), namespace(supervisor));
        namespace(pid)
    };
    let first = look(worker(&mount));
    kill_worker(&mount);
    let second = worker(&mount);
    // One for all of them: what the first had open is still reached in it.
    assert_eq!(look(second), first);
    serves(&mount, "file");
    assert_eq!(namespace(supervisor), namespace(u64::from(std::process::id())));
    stop(&mount);
}

#[test]
fn without_a_sandbox_it_is_where_its_supervisor_is() {
    need_mounts!();
    let mount = Mount::new(DEFAULT);
    let supervisor = number(&status(&mount.point()), "supervisor_pid");
    assert_eq!(namespace(worker(&mount)), namespace(supervisor));
    stop(&mount);
}

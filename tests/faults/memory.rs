//! Workers that the kernel ends as they have taken too much memory.

use std::path::{Path, PathBuf};

use nix::unistd::Pid;

use crate::callers::{Others, spring};
use crate::common::{SOON, wait_until};
use crate::fault::{Cause, Fault};
use crate::server::{Server, Setup};
use crate::traps::{At, Trap};
use crate::{need_mounts, skip};

/// For all processes of the mount together, in bytes.
const LIMIT: u64 = 256 << 20;

/// A group of processes with a limit of memory.
struct Group(PathBuf);

impl Group {
    /// One for this test; the error says why there is none.
    fn new(name: &str) -> Result<Group, String> {
        let name = format!("fusex-faults-{}-{name}", std::process::id());
        let second = Path::new("/sys/fs/cgroup");
        let (base, limits) = match second.join("cgroup.controllers").exists() {
            true => (second.to_path_buf(), ["memory.max", "memory.swap.max"]),
            false => (second.join("memory"), ["memory.limit_in_bytes", "memory.swappiness"]),
        };
        let group = Group(base.join(name));
        let failed = |error| format!("no memory cgroup: {}: {error}", group.0.display());
        std::fs::create_dir(&group.0).map_err(failed)?;
        std::fs::write(group.0.join(limits[0]), LIMIT.to_string()).map_err(failed)?;
        // Missing where the kernel counts no swap; 256 MiB more or less are no matter then.
        let _ = std::fs::write(group.0.join(limits[1]), "0");
        Ok(group)
    }

    /// All that these start later are in it too.
    fn add(&self, processes: &[Pid]) {
        for pid in processes {
            std::fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let gone = wait_until(SOON, || std::fs::remove_dir(&self.0).is_ok());
        if !gone && self.0.exists() {
            eprintln!("{}: left", self.0.display());
        }
    }
}

fn is_replaced(single: bool, name: &str) -> Result<(), String> {
    let group = Group::new(name)?;
    let server = Server::start(Setup { single, ..Setup::default() });
    // Nobody may be on the way, outside the group.
    let complete = || {
        let status = server.status();
        [status.standby_pid, status.reserve_pid, status.spare_pid].iter().all(|pid| *pid != 0)
    };
    assert!(wait_until(SOON, complete), "{}", server.log());
    group.add(&server.place().servers());
    let others = Others::start(&server);
    let mut deaths = [0; 4];
    for at in [At::Read, At::Write] {
        spring(&server, Trap::once(Fault::Hog, at)).unwrap();
        deaths[Cause::Killed.index()] += 1;
        server.wait_for_deaths(deaths);
        others.go_on();
    }
    others.end(&server);
    let log = server.log();
    assert_eq!(log.matches(Fault::Hog.logged()[0]).count(), 2, "{log}");
    Ok(())
}

#[test]
fn a_worker_without_memory_is_replaced() {
    need_mounts!();
    if let Err(reason) = is_replaced(false, "many") {
        skip!(reason);
    }
}

#[test]
fn a_worker_without_memory_and_with_one_thread_is_replaced() {
    need_mounts!();
    if let Err(reason) = is_replaced(true, "one") {
        skip!(reason);
    }
}

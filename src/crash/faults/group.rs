//! A memory cgroup of one test: with it goes the promise that a worker that takes all memory takes
//! that of the test, not of the machine.

use std::fs;
use std::path::{Path, PathBuf};

use crate::crash::CrashError;
use crate::crash::target::{Process, SOON, wait_until};

/// Where cgroups are mounted, the one tree of version 2 or the trees of version 1.
const ROOT: &str = "/sys/fs/cgroup";

/// What differs between the versions.
struct Names {
    base: &'static str,
    limit: &'static str,
    swap: (&'static str, &'static str),
    events: &'static str,
}

const FIRST: Names = Names {
    base: "memory",
    limit: "memory.limit_in_bytes",
    swap: ("memory.swappiness", "0"),
    events: "memory.oom_control",
};
const SECOND: Names = Names {
    base: "",
    limit: "memory.max",
    swap: ("memory.swap.max", "0"),
    events: "memory.events",
};

/// A group of processes with a limit of memory. It goes with the value.
pub(super) struct Group {
    path: PathBuf,
    names: &'static Names,
}

impl Group {
    /// One with a limit in bytes; the error says why there is none.
    pub(super) fn new(limit: u64) -> Result<Group, String> {
        let root = Path::new(ROOT);
        let names = if root.join("cgroup.controllers").exists() { &SECOND } else { &FIRST };
        let name = format!("fusex-crash-{}", std::process::id());
        let group = Group { path: root.join(names.base).join(name), names };
        let why = |error| format!("no memory cgroup: {}: {error}", group.path.display());
        fs::create_dir(&group.path).map_err(why)?;
        fs::write(group.path.join(names.limit), limit.to_string()).map_err(why)?;
        // Missing where the kernel counts no swap; it is not much more then.
        let _ = fs::write(group.path.join(names.swap.0), names.swap.1);
        group.kills().ok_or_else(|| {
            format!("{}: the kernel does not say what it killed", group.path.display())
        })?;
        Ok(group)
    }

    /// Takes a process in, and what it starts later.
    pub(super) fn add(&self, process: &Process) -> Result<(), CrashError> {
        let path = self.path.join("cgroup.procs");
        fs::write(&path, process.pid.to_string())
            .map_err(CrashError::io(path.display().to_string()))
    }

    /// How many of its processes the kernel has ended for their memory.
    pub(super) fn kills(&self) -> Option<u64> {
        let text = fs::read_to_string(self.path.join(self.names.events)).ok()?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
    }

    /// Takes it away, when its processes are gone; false: it stays.
    pub(super) fn remove(&self) -> bool {
        wait_until(SOON, || fs::remove_dir(&self.path).is_ok() || !self.path.exists())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.path.exists() {
            self.remove();
        }
    }
}

//! The FUSE connections of this machine, as mountinfo, sysfs and `/proc` know them.
//!
//! No mount is touched, not even by a look at its mount point: one whose server hangs, or whose
//! process is stuck, is listed as fast as any other.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::servers::Servers;
use super::tier::Missing;
use super::{Connection, Server};
use crate::mount::mountinfo::{self, Entry};

/// Where fusectl is, below `/sys`.
const CONTROL: &str = "fs/fuse/connections";

/// A look at the machine, and what is remembered for the next one.
#[derive(Debug)]
pub struct Machine {
    proc: PathBuf,
    sys: PathBuf,
    servers: Servers,
    missing: Vec<Missing>,
}

impl Default for Machine {
    fn default() -> Machine {
        Machine::new()
    }
}

impl Machine {
    /// This machine, as this process sees it.
    pub fn new() -> Machine {
        Machine::at(Path::new("/proc"), Path::new("/sys"))
    }

    fn at(proc: &Path, sys: &Path) -> Machine {
        let servers = Servers::new(proc);
        Machine { proc: proc.into(), sys: sys.into(), servers, missing: Vec::new() }
    }

    /// Every FUSE connection: those that are mounted in this mount namespace by mount point, then
    /// those that only sysfs has, by id. Filled is what needs no BPF.
    ///
    /// # Errors
    /// mountinfo cannot be read. What else cannot be is unknown in the result.
    pub fn connections(&mut self) -> io::Result<Vec<Connection>> {
        let table = mountinfo::parse(&fs::read(self.proc.join("self/mountinfo"))?);
        let mut found = mounted(&table);
        for id in self.control_ids() {
            if !table.iter().any(|entry| entry.connection() == id) {
                found.entry(id).or_insert_with(|| Connection { id, ..Connection::default() });
            }
        }
        let ids: Vec<u32> = found.keys().copied().collect();
        let mut servers = self.servers.of(&ids);
        for connection in found.values_mut() {
            connection.server = servers.remove(&connection.id);
            self.read_control(connection);
        }
        let mut connections: Vec<Connection> = found.into_values().collect();
        let place = |it: &Connection| (it.mount_point.is_none(), it.mount_point.clone(), it.id);
        connections.sort_by_key(place);
        self.missing = self.what_is_missing(&table, &connections);
        Ok(connections)
    }

    /// What the last look could not see, and what helps.
    pub fn missing(&self) -> Vec<Missing> {
        self.missing.clone()
    }

    /// A process that was seen answering: its command line and threads; none when it is gone.
    /// Never waits for long.
    pub fn server(&mut self, pid: u32) -> Option<Server> {
        self.servers.process(pid)
    }

    /// The connections that fusectl has.
    fn control_ids(&self) -> Vec<u32> {
        let entries = fs::read_dir(self.sys.join(CONTROL)).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// What fusectl says of a connection; its files belong to the user who mounted.
    fn read_control(&self, connection: &mut Connection) {
        let directory = self.sys.join(CONTROL).join(connection.id.to_string());
        let number =
            |file: &str| fs::read_to_string(directory.join(file)).ok()?.trim().parse().ok();
        connection.waiting = number("waiting");
        connection.max_background = number("max_background");
        connection.congestion_threshold = number("congestion_threshold");
    }

    fn what_is_missing(&self, table: &[Entry], connections: &[Connection]) -> Vec<Missing> {
        let control = |entry: &Entry| entry.fs_type == "fusectl";
        let (root, mut missing) = (nix::unistd::geteuid().is_root(), Vec::new());
        if !table.iter().any(control) {
            missing.push(Missing {
                what: "waiting requests, limits, and mounts of other mount namespaces",
                why: format!("no fusectl at {}", self.sys.join(CONTROL).display()),
                cure: "mount -t fusectl fusectl /sys/fs/fuse/connections".into(),
            });
        } else if connections.iter().any(|it| it.waiting.is_none()) && !root {
            missing.push(Missing {
                what: "waiting requests and limits of other users' mounts",
                why: "fusectl shows them to who mounted".into(),
                cure: "run as root".into(),
            });
        }
        if connections.iter().any(|connection| connection.server.is_none()) {
            let (why, cure) = match (self.servers.nameless, root) {
                (true, _) => ("no fuse_connection in /proc/PID/fdinfo", "boot Linux 6.18 or newer"),
                (false, false) => ("other users' processes cannot be looked at", "run as root"),
                (false, true) => ("no process here has their /dev/fuse open", ""),
            };
            let (why, cure) = (why.into(), cure.into());
            missing.push(Missing { what: "who serves some of the mounts", why, cure });
        }
        missing
    }
}

/// The connections of a mount table, each with its mount points in the kernel's order.
fn mounted(table: &[Entry]) -> BTreeMap<u32, Connection> {
    let mut found: BTreeMap<u32, Connection> = BTreeMap::new();
    for entry in table.iter().filter(|entry| entry.is_fuse()) {
        let id = entry.connection();
        let connection = found.entry(id).or_insert_with(|| Connection {
            id,
            fs_type: entry.fs_type.clone(),
            source: entry.source.to_string_lossy().into_owned(),
            ..Connection::default()
        });
        match &connection.mount_point {
            None => connection.mount_point = Some(entry.mount_point.clone()),
            Some(_) => connection.other_mount_points.push(entry.mount_point.clone()),
        }
    }
    found
}

#[cfg(test)]
mod tests;

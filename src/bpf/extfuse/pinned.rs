//! What is loaded, by its pins.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapFlags, MapHandle};
use zerocopy::IntoBytes;

use super::layout;
use crate::bpf::read::read;
use crate::wire::opcode::Opcode;

/// Where maps and links are pinned, unless the user says otherwise.
pub const DIR: &str = "/sys/fs/bpf/fusex";

/// The link's name among the pins.
pub(super) const LINK: &str = "link";

/// The pins of a connection.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its id.
    pub connection: u32,
    /// Where they are.
    pub path: PathBuf,
}

/// How often an operation was answered in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// The kernel's number of the operation.
    pub opcode: u32,
    /// Answered from the maps.
    pub served: u64,
    /// Passed on to the server.
    pub passed_up: u64,
}

/// An operation that is answered in the kernel, and for how long, in ns. `None`: as long as the
/// server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Which.
    pub opcode: Opcode,
    /// What is there.
    pub ttl_ns: Option<u64>,
    /// What is not there.
    pub negative_ttl_ns: Option<u64>,
}

/// The pins of a connection.
pub(super) fn place(dir: &Path, connection: u32) -> PathBuf {
    dir.join(connection.to_string())
}

/// What is loaded, by connection.
///
/// # Errors
/// The directory is there and cannot be read.
pub fn list(dir: &Path) -> io::Result<Vec<Loaded>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let connection = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        if let Some(connection) = connection.filter(|_| path.join(LINK).exists()) {
            found.push(Loaded { connection, path });
        }
    }
    found.sort_by_key(|loaded: &Loaded| loaded.connection);
    Ok(found)
}

/// Takes the programs of a connection away; false when there are none.
///
/// # Errors
/// The pins cannot be removed.
pub fn detach(dir: &Path, connection: u32) -> io::Result<bool> {
    clear(&place(dir, connection))
}

/// Removes a directory of pins, the link first; false when there is none.
pub(super) fn clear(place: &Path) -> io::Result<bool> {
    let entries = match fs::read_dir(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        entries => entries?,
    };
    match fs::remove_file(place.join(LINK)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    for entry in entries {
        match fs::remove_file(entry?.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::remove_dir(place).map(|()| true)
}

impl Loaded {
    pub(super) fn map(&self, name: &str) -> Result<MapHandle> {
        let path = self.path.join(name);
        MapHandle::from_pinned_path(&path).with_context(|| path.display().to_string())
    }

    /// How often each operation was answered and passed up; those that never came are left out.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn counts(&self) -> Result<Vec<Count>> {
        let map = self.map("counts")?;
        let mut counts = Vec::new();
        for opcode in 0..map.max_entries() {
            let cpus = map.lookup_percpu(opcode.as_bytes(), MapFlags::ANY)?.unwrap_or_default();
            let mut count = Count { opcode, served: 0, passed_up: 0 };
            for cpu in &cpus {
                let cpu: layout::Count = read(cpu, "counts")?;
                count.served += cpu.served;
                count.passed_up += cpu.passed_up;
            }
            if count.served + count.passed_up > 0 {
                counts.push(count);
            }
        }
        Ok(counts)
    }

    /// Which operations are answered, and for how long.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn handlers(&self) -> Result<Vec<Answered>> {
        let map = self.map("handlers")?;
        let time = |ns| (ns != layout::AS_SERVED).then_some(ns);
        let mut handlers = Vec::new();
        for number in 0..map.max_entries() {
            let row = map.lookup(number.as_bytes(), MapFlags::ANY)?.unwrap_or_default();
            let row: layout::Handler = read(&row, "handlers")?;
            if let Some(opcode) = Opcode::from_u32(number).filter(|_| row.is_on != 0) {
                let (ttl_ns, negative_ttl_ns) = (time(row.ttl_ns), time(row.negative_ttl_ns));
                handlers.push(Answered { opcode, ttl_ns, negative_ttl_ns });
            }
        }
        Ok(handlers)
    }
}

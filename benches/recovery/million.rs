//! A million inodes that the kernel knows: the memory that they take, and whether a kill is as short
//! as with ten.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::Serialize;

use crate::calls::{Call, UNCACHED};
use crate::mount::{Place, check_stopped};
use crate::pause::{self, Pauses};
use crate::tree;

/// As /proc shows the arena's memfd.
const ARENA: &str = "/memfd:fusex arena";

/// What was found.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Million {
    pub(crate) inodes: u64,
    /// Memory of the arena, whoever has it mapped.
    pub(crate) arena_mib: f64,
    /// As much of it as the worker has mapped.
    pub(crate) arena_rss_mib: f64,
    /// Its share of that, with the other processes of the mount.
    pub(crate) arena_pss_mib: f64,
    /// All of the worker, the arena included.
    pub(crate) worker_rss_mib: f64,
    /// What is the worker's alone.
    pub(crate) worker_anon_mib: f64,
    /// The same of its last successor.
    pub(crate) successor_rss_mib: f64,
    pub(crate) pauses: Pauses,
}

/// Makes the files, has the kernel know them all, and kills.
pub(crate) fn measure(parent: &Path, files: usize, kills: u32) -> anyhow::Result<Million> {
    let place = Place::new(parent)?;
    tree::make(&place.lower(), files)?;
    let mount = place.mount(&["-o", "cache=always", UNCACHED[0], UNCACHED[1]])?;
    let found = tree::look(&mount.point())?;
    ensure!(found == files, "{found} files of {files}");
    let status = mount.settled()?;
    ensure!(status.inodes >= files as u64, "only {} inodes are known", status.inodes);
    let worker = Process { pid: status.worker_pid };
    let (arena_rss_mib, arena_pss_mib) = worker.arena_mapped()?;
    let (worker_rss_mib, worker_anon_mib) = (worker.status("VmRSS:")?, worker.status("RssAnon:")?);
    let arena_mib = worker.arena_memory()?;
    check_stopped()?;
    let pauses = pause::kill_under(&mount, Call::Stat, kills)?;
    let last = mount.settled()?;
    ensure!(last.inodes >= files as u64, "only {} inodes are left", last.inodes);
    let successor = Process { pid: last.worker_pid };
    Ok(Million {
        inodes: status.inodes,
        arena_mib,
        arena_rss_mib,
        arena_pss_mib,
        worker_rss_mib,
        worker_anon_mib,
        successor_rss_mib: successor.status("VmRSS:")?,
        pauses,
    })
}

/// A process, as /proc shows it.
struct Process {
    pid: u64,
}

impl Process {
    fn read(&self, file: &str) -> anyhow::Result<String> {
        let path = format!("/proc/{}/{file}", self.pid);
        std::fs::read_to_string(&path).context(path)
    }

    /// A line of its status, in MiB.
    fn status(&self, key: &str) -> anyhow::Result<f64> {
        let text = self.read("status")?;
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(mib).with_context(|| format!("no {key} of process {}", self.pid))
    }

    /// Rss and Pss of the arena's mappings, MiB. Locked buffers make several of one.
    fn arena_mapped(&self) -> anyhow::Result<(f64, f64)> {
        let text = self.read("smaps")?;
        let (mut within, mut rss, mut pss) = (false, 0.0, 0.0);
        for line in text.lines() {
            let key = line.split_whitespace().next().unwrap_or_default();
            // Values have a key with a colon at its end, mappings an address.
            if !key.ends_with(':') {
                within = line.contains(ARENA);
            } else if within && let Some(value) = line.strip_prefix("Rss:").and_then(mib) {
                rss += value;
            } else if within && let Some(value) = line.strip_prefix("Pss:").and_then(mib) {
                pss += value;
            }
        }
        ensure!(rss > 0.0, "no arena in the memory of process {}", self.pid);
        Ok((rss, pss))
    }

    /// Memory that the arena's memfd holds, MiB.
    fn arena_memory(&self) -> anyhow::Result<f64> {
        for entry in std::fs::read_dir(format!("/proc/{}/fd", self.pid))? {
            let path = entry?.path();
            let target = std::fs::read_link(&path).unwrap_or_default();
            if target.as_os_str().as_encoded_bytes().starts_with(ARENA.as_bytes()) {
                return Ok(path.metadata()?.blocks() as f64 * 512.0 / f64::from(1 << 20));
            }
        }
        anyhow::bail!("process {} has no arena", self.pid)
    }
}

/// "  123 kB" in MiB.
fn mib(text: &str) -> Option<f64> {
    let kib: f64 = text.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}

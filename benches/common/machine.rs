//! What figures depend on and no server decides: machine, kernel, and how long it takes to wake
//! another thread.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use fusex::mount::mountinfo;
use fusex::splicing::machine::{cpu_model, round_trip_us};
use fusex::splicing::pin::allowed_cpus;
use nix::sys::stat::{major, minor};
use nix::sys::statvfs::statvfs;
use serde::Serialize;

use super::output;

/// Round trips in one measurement.
const TRIPS: u32 = 4_000;

/// Where something was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) cpus: usize,
    pub(crate) cpu_model: String,
    pub(crate) date: String,
    /// The type of the lower file system.
    pub(crate) lower_type: String,
    /// Wake-up round trip of two threads on one CPU, microseconds.
    pub(crate) wakeup_same_cpu_us: f64,
    /// The same across two CPUs; `None` with one CPU.
    pub(crate) wakeup_cross_cpu_us: Option<f64>,
}

impl Machine {
    /// This one, with what `lower` is on.
    pub(crate) fn of(lower: &Path) -> anyhow::Result<Machine> {
        let cpus = allowed_cpus()?;
        let first = *cpus.first().context("no CPU is allowed")?;
        let second = cpus.get(1);
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
        Ok(Machine {
            kernel: kernel.trim().to_string(),
            cpus: cpus.len(),
            cpu_model: cpu_model()?,
            date: output(Command::new("date").args(["-u", "+%F"]))?.trim().to_string(),
            lower_type: file_system_type(lower)?,
            wakeup_same_cpu_us: round_trip_us(first, first, TRIPS)?,
            wakeup_cross_cpu_us: second.map(|cpu| round_trip_us(first, *cpu, TRIPS)).transpose()?,
        })
    }

    /// Date, kernel, CPUs and lower file system.
    pub(crate) fn headline(&self) -> String {
        let Machine { kernel, cpus, cpu_model, date, lower_type, .. } = self;
        format!("{date}; Linux {kernel}; {cpus} x {cpu_model}; on {lower_type}")
    }

    /// How long it takes to wake another thread.
    pub(crate) fn wakeups(&self) -> String {
        let cross = match self.wakeup_cross_cpu_us {
            Some(us) => format!("{us:.1} us across two"),
            None => "no second CPU".to_string(),
        };
        format!("wake-up round trip {:.1} us on one CPU, {cross}", self.wakeup_same_cpu_us)
    }
}

/// The type in the mount table's line with the directory's device number.
pub(crate) fn file_system_type(dir: &Path) -> anyhow::Result<String> {
    let device = dir.metadata()?.dev();
    let number = (major(device), minor(device));
    let entries = mountinfo::read()?;
    let entry =
        entries.iter().find(|entry| (u64::from(entry.major), u64::from(entry.minor)) == number);
    Ok(entry.map_or("unknown", |entry| &entry.fs_type).to_string())
}

/// Whether so many bytes are free in the file system at `dir` and in memory.
// Not every benchmark needs many.
#[allow(dead_code)]
pub(crate) fn memory_for(dir: &Path, bytes: u64) -> bool {
    let Ok(fs) = statvfs(dir) else { return false };
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    fs.blocks_available() * fs.fragment_size() >= bytes && kib.unwrap_or(0) * 1024 >= bytes
}

//! What figures depend on and no server decides: machine, kernel, and how long it takes to wake
//! another thread.

use std::io::{Read, Write, pipe};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use fusex::mount::mountinfo;
use nix::sys::stat::{major, minor};
use nix::sys::statvfs::statvfs;
use serde::Serialize;

use super::output;
use super::pin::{allowed_cpus, pin};
use super::spread::Spread;

/// Round trips in one measurement, and how many measurements the median is of.
const TRIPS: u32 = 4_000;
const REPEATS: usize = 5;

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
            wakeup_same_cpu_us: round_trip_us(first, first)?,
            wakeup_cross_cpu_us: second.map(|cpu| round_trip_us(first, *cpu)).transpose()?,
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

fn cpu_model() -> anyhow::Result<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("model name"));
    let model = line.and_then(|line| line.split_once(':')).map(|(_, model)| model.trim());
    Ok(model.unwrap_or(std::env::consts::ARCH).to_string())
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

/// The median time of a byte's way to a thread on the other CPU and back.
fn round_trip_us(one: usize, other: usize) -> anyhow::Result<f64> {
    let times: Vec<f64> =
        (0..REPEATS).map(|_| ping_pong(one, other)).collect::<anyhow::Result<_>>()?;
    let spread = Spread::of(times).context("nothing was measured")?;
    Ok(spread.median)
}

fn ping_pong(one: usize, other: usize) -> anyhow::Result<f64> {
    let (mut ping_in, mut ping_out) = pipe()?;
    let (mut pong_in, mut pong_out) = pipe()?;
    let echo = thread::spawn(move || -> anyhow::Result<()> {
        pin(other)?;
        let mut byte = [0];
        while ping_in.read(&mut byte)? == 1 {
            pong_out.write_all(&byte)?;
        }
        Ok(())
    });
    let caller = thread::spawn(move || -> anyhow::Result<Duration> {
        pin(one)?;
        let mut byte = [0];
        let start = Instant::now();
        for _ in 0..TRIPS {
            ping_out.write_all(&byte)?;
            pong_in.read_exact(&mut byte)?;
        }
        Ok(start.elapsed())
    });
    let elapsed = caller.join().expect("the caller does not panic")?;
    echo.join().expect("the echo does not panic")?;
    Ok(elapsed.as_secs_f64() * 1e6 / f64::from(TRIPS))
}

//! What the figures depend on and no contestant decides: machine, kernel, versions, and how
//! long it takes to wake another thread.

use std::io::{Read, Write, pipe};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::ValueEnum;
use fusex::mount::mountinfo;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::stat::{major, minor};
use nix::sys::statvfs::statvfs;
use nix::unistd::Pid;

use crate::contestants::output;
use crate::results::Spread;
use crate::workloads::Size;

/// Round trips in one measurement, and how many measurements the median is of.
const TRIPS: u32 = 4_000;
const REPEATS: usize = 5;

/// Which CPUs client and server run on: where the scheduler puts them decides more than
/// anything else about a small request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pin {
    /// Wherever the scheduler likes
    None,
    /// Both on one CPU
    Same,
    /// Each on its own CPU
    Cross,
}

impl Pin {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Pin::None => "none",
            Pin::Same => "same",
            Pin::Cross => "cross",
        }
    }

    /// The CPUs of client and server; `None` for all of them.
    pub(crate) fn cpus(self) -> anyhow::Result<Option<(usize, usize)>> {
        let cpus = allowed_cpus()?;
        let first = *cpus.first().context("no CPU is allowed")?;
        match self {
            Pin::None => Ok(None),
            Pin::Same => Ok(Some((first, first))),
            Pin::Cross => {
                Ok(Some((first, *cpus.get(1).context("--pin cross: only one CPU is allowed")?)))
            }
        }
    }
}

/// What stands above the tables.
pub(crate) struct Environment {
    pub(crate) kernel: String,
    pub(crate) cpus: usize,
    pub(crate) cpu_model: String,
    pub(crate) rounds: u32,
    pub(crate) date: String,
    pub(crate) lower_type: String,
    /// Programs and libraries with their versions.
    pub(crate) versions: Vec<String>,
    pub(crate) files: usize,
    /// Where client and server were kept.
    pub(crate) pin: Pin,
    /// Wake-up round trip of two threads on one CPU, microseconds.
    pub(crate) same_cpu_us: f64,
    /// The same across two CPUs; `None` with one CPU.
    pub(crate) cross_cpu_us: Option<f64>,
}

impl Environment {
    pub(crate) fn of(
        lower: &Path,
        rounds: u32,
        size: &Size,
        pin: Pin,
    ) -> anyhow::Result<Environment> {
        let cpus = allowed_cpus()?;
        let first = *cpus.first().context("no CPU is allowed")?;
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
        Ok(Environment {
            kernel: kernel.trim().to_string(),
            cpus: cpus.len(),
            cpu_model: cpu_model()?,
            rounds,
            date: output(Command::new("date").args(["-u", "+%F"]))?.trim().to_string(),
            lower_type: file_system_type(lower)?,
            versions: versions(),
            files: size.files,
            pin,
            same_cpu_us: round_trip_us(first, first)?,
            cross_cpu_us: cpus.get(1).map(|second| round_trip_us(first, *second)).transpose()?,
        })
    }
}

fn cpu_model() -> anyhow::Result<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("model name"));
    let model = line.and_then(|line| line.split_once(':')).map(|(_, model)| model.trim());
    Ok(model.unwrap_or(std::env::consts::ARCH).to_string())
}

/// The type in the mount table's line with the directory's device number.
fn file_system_type(dir: &Path) -> anyhow::Result<String> {
    let device = dir.metadata()?.dev();
    let number = (major(device), minor(device));
    let entries = mountinfo::read()?;
    let entry =
        entries.iter().find(|entry| (u64::from(entry.major), u64::from(entry.minor)) == number);
    Ok(entry.map_or("unknown", |entry| &entry.fs_type).to_string())
}

/// What can be asked for its version and answers.
fn versions() -> Vec<String> {
    let ask = |program: &str, argument: &[&str]| output(Command::new(program).args(argument)).ok();
    let libfuse = ask("pkg-config", &["--modversion", "fuse3"]);
    let bindfs = ask("bindfs", &["--version"]).zip(ask("bindfs", &["--fuse-version"]));
    [
        Some(format!("fusex {}", env!("CARGO_PKG_VERSION"))),
        libfuse.map(|version| format!("libfuse {}", version.trim())),
        bindfs.map(|(own, fuse)| {
            let linked = fuse.split_whitespace().last().unwrap_or("?");
            format!("{} with libfuse {linked}", own.trim())
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Whether so many bytes are free in the file system at `dir` and in memory.
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

/// The CPUs that the calling thread may run on.
pub(crate) fn allowed_cpus() -> anyhow::Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect())
}

/// Keeps the calling thread, and what it starts from here on, on one CPU.
pub(crate) fn pin(cpu: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

//! What figures depend on and no way of moving bytes decides: the kernel, the CPUs, what this
//! process may do, and how long it takes to wake another thread.

use std::io::{Read, Write, pipe};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::pin::{allowed_cpus, pin};
use super::spread::Spread;
use super::{BenchError, Result};
use crate::sys::confine::permitted;
use crate::sys::creds::Powers;

/// How many measurements the median of a round trip is of.
const REPEATS: usize = 5;
const CAP_SYS_RESOURCE: u32 = 24;

/// Where something was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Machine {
    /// The kernel's release.
    pub kernel: String,
    /// CPUs that may be used.
    pub cpus: usize,
    /// What they are.
    pub cpu_model: String,
    /// CAP_SYS_ADMIN: mounts and passthrough.
    pub cap_sys_admin: bool,
    /// CAP_SYS_RESOURCE: pipes beyond the maximum.
    pub cap_sys_resource: bool,
    /// The largest pipe without that, in bytes.
    pub pipe_max_bytes: Option<u64>,
    /// Whether FUSE offers io_uring; `None`: the kernel has no such setting (before 6.14).
    pub fuse_uring: Option<bool>,
    /// A byte's way to another thread on the same CPU and back, microseconds.
    pub wakeup_same_cpu_us: f64,
    /// The same across two CPUs; `None` with one CPU.
    pub wakeup_cross_cpu_us: Option<f64>,
}

impl Machine {
    /// This one; wake-ups are measured over so many round trips.
    ///
    /// # Errors
    /// /proc or the CPUs cannot be looked at, or no thread be run.
    pub fn examine(trips: u32) -> Result<Machine> {
        let cpus = allowed_cpus()?;
        let first = *cpus.first().ok_or_else(|| BenchError::Failed("no CPU is allowed".into()))?;
        let kernel = "/proc/sys/kernel/osrelease";
        let kernel = std::fs::read_to_string(kernel).map_err(BenchError::io(kernel))?;
        let capabilities = permitted().unwrap_or(0);
        Ok(Machine {
            kernel: kernel.trim().to_string(),
            cpus: cpus.len(),
            cpu_model: cpu_model()?,
            cap_sys_admin: Powers::of_thread().admin,
            cap_sys_resource: capabilities >> CAP_SYS_RESOURCE & 1 != 0,
            pipe_max_bytes: setting("/proc/sys/fs/pipe-max-size").and_then(|it| it.parse().ok()),
            fuse_uring: setting("/sys/module/fuse/parameters/enable_uring").map(|it| it == "Y"),
            wakeup_same_cpu_us: round_trip_us(first, first, trips)?,
            wakeup_cross_cpu_us: cpus
                .get(1)
                .map(|second| round_trip_us(first, *second, trips))
                .transpose()?,
        })
    }
}

fn setting(path: &str) -> Option<String> {
    Some(std::fs::read_to_string(Path::new(path)).ok()?.trim().to_string())
}

/// What /proc/cpuinfo calls the CPUs.
///
/// # Errors
/// There is no /proc.
pub fn cpu_model() -> Result<String> {
    let file = "/proc/cpuinfo";
    let text = std::fs::read_to_string(file).map_err(BenchError::io(file))?;
    let line = text.lines().find_map(|line| line.strip_prefix("model name"));
    let model = line.and_then(|line| line.split_once(':')).map(|(_, model)| model.trim());
    Ok(model.unwrap_or(std::env::consts::ARCH).to_string())
}

/// The median time of a byte's way from a thread on one CPU to a thread on the other and back.
///
/// # Errors
/// No pipe, no thread, or a CPU that may not be used.
pub fn round_trip_us(one: usize, other: usize, trips: u32) -> Result<f64> {
    let times: Vec<f64> =
        (0..REPEATS).map(|_| ping_pong(one, other, trips)).collect::<Result<_>>()?;
    let nothing = || BenchError::Failed("no round trip was measured".into());
    Ok(Spread::of(times).ok_or_else(nothing)?.median)
}

fn ping_pong(one: usize, other: usize, trips: u32) -> Result<f64> {
    let failed = || BenchError::io("a pipe");
    let (mut ping_in, mut ping_out) = pipe().map_err(failed())?;
    let (mut pong_in, mut pong_out) = pipe().map_err(failed())?;
    let echo = thread::spawn(move || -> Result<()> {
        pin(other)?;
        let mut byte = [0];
        while ping_in.read(&mut byte).map_err(failed())? == 1 {
            pong_out.write_all(&byte).map_err(failed())?;
        }
        Ok(())
    });
    let caller = thread::spawn(move || -> Result<Duration> {
        pin(one)?;
        let mut byte = [0];
        let start = Instant::now();
        for _ in 0..trips {
            ping_out.write_all(&byte).map_err(failed())?;
            pong_in.read_exact(&mut byte).map_err(failed())?;
        }
        Ok(start.elapsed())
    });
    let died = |_| BenchError::Failed("a thread died".into());
    let elapsed = caller.join().map_err(died)??;
    echo.join().map_err(died)??;
    Ok(elapsed.as_secs_f64() * 1e6 / f64::from(trips.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine() {
        let machine = Machine::examine(50).unwrap();
        assert!(machine.wakeup_same_cpu_us > 0.0 && machine.cpus > 0, "{machine:?}");
        assert_eq!(machine.wakeup_cross_cpu_us.is_some(), machine.cpus > 1);
        assert!(machine.kernel.starts_with(|c: char| c.is_ascii_digit()), "{machine:?}");
        assert!(machine.pipe_max_bytes.is_none_or(|bytes| bytes >= 4096));
    }
}

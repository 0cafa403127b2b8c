//! The storm: one thread that asks for the attributes of one file, again and again.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use nix::fcntl::AtFlags;
use nix::sys::stat::fstatat;
use nix::time::{ClockId, clock_gettime};

use crate::on_cpu;
use crate::server::{Server, stopped};

const NAME: &str = "file";
/// Calls between two looks at the clock.
const BATCH: u32 = 100;

pub(crate) struct Storm {
    directory: File,
    length: Duration,
    /// Where it runs; `None` for anywhere.
    cpu: Option<usize>,
}

/// What one storm came to.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    /// Microseconds a stat, on average.
    pub(crate) stat_us: f64,
    /// CPU time of client and server, which what else the machine does hardly changes.
    pub(crate) cpu_us: f64,
}

impl Storm {
    /// In a mount in which names and attributes are trusted for no time.
    pub(crate) fn new(point: &Path, length: Duration, cpu: Option<usize>) -> anyhow::Result<Storm> {
        std::fs::write(point.join(NAME), "")?;
        Ok(Storm { directory: File::open(point)?, length, cpu })
    }

    /// One storm.
    pub(crate) fn turn(&self, server: &Server) -> anyhow::Result<Turn> {
        on_cpu(self.cpu, || self.measure(server))
    }

    fn measure(&self, server: &Server) -> anyhow::Result<Turn> {
        // The server's thread, asleep until now, is awake behind these.
        self.stats()?;
        let cpu = || anyhow::Ok(own_cpu()? + server.cpu()?);
        let (mut calls, before, start) = (0, cpu()?, Instant::now());
        while start.elapsed() < self.length && !stopped() {
            self.stats()?;
            calls += BATCH;
        }
        let (elapsed, cpu) = (start.elapsed(), cpu()? - before);
        let us = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(calls.max(1));
        Ok(Turn { stat_us: us(elapsed), cpu_us: us(cpu) })
    }

    fn stats(&self) -> anyhow::Result<()> {
        for _ in 0..BATCH {
            let stat = fstatat(&self.directory, NAME, AtFlags::AT_SYMLINK_NOFOLLOW)?;
            ensure!(stat.st_nlink == 1, "{NAME} has {} links", stat.st_nlink);
        }
        Ok(())
    }
}

/// The CPU time of the calling thread so far.
fn own_cpu() -> anyhow::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

//! The workloads: each is a client of one thread on a fresh lower directory and a fresh mount.
//!
//! What is warm is the same for all. Before stats and reads the kernel's caches are dropped,
//! which empties the mount's, and then the lower files are used natively, which fills the lower
//! file system's: figures of the native directory are of a warm cache too. Nothing is fsynced.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, ensure};
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{UnlinkatFlags, syncfs, unlinkat};

use crate::common::pin::pin;
use crate::contestants::Contestant;
use crate::rows::{Row, Sample};
use crate::server::Server;

const PAGE: usize = 4096;
/// So many files are found again within the timeout of one second, also by a slow mount on a
/// busy machine.
const BATCH: usize = 1_000;

/// What one workload measured.
pub(crate) type Samples = Vec<(Row, Sample)>;

/// How much is done.
pub(crate) struct Size {
    pub(crate) files: usize,
    /// Bytes of the file that is written and read from end to end.
    pub(crate) sequential: u64,
    /// Bytes of the file with random accesses; a power of two.
    pub(crate) random: u64,
    pub(crate) random_ops: u64,
}

impl Size {
    pub(crate) fn full() -> Size {
        Size { files: 10_000, sequential: 1 << 30, random: 256 << 20, random_ops: 20_000 }
    }

    pub(crate) fn quick() -> Size {
        Size { files: 2_000, sequential: 64 << 20, random: 64 << 20, random_ops: 5_000 }
    }
}

/// Some rows that are measured together.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) rows: &'static [Row],
    /// What is there before the mount is.
    prepare: fn(lower: &Path, &Size) -> anyhow::Result<()>,
    measure: fn(&Place, &Size) -> anyhow::Result<Samples>,
}

pub(crate) static WORKLOADS: &[Workload] = &[
    Workload {
        name: "stat",
        rows: &[Row::StatUncached, Row::StatCached],
        prepare: |lower, size| create(lower, size.files),
        measure: stats,
    },
    Workload {
        name: "create and unlink",
        rows: &[Row::Create, Row::Unlink],
        prepare: |_, _| Ok(()),
        measure: creates,
    },
    Workload {
        name: "sequential, 128 KiB",
        rows: &[Row::Write128K, Row::Read128K],
        prepare: |_, _| Ok(()),
        measure: |place, size| sequential(place, size, Row::Write128K, Row::Read128K),
    },
    Workload {
        name: "sequential, 1 MiB",
        rows: &[Row::Write1M, Row::Read1M],
        prepare: |_, _| Ok(()),
        measure: |place, size| sequential(place, size, Row::Write1M, Row::Read1M),
    },
    Workload {
        name: "random",
        rows: &[Row::RandomRead, Row::RandomWrite],
        prepare: stamped_file,
        measure: random,
    },
];

impl Workload {
    /// Once, by one contestant, in a fresh directory of `parent`; `cpus` are those of client
    /// and server.
    pub(crate) fn run(
        &self,
        contestant: &Contestant,
        parent: &Path,
        size: &Size,
        cpus: Option<(usize, usize)>,
    ) -> anyhow::Result<Samples> {
        let base = tempfile::Builder::new().prefix("fusex-compare-").tempdir_in(parent)?;
        let lower = base.path().join("lower");
        let mountpoint = base.path().join("mount");
        std::fs::create_dir(&lower)?;
        std::fs::create_dir(&mountpoint)?;
        (self.prepare)(&lower, size).context("preparing")?;
        // A server inherits its CPU from the thread that starts it.
        cpus.map_or(Ok(()), |(_, cpu)| pin(cpu))?;
        let (log, arguments) = (base.path().join("log"), contestant.arguments);
        let start =
            |program: &PathBuf| Server::start(program, arguments, &lower, &mountpoint, &log);
        let server = contestant.program.as_ref().map(start).transpose()?;
        cpus.map_or(Ok(()), |(cpu, _)| pin(cpu))?;
        let upper = if server.is_some() { &mountpoint } else { &lower };
        (self.measure)(&Place { lower: &lower, upper, server: server.as_ref() }, size)
    }
}

/// Where a workload runs.
struct Place<'a> {
    lower: &'a Path,
    /// The mount, or once more the lower directory.
    upper: &'a Path,
    server: Option<&'a Server>,
}

impl Place<'_> {
    fn cpu(&self) -> anyhow::Result<Option<std::time::Duration>> {
        self.server.map(Server::cpu).transpose()
    }

    fn timed(&self, ops: u64, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Sample> {
        let cpu = self.cpu()?;
        let start = Instant::now();
        work()?;
        let wall = start.elapsed();
        let server_cpu = self.cpu()?.zip(cpu).map(|(after, before)| after - before);
        Ok(Sample { ops, wall, server_cpu })
    }

    /// Drops what `/proc/sys/vm/drop_caches` calls `what`, of every file system.
    fn drop_caches(&self, what: &str) -> anyhow::Result<()> {
        // Dirty pages are not dropped.
        syncfs(File::open(self.lower)?)?;
        std::fs::write("/proc/sys/vm/drop_caches", what).context("drop_caches")
    }
}

fn name(index: usize) -> String {
    format!("file-{index:05}")
}

fn create(dir: &Path, count: usize) -> anyhow::Result<()> {
    let dir = File::open(dir)?;
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    for index in 0..count {
        openat(&dir, name(index).as_str(), flags, Mode::from_bits_truncate(0o644))?;
    }
    Ok(())
}

fn stat(dir: &File, names: &[String]) -> anyhow::Result<()> {
    for name in names {
        fstatat(dir, name.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// Each batch twice: first uncached, then cached.
fn stats(place: &Place, size: &Size) -> anyhow::Result<Samples> {
    let names: Vec<String> = (0..size.files).map(name).collect();
    place.drop_caches("2")?;
    stat(&File::open(place.lower)?, &names)?;
    let dir = File::open(place.upper)?;
    let mut sums: [Option<Sample>; 2] = [None, None];
    for batch in names.chunks(BATCH) {
        for sum in &mut sums {
            let sample = place.timed(batch.len() as u64, || stat(&dir, batch))?;
            *sum = Some(sum.map_or(sample, |sum| sum.and(sample)));
        }
    }
    let rows = [Row::StatUncached, Row::StatCached];
    Ok(rows.into_iter().zip(sums).filter_map(|(row, sum)| Some((row, sum?))).collect())
}

fn creates(place: &Place, size: &Size) -> anyhow::Result<Samples> {
    let ops = size.files as u64;
    let created = place.timed(ops, || create(place.upper, size.files))?;
    let names: Vec<String> = (0..size.files).map(name).collect();
    let count = std::fs::read_dir(place.lower)?.count();
    ensure!(count == size.files, "{count} files below, {} created", size.files);
    let dir = File::open(place.upper)?;
    let unlinked = place.timed(ops, || {
        for name in &names {
            unlinkat(&dir, name.as_str(), UnlinkatFlags::NoRemoveDir)?;
        }
        Ok(())
    })?;
    let count = std::fs::read_dir(place.lower)?.count();
    ensure!(count == 0, "{count} files left below");
    Ok(vec![(Row::Create, created), (Row::Unlink, unlinked)])
}

fn sequential(
    place: &Place,
    size: &Size,
    write_row: Row,
    read_row: Row,
) -> anyhow::Result<Samples> {
    let block = write_row.block().context("a row without blocks")?;
    let ops = size.sequential / block as u64;
    let mut buffer = vec![0x5a; block];
    let (upper, lower) = (place.upper.join("data"), place.lower.join("data"));
    let written = place.timed(ops, || {
        let mut file = File::create(&upper)?;
        for _ in 0..ops {
            file.write_all(&buffer)?;
        }
        Ok(())
    })?;
    let length = lower.metadata()?.len();
    ensure!(length == size.sequential, "{length} bytes below, {} written", size.sequential);
    place.drop_caches("1")?;
    read_through(&lower, &mut buffer, size.sequential)?;
    let read = place.timed(ops, || read_through(&upper, &mut buffer, size.sequential))?;
    Ok(vec![(write_row, written), (read_row, read)])
}

/// Reads the file to its end, block by block.
fn read_through(path: &Path, buffer: &mut [u8], expected: u64) -> anyhow::Result<()> {
    let mut file = File::open(path)?;
    let mut sum = 0;
    loop {
        match file.read(buffer)? {
            0 => break,
            count => sum += count as u64,
        }
    }
    ensure!(sum == expected, "read {sum} bytes of {expected}");
    Ok(())
}

/// A file whose pages begin with their numbers.
fn stamped_file(lower: &Path, size: &Size) -> anyhow::Result<()> {
    let mut file = File::create(lower.join("data"))?;
    let mut page = [0x5a; PAGE];
    for number in 0..size.random / PAGE as u64 {
        page[..8].copy_from_slice(&number.to_le_bytes());
        file.write_all(&page)?;
    }
    Ok(())
}

/// Page numbers in an order that no readahead guesses, none of them twice: the full period of
/// a linear congruential generator modulo a power of two.
fn shuffled(size: &Size) -> impl Iterator<Item = u64> {
    let pages = size.random / PAGE as u64;
    let next = move |page: &u64| Some((page * 1_664_525 + 1_013_904_223) % pages);
    std::iter::successors(Some(0), next).take(size.random_ops as usize)
}

fn random(place: &Place, size: &Size) -> anyhow::Result<Samples> {
    let (upper, lower) = (place.upper.join("data"), place.lower.join("data"));
    let mut buffer = vec![0; 1 << 20];
    place.drop_caches("1")?;
    read_through(&lower, &mut buffer, size.random)?;
    let file = OpenOptions::new().read(true).write(true).open(&upper)?;
    let mut page = [0; PAGE];
    let read = place.timed(size.random_ops, || {
        for number in shuffled(size) {
            file.read_exact_at(&mut page, number * PAGE as u64)?;
            ensure!(page[..8] == number.to_le_bytes(), "page {number} has another's content");
        }
        Ok(())
    })?;
    page.fill(0xa5);
    let written = place.timed(size.random_ops, || {
        for number in shuffled(size) {
            file.write_all_at(&page, number * PAGE as u64)?;
        }
        Ok(())
    })?;
    drop(file);
    let below = File::open(&lower)?;
    for number in shuffled(size) {
        below.read_exact_at(&mut page, number * PAGE as u64)?;
        ensure!(page == [0xa5; PAGE], "page {number} was written and is not below");
    }
    Ok(vec![(Row::RandomRead, read), (Row::RandomWrite, written)])
}

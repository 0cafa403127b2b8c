//! The workloads, each on a fresh lower directory and a fresh mount, shared out among the clients.
//!
//! What is warm is the same for all. Before stats and reads the kernel's caches are dropped,
//! which empties the mount's, and then the lower files are used natively, which fills the lower
//! file system's: figures of the native directory are of a warm cache too, and a disk is written
//! at most, never read. Nothing is fsynced.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, ensure};
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::common::pin::pin;
use crate::contestants::Contestant;
use crate::place::{Place, clients_in};
use crate::rows::{Row, Sample};
use crate::scenes::Scene;
use crate::server::Server;

const PAGE: usize = 4096;
/// So many files are found again within the timeout of one second, also by a slow mount on a
/// busy machine.
const CACHED: usize = 1_000;
/// How often.
const AGAIN: u64 = 10;

/// What one workload measured.
pub(crate) type Samples = Vec<(Row, Sample)>;

/// How much is done.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) files: usize,
    /// Bytes of the file that is written and read from end to end.
    pub(crate) sequential: u64,
    /// Bytes of the file with random accesses; a power of two.
    pub(crate) random: u64,
    pub(crate) random_ops: u64,
}

impl Size {
    pub(crate) const FULL: Size =
        Size { files: 4_000, sequential: 256 << 20, random: 64 << 20, random_ops: 8_000 };
    pub(crate) const QUICK: Size =
        Size { files: 1_000, sequential: 32 << 20, random: 16 << 20, random_ops: 2_000 };

    /// For one of so many, a power of two.
    fn share(self, clients: usize) -> Size {
        let count = clients as u64;
        Size {
            files: self.files / clients,
            sequential: self.sequential / count,
            random: self.random / count,
            random_ops: self.random_ops / count,
        }
    }
}

/// Some rows that are measured together.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) rows: &'static [Row],
    /// What is there before the mount is, in a client's directory.
    prepare: fn(lower: &Path, share: &Size) -> anyhow::Result<()>,
    measure: fn(&Place) -> anyhow::Result<Samples>,
}

pub(crate) static WORKLOADS: &[Workload] = &[
    Workload {
        name: "stat",
        rows: &[Row::StatUncached, Row::StatCached],
        prepare: |lower, share| create(lower, share.files),
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
        measure: |place| sequential(place, Row::Write128K, Row::Read128K),
    },
    Workload {
        name: "sequential, 1 MiB",
        rows: &[Row::Write1M, Row::Read1M],
        prepare: |_, _| Ok(()),
        measure: |place| sequential(place, Row::Write1M, Row::Read1M),
    },
    Workload {
        name: "random",
        rows: &[Row::RandomRead, Row::RandomWrite],
        prepare: stamped_file,
        measure: random,
    },
];

impl Workload {
    /// Whether it measures any of `rows`.
    pub(crate) fn is_for(&self, rows: &[Row]) -> bool {
        self.rows.iter().any(|row| rows.contains(row))
    }

    /// Once, by one contestant, in a fresh directory. In a thread of its own, which takes its
    /// pinning along when it ends.
    pub(crate) fn run(
        &self,
        contestant: &Contestant,
        scene: &Scene,
        size: &Size,
    ) -> anyhow::Result<Samples> {
        let share = size.share(scene.clients);
        let run = || self.run_here(contestant, scene, share);
        let samples = thread::scope(|threads| threads.spawn(run).join().expect("no panic"));
        samples.context(self.name)
    }

    fn run_here(
        &self,
        contestant: &Contestant,
        scene: &Scene,
        share: Size,
    ) -> anyhow::Result<Samples> {
        let base = tempfile::Builder::new().prefix("fusex-compare-").tempdir_in(&scene.lower)?;
        let lower = base.path().join("lower");
        let mountpoint = base.path().join("mount");
        std::fs::create_dir(&mountpoint)?;
        let lowers = clients_in(&lower, scene.clients);
        for dir in &lowers {
            std::fs::create_dir_all(dir)?;
            (self.prepare)(dir, &share).context("preparing")?;
        }
        // A server inherits its CPU from the thread that starts it.
        scene.cpus.map_or(Ok(()), |(_, cpu)| pin(cpu))?;
        let log = base.path().join("log");
        let arguments: Vec<&str> = contestant.arguments.split_whitespace().collect();
        let start =
            |program: &PathBuf| Server::start(program, &arguments, &lower, &mountpoint, &log);
        let server = contestant.program.as_ref().map(start).transpose()?;
        scene.cpus.map_or(Ok(()), |(cpu, _)| pin(cpu))?;
        let upper = if server.is_some() { &mountpoint } else { &lower };
        let uppers = clients_in(upper, scene.clients);
        let place = Place { lowers, uppers, share, rows: &scene.rows, server: server.as_ref() };
        let mut samples = (self.measure)(&place)?;
        samples.retain(|(row, _)| place.wants(*row));
        Ok(samples)
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

fn open_all(paths: &[PathBuf]) -> anyhow::Result<Vec<File>> {
    Ok(paths.iter().map(File::open).collect::<Result<_, _>>()?)
}

fn stats(place: &Place) -> anyhow::Result<Samples> {
    let names: Vec<String> = (0..place.share.files).map(name).collect();
    place.drop_caches("2")?;
    for lower in open_all(&place.lowers)? {
        stat(&lower, &names)?;
    }
    let dirs = open_all(&place.uppers)?;
    let uncached = place.timed(names.len() as u64, &dirs, |dir| stat(dir, &names))?;
    // The youngest.
    let known = &names[names.len().saturating_sub(CACHED / dirs.len())..];
    let cached = place.timed(known.len() as u64 * AGAIN, &dirs, |dir| {
        (0..AGAIN).try_for_each(|_| stat(dir, known))
    })?;
    Ok(vec![(Row::StatUncached, uncached), (Row::StatCached, cached)])
}

fn creates(place: &Place) -> anyhow::Result<Samples> {
    let files = place.share.files;
    let created = place.timed(files as u64, &place.uppers, |dir| create(dir, files))?;
    expect_files(place, files)?;
    let names: Vec<String> = (0..files).map(name).collect();
    let dirs = open_all(&place.uppers)?;
    let unlinked = place.timed(files as u64, &dirs, |dir| {
        for name in &names {
            unlinkat(dir, name.as_str(), UnlinkatFlags::NoRemoveDir)?;
        }
        Ok(())
    })?;
    expect_files(place, 0)?;
    Ok(vec![(Row::Create, created), (Row::Unlink, unlinked)])
}

fn expect_files(place: &Place, files: usize) -> anyhow::Result<()> {
    for lower in &place.lowers {
        let count = std::fs::read_dir(lower)?.count();
        ensure!(count == files, "{count} files below, not {files}");
    }
    Ok(())
}

/// The file of each client.
fn data(dirs: &[PathBuf]) -> Vec<PathBuf> {
    dirs.iter().map(|dir| dir.join("data")).collect()
}

fn sequential(place: &Place, write_row: Row, read_row: Row) -> anyhow::Result<Samples> {
    let block = write_row.block().context("a row without blocks")?;
    let length = place.share.sequential;
    let ops = length / block as u64;
    let (uppers, lowers) = (data(&place.uppers), data(&place.lowers));
    let written = place.timed(ops, &uppers, |path| {
        let mut file = File::create(path)?;
        let buffer = vec![0x5a; block];
        for _ in 0..ops {
            file.write_all(&buffer)?;
        }
        Ok(())
    })?;
    place.drop_caches("1")?;
    for path in &lowers {
        read_through(path, block, length).context("what was written")?;
    }
    let read = place.timed(ops, &uppers, |path| read_through(path, block, length))?;
    Ok(vec![(write_row, written), (read_row, read)])
}

/// Reads the file to its end, block by block.
fn read_through(path: &Path, block: usize, expected: u64) -> anyhow::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; block];
    let mut sum = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => sum += count as u64,
        }
    }
    ensure!(sum == expected, "read {sum} bytes of {expected}");
    Ok(())
}

/// A file whose pages begin with their numbers.
fn stamped_file(lower: &Path, share: &Size) -> anyhow::Result<()> {
    let mut bytes = vec![0x5a; share.random as usize];
    for (number, page) in (0u64..).zip(bytes.chunks_exact_mut(PAGE)) {
        page[..8].copy_from_slice(&number.to_le_bytes());
    }
    Ok(std::fs::write(lower.join("data"), bytes)?)
}

/// Page numbers in an order that no readahead guesses, none of them twice: the full period of
/// a linear congruential generator modulo a power of two.
fn shuffled(share: &Size) -> impl Iterator<Item = u64> {
    let pages = share.random / PAGE as u64;
    let next = move |page: &u64| Some((page * 1_664_525 + 1_013_904_223) % pages);
    std::iter::successors(Some(0), next).take(share.random_ops as usize)
}

fn random(place: &Place) -> anyhow::Result<Samples> {
    let share = &place.share;
    let lowers = data(&place.lowers);
    place.drop_caches("1")?;
    for path in &lowers {
        read_through(path, 1 << 20, share.random)?;
    }
    let open = |path| OpenOptions::new().read(true).write(true).open(path);
    let files: Vec<File> = data(&place.uppers).iter().map(open).collect::<Result<_, _>>()?;
    let read = place.timed(share.random_ops, &files, |file| {
        let mut page = [0; PAGE];
        for number in shuffled(share) {
            file.read_exact_at(&mut page, number * PAGE as u64)?;
            ensure!(page[..8] == number.to_le_bytes(), "page {number} has another's content");
        }
        Ok(())
    })?;
    let mut samples = vec![(Row::RandomRead, read)];
    if place.wants(Row::RandomWrite) {
        samples.push((Row::RandomWrite, random_writes(place, files, &lowers)?));
    }
    Ok(samples)
}

fn random_writes(place: &Place, files: Vec<File>, lowers: &[PathBuf]) -> anyhow::Result<Sample> {
    const WRITTEN: [u8; PAGE] = [0xa5; PAGE];
    let share = &place.share;
    let sample = place.timed(share.random_ops, &files, |file| {
        for number in shuffled(share) {
            file.write_all_at(&WRITTEN, number * PAGE as u64)?;
        }
        Ok(())
    })?;
    drop(files);
    for below in open_all(lowers)? {
        let mut page = [0; PAGE];
        for number in shuffled(share) {
            below.read_exact_at(&mut page, number * PAGE as u64)?;
            ensure!(page == WRITTEN, "page {number} was written and is not below");
        }
    }
    Ok(sample)
}

//! Where one workload runs: a fresh lower directory, its mount, and the clients, each of which
//! has a directory of its own in it. Calls that change one directory wait for each other in the
//! kernel, whoever serves it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::unistd::syncfs;

use crate::rows::{Row, Sample};
use crate::server::Server;
use crate::workloads::Size;

pub(crate) struct Place<'a> {
    /// The clients' directories on the lower file system.
    pub(crate) lowers: Vec<PathBuf>,
    /// The same through the mount, or once more the lower ones.
    pub(crate) uppers: Vec<PathBuf>,
    /// What each client does.
    pub(crate) share: Size,
    /// What is to be measured.
    pub(crate) rows: &'a [Row],
    pub(crate) server: Option<&'a Server>,
}

/// The clients' directories in `dir`.
pub(crate) fn clients_in(dir: &Path, clients: usize) -> Vec<PathBuf> {
    (0..clients).map(|client| dir.join(format!("client-{client}"))).collect()
}

impl Place<'_> {
    pub(crate) fn wants(&self, row: Row) -> bool {
        self.rows.contains(&row)
    }

    /// A thread for each of `clients` does `work`, which is `ops` operations, all at once; from
    /// the first one's start to the last one's end.
    pub(crate) fn timed<T: Sync>(
        &self,
        ops: u64,
        clients: &[T],
        work: impl Fn(&T) -> anyhow::Result<()> + Sync,
    ) -> anyhow::Result<Sample> {
        let barrier = Barrier::new(clients.len());
        let one = |client| -> anyhow::Result<(Instant, Instant)> {
            barrier.wait();
            let start = Instant::now();
            work(client)?;
            Ok((start, Instant::now()))
        };
        let cpu = self.cpu()?;
        let times = thread::scope(|scope| {
            let threads: Vec<_> =
                clients.iter().map(|client| scope.spawn(move || one(client))).collect();
            let joined = threads.into_iter().map(|thread| thread.join().expect("no panic"));
            joined.collect::<anyhow::Result<Vec<_>>>()
        })?;
        let server_cpu = self.cpu()?.zip(cpu).map(|(after, before)| after - before);
        let start = times.iter().map(|(start, _)| *start).min();
        let end = times.iter().map(|(_, end)| *end).max();
        let (start, end) = start.zip(end).context("no client")?;
        Ok(Sample { ops: ops * clients.len() as u64, wall: end - start, server_cpu })
    }

    fn cpu(&self) -> anyhow::Result<Option<Duration>> {
        self.server.map(Server::cpu).transpose()
    }

    /// Drops what `/proc/sys/vm/drop_caches` calls `what`, of every file system.
    pub(crate) fn drop_caches(&self, what: &str) -> anyhow::Result<()> {
        // Dirty pages are not dropped.
        syncfs(File::open(&self.lowers[0])?)?;
        std::fs::write("/proc/sys/vm/drop_caches", what).context("drop_caches")
    }
}

//! Where it is run: on which lower file system, with how many clients, on which CPUs.
//!
//! What is larger than a few pages travels alike whatever the CPUs and clients are, so further
//! numbers of clients and pinnings are for small requests alone: that keeps the whole run short.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::ValueEnum;

use crate::common::machine::{file_system_type, memory_for};
use crate::common::pin::Pin;
use crate::rows::Row;
use crate::workloads::Size;

/// What needs the server once for each call.
const SMALL: &[Row] = &[Row::StatUncached, Row::Create, Row::Unlink, Row::RandomRead];
/// What depends on the lower file system, in blocks of one size.
const LOWER: &[Row] = &[
    Row::StatUncached,
    Row::Create,
    Row::Unlink,
    Row::Write128K,
    Row::Read128K,
    Row::RandomRead,
    Row::RandomWrite,
];

/// One setting.
pub(crate) struct Scene {
    /// The directory in which the lower directories are made.
    pub(crate) lower: PathBuf,
    /// The type of its file system.
    pub(crate) lower_type: String,
    pub(crate) clients: usize,
    pub(crate) pin: Pin,
    /// The CPUs of client and server; `None` for all of them.
    pub(crate) cpus: Option<(usize, usize)>,
    /// Only for small requests.
    pub(crate) small: bool,
    pub(crate) rows: Vec<Row>,
}

/// What was asked for on the command line; the first of each list is the main one.
pub(crate) struct Wishes<'a> {
    pub(crate) lowers: &'a [PathBuf],
    pub(crate) clients: &'a [usize],
    pub(crate) pins: &'a [Pin],
    /// None: what each scene is for.
    pub(crate) rows: &'a [Row],
}

impl Wishes<'_> {
    /// Every lower directory with every number of clients; further pinnings for the first of them
    /// alone.
    pub(crate) fn scenes(&self, size: &Size) -> anyhow::Result<Vec<Scene>> {
        let lowers = self.lowers(size)?;
        let (main_clients, main_pin) = (self.clients[0], self.pins[0]);
        let mut wanted = Vec::new();
        for lower in &lowers {
            wanted.extend(self.clients.iter().map(|clients| (lower, *clients, main_pin)));
        }
        wanted.extend(self.pins[1..].iter().map(|pin| (&lowers[0], main_clients, *pin)));
        wanted
            .into_iter()
            .map(|(lower, clients, pin)| {
                let small = clients != main_clients || pin != main_pin;
                let rows = match (self.rows, small) {
                    ([], true) => SMALL.to_vec(),
                    ([], false) if *lower != lowers[0] => LOWER.to_vec(),
                    ([], false) => Row::value_variants().to_vec(),
                    (rows, _) => rows.to_vec(),
                };
                let (lower_type, cpus) = (file_system_type(lower)?, pin.cpus()?);
                Ok(Scene { lower: lower.clone(), lower_type, clients, pin, cpus, small, rows })
            })
            .collect()
    }

    /// Those that were asked for; else memory, where there is enough, and a disk.
    fn lowers(&self, size: &Size) -> anyhow::Result<Vec<PathBuf>> {
        if !self.lowers.is_empty() {
            let canonical = |dir: &PathBuf| -> anyhow::Result<PathBuf> {
                let what = || format!("--lower {}", dir.display());
                ensure!(dir.metadata().with_context(what)?.is_dir(), "{}: no directory", what());
                dir.canonicalize().with_context(what)
            };
            return self.lowers.iter().map(canonical).collect();
        }
        let (shm, disk) = (Path::new("/dev/shm"), std::env::temp_dir().canonicalize()?);
        // The file, the mount's copy of it in the page cache, and room for the rest.
        if !memory_for(shm, 3 * size.sequential) {
            eprintln!("SKIP: {}: too little memory", shm.display());
            return Ok(vec![disk]);
        }
        if file_system_type(shm)? == file_system_type(&disk)? {
            eprintln!("SKIP: {}: in memory too; name a disk with --lower", disk.display());
            return Ok(vec![shm.into()]);
        }
        Ok(vec![shm.into(), disk])
    }
}

impl Scene {
    /// As the tables have it.
    pub(crate) fn title(&self) -> String {
        let clients = match self.clients {
            1 => "one client".to_string(),
            clients => format!("{clients} clients"),
        };
        let cpus = match self.pin {
            Pin::None => "",
            Pin::Same => ", client and server on one CPU",
            Pin::Cross => ", client and server on two CPUs",
        };
        format!("{} at {}, {clients}{cpus}", self.lower_type, self.lower.display())
    }
}

//! What one process knows of each node beside its record, and the node's lock.
//!
//! All of it can be found again from the arena and the memfds: a takeover does so. The chunks
//! never move, so that a node's lock is reached without another one.

use std::sync::{OnceLock, RwLock};

use super::data::Data;
use super::dir::Dir;
use super::store::NODES;

const CHUNK: usize = 1024;

/// By the node's type.
#[derive(Default)]
pub(super) enum Cache {
    /// Nothing: links, devices, fifos and sockets.
    #[default]
    Other,
    File(Data),
    Dir(Dir),
}

impl Cache {
    /// Of a new node.
    pub(super) fn of(mode: u32) -> Cache {
        match mode & libc::S_IFMT {
            libc::S_IFREG => Cache::File(Data::default()),
            libc::S_IFDIR => Cache::Dir(Dir::default()),
            _ => Cache::Other,
        }
    }
}

type Chunk = OnceLock<Box<[RwLock<Cache>]>>;

/// The caches of all nodes, by index.
pub(super) struct Caches(Box<[Chunk]>);

impl Caches {
    pub(super) fn new() -> Caches {
        Caches((0..=NODES as usize / CHUNK).map(|_| OnceLock::new()).collect())
    }

    /// The lock of the node with this id; `None`: there can be no such node.
    pub(super) fn get(&self, id: u64) -> Option<&RwLock<Cache>> {
        let index = id as u32 as usize;
        let chunk = self.0.get(index / CHUNK)?;
        let chunk = chunk.get_or_init(|| (0..CHUNK).map(|_| RwLock::default()).collect());
        chunk.get(index % CHUNK)
    }
}

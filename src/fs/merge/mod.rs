//! Files made of pieces: of local files, and of what framed servers have.
//!
//! A [`manifest`] says which files there are and what each consists of. They can be read, and
//! nothing can be changed. A read crosses the borders of pieces, and each piece travels by its
//! cheapest way:
//!
//! | piece | way |
//! | --- | --- |
//! | a local file, from its first byte to its last, that is a file of its own | FUSE_PASSTHROUGH (Linux 6.9, CAP_SYS_ADMIN): the kernel reads it itself |
//! | of a local file | from its descriptor |
//! | framed, with a checksum of the header or none | from the socket, without being looked at |
//! | framed, with a checksum of the payload | through memory, where it is checked |
//!
//! The last three are segments of a [`BufVec`](crate::buffer::BufVec): whether a segment is
//! spliced or copied is the session's choice.
//!
//! Sizes and times of local files are as they were when the mount was made. A local file that has
//! become shorter since is EIO behind its end; what is changed in it is seen by whoever has it not
//! in the kernel's cache.
//!
//! # What outlives a worker
//!
//! | what | how |
//! | --- | --- |
//! | nodes, their ids | private memory: the manifest fixes them |
//! | the manifest | its text is in the arena: a new version of the program goes on with the one that was mounted, whatever the file has now |
//! | local files | opened before there is a worker; their numbers are in the arena |
//! | passthrough registrations | in the arena; made at the first open, kept as long as the mount |
//! | connections | in the arena: see `sources` |
//!
//! Lookups and open files are not counted: nodes are never freed, and a handle means nothing.
//!
//! | file | what |
//! | --- | --- |
//! | `manifest` | the text: what is in it, and what may be wrong |
//! | `tree` | the nodes |
//! | `local` | local files |
//! | `sources`, `answer` | framed sources: connections, and how their packets are checked |
//! | `filesystem` | the trait |
//! | `frame`, `address` | the protocol, and where servers are |
//! | `server` | a server of the protocol |

pub mod address;
pub mod answer;
mod filesystem;
pub mod frame;
mod local;
pub mod manifest;
pub mod server;
mod sources;
#[cfg(test)]
mod tests;
mod tree;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Errno;
use crate::channel::Connection;
use crate::recovery::arena::{Arena, ArenaError, Origin};
use crate::recovery::points::called;
use crate::recovery::table::Table;
use crate::sys::Fd;
use local::Local;
use manifest::{Manifest, SIZE_MAX, Wrong};
use sources::Sources;
use tree::{Owner, Tree};

/// How long the kernel may keep what it was told: nothing ever changes.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// Settings of a [`Merge`].
#[derive(Clone, Copy, Debug)]
pub struct MergeConfig {
    /// How long the kernel may keep a name.
    pub entry_timeout: Duration,
    /// How long the kernel may keep attributes.
    pub attr_timeout: Duration,
    /// How long the kernel may keep that a name is not there.
    pub negative_timeout: Duration,
    /// Whole local files straight from the kernel where it can.
    pub passthrough: bool,
}

impl Default for MergeConfig {
    /// Timeouts of a day, with passthrough.
    fn default() -> Self {
        let (entry_timeout, attr_timeout, negative_timeout) = (LONG, LONG, LONG);
        MergeConfig { entry_timeout, attr_timeout, negative_timeout, passthrough: true }
    }
}

/// Why a manifest cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// It cannot be read.
    #[error("{0}: see that it is a regular file that this user may read")]
    Read(std::io::Error),
    /// What it says cannot be.
    #[error(transparent)]
    Wrong(#[from] Wrong),
    /// More local files than descriptors.
    #[error(
        "{files} local files, {reserved} descriptors for the mount itself, and no more than {limit} may be open: raise it with 'ulimit -Hn'"
    )]
    Files {
        /// How many.
        files: u64,
        /// RLIMIT_NOFILE.
        limit: u64,
        /// What else is needed.
        reserved: u64,
    },
    /// The limit cannot be raised.
    #[error("the limit of open files: {}: raise it with 'ulimit -n'", .0.desc())]
    Limit(Errno),
    /// No memory for its tables, or tables of another version.
    #[error(transparent)]
    Arena(#[from] ArenaError),
}

/// How a whole local file is read, as the arena has it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Backing {
    /// 0: not tried yet, -1: served, else the registration's id. It stays for all opens that
    /// follow, since the kernel allows one way at a time.
    id: i64,
}

/// The file system.
pub struct Merge {
    tree: Tree,
    locals: Vec<Local>,
    sources: Sources,
    config: MergeConfig,
    /// By the number of a local file, and one.
    backings: Table<Backing>,
    /// Whoever registers.
    registering: Mutex<()>,
    /// Wanted, and agreed on with the kernel.
    passthrough: AtomicBool,
    connection: OnceLock<Connection>,
}

impl Merge {
    /// The files of the manifest at `path`, with what must outlive a worker in `arena`. Opens all
    /// local files, and raises the soft limit of open files for them. In an arena that was handed
    /// down it is the manifest that was mounted, and `path` is not read.
    ///
    /// # Errors
    /// Whatever is wrong with the manifest, or with what it names.
    pub fn new(path: &Path, config: MergeConfig, arena: &Arena) -> Result<Merge, MergeError> {
        let text = match arena.origin() {
            Origin::New => keep(arena, &read(path)?)?,
            Origin::Inherited | Origin::Stored => kept(arena)?,
        };
        let dir = path.parent().unwrap_or(Path::new("/"));
        let manifest = Manifest::parse(&text, dir)?;
        let locals = local::open_all(arena, &manifest)?;
        let owner =
            Owner { uid: nix::unistd::geteuid().as_raw(), gid: nix::unistd::getegid().as_raw() };
        let capacity = u32::try_from(locals.len().max(1)).unwrap_or(u32::MAX);
        let backings = Table::new(arena, "merge backings", capacity, 1)?;
        while backings.end() as usize <= locals.len() {
            backings.insert(&Backing { id: 0 });
        }
        Ok(Merge {
            tree: Tree::new(&manifest, &locals, owner)?,
            sources: Sources::new(arena, &manifest)?,
            locals,
            config,
            backings,
            registering: Mutex::new(()),
            passthrough: AtomicBool::new(config.passthrough),
            connection: OnceLock::new(),
        })
    }

    /// The registration of a local file for FUSE_PASSTHROUGH; `None`: its bytes are served.
    fn backing(&self, local: usize) -> Option<i32> {
        if !self.passthrough.load(Ordering::Relaxed) {
            return None;
        }
        let _one = self.registering.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (id, mut record) = self.backings.at(local as u32 + 1)?;
        if record.id == 0 {
            record.id = self.register(self.locals[local].fd);
            self.backings.put(id, &record);
        }
        i32::try_from(record.id).ok().filter(|id| *id > 0)
    }

    fn register(&self, file: Fd) -> i64 {
        let connection = self.connection.get().copied().ok_or(Errno::ENOTCONN);
        match called(connection.and_then(|connection| connection.backing_open(file))) {
            Ok(id) => i64::from(id),
            // ELOOP: the lower file system is itself stacked. Others: no memory, no right.
            Err(error) => {
                tracing::debug!("no passthrough: {error}");
                -1
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, MergeError> {
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    // Not blocking: it may be a FIFO.
    let file = options.read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = file.map_err(MergeError::Read)?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err(MergeError::Read(Errno::EINVAL.into()));
    }
    let mut text = Vec::new();
    // One more than may be, so that the parser sees that it is too long.
    file.take(SIZE_MAX as u64 + 1).read_to_end(&mut text).map_err(MergeError::Read)?;
    Ok(text)
}

/// Words before the text: its length in bytes, and its hash.
const HEAD: usize = 2;

fn region(arena: &Arena) -> Result<&'static [std::sync::atomic::AtomicU64], ArenaError> {
    arena.words("merge manifest", 1, HEAD + SIZE_MAX / 8)
}

/// Puts the text of the manifest into the arena.
fn keep(arena: &Arena, text: &[u8]) -> Result<Vec<u8>, MergeError> {
    // Too long: the parser says so, and nothing is mounted.
    if text.len() <= SIZE_MAX {
        let words = region(arena)?;
        for (word, bytes) in words[HEAD..].iter().zip(text.chunks(8)) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_le_bytes(whole), Ordering::Relaxed);
        }
        words[0].store(text.len() as u64, Ordering::Relaxed);
        words[1].store(xxh3_64(text), Ordering::Release);
    }
    Ok(text.to_vec())
}

/// The text that was put there.
fn kept(arena: &Arena) -> Result<Vec<u8>, MergeError> {
    let words = region(arena)?;
    let length = words[0].load(Ordering::Acquire) as usize;
    let damaged = ArenaError::NotAnArena("its manifest does not pass the check");
    if length > SIZE_MAX {
        return Err(damaged.into());
    }
    let bytes = words[HEAD..].iter().take(length.div_ceil(8));
    let mut text: Vec<u8> =
        bytes.flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect();
    text.truncate(length);
    match xxh3_64(&text) == words[1].load(Ordering::Acquire) {
        true => Ok(text),
        false => Err(damaged.into()),
    }
}

//! The arena: the shared memory (one memfd) that outlives every worker.
//!
//! ```text
//! header | board | descriptor marks | regions, in the order in which they were asked for ...
//! ```
//!
//! A region is an array of words or buffers with a name: a table of records, an index, the
//! slots. Its place is kept in the header's directory, so that a process that gets the memfd
//! handed down (a new version of the program, a service manager's store) finds it again; one
//! that was built with other sizes is refused there. The memfd is sparse: what was never
//! touched takes no memory.
//!
//! There are indices and offsets in it, never pointers, and no lock: whoever holds a lock when
//! it dies holds it for ever. Everything is read as if a hostile hand had written it.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use xxhash_rust::xxh3::Xxh3;

use super::board::{Board, CELLS};
use super::fds::Fds;
use crate::Errno;
use crate::sys::Fd;
use crate::sys::memory::{Mapping, PAGE, SharedBuffer};

/// "fusexare", little endian.
const MAGIC: u64 = u64::from_le_bytes(*b"fusexare");
/// The format's version: other layouts, other numbers.
pub const FORMAT: u64 = 1;
/// Address space reserved for one arena. Hardly any of it is ever memory.
const RESERVED: usize = 32 << 30;
/// Regions an arena may have.
const REGIONS: usize = 32;
/// Words of a directory entry: name (2), unit, count, offset, check.
const ENTRY: usize = 6;
/// Words before the directory: magic, format, descriptors, regions, length, check.
const HEAD: usize = 6;
/// Where the board begins.
const BOARD: usize = PAGE;
/// Where the descriptor marks begin.
const MARKS: usize = 2 * PAGE;
/// More descriptors than this are not used, whatever the limit is.
const MAX_FDS: usize = 1 << 20;

/// Why an arena cannot be made or taken over.
#[derive(Debug, thiserror::Error)]
pub enum ArenaError {
    /// No memory for it.
    #[error("shared memory for the arena: {}", .0.desc())]
    Memory(#[from] Errno),
    /// What was handed over is something else.
    #[error("the arena is none: {0}: mount anew")]
    NotAnArena(&'static str),
    /// Made by another version of fusex.
    #[error(
        "the arena has format {found}, this fusex has {FORMAT}: go on with the version that made it"
    )]
    Format {
        /// The number in its header.
        found: u64,
    },
    /// A region has another size than this version gives it.
    #[error(
        "the arena's region {name} has {found} units, this fusex has {expected}: go on with the version that made it"
    )]
    Region {
        /// The region's name.
        name: &'static str,
        /// Unit size and count in the arena.
        found: Shape,
        /// Those of this version.
        expected: Shape,
    },
    /// The directory has no room for another region.
    #[error("the arena has no room for the region {0}")]
    Full(&'static str),
}

/// The shape of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes a unit.
    pub unit: u64,
    /// How many units.
    pub count: u64,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes", self.count, self.unit)
    }
}

/// One arena. It stays mapped as long as the process.
#[derive(Debug)]
pub struct Arena {
    mapping: &'static Mapping,
    head: &'static [AtomicU64],
    board: Board,
    fds: Fds,
    /// Regions are asked for by one after the other.
    growing: Mutex<()>,
    origin: Origin,
}

/// Where an arena comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is new.
    New,
    /// Another program had it, in this process or its parent: the same descriptors are open.
    Inherited,
    /// All processes were gone: the descriptors in its tables mean nothing any more.
    Stored,
}

fn check_of(words: &[AtomicU64]) -> u64 {
    let mut hasher = Xxh3::new();
    for word in words {
        hasher.update(&word.load(Ordering::Relaxed).to_le_bytes());
    }
    hasher.digest()
}

/// A region's name as the directory has it.
fn name_words(name: &str) -> [u64; 2] {
    let mut bytes = [0; 16];
    let length = name.len().min(16);
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    [0, 8].map(|at| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default()))
}

impl Arena {
    /// An empty one, for up to as many descriptors as this process may have.
    pub fn create() -> Result<Arena, ArenaError> {
        use nix::sys::resource::{Resource, getrlimit};
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let fds = usize::try_from(hard).unwrap_or(MAX_FDS).clamp(1024, MAX_FDS);
        let mapping = Mapping::create(c"fusex arena", RESERVED)?;
        let end = (MARKS + fds * 8).next_multiple_of(PAGE);
        mapping.grow(end)?;
        let arena = Arena::over(mapping, fds, Origin::New)?;
        for (word, value) in arena.head.iter().zip([MAGIC, FORMAT, fds as u64, 0, end as u64]) {
            word.store(value, Ordering::Relaxed);
        }
        arena.seal();
        Ok(arena)
    }

    /// The arena in the memfd `fd`, which another process has made. For [`Origin::Stored`] all
    /// descriptor marks are forgotten.
    pub fn attach(fd: Fd, origin: Origin) -> Result<Arena, ArenaError> {
        let mapping = Mapping::attach(fd, RESERVED)?;
        let short = ArenaError::NotAnArena("it is too short");
        let head = mapping.words(0, PAGE / 8).ok_or(short)?;
        let word = |index: usize| head[index].load(Ordering::Acquire);
        if word(0) != MAGIC {
            return Err(ArenaError::NotAnArena("it does not begin as one does"));
        }
        if word(1) != FORMAT {
            return Err(ArenaError::Format { found: word(1) });
        }
        if word(5) != check_of(&head[..HEAD - 1]) {
            return Err(ArenaError::NotAnArena("its header does not pass the check"));
        }
        let fds = word(2) as usize;
        if fds > MAX_FDS || word(3) as usize > REGIONS || word(4) as usize > mapping.length() {
            return Err(ArenaError::NotAnArena("its sizes are out of range"));
        }
        let arena = Arena::over(mapping, fds, origin)?;
        if origin == Origin::Stored {
            arena.fds.forget_all();
        }
        Ok(arena)
    }

    fn over(mapping: Mapping, fds: usize, origin: Origin) -> Result<Arena, ArenaError> {
        let mapping: &'static Mapping = Box::leak(Box::new(mapping));
        let part = |offset, count| {
            mapping.words(offset, count).ok_or(ArenaError::NotAnArena("it is too short"))
        };
        let head = part(0, PAGE / 8)?;
        let board = Board::new(part(BOARD, CELLS)?);
        let fds = Fds::new(part(MARKS, fds)?, board);
        Ok(Arena { mapping, head, board, fds, growing: Mutex::new(()), origin })
    }

    /// Where it comes from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Header and check, behind a change.
    fn seal(&self) {
        self.head[5].store(check_of(&self.head[..HEAD - 1]), Ordering::Release);
    }

    /// The memfd.
    pub fn fd(&self) -> Fd {
        self.mapping.fd()
    }

    /// The numbers that all processes of the mount share.
    pub fn board(&self) -> Board {
        self.board
    }

    /// Who uses which descriptor.
    pub fn fds(&self) -> Fds {
        self.fds
    }

    /// The directory's entry number `index`.
    fn entry(&self, index: usize) -> &'static [AtomicU64] {
        &self.head[HEAD + index * ENTRY..HEAD + (index + 1) * ENTRY]
    }

    /// Where the region `name` of `count` units of `unit` bytes begins; made if there is none yet.
    fn region(&self, name: &'static str, unit: usize, count: usize) -> Result<usize, ArenaError> {
        let _one = self.growing.lock().unwrap();
        let wanted = name_words(name);
        let regions = self.head[3].load(Ordering::Acquire) as usize;
        let expected = Shape { unit: unit as u64, count: count as u64 };
        for index in 0..regions.min(REGIONS) {
            let entry = self.entry(index);
            let word = |at: usize| entry[at].load(Ordering::Acquire);
            if [word(0), word(1)] != wanted {
                continue;
            }
            if word(5) != check_of(&entry[..ENTRY - 1]) {
                return Err(ArenaError::NotAnArena("its directory does not pass the check"));
            }
            let found = Shape { unit: word(2), count: word(3) };
            if found != expected {
                return Err(ArenaError::Region { name, found, expected });
            }
            return Ok(word(4) as usize);
        }
        self.add_region(name, wanted, expected, regions)
    }

    fn add_region(
        &self,
        name: &'static str,
        words: [u64; 2],
        shape: Shape,
        index: usize,
    ) -> Result<usize, ArenaError> {
        if index >= REGIONS {
            return Err(ArenaError::Full(name));
        }
        let start = self.head[4].load(Ordering::Acquire) as usize;
        let size = shape.unit.checked_mul(shape.count).ok_or(ArenaError::Full(name))? as usize;
        let end = (start + size).next_multiple_of(PAGE);
        self.mapping.grow(end)?;
        let entry = self.entry(index);
        let values = [words[0], words[1], shape.unit, shape.count, start as u64];
        for (word, value) in entry.iter().zip(values) {
            word.store(value, Ordering::Relaxed);
        }
        entry[5].store(check_of(&entry[..ENTRY - 1]), Ordering::Release);
        self.head[4].store(end as u64, Ordering::Release);
        self.head[3].store(index as u64 + 1, Ordering::Release);
        self.seal();
        Ok(start)
    }

    /// The region `name`: `count` units of `unit` words. `name` has at most 16 bytes.
    pub(crate) fn words(
        &self,
        name: &'static str,
        unit: usize,
        count: usize,
    ) -> Result<&'static [AtomicU64], ArenaError> {
        let start = self.region(name, unit * 8, count)?;
        let outside = ArenaError::NotAnArena("a region lies outside of it");
        self.mapping.words(start, unit * count).ok_or(outside)
    }

    /// The region `name`: `count` buffers of `unit` bytes, a multiple of the page.
    pub(super) fn buffers(
        &self,
        name: &'static str,
        unit: usize,
        count: usize,
    ) -> Result<Buffers, ArenaError> {
        let start = self.region(name, unit, count)?;
        Ok(Buffers { mapping: self.mapping, start, unit, count })
    }
}

/// A region of buffers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buffers {
    mapping: &'static Mapping,
    start: usize,
    unit: usize,
    count: usize,
}

impl Buffers {
    /// Bytes `from` to `to` of buffer number `index`. The caller sees to it that nobody else has
    /// them.
    pub(super) fn part(self, index: usize, from: usize, to: usize) -> Option<SharedBuffer> {
        if index >= self.count || from > to || to > self.unit {
            return None;
        }
        self.mapping.buffer(self.start + index * self.unit + from, to - from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_found_again() {
        let arena = Arena::create().unwrap();
        arena.words("one", 2, 10).unwrap()[3].store(42, Ordering::Relaxed);
        arena.words("two", 1, 10).unwrap()[0].store(43, Ordering::Relaxed);
        let again = Arena::attach(arena.fd(), Origin::Inherited).unwrap();
        assert_eq!(again.words("one", 2, 10).unwrap()[3].load(Ordering::Relaxed), 42);
        assert_eq!(again.words("two", 1, 10).unwrap()[0].load(Ordering::Relaxed), 43);
        let error = again.words("one", 2, 11).unwrap_err();
        assert!(matches!(error, ArenaError::Region { name: "one", .. }), "{error}");
    }

    #[test]
    fn a_changed_header_is_refused() {
        for (word, value) in [(0, 1), (1, FORMAT + 1), (2, 5), (4, u64::MAX), (5, 0)] {
            let arena = Arena::create().unwrap();
            arena.head[word].store(value, Ordering::Relaxed);
            assert!(Arena::attach(arena.fd(), Origin::Inherited).is_err(), "word {word}");
        }
        let arena = Arena::create().unwrap();
        arena.words("one", 1, 1).unwrap();
        arena.head[HEAD + 4].store(1 << 40, Ordering::Relaxed);
        assert!(Arena::attach(arena.fd(), Origin::Inherited).unwrap().words("one", 1, 1).is_err());
    }

    #[test]
    fn another_format_says_which() {
        let arena = Arena::create().unwrap();
        arena.head[1].store(7, Ordering::Relaxed);
        let error = Arena::attach(arena.fd(), Origin::Inherited).unwrap_err();
        assert!(matches!(error, ArenaError::Format { found: 7 }), "{error}");
    }

    #[test]
    fn any_other_file_is_refused() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        let fd = Fd::from_owned(file.into());
        assert!(matches!(Arena::attach(fd, Origin::Inherited), Err(ArenaError::NotAnArena(_))));
        fd.close();
    }
}

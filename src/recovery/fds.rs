//! Who uses which descriptor of the shared table.
//!
//! A worker's descriptors outlive it, so somebody has to know which of them still mean something.
//! There is a mark for each number: nobody's, a record's, or a record's to be ([`Fds::begin`]).
//! The order makes each moment right:
//!
//! * open, mark *begun*, publish the record that holds it, mark *kept*;
//! * to let go: unmark, then close.
//!
//! A takeover closes whatever has no mark, and asks the tables about what is only begun. It looks
//! at marks alone, not at /proc, and no further than the highest number that ever was.
//! Numbers below [`FIRST`] are the supervisor's and are never touched.

use std::sync::atomic::{AtomicU64, Ordering};

use super::board::{Board, Cell};
use super::points::{self, Point};
use super::sealed::{sealed, unsealed};
use crate::Errno;
use crate::sys::Fd;

/// The first number that does not belong to the supervisor.
pub const FIRST: i32 = 64;

/// What holds a descriptor. The numbers are part of the arena's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A node's inode.
    Node = 1,
    /// An open file or directory.
    Handle = 2,
    /// The lower file of an owner of locks.
    Lock = 3,
    /// A serving thread's clone of /dev/fuse.
    Device = 4,
    /// A descriptor of a mount, to open file handles with.
    Mount = 5,
    /// A file's contents in memory.
    Content = 6,
    /// Open already when the mount was made.
    Inherited = 7,
    /// What a file system keeps for itself, first kind.
    Own = 8,
    /// One end of the pipe that a slot's replies go through.
    Pipe = 9,
}

const KINDS: [Kind; 9] = [
    Kind::Node,
    Kind::Handle,
    Kind::Lock,
    Kind::Device,
    Kind::Mount,
    Kind::Content,
    Kind::Inherited,
    Kind::Own,
    Kind::Pipe,
];

/// A mark: kind (8 bits), begun (1), check (16), index (32).
const BEGUN: u64 = 1 << 55;

fn mark(kind: Kind, index: u32, begun: bool) -> u64 {
    let bits = (kind as u64) << 56 | u64::from(index) | if begun { BEGUN } else { 0 };
    bits | check(bits) << 32
}

fn check(bits: u64) -> u64 {
    (bits ^ 0x5bd1_e995).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48
}

/// Kind, index and whether it is only begun; `None` for a damaged mark.
fn parse(word: u64) -> Option<(Kind, u32, bool)> {
    let bits = word & !(0xffff << 32);
    let kind = KINDS.into_iter().find(|kind| *kind as u64 == word >> 56)?;
    (word >> 32 & 0xffff == check(bits)).then_some((kind, word as u32, word & BEGUN != 0))
}

/// The marks of one arena.
#[derive(Clone, Copy, Debug)]
pub struct Fds {
    marks: &'static [AtomicU64],
    board: Board,
}

impl Fds {
    pub(super) fn new(marks: &'static [AtomicU64], board: Board) -> Fds {
        Fds { marks, board }
    }

    /// More descriptors than this cannot be kept.
    pub fn limit(self) -> usize {
        self.marks.len()
    }

    fn slot(self, fd: Fd) -> Option<&'static AtomicU64> {
        self.marks.get(usize::try_from(fd.number()).ok()?)
    }

    /// A descriptor just opened is going to be held by record `index`. EMFILE: its number is
    /// past the limit.
    pub fn begin(self, fd: Fd, kind: Kind, index: u32) -> Result<(), Errno> {
        let slot = self.slot(fd).ok_or(Errno::EMFILE)?;
        self.note_highest(fd.number() as u64);
        slot.store(mark(kind, index, true), Ordering::Release);
        points::reach(Point::FdBegun);
        Ok(())
    }

    /// Number 0 is never marked: in its place stands the highest number that ever was.
    fn note_highest(self, number: u64) {
        let known = |word| if word == 0 { Some(0) } else { unsealed(word) };
        let higher = |word| known(word).is_some_and(|known| known < number).then(|| sealed(number));
        // Nothing to do when it is not higher. What is damaged stays so: all are looked at then.
        let _ = self.marks[0].fetch_update(Ordering::AcqRel, Ordering::Acquire, higher);
    }

    /// One more than the highest number that may be marked.
    fn end(self) -> usize {
        let highest = unsealed(self.marks[0].load(Ordering::Acquire));
        let known = highest.map(|number| number as usize).filter(|it| *it < self.marks.len());
        known.map_or(self.marks.len(), |highest| highest.max(FIRST as usize) + 1)
    }

    /// The record that holds it is published.
    pub fn keep(self, fd: Fd, kind: Kind, index: u32) {
        if let Some(slot) = self.slot(fd) {
            slot.store(mark(kind, index, false), Ordering::Release);
        }
    }

    /// A descriptor that was open before there was a worker, and stays open.
    pub fn keep_inherited(self, fd: Fd) {
        self.note_highest(fd.number().max(0) as u64);
        self.keep(fd, Kind::Inherited, 0);
    }

    /// Lets go of a descriptor and closes it.
    pub fn close(self, fd: Fd) {
        if let Some(slot) = self.slot(fd) {
            slot.store(0, Ordering::Release);
        }
        fd.close();
    }

    /// Whether it is this record's.
    pub fn belongs(self, fd: Fd, kind: Kind, index: u32) -> bool {
        let held = self.slot(fd).and_then(|slot| parse(slot.load(Ordering::Acquire)));
        held.is_some_and(|(k, i, _)| (k, i) == (kind, index))
    }

    /// Closes it if it is this record's, as it may not be any more when a dead worker has begun
    /// to close it; false: it was not.
    pub fn close_if(self, fd: Fd, kind: Kind, index: u32) -> bool {
        let own = self.belongs(fd, kind, index);
        if own {
            self.close(fd);
        }
        own
    }

    /// Takeover, before there is any thread: closes what no table knows. `holds` says whether a
    /// record of a table holds a descriptor. Returns how many of each kind are left.
    pub fn reclaim(self, holds: impl Fn(Kind, u32, Fd) -> bool) -> Counts {
        let mut counts = Counts::default();
        let mut gap = FIRST;
        for number in FIRST as usize..self.end() {
            let word = self.marks[number].load(Ordering::Acquire);
            if word == 0 {
                continue;
            }
            let fd = Fd::from_number(number as i32);
            match parse(word) {
                Some((kind, index, true)) if !holds(kind, index, fd) => {
                    self.marks[number].store(0, Ordering::Release);
                    continue;
                }
                Some((kind, index, begun)) => {
                    if begun {
                        self.keep(fd, kind, index);
                    }
                    counts.0[kind as usize] += 1;
                }
                // Whose it is cannot be told: it stays open.
                None => {
                    self.board.add(Cell::Damaged, 1);
                }
            }
            close_range(gap, number as i32 - 1);
            gap = number as i32 + 1;
        }
        close_range(gap, i32::MAX);
        counts
    }

    /// Forgets all marks: the table that they were about is gone.
    pub(super) fn forget_all(self) {
        self.marks.iter().for_each(|mark| mark.store(0, Ordering::Relaxed));
    }

    /// How many descriptors of each kind are kept.
    pub fn counts(self) -> Counts {
        let mut counts = Counts::default();
        for word in &self.marks[FIRST as usize..self.end()] {
            if let Some((kind, ..)) = parse(word.load(Ordering::Acquire)) {
                counts.0[kind as usize] += 1;
            }
        }
        counts
    }

    /// A descriptor of this record.
    pub fn find(self, kind: Kind, index: u32) -> Option<Fd> {
        self.iter().find(|fd| self.belongs(*fd, kind, index))
    }

    /// All descriptors that are kept.
    pub fn iter(self) -> impl Iterator<Item = Fd> {
        let marked = |(number, word): (usize, &AtomicU64)| {
            (word.load(Ordering::Acquire) != 0).then_some(Fd::from_number(number as i32))
        };
        self.marks[..self.end()].iter().enumerate().skip(FIRST as usize).filter_map(marked)
    }
}

/// Descriptors by [`Kind`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([usize; 10]);

impl Counts {
    /// How many of this kind.
    pub fn of(&self, kind: Kind) -> usize {
        self.0[kind as usize]
    }
}

fn close_range(first: i32, last: i32) {
    if first <= last {
        crate::sys::fd::close_range(first, last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fds() -> Fds {
        let words: Vec<AtomicU64> = (0..1024).map(|_| AtomicU64::new(0)).collect();
        Fds::new(words.leak(), Board::private())
    }

    #[test]
    fn marks_survive_and_damaged_ones_are_seen() {
        for kind in KINDS {
            for begun in [false, true] {
                let word = mark(kind, 0x1234_5678, begun);
                assert_eq!(parse(word), Some((kind, 0x1234_5678, begun)));
                for bit in 0..64 {
                    assert_ne!(parse(word ^ 1 << bit), parse(word), "bit {bit}");
                    let seen = parse(word ^ 1 << bit);
                    assert!(seen.is_none(), "bit {bit} makes {seen:?} of {kind:?}");
                }
            }
        }
    }

    #[test]
    fn only_the_holder_closes() {
        let fds = fds();
        let (reader, _writer) = std::io::pipe().unwrap();
        let above = nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(FIRST);
        let fd = Fd::from_number(nix::fcntl::fcntl(&reader, above).unwrap());
        fds.begin(fd, Kind::Node, 7).unwrap();
        fds.keep(fd, Kind::Node, 7);
        assert!(!fds.close_if(fd, Kind::Node, 8) && !fds.close_if(fd, Kind::Handle, 7));
        assert!(nix::fcntl::fcntl(fd, nix::fcntl::F_GETFD).is_ok());
        assert_eq!(fds.counts().of(Kind::Node), 1);
        assert!(fds.close_if(fd, Kind::Node, 7) && !fds.close_if(fd, Kind::Node, 7));
        assert_eq!(fds.counts().of(Kind::Node), 0);
    }

    #[test]
    fn the_highest_number_is_known_or_all_are_looked_at() {
        let fds = fds();
        assert_eq!(fds.end(), fds.limit(), "nothing is known");
        fds.begin(Fd::from_number(700), Kind::Node, 1).unwrap();
        fds.begin(Fd::from_number(100), Kind::Node, 1).unwrap();
        assert_eq!((fds.end(), fds.counts().of(Kind::Node)), (701, 2));
        for bit in 0..64 {
            fds.marks[0].fetch_xor(1 << bit, Ordering::Relaxed);
            assert_eq!(fds.end(), fds.limit(), "bit {bit}");
            fds.marks[0].fetch_xor(1 << bit, Ordering::Relaxed);
        }
    }

    #[test]
    fn past_the_limit_nothing_is_kept() {
        assert_eq!(fds().begin(Fd::from_number(1024), Kind::Node, 1), Err(Errno::EMFILE));
        assert_eq!(fds().begin(Fd::NONE, Kind::Node, 1), Err(Errno::EMFILE));
    }
}

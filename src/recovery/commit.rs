//! Changes of several records that happen together or not at all: a small redo log in the arena.
//!
//! ```text
//! commit (all changes, CRC; published by one store) -> apply them -> journal::intend -> applied
//! ```
//!
//! A worker killed before that store has changed nothing; killed behind it, its successor finds
//! the log ([`Log::pending`]) and applies it again, which does no harm: a change says what a record
//! is to be, not how it differs. The log also keeps for whom the last commit was and what came of
//! it ([`Log::last`]), until the request's own journal knows; so nothing is carried out twice.
//!
//! * There is one log a file system, and its writers come one after the other, under a lock that
//!   they hold until [`Log::applied`]: nobody else changes these records meanwhile.
//! * New records are made before the commit, in a form that a takeover takes for unused, and
//!   filled by it: an id can be written down only when it is there.
//! * A log that does not pass its check is left alone and counted
//!   ([`Board`]).

use std::sync::atomic::{AtomicU64, Ordering, fence};

use xxhash_rust::xxh3::xxh3_64;
use zerocopy::IntoBytes;

use super::arena::{Arena, ArenaError};
use super::board::{Board, Cell};
use super::points::{self, Point};
use super::table::{Record, Table};

/// Changes that one commit may have.
pub const CHANGES: usize = 16;
/// Words of the longest change: what, id, record.
const CHANGE_MAX: usize = 2 + 64;
/// Words of the longest text: request, result, changes.
const TEXT_MAX: usize = 2 + CHANGES * CHANGE_MAX;
/// Words before the text: state, check.
const TEXT: usize = 2;

const COMMITTED: u64 = 1;
const APPLIED: u64 = 2;

/// What one record of one table is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    table: u8,
    id: u64,
    /// `None`: it is removed.
    value: Option<Vec<u8>>,
}

impl Change {
    /// Record `id` of the table that the file system numbers `table` becomes `value`.
    pub fn put<T: Record>(table: u8, id: u64, value: &T) -> Change {
        Change { table, id, value: Some(value.as_bytes().to_vec()) }
    }

    /// The record is freed.
    pub fn remove(table: u8, id: u64) -> Change {
        Change { table, id, value: None }
    }

    /// The file system's number of the table.
    pub fn table(&self) -> u8 {
        self.table
    }

    /// Carries it out; does nothing the second time, or when the record is not there.
    pub fn apply<T: Record>(&self, table: &Table<T>) {
        match &self.value {
            None => drop(table.remove(self.id)),
            Some(bytes) => {
                if let Ok(value) = T::read_from_bytes(bytes) {
                    table.put(self.id, &value);
                }
            }
        }
        points::reach(Point::HalfApplied);
    }

    /// Table (8 bits), whether there is a value, its length in words; the id; the value.
    fn encode(&self, text: &mut Vec<u64>) {
        let bytes = self.value.as_deref().unwrap_or_default();
        let head = u64::from(self.table) | u64::from(self.value.is_some()) << 8;
        text.extend([head | (bytes.len() as u64 / 8) << 16, self.id]);
        let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().unwrap_or_default());
        text.extend(bytes.chunks_exact(8).map(word));
    }

    /// The first change in `text`, and what is behind it.
    fn decode(text: &[u64]) -> Option<(Change, &[u64])> {
        let ([head, id], rest) = text.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked((head >> 16) as usize)?;
        let value = (head >> 8 & 1 != 0).then(|| value.as_bytes().to_vec());
        Some((Change { table: *head as u8, id: *id, value }, rest))
    }
}

/// The log.
#[derive(Debug)]
pub struct Log {
    words: &'static [AtomicU64],
    board: Board,
}

impl Log {
    /// The log `name` (up to 15 bytes) of the arena; made if there is none.
    pub fn new(arena: &Arena, name: &'static str) -> Result<Log, ArenaError> {
        let words = arena.words(name, TEXT + TEXT_MAX, 1)?;
        Ok(Log { words, board: arena.board() })
    }

    /// Notes `changes` for good: from here on they happen, whoever dies. `request` is the id of the
    /// request that they belong to, 0 for none; `result` is the file system's.
    ///
    /// # Panics
    /// With more than [`CHANGES`] changes.
    pub fn commit(&self, request: u64, result: u64, changes: &[Change]) {
        assert!(changes.len() <= CHANGES, "a commit has at most {CHANGES} changes");
        let mut text = vec![request, result];
        changes.iter().for_each(|change| change.encode(&mut text));
        self.write(&text);
        points::reach(Point::Committing);
        self.set_state(COMMITTED, text.len());
        points::reach(Point::Committed);
    }

    /// All of a commit but the store that makes it one.
    fn write(&self, text: &[u64]) {
        self.words[0].store(0, Ordering::Relaxed);
        // There is no log before another one is written over it.
        fence(Ordering::Release);
        self.words[1].store(xxh3_64(text.as_bytes()), Ordering::Relaxed);
        for (word, value) in self.words[TEXT..].iter().zip(text) {
            word.store(*value, Ordering::Relaxed);
        }
    }

    /// Phase (8 bits) and the text's length in words.
    fn set_state(&self, phase: u64, length: usize) {
        self.words[0].store((length as u64) << 8 | phase, Ordering::Release);
    }

    /// The changes are made.
    pub fn applied(&self) {
        let length = (self.words[0].load(Ordering::Relaxed) >> 8) as usize;
        self.set_state(APPLIED, length);
    }

    /// The phase and the text of what was committed last; `None`: there is nothing, or it is
    /// damaged.
    fn read(&self) -> Option<(u64, Vec<u64>)> {
        let state = self.words[0].load(Ordering::Acquire);
        if state == 0 {
            return None;
        }
        let (phase, length) = (state & 0xff, ((state >> 8) as usize).min(TEXT_MAX + 1));
        let word = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let text: Vec<u64> = self.words[TEXT..].iter().take(length).map(word).collect();
        let right = text.len() == length
            && matches!(phase, COMMITTED | APPLIED)
            && word(&self.words[1]) == xxh3_64(text.as_bytes());
        if !right {
            self.board.add(Cell::Damaged, 1);
        }
        right.then_some((phase, text))
    }

    /// Takeover: changes that are committed and maybe not all made. Behind it comes
    /// [`Log::applied`].
    pub fn pending(&self) -> Option<Vec<Change>> {
        let (phase, text) = self.read()?;
        let mut rest = text.get(2..)?;
        let next = || {
            let (change, behind) = Change::decode(rest)?;
            rest = behind;
            Some(change)
        };
        (phase == COMMITTED).then(|| std::iter::from_fn(next).collect())
    }

    /// Takeover: the request of the last commit and its result.
    pub fn last(&self) -> Option<(u64, u64)> {
        let (_, text) = self.read()?;
        text.first_chunk().filter(|[request, _]| *request != 0).map(|[request, of]| (*request, *of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pair = [u64; 2];

    struct Fixture {
        arena: Arena,
        table: Table<Pair>,
        log: Log,
        ids: Vec<u64>,
    }

    fn fixture() -> Fixture {
        let arena = Arena::create().unwrap();
        let table = Table::new(&arena, "pairs", 100, 1).unwrap();
        let log = Log::new(&arena, "log").unwrap();
        let ids = (0..3).map(|n| table.insert(&[n, n]).unwrap()).collect();
        Fixture { arena, table, log, ids }
    }

    impl Fixture {
        fn changes(&self) -> [Change; 3] {
            let put = |at: usize| Change::put(7, self.ids[at], &[10_u64, at as u64]);
            [put(0), Change::remove(7, self.ids[1]), put(2)]
        }

        fn values(&self) -> [Option<Pair>; 3] {
            [0, 1, 2].map(|at: usize| self.table.get(self.ids[at]))
        }
    }

    const BEFORE: [Option<Pair>; 3] = [Some([0, 0]), Some([1, 1]), Some([2, 2])];
    const BEHIND: [Option<Pair>; 3] = [Some([10, 0]), None, Some([10, 2])];

    #[test]
    fn applied_from_any_point_it_comes_to_the_same() {
        for made in 0..=3 {
            let fixture = fixture();
            let changes = fixture.changes();
            fixture.log.commit(42, 5, &changes);
            changes[..made].iter().for_each(|change| change.apply(&fixture.table));
            let successor = Log::new(&fixture.arena, "log").unwrap();
            let pending = successor.pending().unwrap();
            assert_eq!(pending, changes);
            pending.iter().for_each(|change| change.apply(&fixture.table));
            assert_eq!((fixture.values(), successor.last()), (BEHIND, Some((42, 5))));
            successor.applied();
            assert_eq!((successor.pending(), successor.last()), (None, Some((42, 5))));
        }
    }

    #[test]
    fn half_written_it_is_not_there() {
        let Fixture { log, .. } = fixture();
        assert_eq!((log.pending(), log.last()), (None, None));
        let fixture = fixture();
        fixture.log.commit(42, 5, &fixture.changes());
        fixture.log.applied();
        // All stores of the next commit but the last.
        fixture.log.write(&[43, 6]);
        assert_eq!((fixture.log.pending(), fixture.log.last()), (None, None));
        assert_eq!(fixture.values(), BEFORE);
        assert_eq!(fixture.arena.board().get(Cell::Damaged), 0);
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let fixture = fixture();
        fixture.log.commit(42, 5, &fixture.changes());
        let used = TEXT + 2 + (2 + 2) + 2 + (2 + 2);
        for (at, bit) in (0..used).flat_map(|at| (0..64).map(move |bit| (at, bit))) {
            fixture.log.words[at].fetch_xor(1 << bit, Ordering::Relaxed);
            assert_eq!((fixture.log.pending(), fixture.log.last()), (None, None), "{at} {bit}");
            fixture.log.words[at].fetch_xor(1 << bit, Ordering::Relaxed);
        }
        assert!(fixture.log.pending().is_some());
        assert!(fixture.arena.board().get(Cell::Damaged) > 64);
    }

    #[test]
    fn nobody_asked_for_it() {
        let fixture = fixture();
        fixture.log.commit(0, 5, &fixture.changes());
        assert_eq!(
            (fixture.log.pending().map(|all| all.len()), fixture.log.last()),
            (Some(3), None)
        );
    }
}

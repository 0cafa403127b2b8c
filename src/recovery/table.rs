//! Tables of records in the arena, named by index and generation, never by pointer.
//!
//! An id is `generation << 32 | index`. A freed index is used again under the next
//! generation, so an id that has outlived its record is seen as stale and not taken for
//! another record.
//!
//! A record is there twice. A change writes the copy that is not in use and then publishes it
//! with one store of the state word (generation, change count, in use): whoever is killed
//! between any two instructions leaves either the old record or the new one. Each copy carries
//! a checksum of itself, its index, generation and change count, so flipped bits are seen: such a
//! record is not there any more ([`Board`] counts it), and the rest goes on.
//!
//! The state word alone tells whether a change that was announced before it ([`Table::state`],
//! see `journal`) has happened: it never comes back to an earlier value.
//!
//! Changes of one record must not run at the same time: that is the caller's lock, in private
//! memory. The list of free records is private too and found again by and by after a takeover.

use std::marker::PhantomData;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use xxhash_rust::xxh3::xxh3_64_with_seed;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::arena::{Arena, ArenaError};
use super::board::{Board, Cell};
use super::points::{self, Point};
use super::sealed::{sealed, unsealed};

/// What a table can hold: plain data, a multiple of 8 bytes long.
pub trait Record: FromBytes + IntoBytes + Immutable + Copy + Send + Sync + 'static {}
impl<T: FromBytes + IntoBytes + Immutable + Copy + Send + Sync + 'static> Record for T {}

const LIVE: u64 = 1;
/// One change, in the state word.
const CHANGE: u64 = 2;
/// The change count and the live bit.
const LOW: u64 = 0xffff_ffff;
const GENERATION_MAX: u64 = 0x7fff_ffff;
/// Records looked at for a free one before the table grows.
const SWEEP: u64 = 64;
/// More records in a row that were never used than any worker has reserved at a time.
const UNUSED: u64 = 4096;
/// The longest record, in words.
const WORDS_MAX: usize = 64;

/// A table.
#[derive(Debug)]
pub struct Table<T> {
    words: &'static [AtomicU64],
    /// One more than the highest index ever used.
    end: &'static AtomicU64,
    capacity: u64,
    first: u64,
    free: Mutex<Free>,
    board: Board,
    _record: PhantomData<T>,
}

#[derive(Debug, Default)]
struct Free {
    list: Vec<u32>,
    /// Where the search for free records goes on, and where it ends; set by the first search.
    swept: Option<(u64, u64)>,
}

/// A record that is free and this process's, not yet visible to anybody.
#[derive(Debug)]
pub struct Reserved {
    index: u32,
    state: u64,
}

impl Reserved {
    /// The id that it will have.
    pub fn id(&self) -> u64 {
        join(self.state >> 32, self.index)
    }
}

fn join(generation: u64, index: u32) -> u64 {
    (generation << 32) | u64::from(index)
}

impl<T: Record> Table<T> {
    const WORDS: usize = size_of::<T>() / 8;
    /// State, and two copies with a check word each.
    const STRIDE: usize = 1 + 2 * (1 + Self::WORDS);
    const FITS: () = assert!(
        size_of::<T>().is_multiple_of(8) && size_of::<T>() / 8 <= WORDS_MAX,
        "a record is a multiple of 8 bytes, up to 512"
    );

    /// The table `name` (up to 15 bytes) of the arena, for up to `capacity` records; made if there
    /// is none. The first index used is `first`.
    pub fn new(
        arena: &Arena,
        name: &'static str,
        capacity: u32,
        first: u32,
    ) -> Result<Self, ArenaError> {
        let () = Self::FITS;
        let words = arena.words(name, Self::STRIDE, capacity as usize + 1)?;
        // Record 0's place holds the table's own words: ids are never 0.
        let end = &words[0];
        if end.load(Ordering::Acquire) == 0 {
            end.store(sealed(u64::from(first.max(1))), Ordering::Release);
        }
        Ok(Table {
            words,
            end,
            capacity: u64::from(capacity),
            first: u64::from(first.max(1)),
            free: Mutex::default(),
            board: arena.board(),
            _record: PhantomData,
        })
    }

    fn record(&self, index: u64) -> Option<&'static [AtomicU64]> {
        if index == 0 || index > self.capacity {
            return None;
        }
        let start = index as usize * Self::STRIDE;
        self.words.get(start..start + Self::STRIDE)
    }

    /// One more than the highest index ever used.
    pub fn end(&self) -> u32 {
        let end = unsealed(self.end.load(Ordering::Acquire));
        let known = end.filter(|end| *end <= self.capacity + 1);
        known.map_or_else(|| self.find_end(), |end| end as u32)
    }

    /// The end again, where its word is damaged: behind the last record before many that were
    /// never used.
    fn find_end(&self) -> u32 {
        self.board.add(Cell::Damaged, 1);
        let (mut end, mut unused) = (self.first, 0);
        for index in self.first..=self.capacity {
            let Some(record) = self.record(index) else { break };
            if record[0].load(Ordering::Acquire) == 0 {
                unused += 1;
                if unused > UNUSED {
                    break;
                }
            } else {
                (end, unused) = (index + 1, 0);
            }
        }
        self.end.store(sealed(end), Ordering::Release);
        end as u32
    }

    /// Takes a free record; `None` when the table is full.
    pub fn reserve(&self) -> Option<Reserved> {
        let mut free = self.free.lock().unwrap();
        let (index, swept) = match free.list.pop() {
            Some(index) => (index, false),
            None => match self.sweep(&mut free) {
                Some(index) => (index, true),
                None => (self.bump()?, false),
            },
        };
        let state = self.record(u64::from(index))?[0].load(Ordering::Acquire);
        // Found, not freed here: it may be in use, and its live bit damaged. Its id must not come
        // to mean another record.
        let state = if swept && state != 0 { next_generation(state) } else { state };
        Some(Reserved { index, state: state & !LIVE & !(1 << 63) })
    }

    fn bump(&self) -> Option<u32> {
        let end = self.end();
        if u64::from(end) > self.capacity {
            return None;
        }
        self.end.store(sealed(u64::from(end) + 1), Ordering::Release);
        Some(end)
    }

    /// What the sweep has still to look at. Records in there are on no list: the sweep finds them.
    fn swept<'a>(&self, free: &'a mut Free) -> (&'a mut u64, u64) {
        let (at, end) = free.swept.get_or_insert_with(|| (self.first, u64::from(self.end())));
        (at, *end)
    }

    /// Looks for a record that an earlier worker freed, a few at a time.
    fn sweep(&self, free: &mut Free) -> Option<u32> {
        let (at, end) = self.swept(free);
        for _ in 0..SWEEP {
            if *at >= end {
                return None;
            }
            let index = *at;
            *at += 1;
            if self.record(index)?[0].load(Ordering::Acquire) & LIVE == 0 {
                return Some(index as u32);
            }
        }
        None
    }

    /// Gives a reserved record back, unused.
    pub fn give_back(&self, reserved: Reserved) {
        self.free.lock().unwrap().list.push(reserved.index);
    }

    /// Makes a reserved record visible; returns its id.
    pub fn publish(&self, reserved: Reserved, value: &T) -> u64 {
        let id = reserved.id();
        if let Some(record) = self.record(u64::from(reserved.index)) {
            let next = advance(reserved.state) | LIVE;
            self.write(record, reserved.index, next, value);
        }
        id
    }

    /// Takes a free record and fills it; `None` when the table is full.
    pub fn insert(&self, value: &T) -> Option<u64> {
        self.reserve().map(|reserved| self.publish(reserved, value))
    }

    fn write(&self, record: &[AtomicU64], index: u32, state: u64, value: &T) {
        let copy = copy_of(record, state, Self::WORDS);
        let bytes = value.as_bytes();
        // Whoever sees a word of this change sees the state before it, too.
        fence(Ordering::Release);
        for (word, bytes) in copy[1..].iter().zip(bytes.chunks_exact(8)) {
            word.store(u64::from_ne_bytes(bytes.try_into().unwrap_or_default()), Ordering::Relaxed);
        }
        copy[0].store(check(index, state, bytes), Ordering::Relaxed);
        points::reach(Point::HalfRecord);
        record[0].store(state, Ordering::Release);
        points::reach(Point::Published);
    }

    /// The state word of a live record. It differs behind each change, and behind the removal.
    pub fn state(&self, id: u64) -> Option<u64> {
        let state = self.record(id & LOW)?[0].load(Ordering::Acquire);
        let live = state & LIVE != 0 && state >> 32 == id >> 32 && id >> 63 == 0;
        live.then_some(state)
    }

    /// The record of `id`; `None` when it is not, or no longer, in use, or damaged.
    pub fn get(&self, id: u64) -> Option<T> {
        loop {
            let state = self.state(id)?;
            let record = self.record(id & LOW)?;
            if let Some(value) = self.read(record, id as u32, state) {
                return Some(value);
            }
            // A change by another thread meanwhile; or damaged.
            if record[0].load(Ordering::Acquire) == state {
                self.board.add(Cell::Damaged, 1);
                return None;
            }
        }
    }

    fn read(&self, record: &[AtomicU64], index: u32, state: u64) -> Option<T> {
        let copy = copy_of(record, state, Self::WORDS);
        let mut words = [0_u64; WORDS_MAX];
        for (value, word) in words.iter_mut().zip(&copy[1..]) {
            *value = word.load(Ordering::Relaxed);
        }
        let checked = copy[0].load(Ordering::Relaxed);
        // The reads above come before whatever is read behind this.
        fence(Ordering::Acquire);
        let bytes = words[..Self::WORDS].as_bytes();
        if checked != check(index, state, bytes) {
            return None;
        }
        T::read_from_bytes(bytes).ok()
    }

    /// The record at an index that is in use, and its id.
    pub fn at(&self, index: u32) -> Option<(u64, T)> {
        let state = self.record(u64::from(index))?[0].load(Ordering::Acquire);
        let id = join(state >> 32, index);
        (state & LIVE != 0).then(|| Some((id, self.get(id)?)))?
    }

    /// All records in use, with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (u64, T)> {
        (self.first as u32..self.end()).filter_map(|index| self.at(index))
    }

    /// How many records are in use: looks at all of them.
    pub fn count(&self) -> u64 {
        let live = |index: &u64| {
            self.record(*index).is_some_and(|record| record[0].load(Ordering::Relaxed) & LIVE != 0)
        };
        (self.first..u64::from(self.end())).filter(live).count() as u64
    }

    /// Replaces the record; false when it is not in use.
    pub fn put(&self, id: u64, value: &T) -> bool {
        let (Some(state), Some(record)) = (self.state(id), self.record(id & LOW)) else {
            return false;
        };
        self.write(record, id as u32, advance(state) | LIVE, value);
        true
    }

    /// Changes the record; `None` when it is not in use or damaged.
    pub fn update<R>(&self, id: u64, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut value = self.get(id)?;
        let result = change(&mut value);
        self.put(id, &value);
        Some(result)
    }

    /// Frees the record; false when it was not in use.
    pub fn remove(&self, id: u64) -> bool {
        let (Some(state), Some(record)) = (self.state(id), self.record(id & LOW)) else {
            return false;
        };
        let mut free = self.free.lock().unwrap();
        let (at, end) = self.swept(&mut free);
        let found_by_sweep = (*at..end).contains(&(id & LOW));
        record[0].store(advance(next_generation(state)), Ordering::Release);
        if !found_by_sweep {
            free.list.push(id as u32);
        }
        true
    }
}

/// The state of a record that is free, under the next generation.
fn next_generation(state: u64) -> u64 {
    let generation = ((state >> 32) + 1) & GENERATION_MAX;
    generation << 32 | state & LOW & !LIVE
}

/// The state with one change more, not live.
fn advance(state: u64) -> u64 {
    let count = (state & LOW & !LIVE).wrapping_add(CHANGE) & LOW;
    state & !LOW | count
}

/// The copy that a state says is in use: its check word and its words.
fn copy_of(record: &[AtomicU64], state: u64, words: usize) -> &[AtomicU64] {
    let second = state & CHANGE != 0;
    let start = 1 + if second { 1 + words } else { 0 };
    &record[start..start + 1 + words]
}

fn check(index: u32, state: u64, bytes: &[u8]) -> u64 {
    // What the copy is of, so that no other copy is taken for it.
    xxh3_64_with_seed(bytes, state ^ u64::from(index).rotate_left(40))
}

#[cfg(test)]
impl<T: Record> Table<T> {
    /// Flips a bit of a record.
    pub(crate) fn damage(&self, id: u64) {
        let record = self.record(id & LOW).unwrap();
        let state = record[0].load(Ordering::Relaxed);
        copy_of(record, state, Self::WORDS)[1].fetch_xor(1 << 7, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pair = [u64; 2];

    fn table() -> (Arena, Table<Pair>) {
        let arena = Arena::create().unwrap();
        let table = Table::new(&arena, "pairs", 100, 1).unwrap();
        (arena, table)
    }

    #[test]
    fn a_stale_id_finds_nothing() {
        let (_arena, table) = table();
        let id = table.insert(&[1, 2]).unwrap();
        assert_eq!(id, 1);
        assert_eq!(table.get(id), Some([1, 2]));
        assert!(table.put(id, &[3, 4]));
        assert_eq!(table.get(id), Some([3, 4]));
        assert!(table.remove(id));
        assert!(!table.remove(id) && !table.put(id, &[0, 0]), "freed");
        assert_eq!(table.get(id), None);
        let next = table.insert(&[5, 6]).unwrap();
        assert_eq!((next as u32, next >> 32), (1, 1), "the same index, the next generation");
        assert_eq!((table.get(id), table.get(next)), (None, Some([5, 6])));
        for wrong in [0, 101, u64::MAX, 1 << 63 | next, 1 << 40 | 2] {
            assert_eq!(table.get(wrong), None);
        }
    }

    #[test]
    fn a_successor_finds_the_records_and_the_free_places() {
        let (arena, table) = table();
        let ids: Vec<u64> = (0..100).map(|n| table.insert(&[n, n]).unwrap()).collect();
        assert!(table.insert(&[0, 0]).is_none(), "full");
        assert!(table.remove(ids[70]) && table.remove(ids[80]));
        let successor: Table<Pair> = Table::new(&arena, "pairs", 100, 1).unwrap();
        assert_eq!(successor.count(), 98);
        assert_eq!(successor.get(ids[5]), Some([5, 5]));
        // It looks for free places by and by and is "full" until it has come to one.
        let mut found: Vec<u64> = (0..4).filter_map(|_| successor.insert(&[7, 7])).collect();
        found.sort_unstable();
        assert_eq!(found, [2 << 32 | 71, 2 << 32 | 81]);
        assert_eq!(successor.count(), 100);
    }

    #[test]
    fn no_record_is_handed_out_twice() {
        let (arena, table) = table();
        let ids: Vec<u64> = (0..3).map(|n| table.insert(&[n, n]).unwrap()).collect();
        let successor: Table<Pair> = Table::new(&arena, "pairs", 100, 1).unwrap();
        assert!(successor.remove(ids[1]));
        let (one, other) = (successor.reserve().unwrap(), successor.reserve().unwrap());
        assert_ne!(one.id() as u32, other.id() as u32);
        assert!(successor.remove(ids[0]));
        let third = successor.reserve().unwrap();
        assert!(third.id() as u32 != one.id() as u32 && third.id() as u32 != other.id() as u32);
    }

    #[test]
    fn an_unpublished_record_is_free() {
        let (arena, table) = table();
        let reserved = table.reserve().unwrap();
        assert_eq!(table.get(reserved.id()), None);
        let successor: Table<Pair> = Table::new(&arena, "pairs", 100, 1).unwrap();
        assert_eq!(successor.count(), 0);
        assert_eq!(successor.insert(&[1, 1]), Some(reserved.id()));
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let (arena, table) = table();
        let id = table.insert(&[1, 2]).unwrap();
        table.put(id, &[3, 4]);
        let record = table.record(1).unwrap();
        for (number, word) in record.iter().enumerate() {
            for bit in 0..64 {
                word.fetch_xor(1 << bit, Ordering::Relaxed);
                let got = table.get(id);
                assert!(matches!(got, None | Some([3, 4])), "word {number} bit {bit}: {got:?}");
                word.fetch_xor(1 << bit, Ordering::Relaxed);
            }
        }
        assert_eq!(table.get(id), Some([3, 4]));
        assert!(arena.board().get(Cell::Damaged) > 64);
    }

    #[test]
    fn a_damaged_end_is_found_again() {
        let (arena, table) = table();
        (0..50).for_each(|n| assert!(table.insert(&[n, n]).is_some()));
        assert!(table.remove(50));
        for bit in 0..64 {
            table.end.fetch_xor(1 << bit, Ordering::Relaxed);
            let successor: Table<Pair> = Table::new(&arena, "pairs", 100, 1).unwrap();
            assert_eq!((successor.end(), successor.count()), (51, 49), "bit {bit}");
        }
    }

    #[test]
    fn a_change_half_written_leaves_the_old_record() {
        let (_arena, table) = table();
        let id = table.insert(&[1, 2]).unwrap();
        let before = table.state(id).unwrap();
        let record = table.record(1).unwrap();
        // All but the last store of a change.
        let next = advance(before) | LIVE;
        copy_of(record, next, 2)[1].store(9, Ordering::Relaxed);
        assert_eq!((table.get(id), table.state(id)), (Some([1, 2]), Some(before)));
        table.put(id, &[3, 4]);
        assert_ne!(table.state(id), Some(before));
    }

    #[test]
    fn readers_see_whole_records_while_one_changes_them() {
        let (_arena, table) = table();
        let id = table.insert(&[0, 0]).unwrap();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| (1..100_000).for_each(|n| assert!(table.put(id, &[n, n]))));
            while !writer.is_finished() {
                let [a, b] = table.get(id).expect("never damaged");
                assert_eq!(a, b);
            }
        });
    }
}

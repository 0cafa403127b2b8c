//! A table of records that are named by index and generation, never by pointer.
//!
//! An id is `generation << 32 | index`. A freed index is used again under the next
//! generation, so an id that has outlived its record is seen as stale and not taken
//! for another record. Records never move and chunks are never freed: a reader needs
//! no lock to reach one, and a stale id costs a comparison, not a crash.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

const CHUNK: usize = 1024;
/// 64 Mi records.
const CHUNKS: usize = 1 << 16;
/// Set in an entry's state while its record is in use; the rest is the generation.
const LIVE: u32 = 1 << 31;

struct Slot<T> {
    state: AtomicU32,
    value: T,
}

type Chunk<T> = OnceLock<Box<[Slot<T>]>>;

/// The table. `T` keeps its own state behind atomics or a lock; a new record is handed
/// out as the last one left it, so the owner resets it.
pub(crate) struct Slab<T> {
    chunks: Box<[Chunk<T>]>,
    free: Mutex<Free>,
}

struct Free {
    list: Vec<u32>,
    next: u32,
}

fn join(generation: u32, index: u32) -> u64 {
    (u64::from(generation) << 32) | u64::from(index)
}

impl<T: Default> Slab<T> {
    /// An empty table whose first index will be `first`.
    pub(crate) fn new(first: u32) -> Self {
        let chunks = (0..CHUNKS).map(|_| OnceLock::new()).collect();
        Slab { chunks, free: Mutex::new(Free { list: Vec::new(), next: first }) }
    }

    fn slot(&self, index: u32) -> Option<&Slot<T>> {
        let chunk = self.chunks.get(index as usize / CHUNK)?.get()?;
        chunk.get(index as usize % CHUNK)
    }

    /// Takes a free record and returns its id; `None` when the table is full.
    pub(crate) fn insert(&self) -> Option<(u64, &T)> {
        let index = {
            let mut free = self.free.lock().unwrap();
            match free.list.pop() {
                Some(index) => index,
                None if (free.next as usize) < CHUNK * CHUNKS => {
                    free.next += 1;
                    free.next - 1
                }
                None => return None,
            }
        };
        let chunk = self.chunks[index as usize / CHUNK].get_or_init(|| {
            (0..CHUNK).map(|_| Slot { state: AtomicU32::new(0), value: T::default() }).collect()
        });
        let slot = &chunk[index as usize % CHUNK];
        let generation = slot.state.load(Ordering::Relaxed);
        slot.state.store(generation | LIVE, Ordering::Release);
        Some((join(generation, index), &slot.value))
    }

    /// The record of `id`, or `None` when it is not, or no longer, in use.
    pub(crate) fn get(&self, id: u64) -> Option<&T> {
        let slot = self.slot(id as u32)?;
        let live = slot.state.load(Ordering::Acquire) == (id >> 32) as u32 | LIVE;
        (live && id >> 63 == 0).then_some(&slot.value)
    }

    /// The record at an index that is in use, and its id.
    pub(crate) fn at(&self, index: u32) -> Option<(u64, &T)> {
        let slot = self.slot(index)?;
        let state = slot.state.load(Ordering::Acquire);
        (state & LIVE != 0).then(|| (join(state & !LIVE, index), &slot.value))
    }

    /// One more than the highest index ever used.
    pub(crate) fn end(&self) -> u32 {
        self.free.lock().unwrap().next
    }

    /// Frees the record of `id`; false when it was not in use.
    pub(crate) fn remove(&self, id: u64) -> bool {
        let Some(slot) = self.slot(id as u32) else { return false };
        if id >> 63 != 0 {
            return false;
        }
        let live = (id >> 32) as u32 | LIVE;
        let next = ((id >> 32) as u32 + 1) & !LIVE;
        let freed =
            slot.state.compare_exchange(live, next, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if freed {
            self.free.lock().unwrap().list.push(id as u32);
        }
        freed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn a_stale_id_finds_nothing() {
        let slab: Slab<AtomicU64> = Slab::new(1);
        let (first, value) = slab.insert().unwrap();
        assert_eq!(first, 1);
        value.store(7, Ordering::Relaxed);
        assert!(slab.remove(first));
        assert!(!slab.remove(first), "freed twice");
        assert!(slab.get(first).is_none());
        let (second, _) = slab.insert().unwrap();
        assert_eq!(second as u32, first as u32, "the index is used again");
        assert_ne!(second, first);
        assert!(slab.get(second).is_some());
        assert!(slab.get(first).is_none());
    }

    #[test]
    fn foreign_ids_find_nothing() {
        let slab: Slab<AtomicU64> = Slab::new(1);
        slab.insert().unwrap();
        for id in [0, 2, 1 << 32 | 1, 1 << 63 | 1, u64::MAX, u64::from(u32::MAX)] {
            assert!(slab.get(id).is_none(), "{id:#x}");
            assert!(!slab.remove(id), "{id:#x}");
        }
    }

    #[test]
    fn many_records_keep_their_values() {
        let slab: Slab<AtomicU64> = Slab::new(1);
        let ids: Vec<u64> = (0..5000)
            .map(|n| {
                let (id, value) = slab.insert().unwrap();
                value.store(n, Ordering::Relaxed);
                id
            })
            .collect();
        for (n, id) in ids.iter().enumerate() {
            assert_eq!(slab.get(*id).unwrap().load(Ordering::Relaxed), n as u64);
        }
    }
}

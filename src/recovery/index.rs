//! From a key's hash to the records with that hash: chains through an array beside a table.
//!
//! A record is put in front of its chain by one store, and taken out by one store, so a chain is
//! whole at any moment. A damaged link ends the chain early or leads to a record with another
//! key, which the caller sees; no walk is longer than the table. Changes of one chain are
//! serialised by the caller ([`Index::chain`] says which chain a key is in).

use std::sync::atomic::{AtomicU64, Ordering};

use super::arena::{Arena, ArenaError};

/// Chains. A million records make chains of one each.
const CHAINS: usize = 1 << 20;
/// A walk longer than this is taken for a damaged chain.
const LONGEST: usize = 1 << 16;

/// The chains of one table. Two links share a word.
#[derive(Debug)]
pub struct Index {
    heads: &'static [AtomicU64],
    links: &'static [AtomicU64],
}

/// Half a word: an index, or 0.
#[derive(Clone, Copy)]
struct Half<'a> {
    word: &'a AtomicU64,
    shift: u32,
}

impl<'a> Half<'a> {
    fn of(words: &'a [AtomicU64], index: u32) -> Option<Half<'a>> {
        let shift = (index % 2) * 32;
        words.get(index as usize / 2).map(|word| Half { word, shift })
    }

    fn get(self) -> u32 {
        (self.word.load(Ordering::Acquire) >> self.shift) as u32
    }

    fn set(self, value: u32) {
        let change =
            |word: u64| Some(word & !(0xffff_ffff << self.shift) | u64::from(value) << self.shift);
        // The other half may be changed by another thread meanwhile. Never fails.
        let _ = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, change);
    }
}

impl Index {
    /// The index `name` (up to 10 bytes) of a table of `capacity` records.
    pub fn new(
        arena: &Arena,
        names: (&'static str, &'static str),
        capacity: u32,
    ) -> Result<Index, ArenaError> {
        let heads = arena.words(names.0, 1, CHAINS / 2)?;
        let links = arena.words(names.1, 1, capacity as usize / 2 + 1)?;
        Ok(Index { heads, links })
    }

    /// The chain of a hash.
    pub fn chain(hash: u64) -> usize {
        // The upper bits are the better mixed ones.
        (hash >> (64 - CHAINS.ilog2())) as usize
    }

    fn head(&self, hash: u64) -> Half<'_> {
        let chain = Index::chain(hash);
        Half { word: &self.heads[chain / 2], shift: (chain as u32 % 2) * 32 }
    }

    /// The records in the chain of `hash`, the last put in first.
    pub fn walk(&self, hash: u64) -> impl Iterator<Item = u32> {
        let mut next = self.head(hash).get();
        std::iter::from_fn(move || {
            let index = next;
            next = Half::of(self.links, index)?.get();
            (index != 0).then_some(index)
        })
        .take(LONGEST)
    }

    /// Puts record `index` in the chain of `hash`.
    pub fn insert(&self, hash: u64, index: u32) {
        let head = self.head(hash);
        if let Some(link) = Half::of(self.links, index) {
            link.set(head.get());
            head.set(index);
        }
    }

    /// Takes record `index` out of the chain of `hash`; does nothing if it is not there.
    pub fn remove(&self, hash: u64, index: u32) {
        let mut before = self.head(hash);
        for _ in 0..LONGEST {
            let at = before.get();
            let (false, Some(link)) = (at == 0, Half::of(self.links, at)) else { return };
            if at == index {
                before.set(link.get());
                return;
            }
            before = link;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        let arena = Arena::create().unwrap();
        Index::new(&arena, ("heads", "links"), 100).unwrap()
    }

    #[test]
    fn chains_are_kept_apart() {
        let index = index();
        let (a, b) = (1 << 63, 1 << 62);
        [1, 2, 3].into_iter().for_each(|record| index.insert(a, record));
        index.insert(b, 4);
        assert_eq!(index.walk(a).collect::<Vec<_>>(), [3, 2, 1]);
        index.remove(a, 2);
        index.remove(a, 4);
        assert_eq!(index.walk(a).collect::<Vec<_>>(), [3, 1]);
        index.remove(a, 3);
        index.remove(a, 1);
        assert_eq!((index.walk(a).count(), index.walk(b).collect::<Vec<_>>()), (0, vec![4]));
    }

    #[test]
    fn a_circle_and_a_wild_link_end() {
        let index = index();
        index.insert(0, 5);
        Half::of(index.links, 5).unwrap().set(5);
        assert_eq!(index.walk(0).count(), LONGEST);
        index.remove(0, 6);
        Half::of(index.links, 5).unwrap().set(u32::MAX);
        assert_eq!(index.walk(0).collect::<Vec<_>>(), [5]);
        index.remove(0, 6);
    }
}

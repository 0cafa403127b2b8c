//! What a worker knows of a record for itself: an array beside a table, in private memory.
//!
//! Parts of it come to be when they are touched. A successor begins with an empty one, so
//! nothing may stand here that it needs and cannot find out.

use std::sync::OnceLock;

const CHUNK: usize = 1024;

/// One `T` for each record of a table.
pub(super) struct Locals<T> {
    chunks: Box<[OnceLock<Box<[T]>>]>,
}

impl<T: Default> Locals<T> {
    pub(super) fn new(capacity: u32) -> Locals<T> {
        let chunks = capacity as usize / CHUNK + 1;
        Locals { chunks: (0..chunks).map(|_| OnceLock::new()).collect() }
    }

    /// That of the record at `index`; `None` past the table's end.
    pub(super) fn at(&self, index: u32) -> Option<&T> {
        let chunk = self.chunks.get(index as usize / CHUNK)?;
        let chunk = chunk.get_or_init(|| (0..CHUNK).map(|_| T::default()).collect());
        chunk.get(index as usize % CHUNK)
    }
}

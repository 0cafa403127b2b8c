//! Sparse file contents: a map from page number to page.
//!
//! A page that is not in the map is a hole; one that is there without memory is
//! reserved (fallocate): charged, but zero and a hole to SEEK_DATA. Invariant: what
//! a page holds behind the file's size is zero, so growing needs no clearing.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

use super::space::Space;
use crate::Errno;
use crate::fs::Result;

/// Bytes a page.
pub(super) const PAGE: u64 = 4096;
/// The largest size and end offset: what `off_t` can say.
pub(super) const MAX_SIZE: u64 = i64::MAX as u64;
/// The most that one [`Data::extract`] copies.
const EXTRACT: u64 = 1 << 20;

type Page = [u8; PAGE as usize];

#[derive(Default)]
pub(super) struct Data {
    size: u64,
    pages: BTreeMap<u64, Option<Box<Page>>>,
}

/// A piece taken out of a file to be put into another.
pub(super) enum Extract {
    Hole(u64),
    Bytes(Vec<u8>),
}

/// The part of one page that a byte range covers.
struct Span {
    page: u64,
    from: usize,
    to: usize,
}

impl Span {
    fn len(&self) -> usize {
        self.to - self.from
    }

    fn whole(&self) -> bool {
        self.len() as u64 == PAGE
    }
}

/// `[offset, end)` page by page.
fn spans(offset: u64, end: u64) -> impl Iterator<Item = Span> {
    let mut at = offset;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let from = at % PAGE;
        let to = (end - at + from).min(PAGE);
        let page = at / PAGE;
        at += to - from;
        Some(Span { page, from: from as usize, to: to as usize })
    })
}

fn zeros() -> Box<Page> {
    Box::new([0; PAGE as usize])
}

impl Data {
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Pages held or reserved.
    pub(super) fn pages(&self) -> u64 {
        self.pages.len() as u64
    }

    /// Reads at `offset`; fewer bytes than `buf` holds only at the end.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> usize {
        let length = self.size.saturating_sub(offset).min(buf.len() as u64);
        let mut rest = &mut buf[..length as usize];
        for span in spans(offset, offset + length) {
            let (part, tail) = rest.split_at_mut(span.len());
            match self.pages.get(&span.page) {
                Some(Some(page)) => part.copy_from_slice(&page[span.from..span.to]),
                _ => part.fill(0),
            }
            rest = tail;
        }
        length as usize
    }

    /// Writes at `offset`. Short when space or the largest size is reached on the way,
    /// ENOSPC or EFBIG when not one byte fits.
    pub(super) fn write(&mut self, space: &Space, offset: u64, data: &[u8]) -> Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        if offset >= MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        let length = (MAX_SIZE - offset).min(data.len() as u64);
        let mut done = 0;
        for span in spans(offset, offset + length) {
            let page = match self.pages.entry(span.page) {
                Slot::Occupied(slot) => slot.into_mut(),
                Slot::Vacant(slot) => match space.bytes().charge(PAGE) {
                    Ok(()) => slot.insert(None),
                    Err(full) if done == 0 => return Err(full),
                    Err(_) => break,
                },
            };
            let target = &mut page.get_or_insert_with(zeros)[span.from..span.to];
            target.copy_from_slice(&data[done..done + span.len()]);
            done += span.len();
        }
        self.size = self.size.max(offset + done as u64);
        Ok(done)
    }

    /// Cuts or grows to `size`. Cutting drops reservations behind it too.
    pub(super) fn resize(&mut self, space: &Space, size: u64) -> Result<()> {
        if size > MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        if size <= self.size {
            let dropped = self.pages.split_off(&size.div_ceil(PAGE));
            space.bytes().release(dropped.len() as u64 * PAGE);
            self.clear(size, size.next_multiple_of(PAGE));
        }
        self.size = size;
        Ok(())
    }

    /// Drops everything, reservations too.
    pub(super) fn drop_all(&mut self, space: &Space) {
        space.bytes().release(self.pages() * PAGE);
        *self = Data::default();
    }

    /// Makes the file at least `size` long.
    pub(super) fn grow(&mut self, size: u64) {
        self.size = self.size.max(size);
    }

    /// Reserves `[offset, end)`: a later write there finds space. All or nothing.
    pub(super) fn reserve(&mut self, space: &Space, offset: u64, end: u64) -> Result<()> {
        if end > MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        let (first, behind) = (offset / PAGE, end.div_ceil(PAGE));
        // Refused here when it cannot fit, before the pages of a huge range are counted.
        if (behind - first) * PAGE > space.bytes().limit() {
            return Err(Errno::ENOSPC);
        }
        let missing = behind - first - self.pages.range(first..behind).count() as u64;
        space.bytes().charge(missing * PAGE)?;
        for page in first..behind {
            self.pages.entry(page).or_insert(None);
        }
        Ok(())
    }

    /// Makes `[offset, end)` a hole; pages that it covers in part are cleared in part.
    pub(super) fn punch(&mut self, space: &Space, offset: u64, end: u64) {
        let (first, behind) = (offset.div_ceil(PAGE), end / PAGE);
        if first >= behind {
            return self.clear(offset, end);
        }
        let dropped: Vec<u64> = self.pages.range(first..behind).map(|(page, _)| *page).collect();
        for page in &dropped {
            self.pages.remove(page);
        }
        space.bytes().release(dropped.len() as u64 * PAGE);
        self.clear(offset, first * PAGE);
        self.clear(behind * PAGE, end);
    }

    /// Makes `[offset, end)` zero and reserved.
    pub(super) fn zero(&mut self, space: &Space, offset: u64, end: u64) -> Result<()> {
        self.reserve(space, offset, end)?;
        self.clear(offset, end);
        Ok(())
    }

    /// Overwrites what is held of `[offset, end)` with zeros; whole pages become reserved.
    fn clear(&mut self, offset: u64, end: u64) {
        let pages = offset / PAGE..end.div_ceil(PAGE).max(offset / PAGE);
        for (number, page) in self.pages.range_mut(pages) {
            let start = number * PAGE;
            for span in spans(offset.max(start), end.min(start + PAGE)) {
                match page {
                    Some(_) if span.whole() => *page = None,
                    Some(bytes) => bytes[span.from..span.to].fill(0),
                    None => {}
                }
            }
        }
    }

    /// SEEK_DATA: the first byte at or behind `offset` that is not in a hole.
    pub(super) fn seek_data(&self, offset: u64) -> Result<u64> {
        let mut held = self.pages.range(offset / PAGE..).filter(|(_, page)| page.is_some());
        let data = held.next().map(|(number, _)| offset.max(number * PAGE));
        data.filter(|at| *at < self.size).ok_or(Errno::ENXIO)
    }

    /// SEEK_HOLE: the first byte at or behind `offset` in a hole; the end counts as one.
    pub(super) fn seek_hole(&self, offset: u64) -> Result<u64> {
        if offset >= self.size {
            return Err(Errno::ENXIO);
        }
        let first = offset / PAGE;
        let held = self.pages.range(first..).zip(first..);
        let run = held.take_while(|((number, page), next)| *number == next && page.is_some());
        let hole = (first + run.count() as u64) * PAGE;
        Ok(hole.clamp(offset, self.size))
    }

    /// Takes out up to `max` bytes at `offset`: a hole, or data of at most 1 MiB.
    /// `None` at the end of the file.
    pub(super) fn extract(&self, offset: u64, max: u64) -> Option<Extract> {
        let left = self.size.checked_sub(offset)?.min(max);
        if left == 0 {
            return None;
        }
        let data = self.seek_data(offset).unwrap_or(self.size);
        if data > offset {
            return Some(Extract::Hole(left.min(data - offset)));
        }
        let run = self.seek_hole(offset).unwrap_or(self.size) - offset;
        let mut bytes = vec![0; left.min(run).min(EXTRACT) as usize];
        self.read(offset, &mut bytes);
        Some(Extract::Bytes(bytes))
    }

    /// Puts `piece` at `offset`; returns how many bytes that was.
    pub(super) fn put(&mut self, space: &Space, offset: u64, piece: &Extract) -> Result<u64> {
        match piece {
            Extract::Bytes(bytes) => Ok(self.write(space, offset, bytes)? as u64),
            Extract::Hole(length) => {
                self.punch(space, offset, offset + length);
                self.grow(offset + length);
                Ok(*length)
            }
        }
    }
}

//! Slots: one for each serving thread, where it reads requests into.
//!
//! The kernel copies a request straight into the slot, so that it is still there after the
//! thread's death. The request's id is set to zero before each read: a slot whose id is
//! zero holds no request. Beside it lie room for the reply's data and the slot's journal.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::arena::{Arena, ArenaError, Buffers};
use super::journal::{self, Journal};
use super::points::{self, Point, Protection};
use crate::Errno;
use crate::sys::memory::{PAGE, SharedBuffer};
use crate::sys::{Fd, file};
use crate::wire::Unique;

/// What a request needs beside its data: fuse_in_header and fuse_write_in, on a page so that
/// the data may stay aligned.
const HEAD: usize = PAGE;
/// The longest extended attribute (XATTR_SIZE_MAX), which may be longer than a READ or WRITE.
const XATTR_MAX: usize = 64 << 10;
/// Where the length and the unique id stand in fuse_in_header.
const LENGTH: std::ops::Range<usize> = 0..4;
const UNIQUE: std::ops::Range<usize> = 8..16;
/// Opcode and caller.
const OPCODE: std::ops::Range<usize> = 4..8;
const PID: std::ops::Range<usize> = 32..36;
/// The size in fuse_read_in, behind the header.
const READ_SIZE: std::ops::Range<usize> = 56..60;

/// All slots of an arena.
#[derive(Debug)]
pub struct Slots {
    journals: &'static [std::sync::atomic::AtomicU64],
    buffers: Buffers,
    room: usize,
    /// Handed out in this process.
    taken: Box<[AtomicBool]>,
}

impl Slots {
    /// `count` slots for requests that carry up to `max_data` bytes, and replies likewise.
    pub fn new(arena: &Arena, count: usize, max_data: usize) -> Result<Slots, ArenaError> {
        let room = max_data.max(XATTR_MAX).next_multiple_of(PAGE);
        let journals = arena.words("journals", journal::WORDS, count)?;
        let buffers = arena.buffers("slots", HEAD + 2 * room, count)?;
        let taken = (0..count).map(|_| AtomicBool::new(false)).collect();
        Ok(Slots { journals, buffers, room, taken })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.taken.len()
    }

    /// The journal of slot `index`.
    pub fn journal(&self, index: usize) -> Journal {
        Journal::new(&self.journals[index * journal::WORDS..(index + 1) * journal::WORDS])
    }

    /// Hands slot `index` to the caller, alone; `None`: somebody has it, or there is no such slot.
    pub fn take(&self, index: usize) -> Option<Slot> {
        if self.taken.get(index)?.swap(true, Ordering::AcqRel) {
            return None;
        }
        Some(Slot {
            request: self.buffers.part(index, 0, HEAD + self.room)?,
            reply: self.buffers.part(index, HEAD + self.room, HEAD + 2 * self.room)?,
            journal: self.journal(index),
            index,
        })
    }

    /// Behind a takeover: all slots can be taken again.
    pub fn give_all_back(&self) {
        self.taken.iter().for_each(|taken| taken.store(false, Ordering::Release));
    }

    /// The lowest slot that nobody has taken; those with an unfinished request come first.
    pub fn next_free(&self) -> Option<usize> {
        let free = |index: &usize| !self.taken[*index].load(Ordering::Acquire);
        let unfinished = |index: &usize| self.journal(*index).started().is_some();
        let mut all = 0..self.count();
        all.clone().filter(free).find(unfinished).or_else(|| all.find(free))
    }

    /// The slots that were ever read into, by number.
    pub fn used(&self) -> impl Iterator<Item = usize> {
        (0..self.count()).filter(|index| self.journal(*index).is_used())
    }

    /// The devices and pipes of slots are gone: their requests are answered on `device`.
    pub fn move_to(&self, device: Fd) {
        for index in self.used() {
            self.journal(index).set_device(device);
            self.journal(index).set_pipe(None);
        }
    }

    /// Touches and locks the memory of slot `index`, so that it is there when a thread needs it.
    pub fn reserve_memory(&self, index: usize) {
        if points::is_off(Protection::Prefault) {
            return;
        }
        if let Some(mut request) = self.buffers.part(index, 0, HEAD + self.room) {
            request.fault_in();
        }
    }

    /// Maps the memory of slot `index` in this process, where another one has reserved it.
    pub fn touch(&self, index: usize) {
        if let Some(mut request) = self.buffers.part(index, 0, HEAD + self.room)
            && !points::is_off(Protection::Prefault)
        {
            request.touch();
        }
    }

    /// Requests finished in all slots, ever.
    pub fn finished(&self) -> u64 {
        let each = (0..self.count()).map(|index| self.journal(index).finished());
        // Any number may stand there.
        each.fold(0, u64::wrapping_add)
    }

    /// The slots whose request has been under way since before `then`, on CLOCK_MONOTONIC.
    pub fn older_than(&self, then: Duration) -> impl Iterator<Item = Journal> {
        let journals = (0..self.count()).map(|index| self.journal(index));
        journals.filter(move |journal| journal.started().is_some_and(|started| started < then))
    }
}

/// Room for one request, for its reply's data, and its journal.
#[derive(Debug)]
pub struct Slot {
    request: SharedBuffer,
    reply: SharedBuffer,
    journal: Journal,
    index: usize,
}

impl Slot {
    /// Its number.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Its journal.
    pub fn journal(&self) -> Journal {
        self.journal
    }

    /// Bytes of data that a request or a reply may have.
    pub fn room(&self) -> usize {
        self.reply.bytes().len()
    }

    /// Before the first read: see [`SharedBuffer::fault_in`].
    pub fn fault_in(&mut self) {
        match (points::is_off(Protection::Prefault), self.index) {
            (true, _) => {}
            // Locked since the start by the supervisor: to do it again at every birth, and undo it
            // at every death, would lengthen the pause of a takeover.
            (false, 0) => self.request.touch(),
            (false, _) => self.request.fault_in(),
        }
    }

    /// Waits for the next request on `device`; returns its length.
    ///
    /// ENODEV: the mount is gone. ENOENT: the request was taken back while it was read.
    pub fn receive(&mut self, device: Fd) -> Result<usize, Errno> {
        self.clear();
        self.journal.reset();
        let length = file::read(device, self.request.bytes_mut())?;
        points::reach_with(Point::Read, || self.asked());
        self.journal.begin();
        points::reach_with(Point::Begun, || self.asked());
        Ok(length)
    }

    /// Opcode and caller of the request, as its header says.
    pub fn asked(&self) -> (u32, i32) {
        (self.word(OPCODE), self.word(PID) as i32)
    }

    /// Bytes that a READ asks for.
    pub fn read_size(&self) -> u32 {
        self.word(READ_SIZE)
    }

    fn word(&self, range: std::ops::Range<usize>) -> u32 {
        u32::from_ne_bytes(self.request.bytes()[range].try_into().unwrap_or_default())
    }

    /// Marks the request as finished.
    pub fn clear(&mut self) {
        self.request.bytes_mut()[UNIQUE].fill(0);
        points::reach(Point::HalfCleared);
        if self.journal.started().is_some() {
            self.journal.end();
        }
    }

    /// The id of the request that is here.
    pub fn unique(&self) -> Option<Unique> {
        let word = self.request.bytes()[UNIQUE].try_into().map_or(0, u64::from_ne_bytes);
        (word != 0).then_some(Unique(word))
    }

    /// The length of the request that a dead worker has left here, if there is one.
    pub fn left(&self) -> Option<usize> {
        let bytes = self.request.bytes();
        let word = |range: std::ops::Range<usize>| bytes[range].iter().any(|byte| *byte != 0);
        let length = u32::from_ne_bytes(bytes[LENGTH].try_into().unwrap_or_default()) as usize;
        let known = word(UNIQUE) && !points::is_off(Protection::Slots);
        known.then_some(length.min(bytes.len()))
    }

    /// The request's bytes, however many there are.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.request.bytes_mut()
    }

    /// The same, and the room for its reply's data.
    pub(super) fn halves_mut(&mut self) -> (&mut [u8], &mut [u8]) {
        (self.request.bytes_mut(), self.reply.bytes_mut())
    }

    /// The request's bytes, and the room for its reply's data.
    pub fn parts(&mut self, length: usize) -> (&[u8], &mut [u8]) {
        (&self.request.bytes()[..length], self.reply.bytes_mut())
    }
}

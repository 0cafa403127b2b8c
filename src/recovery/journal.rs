//! What a slot remembers of its request beside the request itself: enough that a successor
//! finishes it and does nothing twice.
//!
//! ```text
//! reset -> read -> begin -> intent (state before) -> system call, tables -> done (the whole reply) -> reply -> sent -> end
//! ```
//!
//! * *Intent*: what the decision "did it happen?" needs and the lower tree will not tell
//!   afterwards (see `decide`); the time at which the request began.
//! * *Effects*: changes of tables that belong to the reply: a lookup counted, a file opened.
//!   Each is announced before it is made, with the record's state word as it is then; the record
//!   is locked meanwhile. It has happened if, and only if, the state word is another one now.
//!   What has no reply yet is taken back ([`crate::fs::Filesystem::settle`]) and done anew.
//! * *Done*: the reply's bytes. From here on nothing is carried out again: the reply is sent, and
//!   ENOENT says that the kernel had it (or that its caller was killed: then a lookup count may
//!   leak, which is counted; it is never freed early).
//!
//! Every word is written by its thread alone, in the order above; a takeover reads it when that
//! thread is dead.

use std::cell::Cell as ThreadCell;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::points::{self, Point, Protection};
use super::sealed::{sealed, unsealed};
use crate::sys::Fd;

/// Words of one journal.
pub(super) const WORDS: usize = 128;
/// The longest reply that is stored, header included, in bytes.
pub const REPLY_MAX: usize = 512;
/// Words of state before the change.
pub const INTENT: usize = 8;
/// Effects that one request may have at a time.
pub const EFFECTS: usize = 4;

const PHASE: usize = 0;
const STARTED: usize = 1;
const REALTIME: usize = 2;
const BLAME: usize = 3;
const DEVICE: usize = 4;
const PROGRESS: usize = 5;
const LISTED: usize = 6;
const REPLY_LENGTH: usize = 7;
const CULPRIT: usize = 8;
const FINISHED: usize = 9;
const INTENDED: usize = 10;
const CARRIED_OUT: usize = 11;
const PIPE_READ: usize = 12;
const PIPE_WRITE: usize = 13;
const INCOMING: usize = 14;
const WRITTEN: usize = 15;
const INTENT_AT: usize = 16;
const EFFECTS_AT: usize = 24;
const REPLY_AT: usize = 64;

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is known: it was read, and maybe begun.
    Begun,
    /// The reply is stored; it may be on its way.
    Done,
    /// The kernel has taken the reply.
    Sent,
}

/// Where the data of a request is that comes through the slot's pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Incoming {
    /// In the slot, behind its header: nothing comes through the pipe.
    Slot = 0,
    /// In the pipe. What has left it is, of a WRITE's data, in the slot's room for a reply, from the
    /// start of it; of anything else, at its place in the slot.
    Pipe = 1,
    /// In the pipe; what has left it is in the file that it was written to.
    File = 2,
}

/// What kind of change of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Change {
    /// A node's lookup count rises by one.
    Count = 1,
    /// It falls, by `amount`.
    Uncount = 2,
    /// A file or directory is opened: the handle's record appears.
    Open = 3,
}

/// A change of a table that belongs to the request under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// What kind.
    pub change: Change,
    /// The record.
    pub id: u64,
    /// Its state word before; 0: it was not in use.
    pub before: u64,
    /// See [`Change`].
    pub amount: u64,
    /// How much of the request was finished before it: entries of BATCH_FORGET, bytes listed.
    pub progress: u32,
}

/// One slot's journal.
#[derive(Clone, Copy, Debug)]
pub struct Journal(&'static [AtomicU64]);

impl Journal {
    pub(super) fn new(words: &'static [AtomicU64]) -> Journal {
        assert!(words.len() >= WORDS, "a journal has {WORDS} words");
        Journal(words)
    }

    /// One that nobody else reads, for a thread without a successor. It is never freed.
    pub fn private() -> Journal {
        let words: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        Journal::new(words.leak())
    }

    fn get(self, word: usize) -> u64 {
        self.0[word].load(Ordering::Acquire)
    }

    fn set(self, word: usize, value: u64) {
        self.0[word].store(value, Ordering::Release);
    }

    /// Before a request is read: whatever the last one left is forgotten.
    pub fn reset(self) {
        self.forget_effects();
        for word in [
            PROGRESS,
            LISTED,
            BLAME,
            CULPRIT,
            INTENDED,
            PHASE,
            REALTIME,
            CARRIED_OUT,
            INCOMING,
            WRITTEN,
        ] {
            self.set(word, 0);
        }
    }

    /// A request was read and is about to be carried out.
    pub fn begin(self) {
        self.set(REALTIME, now(ClockId::CLOCK_REALTIME_COARSE));
        self.set(STARTED, now(ClockId::CLOCK_MONOTONIC_COARSE));
    }

    /// A successor is about to carry the request out: what has not begun begins now, and its time
    /// is measured anew.
    pub fn begin_again(self) {
        if self.realtime().is_none() {
            self.begin();
        }
        self.set(STARTED, now(ClockId::CLOCK_MONOTONIC_COARSE));
    }

    /// The request is finished.
    pub fn end(self) {
        self.0[FINISHED].fetch_add(1, Ordering::Relaxed);
        self.set(STARTED, 0);
    }

    /// When the request under way began, on CLOCK_MONOTONIC; `None`: there is none.
    pub fn started(self) -> Option<Duration> {
        let nanos = self.get(STARTED);
        (nanos != 0).then(|| Duration::from_nanos(nanos))
    }

    /// When it began, on CLOCK_REALTIME, to the kernel's tick; `None`: it was read, and nothing
    /// was done yet.
    pub fn realtime(self) -> Option<Duration> {
        let nanos = self.get(REALTIME);
        (nanos != 0).then(|| Duration::from_nanos(nanos))
    }

    /// Requests finished in this slot, ever.
    pub fn finished(self) -> u64 {
        self.get(FINISHED)
    }

    /// Whether a thread ever read into this slot.
    pub fn is_used(self) -> bool {
        self.get(DEVICE) != 0
    }

    /// The clone of /dev/fuse that this slot's thread reads. `None`: nobody ever did, or the number
    /// is damaged.
    pub fn device(self) -> Option<Fd> {
        let number = unsealed(self.get(DEVICE))?;
        i32::try_from(number).ok().map(Fd::from_number)
    }

    /// See [`Journal::device`].
    pub fn set_device(self, device: Fd) {
        self.set(DEVICE, sealed(device.number().max(0) as u64));
    }

    /// The pipe that this slot's replies go through, its end to be read first.
    pub fn pipe(self) -> Option<(Fd, Fd)> {
        let end = |word| i32::try_from(unsealed(self.get(word))?).ok().map(Fd::from_number);
        Some((end(PIPE_READ)?, end(PIPE_WRITE)?))
    }

    /// See [`Journal::pipe`]. One store publishes both ends.
    pub fn set_pipe(self, pipe: Option<(Fd, Fd)>) {
        let word = |fd: Fd| sealed(fd.number().max(0) as u64);
        if let Some((_, write)) = pipe {
            self.set(PIPE_WRITE, word(write));
        }
        self.set(PIPE_READ, pipe.map_or(0, |(read, _)| word(read)));
    }

    /// Where the request's data is.
    pub fn incoming(self) -> Incoming {
        match self.get(INCOMING) {
            1 => Incoming::Pipe,
            2 => Incoming::File,
            _ => Incoming::Slot,
        }
    }

    /// See [`Journal::incoming`].
    pub fn set_incoming(self, incoming: Incoming) {
        self.set(INCOMING, incoming as u64);
    }

    /// Bytes at the start of a WRITE's data that a dead worker has written; `None`: not known yet.
    pub fn written(self) -> Option<u64> {
        self.get(WRITTEN).checked_sub(1)
    }

    /// See [`Journal::written`].
    pub fn set_written(self, bytes: u64) {
        self.set(WRITTEN, bytes.saturating_add(1));
    }

    /// How far the request has come.
    pub fn phase(self) -> Phase {
        match self.get(PHASE) {
            2 => Phase::Sent,
            1 => Phase::Done,
            _ => Phase::Begun,
        }
    }

    /// How much of the request is finished: see [`Effect::progress`].
    pub fn progress(self) -> u64 {
        if points::is_off(Protection::Progress) {
            return 0;
        }
        self.get(PROGRESS)
    }

    /// See [`Journal::progress`].
    pub fn set_progress(self, progress: u64) {
        self.set(PROGRESS, progress);
    }

    /// Bytes of directory entries in the reply buffer whose lookups are counted.
    pub fn listed(self) -> &'static AtomicU64 {
        &self.0[LISTED]
    }

    /// A worker sets about the request, for the first time or once more. Opcode and caller are as
    /// in its header.
    pub fn carry_out(self, opcode: u32, pid: u32) {
        // A process id has 22 bits at the most, an opcode 13.
        self.set(CARRIED_OUT, 1 | u64::from(opcode) << 1 | u64::from(pid) << 33);
    }

    /// Opcode and caller of the request that is carried out.
    pub fn carried_out(self) -> Option<(u32, i32)> {
        let word = self.get(CARRIED_OUT);
        (word != 0).then_some(((word >> 1) as u32, (word >> 33) as i32))
    }

    /// Whether the dead worker had set about it; the next one has not.
    pub fn take_carried_out(self) -> bool {
        self.0[CARRIED_OUT].swap(0, Ordering::AcqRel) != 0
    }

    /// Whether a worker has set about it.
    pub fn is_carried_out(self) -> bool {
        self.get(CARRIED_OUT) != 0
    }

    /// How much of the blame for dead workers is this request's.
    pub fn blame(self) -> u64 {
        self.get(BLAME)
    }

    /// So much more.
    pub fn add_blame(self, amount: u64) {
        self.set(BLAME, self.get(BLAME).saturating_add(amount));
    }

    /// The word that becomes 1 when the request is accused.
    pub(super) fn accusation(self) -> &'static AtomicU64 {
        &self.0[CULPRIT]
    }

    /// This request is what killed the worker, or what hangs.
    pub fn accuse(self) {
        self.set(CULPRIT, 1);
    }

    /// Whether it was accused; asking takes the accusation away.
    pub fn take_accusation(self) -> bool {
        self.0[CULPRIT].swap(0, Ordering::AcqRel) != 0
    }

    /// Notes the state before the change that is about to be made.
    pub fn intend(self, state: &[u64]) {
        points::reach(Point::Intending);
        if points::is_off(Protection::Journal) {
            return;
        }
        for (word, value) in self.0[INTENT_AT..INTENT_AT + INTENT].iter().zip(state) {
            word.store(*value, Ordering::Relaxed);
        }
        self.set(INTENDED, 1);
        points::reach(Point::Intended);
    }

    /// The state before; `None` when the change was not about to be made yet.
    pub fn intent(self) -> Option<[u64; INTENT]> {
        (self.get(INTENDED) != 0).then(|| std::array::from_fn(|at| self.get(INTENT_AT + at)))
    }

    fn effect_words(self, place: usize) -> &'static [AtomicU64] {
        &self.0[EFFECTS_AT + place * 4..EFFECTS_AT + place * 4 + 4]
    }

    /// Announces an effect; returns its place.
    pub fn announce(self, effect: Effect) -> usize {
        // The lookup of an entry that is listed needs no record any more.
        let listed = self.listed().load(Ordering::Relaxed);
        let free = |place: &usize| match self.effect(*place) {
            Some(old) => old.change == Change::Count && u64::from(old.progress) < listed,
            None => true,
        };
        let place = (0..EFFECTS).find(free).unwrap_or(EFFECTS - 1);
        self.conclude(place);
        let words = self.effect_words(place);
        // Whoever sees a word of it sees that there was no effect here before.
        fence(Ordering::Release);
        words[1].store(effect.id, Ordering::Relaxed);
        words[2].store(effect.before, Ordering::Relaxed);
        words[3].store(effect.amount, Ordering::Relaxed);
        let head = u64::from(effect.progress) << 8 | effect.change as u64;
        words[0].store(head, Ordering::Release);
        points::reach(Point::Announced);
        place
    }

    /// The effect at this place is complete, or taken back.
    pub fn conclude(self, place: usize) {
        self.effect_words(place)[0].store(0, Ordering::Release);
    }

    /// Whether an effect on record takes this one back.
    pub fn takes_back(self, effect: &Effect) -> bool {
        let back = |other: Effect| (other.change, other.id) == (Change::Uncount, effect.id);
        effect.change == Change::Count && (0..EFFECTS).any(|at| self.effect(at).is_some_and(back))
    }

    /// The effect at a place is complete: so is what it has taken back, and this part of the
    /// request.
    pub fn conclude_effect(self, place: usize) {
        let Some(last) = self.effect(place) else { return };
        if last.change == Change::Uncount {
            self.set_progress(self.progress().max(u64::from(last.progress) + 1));
        }
        for other in 0..EFFECTS {
            let taken_back = |effect: Effect| effect.id == last.id && self.takes_back(&effect);
            if self.effect(other).is_some_and(taken_back) {
                self.conclude(other);
                break;
            }
        }
        self.conclude(place);
    }

    fn forget_effects(self) {
        (0..EFFECTS).for_each(|place| self.conclude(place));
    }

    /// The effect at a place.
    pub fn effect(self, place: usize) -> Option<Effect> {
        let words = self.effect_words(place);
        let head = words[0].load(Ordering::Acquire);
        let change = match head & 0xff {
            1 => Change::Count,
            2 => Change::Uncount,
            3 => Change::Open,
            _ => return None,
        };
        let word = |at: usize| words[at].load(Ordering::Relaxed);
        let progress = (head >> 8) as u32;
        Some(Effect { change, id: word(1), before: word(2), amount: word(3), progress })
    }

    /// Stores the reply, whose parts are `parts`; false when it is too long to be stored.
    pub fn done(self, parts: &[&[u8]]) -> bool {
        if points::is_off(Protection::Journal) {
            return true;
        }
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if length > REPLY_MAX {
            return false;
        }
        let mut bytes = [0; REPLY_MAX];
        let mut at = 0;
        for part in parts {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        let words = bytes.chunks_exact(8).take(length.div_ceil(8));
        for (word, bytes) in self.0[REPLY_AT..].iter().zip(words) {
            word.store(u64::from_ne_bytes(bytes.try_into().unwrap_or_default()), Ordering::Relaxed);
        }
        self.set(REPLY_LENGTH, length as u64);
        self.set(PHASE, 1);
        true
    }

    /// The kernel has taken the reply.
    pub fn sent(self) {
        self.set(PHASE, 2);
    }

    /// The stored reply.
    pub fn reply(self) -> Vec<u8> {
        let length = (self.get(REPLY_LENGTH) as usize).min(REPLY_MAX);
        let words = self.0[REPLY_AT..REPLY_AT + REPLY_MAX / 8].iter();
        let bytes = words.flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes());
        bytes.take(length).collect()
    }
}

fn now(clock: ClockId) -> u64 {
    // Fails only for a clock that the kernel does not have: both are older than FUSE.
    let time = clock_gettime(clock).map_or(Duration::ZERO, Duration::from);
    time.as_nanos() as u64
}

thread_local! {
    static CURRENT: ThreadCell<Option<Journal>> = const { ThreadCell::new(None) };
}

/// Makes `journal` the one of the calling thread.
pub fn attach(journal: Option<Journal>) {
    CURRENT.set(journal);
}

/// The calling thread's journal; `None` in a thread that serves no requests.
pub fn current() -> Option<Journal> {
    CURRENT.get()
}

/// The data of the WRITE under way is about to leave the slot's pipe for the file that it is for.
pub fn drain() {
    if let Some(journal) = current() {
        journal.set_incoming(Incoming::File);
    }
}

/// It cannot go that way, and nothing has left the pipe: see [`drain`].
pub fn drain_not() {
    if let Some(journal) = current() {
        journal.set_incoming(Incoming::Pipe);
    }
}

/// Notes the state before the change that the request under way is about to make.
pub fn intend(state: &[u64]) {
    if let Some(journal) = current() {
        journal.intend(state);
    }
}

/// An announced effect: complete, or not to be taken back, when this goes out of scope and
/// [`Announced::keep`] was not called.
#[derive(Debug)]
pub struct Announced(Option<(Journal, usize)>);

/// Announces a change of a table, which must be made next, with the record locked.
pub fn announce(change: Change, id: u64, before: u64, amount: u64) -> Announced {
    Announced(current().map(|journal| {
        let progress = match change {
            Change::Uncount => journal.progress(),
            _ => journal.listed().load(Ordering::Relaxed),
        };
        let progress = progress as u32;
        (journal, journal.announce(Effect { change, id, before, amount, progress }))
    }))
}

impl Announced {
    /// It stays on record until the reply is sent: without a reply it is taken back.
    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        if let Some((journal, place)) = self.0.take() {
            journal.conclude_effect(place);
        }
    }
}

#[cfg(test)]
mod tests;

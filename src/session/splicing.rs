//! Data of a READ or WRITE: by memory, or by the slot's pipe.
//!
//! The pipe is in the shared fd table and noted in the slot's journal, so that it outlives the
//! worker. What a dead worker has left in it is part of a reply, whose READ is carried out again, or
//! data of a WRITE, which come into the slot (see `recovery::incoming`). A pipe that still holds
//! something behind that, or behind an error, is closed, and the slot gets another.
//!
//! It does not outlive all processes of a mount. Where a service manager keeps a mount over that
//! ([`SessionConfig::one_device`](super::SessionConfig::one_device)), no request is read through it:
//! the data of a WRITE would be lost with it.
//!
//! While a thread waits for a request by splice(2) the kernel holds the pipe's lock: nobody but the
//! slot's own thread, and a takeover behind its death, may ask the pipe anything.

use zerocopy::IntoBytes;

use super::choice::{Choice, LEAST, Trial, Way};
use super::reply::Responder;
use super::threads::about_to_block;
use crate::Errno;
use crate::buffer::{BufVec, Fallback, Pipe};
use crate::channel::Transport;
use crate::fs::Result;
use crate::recovery::board::{Board, Cell};
use crate::recovery::fds::{Fds, Kind};
use crate::recovery::journal::Journal;
use crate::recovery::points::{self, Point};
use crate::recovery::slot::Slot;
use crate::sys::memory::PAGE;
use crate::sys::pipe;
use crate::wire::{Opcode, encode};

/// What one serving thread moves data with.
pub(super) struct Splicing {
    transport: Transport,
    /// No request is read through a pipe: where all processes are killed pipes are gone, and
    /// slots are not.
    into_slots: bool,
    reads: Choice,
    writes: Writes,
    pipe: SlotPipe,
    board: Board,
    /// Of the serving thread's splices those that are on the board; it may be another than the one
    /// that makes this.
    counted: u64,
}

/// Whether the next request is likely to be a large WRITE: nobody can tell before it is read.
#[derive(Default)]
struct Writes {
    choice: Choice,
    trial: Option<Trial>,
    /// The last request was the so manieth in a row, with so many bytes.
    in_row: u32,
    size: usize,
}

/// After so many large WRITEs in a row another one is expected.
const ROW: u32 = 4;

/// The pipe of a slot, made when it is needed first.
struct SlotPipe {
    journal: Journal,
    fds: Fds,
    index: u32,
    /// Bytes of data that a reply may have.
    room: usize,
    pipe: Option<Pipe>,
    board: Board,
}

impl Splicing {
    pub(super) fn new(
        transport: Transport,
        into_slots: bool,
        (journal, index): (Journal, usize),
        fds: Fds,
        board: Board,
        room: usize,
    ) -> Splicing {
        let pipe = SlotPipe { journal, fds, index: index as u32, room, pipe: None, board };
        let (reads, writes) = (Choice::default(), Writes::default());
        Splicing { transport, into_slots, reads, writes, pipe, board, counted: 0 }
    }

    /// The pipe that the next request is to be read through; `None`: into the slot at once.
    pub(super) fn expect(&mut self) -> Option<Pipe> {
        let way = match self.transport {
            _ if self.into_slots => Way::Copy,
            Transport::Splice => Way::Splice,
            Transport::Auto if self.writes.in_row >= ROW => self.writes.begin(),
            Transport::Auto | Transport::Dev | Transport::Uring => Way::Copy,
        };
        // The kernel ends a request in EIO that does not fit.
        let needed = self.pipe.room / PAGE + 3;
        let fits = |pipe: &Pipe| pipe.slots() >= needed;
        if way == Way::Splice { self.pipe.get().ok().filter(fits) } else { None }
    }

    /// A request is answered. `stayed`: its data was left in the pipe, and may be there still.
    pub(super) fn answered(&mut self, opcode: u32, length: usize, stayed: bool) {
        if stayed {
            self.board.add(Cell::Spliced, 1);
            if self.pipe.pipe.is_some_and(|pipe| pipe.content() != Ok(0)) {
                self.pipe.close();
            }
        }
        self.writes.note(opcode == Opcode::FUSE_WRITE as u32, length);
        let splices = pipe::splices();
        if splices > self.counted {
            self.board.add(Cell::Splices, splices - self.counted);
            self.counted = splices;
        }
    }

    /// Answers a READ of as many bytes as `room` is long: `read` brings them there, `vector` says
    /// where they are.
    pub(super) fn answer<'a>(
        &mut self,
        to: Responder,
        room: &'a mut [u8],
        read: impl FnOnce(&mut [u8]) -> Result<usize>,
        vector: impl FnOnce(&'a mut [u8]) -> Result<BufVec<'a>>,
    ) {
        let (way, trial) = match self.transport {
            Transport::Auto => self.reads.begin(room.len()),
            Transport::Splice => (Way::Splice, None),
            Transport::Dev | Transport::Uring => (Way::Copy, None),
        };
        match way {
            Way::Copy => {
                let result = read(room);
                to.data(result, room);
            }
            Way::Splice => match vector(room) {
                Ok(data) => self.send(to, data),
                Err(error) => to.empty(Err(error)),
            },
        }
        if let Some(trial) = trial {
            self.reads.end(trial);
        }
    }

    fn send(&mut self, to: Responder, mut data: BufVec<'_>) {
        if data.bufs.iter().all(|buf| buf.is_memory()) {
            return gathered(to, data);
        }
        let piped = match self.pipe.get() {
            Ok(pipe) => self.send_by(pipe, to, &mut data),
            // No descriptor, no memory: what is there to be had is had by copying.
            Err(_) => Ok(Some(Fallback::Unsupported)),
        };
        match piped {
            Ok(None) => {
                self.board.add(Cell::Spliced, 1);
            }
            Ok(Some(fallback)) => {
                self.board.add(cell_of(fallback), 1);
                about_to_block();
                gathered(to, data);
            }
            Err(errno) => {
                self.pipe.close();
                to.empty(Err(errno));
            }
        }
    }

    /// `Some`: it is not sent, and the place in the vector is behind what is in memory.
    fn send_by(
        &mut self,
        pipe: Pipe,
        to: Responder,
        data: &mut BufVec<'_>,
    ) -> Result<Option<Fallback>> {
        let length = data.size();
        let header = encode::out_header(to.unique, None, length);
        if let Err(fallback) = data.put_into(header.as_bytes(), pipe)? {
            return Ok(Some(fallback));
        }
        let whole = header.as_bytes().len() + length;
        let Err(errno) = to.piped(pipe, whole) else { return Ok(None) };
        // What the kernel refuses it has taken out of the pipe, or has not.
        self.pipe.close();
        if errno == Errno::ENOENT || errno == Errno::ENODEV {
            return Ok(None);
        }
        // Files can be read again; of packets there is nothing left.
        match data.bufs.iter().any(|buf| buf.packets.is_some()) {
            true => Err(Errno::EIO),
            false => Ok(Some(Fallback::Unsupported)),
        }
    }
}

impl Writes {
    fn begin(&mut self) -> Way {
        let (way, trial) = self.choice.begin(self.size);
        self.trial = trial;
        way
    }

    fn note(&mut self, write: bool, length: usize) {
        let large = write && length >= LEAST;
        // Another request, or one of another size, has measured nothing.
        if let Some(trial) = self.trial.take()
            && large
            && trial.is_of(length)
        {
            self.choice.end(trial);
        }
        self.in_row = if large { self.in_row.saturating_add(1) } else { 0 };
        self.size = length;
    }
}

/// Sends what is in memory, and what still has to come there.
fn gathered(to: Responder, mut data: BufVec<'_>) {
    match data.gather() {
        Ok(length) => {
            to.send(Ok(&data.slices(length)));
        }
        Err(errno) => to.empty(Err(errno)),
    }
}

fn cell_of(fallback: Fallback) -> Cell {
    match fallback {
        Fallback::Short => Cell::SpliceShort,
        Fallback::Full => Cell::SpliceFull,
        Fallback::Unsupported => Cell::SpliceRefused,
        Fallback::Examined => Cell::SpliceExamined,
    }
}

impl SlotPipe {
    /// The pipe, empty.
    fn get(&mut self) -> Result<Pipe> {
        if let Some(pipe) = self.pipe {
            return Ok(pipe);
        }
        let kept = self.journal.pipe().and_then(|(read, write)| Pipe::of(read, write).ok());
        let pipe = match kept {
            Some(pipe) => pipe,
            None => self.make()?,
        };
        self.board.raise(Cell::PipeBytes, pipe.size as u64);
        self.pipe = Some(pipe);
        Ok(pipe)
    }

    fn make(&self) -> Result<Pipe> {
        let pipe = Pipe::create(self.room)?;
        let begin = |fd| self.fds.begin(fd, Kind::Pipe, self.index);
        if let Err(errno) = begin(pipe.read).and_then(|()| begin(pipe.write)) {
            self.fds.close(pipe.read);
            self.fds.close(pipe.write);
            return Err(errno);
        }
        self.journal.set_pipe(Some((pipe.read, pipe.write)));
        self.fds.keep(pipe.read, Kind::Pipe, self.index);
        self.fds.keep(pipe.write, Kind::Pipe, self.index);
        Ok(pipe)
    }

    /// It may hold something: the next reply gets another one.
    fn close(&mut self) {
        if self.pipe.take().is_some() {
            close(self.journal, self.fds, self.index);
        }
    }
}

/// Closes the pipe of a slot.
fn close(journal: Journal, fds: Fds, index: u32) {
    if let Some((read, write)) = journal.pipe() {
        // Whoever dies behind the next store leaves two that nobody holds: a takeover closes those
        // that are only begun.
        for fd in [read, write].into_iter().filter(|fd| fds.belongs(*fd, Kind::Pipe, index)) {
            let _ = fds.begin(fd, Kind::Pipe, index);
        }
        journal.set_pipe(None);
        points::reach_with(Point::PipeParted, || journal.carried_out().unwrap_or_default());
        fds.close_if(read, Kind::Pipe, index);
        fds.close_if(write, Kind::Pipe, index);
    }
}

/// Takeover: what a dead worker has left in the pipe of a slot is a request's data, and comes into
/// the slot, or part of a reply, and goes with the pipe. EIO: the data of a request is lost.
pub(super) fn restore(slot: &mut Slot, fds: Fds) -> Result<()> {
    let (journal, index) = (slot.journal(), slot.index() as u32);
    let pipe = journal.pipe().and_then(|(read, write)| Pipe::of(read, write).ok());
    let restored = slot.restore(pipe);
    if pipe.is_none_or(|pipe| pipe.content() != Ok(0)) {
        close(journal, fds, index);
    }
    restored
}

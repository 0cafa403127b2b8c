//! Finishing what a dead worker had begun.
//!
//! In this order, before anything new is read:
//!
//! 1. descriptors that no table knows are closed;
//! 2. the file system makes anew what is not in the arena;
//! 3. effects that were announced are settled, slot by slot: tables are whole from here on;
//! 4. requests that change something are finished, one after the other: a stored reply is sent
//!    again, otherwise the file system says whether the request has happened (`recover`) and it
//!    is answered or done. Nobody else may change the same names meanwhile, so this comes
//!    before any new request;
//! 5. waiting locks wait again; serving threads finish the rest, which only reads or opens;
//! 6. the kernel is asked to send again whatever it still waits for (FUSE_NOTIFY_RESEND, Linux
//!    6.9): a second net, for a slot that was damaged. Requests are found in the slots without it.
//!    It would also send what is being carried out, so it is asked while nothing is: not behind
//!    step 5 if a request is left for that. The next takeover asks then.
//!
//! A request that workers die of is answered EIO after some deaths. Where the dying thread has
//! left its mark (`fault`), or the supervisor has (a hang), that request alone is to blame.
//! Where nobody can tell (SIGKILL), all that were being carried out are, and each a fifth of
//! it: who kills workers every millisecond kills some of them in the same request by chance.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::reply::Responder;
use super::{Server, Session, Shared, dispatch, splicing, waiting};
use crate::Errno;
use crate::channel::Connection;
use crate::fs::{Answer, Filesystem, Recovered, Unfinished};
use crate::recovery::board::Cell;
use crate::recovery::fault;
use crate::recovery::fds::Kind;
use crate::recovery::journal::{self, Change, EFFECTS, Journal, Phase};
use crate::recovery::points::{self, Point};
use crate::recovery::slot::Slot;
use crate::wire::decode::{self, Operation, Request};
use crate::wire::{Opcode, plus_nodes};

/// How to take over.
#[derive(Clone, Copy, Debug)]
pub struct TakeoverConfig {
    /// Ask the kernel to send again what it still waits for.
    pub resend: bool,
    /// A request that was under way at so many deaths is answered EIO; 0: never.
    pub max_deaths: u64,
}

impl Default for TakeoverConfig {
    fn default() -> Self {
        TakeoverConfig { resend: true, max_deaths: 3 }
    }
}

impl<F: Filesystem> Session<F> {
    /// Finishes what the last worker of this arena had begun. Call it in the process that is
    /// going to serve, before [`Session::serve`], while there is one thread.
    pub fn take_over(&self, config: TakeoverConfig) {
        let shared = &self.shared;
        fault::install();
        points::reach(Point::Born);
        shared.mend_devices();
        points::reach(Point::DevicesMended);
        let mounted = shared.connection.device();
        let kept = shared.fds.reclaim(|kind, index, fd| match kind {
            Kind::Device => shared.journal(index).is_some_and(|j| j.device() == Some(fd)),
            Kind::Pipe => {
                shared.journal(index).and_then(|j| j.pipe()).is_some_and(|p| p.0 == fd || p.1 == fd)
            }
            _ => fd == mounted || shared.fs.holds(kind, index, fd),
        });
        points::reach(Point::Reclaimed);
        shared.fs.takeover(&kept);
        points::reach(Point::Rebuilt);
        shared.fs.thread_started();
        let waiting = shared.waiting.remember();
        let mut slots: Vec<Slot> =
            shared.slots.used().filter_map(|index| shared.slots.take(index)).collect();
        slots.iter_mut().for_each(|slot| shared.restore(slot));
        for slot in slots.iter().filter(|slot| slot.left().is_none()) {
            // Killed when it was as good as finished. What was idle has finished nothing: that
            // would look like progress.
            if slot.journal().started().is_some() {
                slot.journal().end();
            }
        }
        slots.retain(|slot| slot.left().is_some());
        slots.iter().for_each(|slot| shared.weigh(slot.journal()));
        points::reach(Point::Weighed);
        slots.iter().for_each(|slot| shared.settle(slot.journal()));
        points::reach(Point::Settled);
        condemn(&slots);
        points::reach(Point::Condemned);
        // First what has happened: what is carried out now may leave less to be seen of it.
        slots.iter_mut().for_each(|slot| shared.recall(slot, config.max_deaths));
        points::reach(Point::Recalled);
        slots.iter_mut().for_each(|slot| shared.finish(slot));
        points::reach(Point::CarriedOut);
        journal::attach(None);
        fault::acquit();
        let deferred = slots.iter().filter(|slot| slot.left().is_some()).count();
        shared.deferred.store(deferred, Ordering::Release);
        drop(slots);
        shared.slots.give_all_back();
        waiting.into_iter().for_each(|parked| waiting::start(shared, parked));
        points::reach(Point::Waiting);
        if config.resend && deferred == 0 {
            shared.resend();
            points::reach(Point::Resent);
        }
    }
}

/// What a death is worth of which a request is known to be the cause.
const CERTAIN: u64 = 5;

/// Blames the death on the requests that may have caused it: see the module's docs.
fn condemn(slots: &[Slot]) {
    let begun = |journal: &Journal| journal.phase() == Phase::Begun;
    let suspects: Vec<Journal> = slots.iter().map(Slot::journal).filter(begun).collect();
    let carried_out: Vec<bool> = suspects.iter().map(|it| it.take_carried_out()).collect();
    let accused: Vec<bool> = suspects.iter().map(|it| it.take_accusation()).collect();
    let (blamed, amount) = match accused.contains(&true) {
        true => (accused, CERTAIN),
        false => (carried_out, 1),
    };
    let blamed = suspects.iter().zip(blamed).filter(|(_, blamed)| *blamed);
    blamed.for_each(|(journal, _)| journal.add_blame(amount));
}

impl<F: Filesystem> Shared<F> {
    fn journal(&self, index: u32) -> Option<Journal> {
        let index = index as usize;
        (index < self.slots.count()).then(|| self.slots.journal(index))
    }

    /// Where the number of a slot's device is damaged, the descriptor marks know it.
    fn mend_devices(&self) {
        for index in self.slots.used() {
            let journal = self.slots.journal(index);
            if journal.device().is_none() {
                self.board.add(Cell::Damaged, 1);
                let clone = self.fds.find(Kind::Device, index as u32);
                journal.set_device(clone.unwrap_or(self.connection.device()));
            }
        }
    }

    /// Step 3, first for all slots: what was announced and has not happened is off the record.
    /// Settling one effect may change the record that another one is about.
    fn weigh(&self, journal: Journal) {
        for place in 0..EFFECTS {
            if journal.effect(place).is_some_and(|effect| !self.fs.happened(&effect)) {
                journal.conclude(place);
            }
        }
    }

    /// Step 3 for one slot.
    fn settle(&self, journal: Journal) {
        enter(journal);
        let begun = journal.phase() == Phase::Begun;
        let listed = journal.listed().load(Ordering::Acquire);
        // A file is closed while its node is known; what was counted may have been taken back,
        // which the rest says.
        let mut places: Vec<usize> = (0..EFFECTS).collect();
        places.sort_by_key(|place| match journal.effect(*place).map(|effect| effect.change) {
            Some(Change::Open) => 0,
            Some(Change::Count) => 1,
            Some(Change::Uncount) | None => 2,
        });
        for place in places {
            let Some(effect) = journal.effect(place) else { continue };
            match effect.change {
                // Part of a reply that is stored, or of an entry that is listed: it stays.
                Change::Count | Change::Open if !begun || u64::from(effect.progress) < listed => {}
                Change::Count if journal.takes_back(&effect) => {}
                _ => self.fs.settle(&effect),
            }
            journal.conclude_effect(place);
        }
    }

    /// Step 4 for one slot, first half: what is known to have happened is answered.
    fn recall(self: &Arc<Self>, slot: &mut Slot, max_deaths: u64) {
        let Some(length) = slot.left() else { return };
        enter(slot.journal());
        let journal = slot.journal();
        let connection = self.connection_of(journal);
        let (bytes, data) = slot.parts(length);
        let answered = match decode::decode(bytes, &self.negotiated.protocol) {
            Ok(request) => {
                let place =
                    dispatch::Place { connection, journal, data, splicing: None, incoming: None };
                self.is_answered(&request, place, max_deaths)
            }
            Err(error) => {
                self.board.add(Cell::Damaged, 1);
                super::undecodable(self, connection, &error);
                true
            }
        };
        if answered {
            slot.clear();
        }
    }

    /// What is in a slot's pipe comes into the slot.
    fn restore(&self, slot: &mut Slot) {
        let Err(errno) = splicing::restore(slot, self.fds) else { return };
        self.board.add(Cell::Damaged, 1);
        tracing::error!("slot {}: the data of a WRITE is lost: {}", slot.index(), errno.desc());
        if let Some(unique) = slot.unique() {
            let _ = self.connection_of(slot.journal()).reply_error(unique, Errno::EIO);
        }
        slot.clear();
    }

    fn connection_of(&self, journal: Journal) -> Connection {
        Connection::new(journal.device().unwrap_or(self.connection.device()))
    }

    /// Whether the request needs nothing more than the answer that it has got here.
    fn is_answered(
        self: &Arc<Self>,
        request: &Request<'_>,
        place: dispatch::Place<'_>,
        max_deaths: u64,
    ) -> bool {
        let journal = place.journal;
        match journal.phase() {
            Phase::Sent => return true,
            Phase::Done => {
                self.board.add(Cell::RecoveredFromJournal, 1);
                self.send_again(request, place);
                return true;
            }
            Phase::Begun => {}
        }
        self.board.add(Cell::RecoveredFromSlots, 1);
        if max_deaths > 0 && journal.blame() >= max_deaths * CERTAIN {
            self.refuse(request, place);
            return true;
        }
        let (unique, operation) = (request.header.unique, &request.operation);
        if let Operation::Readdirplus(_) = operation {
            let length = journal.listed().load(Ordering::Acquire) as usize;
            let listed = place.data.get(..length).filter(|entries| !entries.is_empty());
            let Some(entries) = listed else { return false };
            let to = Responder::to(place.connection, unique, operation, journal);
            dispatch::listed(&self.fs, to, Ok(()), entries);
            return true;
        }
        let Some(answer) = self.recovered(request, journal) else { return false };
        self.board.add(Cell::RecoveredProbed, 1);
        let to = Responder::to(place.connection, unique, operation, journal);
        to.answer(&self.fs, request.header.node, answer);
        true
    }

    /// The answer of a request that has happened.
    fn recovered(&self, request: &Request<'_>, journal: Journal) -> Option<Answer> {
        let changes = opcode(request).is_some_and(|opcode| opcode.info().changes);
        let cx = dispatch::context(request);
        let refused = dispatch::is_refused(self.config.only_user, &cx, &request.operation);
        // Nothing was done yet where it has not begun.
        let began = journal.realtime().filter(|_| changes && !refused)?;
        journal.carry_out(request.header.opcode, request.header.pid);
        let unfinished = Unfinished {
            cx,
            node: request.header.node,
            operation: &request.operation,
            began,
            intent: journal.intent(),
        };
        match self.fs.recover(&unfinished) {
            Recovered::Done(answer) => Some(answer),
            Recovered::Again => None,
        }
    }

    /// Step 4, second half: the rest is carried out, but for what may be late, which a serving
    /// thread does.
    fn finish(self: &Arc<Self>, slot: &mut Slot) {
        let Some(length) = slot.left() else { return };
        let journal = slot.journal();
        enter(journal);
        journal.begin_again();
        let connection = self.connection_of(journal);
        let (bytes, data) = slot.parts(length);
        let Ok(request) = decode::decode(bytes, &self.negotiated.protocol) else { return };
        if opcode(&request).is_some_and(may_be_late) {
            return;
        }
        journal.carry_out(request.header.opcode, request.header.pid);
        let place = dispatch::Place { connection, journal, data, splicing: None, incoming: None };
        dispatch::dispatch(self, &request, place);
        slot.clear();
    }

    /// The stored reply, once more. Whether the kernel had it or its caller is gone cannot be
    /// told: what it counts is kept.
    fn send_again(&self, request: &Request<'_>, place: dispatch::Place<'_>) {
        let stored = place.journal.reply();
        let (sent, counted) = if stored.is_empty() {
            let length = place.journal.listed().load(Ordering::Acquire) as usize;
            let entries = &place.data[..length.min(place.data.len())];
            let parts = [std::io::IoSlice::new(entries)];
            let sent = place.connection.reply(request.header.unique, &parts);
            (sent, plus_nodes(entries).count() as u64)
        } else {
            (place.connection.reply_again(&stored), u64::from(counts(request, &stored)))
        };
        if sent == Err(Errno::ENOENT) {
            self.board.add(Cell::LeakedLookups, counted);
        }
    }

    fn refuse(&self, request: &Request<'_>, place: dispatch::Place<'_>) {
        let header = &request.header;
        let name = Opcode::from_u32(header.opcode).map_or("?", |opcode| opcode.info().name);
        let (node, pid) = (header.node.0, header.pid);
        tracing::error!(
            "workers died again and again of {name} on node {node} by process {pid}: answered EIO"
        );
        self.board.add(Cell::Poisoned, 1);
        self.board.add(Cell::LeakedLookups, forgotten(&request.operation));
        let _ = place.connection.reply_error(header.unique, Errno::EIO);
    }

    /// Step 6.
    fn resend(&self) {
        match self.connection.resend() {
            Ok(()) | Err(Errno::ENODEV) => {}
            // Before Linux 6.9.
            Err(Errno::EINVAL) => tracing::debug!("the kernel cannot send requests again"),
            Err(errno) => tracing::warn!("FUSE_NOTIFY_RESEND: {errno}: nothing is sent again"),
        }
    }
}

impl Server {
    /// Step 5 for one thread.
    pub(super) fn finish_deferred<F: Filesystem>(&mut self, shared: &Arc<Shared<F>>) {
        if let Some(length) = self.slot.left() {
            self.length = length;
            self.handle(shared);
        }
    }
}

/// Makes the slot the calling thread's, which is to blame for it from now on.
fn enter(journal: Journal) {
    journal::attach(Some(journal));
    fault::accuse(journal);
}

fn opcode(request: &Request<'_>) -> Option<Opcode> {
    Opcode::from_u32(request.header.opcode)
}

/// Whether it may take long and changes nothing that others see, so that they need not wait for
/// it. An OPEN waits for the holder of a lease below; that it truncates is not agreed on.
fn may_be_late(opcode: Opcode) -> bool {
    opcode == Opcode::FUSE_OPEN
        || !opcode.info().changes
            && !matches!(
                opcode,
                Opcode::FUSE_FORGET
                    | Opcode::FUSE_BATCH_FORGET
                    | Opcode::FUSE_RELEASE
                    | Opcode::FUSE_RELEASEDIR
                    | Opcode::FUSE_FLUSH
                    | Opcode::FUSE_SETLK
                    | Opcode::FUSE_SETLKW
                    | Opcode::FUSE_INTERRUPT
            )
}

/// Lookups that a request gives back.
fn forgotten(operation: &Operation<'_>) -> u64 {
    match operation {
        Operation::Forget(op) => op.nlookup,
        Operation::BatchForget(op) => op.iter().map(|(_, nlookup)| nlookup).sum(),
        _ => 0,
    }
}

/// Whether a reply gives a lookup or a handle to the kernel.
fn counts(request: &Request<'_>, reply: &[u8]) -> bool {
    let gives = matches!(
        request.operation,
        Operation::Lookup(_)
            | Operation::Symlink(_)
            | Operation::Mknod(_)
            | Operation::Mkdir(_)
            | Operation::Link(_)
            | Operation::Create(_)
            | Operation::Tmpfile(_)
            | Operation::Open(_)
            | Operation::Opendir(_)
    );
    // fuse_out_header.error
    gives && reply.get(4..8) == Some(&[0; 4])
}

//! Framed sources, and the connections to them.
//!
//! A connection carries one request at a time, for one read. Between reads it is idle, with nothing
//! under way, and whoever reads next takes it: the last one that came back first, or one that has
//! what is wanted in memory already, for a server may answer with more than was asked for. There
//! are never more of them than reads at a time.
//!
//! # What outlives a worker
//!
//! Connections are in the shared table of descriptors, with a record each in the arena: to which
//! source, whether it is busy, the number of its last request. A READ changes nothing: a successor
//! carries it out anew, from its slot. So of an idle connection it needs the descriptor alone, as
//! that stands between two answers. A busy one is closed, and what it was to bring is asked for over
//! another. That is the whole recovery: no position in a stream is ever trusted that a dead worker
//! was changing. By when the worker is killed:
//!
//! | killed | the record | the successor |
//! | --- | --- | --- |
//! | before a connection is taken | idle | uses it: nothing was sent |
//! | from then on, while the answer comes, goes into a pipe or into memory | busy | closes it, and asks anew |
//! | behind the last byte, before that is noted | busy | the same: nothing would be wrong with it |
//! | when that is noted | idle | uses it for the READ, which it carries out again unless the reply was sent |
//! | while one is made or closed | begun, or nobody's | closes it |
//!
//! *Why no position.* A request names its offset, and servers keep nothing between two requests: so
//! what is asked for once more is the same bytes, and none is lost or comes twice. The caller has
//! seen nothing of the first answer: a reply becomes visible as a whole. To go on in the middle,
//! position, state of the packet, the sum so far and the payload that came before it was wanted would
//! have to be in the arena, and right after each system call: between a receive that has taken
//! bytes and the store that says so lies an instruction at which a worker can die. A pipe's content
//! tells how far a splice came, but nothing tells it of a copy.
//!
//! *What it costs.* For each connection that was busy at a death a new one, and once more the bytes
//! of its request that had come: no more than one READ asks for, and a packet on each side. Idle
//! ones cost nothing.
//!
//! # A peer that does not behave
//!
//! Whatever it is (it refuses, closes, stalls for longer than the timeout, sends what does not
//! belong to the request or does not pass its checksum), the reader gets EIO and the connection is
//! closed. Only a connection that was idle, and is found closed before a byte of the answer has
//! come, is replaced, once: the server may have been started anew meanwhile.

use std::os::fd::AsRawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, send};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::MergeError;
use super::address::{Address, Resolved};
use super::answer::Answers;
use super::frame::{Request, Shape};
use super::manifest::{Manifest, wrong};
use crate::Errno;
use crate::buffer::section::Fault;
use crate::buffer::{Packets, Section, Sink, Stopped};
use crate::recovery::arena::Arena;
use crate::recovery::fds::{Fds, Kind};
use crate::recovery::points::{self, Point, Protection};
use crate::recovery::table::Table;
use crate::session::about_to_block;
use crate::sys::{Fd, OpFd, device};

/// Connections at the most: more than there are ever serving threads.
const CAPACITY: u32 = 1 << 14;

/// A connection, as the arena has it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Record {
    /// The number of its last request.
    request: u64,
    source: u32,
    fd: i32,
    /// 1: an answer is under way.
    busy: u64,
}

/// A connection that nobody else uses.
struct Link {
    record: u64,
    request: u64,
    /// Long, and links are moved to and fro.
    section: Box<Section<Answers>>,
    /// What the bytes are that are in memory already: name and offset.
    ahead: Option<(String, u64)>,
}

struct Source {
    address: Address,
    resolved: Resolved,
    shape: Shape,
    /// The last one was used last.
    idle: Mutex<Vec<Link>>,
}

/// All sources of a mount.
pub(super) struct Sources {
    list: Vec<Source>,
    table: Table<Record>,
    fds: Fds,
    timeout: Duration,
}

impl Source {
    fn idle(&self) -> MutexGuard<'_, Vec<Link>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that is idle: with these bytes in memory if there is such a one.
    fn take(&self, name: &str, offset: u64) -> Option<Link> {
        let mut idle = self.idle();
        let fits = |link: &Link| {
            link.ahead.as_ref().is_some_and(|(known, at)| (known.as_str(), *at) == (name, offset))
        };
        let at = idle.iter().rposition(fits).or_else(|| idle.len().checked_sub(1))?;
        Some(idle.remove(at))
    }
}

impl Sources {
    /// The sources of a manifest; nothing is connected to yet.
    pub(super) fn new(arena: &Arena, manifest: &Manifest) -> Result<Sources, MergeError> {
        let table = Table::new(arena, "merge links", CAPACITY, 1)?;
        let mut list = Vec::new();
        for (source, at) in &manifest.sources.all {
            let resolved = source.address.resolve().or_else(|error| {
                wrong(at, format!("{}: {error}: correct the host", source.address))
            })?;
            let (address, shape) = (source.address.clone(), source.shape);
            list.push(Source { address, resolved, shape, idle: Mutex::default() });
        }
        Ok(Sources { list, table, fds: arena.fds(), timeout: manifest.timeout })
    }

    /// Takeover: whether a record holds a descriptor.
    pub(super) fn holds(&self, index: u32, fd: Fd) -> bool {
        self.table.at(index).is_some_and(|(_, record)| record.fd == fd.number())
    }

    /// Takeover: keeps the connections that were idle, and closes the others.
    pub(super) fn takeover(&self) {
        for (id, record) in self.table.iter() {
            let source = self.list.get(record.source as usize).filter(|_| record.busy == 0);
            let fd = Fd::from_number(record.fd);
            let kept = source.filter(|_| self.fds.belongs(fd, Kind::Own, id as u32));
            match kept.map(|source| (source, self.link(id, record.request, fd, source))) {
                Some((source, Ok(link))) => source.idle().push(link),
                _ => self.close(id, fd),
            }
        }
    }

    fn link(&self, record: u64, request: u64, fd: Fd, source: &Source) -> Result<Link, Errno> {
        let section = Section::new(fd, Answers::new(source.shape), self.timeout)?;
        Ok(Link { record, request, section: Box::new(section), ahead: None })
    }

    /// Whatever of it a dead worker has done already is not done again.
    fn close(&self, record: u64, fd: Fd) {
        self.fds.close_if(fd, Kind::Own, record as u32);
        self.table.remove(record);
    }

    /// A new connection, busy.
    fn connect(&self, index: usize) -> Result<Link, Errno> {
        let source = &self.list[index];
        about_to_block();
        let fd = source.resolved.connect(self.timeout).inspect_err(|errno| {
            tracing::warn!("{}: {}: see that its server runs", source.address, errno.desc());
        })?;
        let fd = OpFd::new(Fd::from_owned(fd));
        let reserved = self.table.reserve().ok_or(Errno::ENFILE)?;
        let number = reserved.id() as u32;
        if let Err(errno) = self.fds.begin(fd.get(), Kind::Own, number) {
            self.table.give_back(reserved);
            return Err(errno);
        }
        let fd = fd.keep();
        let record = Record { request: 0, source: index as u32, fd: fd.number(), busy: busy(true) };
        let id = self.table.publish(reserved, &record);
        self.fds.keep(fd, Kind::Own, number);
        self.link(id, 0, fd, source).inspect_err(|_| self.close(id, fd))
    }

    /// Asks for the bytes of `name` from `offset` on that `room` has room for. Those that are in
    /// memory already are put there; returns how many, and what brings the rest, if there is any.
    /// The answer is not waited for.
    pub(super) fn ask<'a>(
        &'a self,
        index: usize,
        name: &'a str,
        offset: u64,
        room: &mut [u8],
    ) -> Result<(usize, Option<Lease<'a>>), Errno> {
        let end = offset + room.len() as u64;
        let source = self.list.get(index).ok_or(Errno::EIO)?;
        let mut known = 0;
        let mut idle = None;
        while let Some(mut link) = source.take(name, offset) {
            known = give_ahead(&mut link, name, offset, room);
            if known == room.len() {
                source.idle().push(link);
                return Ok((known, None));
            }
            if is_quiet(link.section.socket()) {
                idle = Some(link);
                break;
            }
            self.close(link.record, link.section.socket());
            known = 0;
        }
        let mut lease = Lease {
            sources: self,
            index,
            name,
            next: offset + known as u64,
            end,
            fresh: idle.is_none(),
            failed: false,
            link: None,
        };
        let link = idle.map_or_else(|| self.connect(index), Ok)?;
        lease.send(link)?;
        Ok((known, Some(lease)))
    }

    /// Notes what a connection does.
    fn note(&self, link: &Link, is_busy: bool) {
        let change = |record: &mut Record| {
            (record.request, record.busy) = (link.request, busy(is_busy));
        };
        self.table.update(link.record, change);
    }
}

fn busy(is_busy: bool) -> u64 {
    u64::from(is_busy && !points::is_off(Protection::Busy))
}

/// Gives out what an idle connection has in memory, if it is what is wanted; it was verified when
/// it came. What nobody waits for goes. Returns how many bytes.
fn give_ahead(link: &mut Link, name: &str, offset: u64, room: &mut [u8]) -> usize {
    let wanted = |(known, at): &(String, u64)| (known.as_str(), *at) == (name, offset);
    let mut given = 0;
    if let Some((name, at)) = link.ahead.take_if(|ahead| wanted(ahead)) {
        let length = link.section.stashed().min(room.len());
        given = link.section.take(length, Sink::Memory(&mut room[..length])).unwrap_or(0);
        if given == room.len() {
            link.ahead = Some((name, at + given as u64)).filter(|_| link.section.stashed() > 0);
            return given;
        }
    }
    link.ahead = None;
    // It is in memory: there is nothing that could fail.
    let _ = link.section.skip(link.section.stashed() as u64);
    given
}

/// Whether an idle connection is open, and its server has said nothing that nobody asked for.
fn is_quiet(socket: Fd) -> bool {
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    recv(socket.as_raw_fd(), &mut [0], flags) == Err(Errno::EAGAIN)
}

/// The way of one request's answer. The connection is idle again when all of it was taken, and is
/// closed if the lease is dropped before.
pub(super) struct Lease<'a> {
    sources: &'a Sources,
    index: usize,
    name: &'a str,
    /// The byte that comes next.
    next: u64,
    end: u64,
    /// It was made for this request.
    fresh: bool,
    failed: bool,
    link: Option<Link>,
}

impl Lease<'_> {
    /// Sends the request; once more, over a new connection, where an old one does not take it.
    fn send(&mut self, mut link: Link) -> Result<(), Errno> {
        loop {
            link.request += 1;
            link.section.framing_mut().expect(link.request, self.next, self.end);
            self.sources.note(&link, true);
            let length = self.end - self.next;
            let request = Request::new(self.name.len(), link.request, self.next, length);
            let bytes = [request.as_bytes(), self.name.as_bytes()].concat();
            let sent = send_all(link.section.socket(), &bytes, self.sources.timeout);
            match sent {
                Ok(()) => {
                    self.link = Some(link);
                    points::reach(Point::SourceAsked);
                    return Ok(());
                }
                Err(errno) => {
                    self.sources.close(link.record, link.section.socket());
                    if self.fresh {
                        return Err(errno);
                    }
                    link = self.renew()?;
                }
            }
        }
    }

    fn renew(&mut self) -> Result<Link, Errno> {
        self.fresh = true;
        self.sources.connect(self.index)
    }

    /// Waits until the answer begins, and reads up to the first byte that was asked for.
    pub(super) fn begin(&mut self) -> Result<(), Errno> {
        loop {
            let link = self.link.as_mut().ok_or(Errno::EIO)?;
            let socket = link.section.socket();
            // Unless it is there already: others may be served meanwhile.
            if !device::readable(socket, 0).unwrap_or(true) {
                about_to_block();
            }
            match link.section.look() {
                Ok(true) => break,
                gone if !self.fresh && is_gone(gone, link.section.fault()) => {
                    if let Some(old) = self.link.take() {
                        self.sources.close(old.record, socket);
                    }
                    let link = self.renew()?;
                    self.send(link)?;
                }
                _ => return Err(self.fail()),
            }
        }
        points::reach(Point::SourceAnswers);
        let link = self.link.as_mut().ok_or(Errno::EIO)?;
        let front = link.section.framing().front();
        match link.section.skip(front) {
            Ok(skipped) if skipped == front => Ok(()),
            _ => Err(self.fail()),
        }
    }

    /// Nothing more is wanted of it.
    fn fail(&mut self) -> Errno {
        self.failed = true;
        if let Some(link) = &self.link {
            let address = &self.sources.list[self.index].address;
            let fault =
                link.section.fault().map_or("closed".to_string(), |fault| fault.to_string());
            tracing::warn!("{address}: {}: {fault}: answered EIO", self.name);
        }
        Errno::EIO
    }

    /// Gives the connection back, or closes it.
    fn release(&mut self) {
        let Some(mut link) = self.link.take() else { return };
        if self.finish(&mut link) {
            self.sources.note(&link, false);
            points::reach(Point::SourceIdle);
            self.sources.list[self.index].idle().push(link);
        } else {
            self.sources.close(link.record, link.section.socket());
        }
    }

    /// Whether the answer is read to its end, so that another one can follow. What comes behind
    /// what was wanted is kept if it came in the same packet.
    fn finish(&mut self, link: &mut Link) -> bool {
        if self.failed || self.next != self.end {
            return false;
        }
        while !link.section.framing().is_done() {
            let stashed = link.section.stashed() as u64;
            if link.section.skip(stashed) != Ok(stashed) || link.section.look() != Ok(true) {
                return false;
            }
            let rest = link.section.framing().reached() - self.end;
            if link.section.skip(rest - stashed).is_err() {
                return false;
            }
            self.end += rest;
        }
        link.ahead = (link.section.stashed() > 0).then(|| (self.name.to_string(), self.end));
        true
    }
}

/// Whether a connection was closed before an answer came.
fn is_gone(looked: Result<bool, Errno>, fault: Option<Fault>) -> bool {
    looked == Ok(false) || matches!(fault, Some(Fault::Socket(Errno::ECONNRESET | Errno::EPIPE)))
}

impl Packets for Lease<'_> {
    fn take(&mut self, want: usize, sink: Sink<'_>) -> Result<usize, Stopped> {
        let left = usize::try_from(self.end - self.next).unwrap_or(usize::MAX);
        let want = match &sink {
            Sink::Memory(room) => want.min(room.len()),
            Sink::Pipe(_) => want,
        }
        .min(left);
        if want == 0 {
            return Ok(0);
        }
        let Some(link) = &mut self.link else { return Err(Stopped::Failed(Errno::EIO)) };
        match link.section.take(want, sink) {
            Ok(taken) if taken == want => {
                self.next += taken as u64;
                if self.next == self.end {
                    points::reach(Point::SourceTaken);
                }
                if self.next == self.end && link.section.framing().is_done() {
                    // Before the reader has its answer, and comes for more.
                    self.release();
                }
                Ok(taken)
            }
            Err(Stopped::Full { moved }) => {
                self.next += moved as u64;
                Err(Stopped::Full { moved })
            }
            // It has less than the manifest says.
            Ok(_) | Err(Stopped::Failed(_)) => Err(Stopped::Failed(self.fail())),
        }
    }

    fn wants_memory(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.section.wants_memory())
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

fn send_all(socket: Fd, mut bytes: &[u8], limit: Duration) -> Result<(), Errno> {
    let until = Instant::now() + limit;
    while !bytes.is_empty() {
        match send(socket.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                about_to_block();
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(Errno::ETIMEDOUT);
                }
                let left = PollTimeout::try_from(left + Duration::from_millis(1));
                let mut polled =
                    [PollFd::new(std::os::fd::AsFd::as_fd(&socket), PollFlags::POLLOUT)];
                poll(&mut polled, left.unwrap_or(PollTimeout::MAX))?;
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[cfg(test)]
impl Sources {
    /// All connections: the record's index, and the descriptor.
    pub(super) fn connections(&self) -> impl Iterator<Item = (u32, Fd)> {
        self.table.iter().map(|(id, record)| (id as u32, Fd::from_number(record.fd)))
    }

    /// Forgets which are idle.
    pub(super) fn forget_idle(&self) {
        self.list.iter().for_each(|source| source.idle().clear());
    }
}

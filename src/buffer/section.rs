//! Packets with a header and a footer around the payload, from a socket.
//!
//! A [`Framing`] knows what the packets look like; a [`Section`] knows how far the stream has been
//! read. Header and footer come into memory. Payload goes into a pipe without being seen, or into
//! memory, together with the footer and the next header in one call.
//!
//! * **Verified before shown.** A packet that bytes are taken from is read to its end by the same
//!   call: what is not wanted yet goes into a stash in memory, which the next call gives out
//!   first. It is no longer than the longest payload that the framing allows. A packet that has no
//!   footer, and whose payload the framing does not want to see, is verified by its header; what
//!   is left of that one stays in the socket.
//! * **The deadline** is that of a whole call, so that neither silence nor a byte now and then nor
//!   empty packets without end hold a reader for longer. The socket is made non-blocking: a
//!   splice(2) from a blocking TCP socket blocks whatever its flags say.
//! * **Broken.** Where a packet ends is known from its header alone. A peer that closes or stalls
//!   within one, lengths that cannot be, a header that is none, a footer that does not fit: each
//!   breaks the stream for good, since none of them says where the next packet begins. The owner
//!   closes it, or connects anew and skips to where it was.
//! * **Refused.** A packet that the framing refuses by its header (no permission, say) fails the
//!   call that comes to it. The next call reads over it, verifies its footer as any other (which is
//!   what makes its lengths believable), and goes on behind it.
//! * **Nothing of it outlives the process.** How far a stream has been read is private memory: where a
//!   process takes another one's place, the owner asks for the bytes anew, as `fs::merge` does, or
//!   connects anew and skips to where it was.
//! * **The pipe is full** when it has no buffer free, with however few bytes in them. EAGAIN of a
//!   splice means that, or that the socket is empty; the pipe's own poll(2) tells which.
//!   SO_RCVLOWAT is left alone: a splice of less than that would never be ready.

mod framing;

use std::io::IoSliceMut;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

pub use framing::{Fault, Framing, Header, LONGEST};

use super::{Packets, Pipe, Sink, Stopped};
use crate::Errno;
use crate::recovery::points::{self, Point};
use crate::sys::{Fd, pipe};

/// Bytes that are collected in memory. The room is kept for the next time.
#[derive(Debug, Default)]
struct Part {
    room: Vec<u8>,
    wanted: usize,
    got: usize,
}

impl Part {
    /// Begins anew, with `wanted` bytes to come.
    fn expect(&mut self, wanted: usize) {
        self.got = 0;
        self.wanted = 0;
        self.expect_more(wanted);
    }

    fn expect_more(&mut self, more: usize) {
        self.wanted += more;
        if self.room.len() < self.wanted {
            self.room.resize(self.wanted, 0);
        }
    }

    fn missing(&mut self) -> &mut [u8] {
        &mut self.room[self.got..self.wanted]
    }

    fn is_whole(&self) -> bool {
        self.got == self.wanted
    }

    fn bytes(&self) -> &[u8] {
        &self.room[..self.got]
    }

    /// Of `arrived` bytes those that are for this part: returns how many are for the next.
    fn add(&mut self, arrived: usize) -> usize {
        let mine = arrived.min(self.wanted - self.got);
        self.got += mine;
        arrived - mine
    }
}

/// Where in a packet the stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// At the header, of which some may be here already.
    Header,
    /// Behind the header.
    Body {
        /// Bytes of payload that have not arrived.
        left: usize,
        /// Nothing of it is for anybody.
        refused: bool,
    },
}

/// A stream of packets, and how far it has been read. The socket is its owner's to close.
#[derive(Debug)]
pub struct Section<F> {
    socket: Fd,
    framing: F,
    timeout: Duration,
    phase: Phase,
    header: Part,
    footer: Part,
    /// Payload that has arrived before it is wanted, and how much of it has been given out.
    stash: Part,
    given: usize,
    position: u64,
    fault: Option<Fault>,
}

impl<F: Framing> Section<F> {
    /// The packets of `socket`, a stream of any family, which is made non-blocking. No call takes
    /// longer than `timeout`.
    pub fn new(socket: Fd, framing: F, timeout: Duration) -> Result<Section<F>, Errno> {
        let first = framing.header_size();
        if first == 0 || first > LONGEST {
            return Err(Errno::EINVAL);
        }
        let flags = OFlag::from_bits_retain(fcntl(socket, FcntlArg::F_GETFL)?);
        fcntl(socket, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        let mut header = Part::default();
        header.expect(first);
        Ok(Section {
            socket,
            framing,
            timeout,
            phase: Phase::Header,
            header,
            footer: Part::default(),
            stash: Part::default(),
            given: 0,
            position: 0,
            fault: None,
        })
    }

    /// Where the next byte of payload is among that of all packets: the bytes that were taken or
    /// skipped, and those of refused packets.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether nothing more can be had.
    pub fn is_broken(&self) -> bool {
        self.fault.is_some()
    }

    /// Why it is broken.
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// The framing, to be told what comes next.
    pub fn framing_mut(&mut self) -> &mut F {
        &mut self.framing
    }

    /// Reads the next header, unless the stream stands behind one or something is stashed: then the
    /// framing knows the packet before any of its payload moves. False: the end of the stream.
    pub fn look(&mut self) -> Result<bool, Errno> {
        if self.is_broken() {
            return Err(Errno::EIO);
        }
        if self.phase != Phase::Header || self.stashed() > 0 {
            return Ok(true);
        }
        self.begin(Instant::now() + self.timeout).map_err(|stopped| match stopped {
            Stopped::Failed(errno) => errno,
            Stopped::Full { .. } => Errno::EIO,
        })
    }

    /// The socket.
    pub fn socket(&self) -> Fd {
        self.socket
    }

    /// What knows the packets.
    pub fn framing(&self) -> &F {
        &self.framing
    }

    /// Bytes of payload that are in memory, and verified, ahead of what was wanted.
    pub fn stashed(&self) -> usize {
        let is_verified = self.phase == Phase::Header && self.fault.is_none();
        if is_verified { self.stash.got - self.given } else { 0 }
    }

    /// Reads over `count` bytes of payload. Returns how many: fewer at the end of the stream. The
    /// packets that they are from are verified like others.
    pub fn skip(&mut self, count: u64) -> Result<u64, Errno> {
        let mut room = [0; 16 << 10];
        let deadline = Instant::now() + self.timeout;
        let mut done = 0;
        while done < count {
            let want = usize::try_from(count - done).unwrap_or(usize::MAX);
            let dropped = match self.stashed() {
                0 => {
                    let room = &mut room[..want.min(16 << 10)];
                    match self.take_until(room.len(), Sink::Memory(room), deadline) {
                        Ok(0) => break,
                        Ok(taken) => taken,
                        Err(Stopped::Failed(errno)) => return Err(errno),
                        // Memory is never full.
                        Err(Stopped::Full { .. }) => return Err(Errno::EIO),
                    }
                }
                stashed => self.give(want.min(stashed)),
            };
            done += dropped as u64;
        }
        Ok(done)
    }

    fn take_until(
        &mut self,
        want: usize,
        mut sink: Sink<'_>,
        deadline: Instant,
    ) -> Result<usize, Stopped> {
        if self.is_broken() {
            return Err(Stopped::Failed(Errno::EIO));
        }
        let want = if let Sink::Memory(room) = &sink { want.min(room.len()) } else { want };
        let mut done = 0;
        while done < want {
            let rest = want - done;
            let mut sink = match &mut sink {
                Sink::Pipe(pipe) => Sink::Pipe(*pipe),
                Sink::Memory(room) => Sink::Memory(&mut room[done..want]),
            };
            let moved = match self.phase {
                Phase::Header if self.stashed() > 0 => self.unstash(rest, &mut sink),
                Phase::Header => match self.begin(deadline) {
                    Ok(true) => Ok(0),
                    Ok(false) => break,
                    Err(stopped) => Err(stopped),
                },
                Phase::Body { left, refused } => self.body(left, refused, rest, sink, deadline),
            };
            match moved {
                Ok(moved) => done += moved,
                Err(Stopped::Full { moved }) => return Err(Stopped::Full { moved: done + moved }),
                Err(failed) => return Err(failed),
            }
        }
        Ok(done)
    }

    /// Reads a header; false at the end of the stream.
    fn begin(&mut self, deadline: Instant) -> Result<bool, Stopped> {
        loop {
            while !self.header.is_whole() {
                let nothing_yet = self.header.got == 0;
                match self.receive(&mut [], deadline) {
                    Ok(_) => {}
                    Err(Fault::Closed) if nothing_yet => return Ok(false),
                    Err(fault) => return Err(self.broken(fault)),
                }
            }
            match self.framing.header(self.header.bytes()) {
                Ok(Header::More(more)) if more > 0 && more <= LONGEST - self.header.wanted => {
                    self.header.expect_more(more);
                }
                Ok(Header::More(_)) => return Err(self.broken(Fault::Header(Errno::EMSGSIZE))),
                Ok(Header::Packet { payload, footer, refused }) => {
                    return self.enter(payload, footer, refused, deadline).map(|()| true);
                }
                Err(errno) => return Err(self.broken(Fault::Header(errno))),
            }
        }
    }

    /// The header is whole: on to what it says.
    fn enter(
        &mut self,
        payload: u64,
        footer: usize,
        refused: Option<Errno>,
        deadline: Instant,
    ) -> Result<(), Stopped> {
        let believed = usize::try_from(payload).ok().filter(|n| *n <= self.framing.max_payload());
        let (Some(left), true) = (believed, footer <= LONGEST) else {
            return Err(self.broken(Fault::Lengths { payload, footer }));
        };
        if Instant::now() >= deadline {
            return Err(self.broken(Fault::Stalled));
        }
        self.header.expect(self.framing.header_size());
        self.footer.expect(footer);
        self.stash.expect(0);
        self.given = 0;
        self.phase = Phase::Body { left, refused: refused.is_some() };
        match refused {
            None => Ok(()),
            Some(errno) => {
                self.position += payload;
                Err(Stopped::Failed(errno))
            }
        }
    }

    /// Moves what is wanted of a packet, and reads the rest of it if it has to be verified.
    fn body(
        &mut self,
        left: usize,
        refused: bool,
        want: usize,
        sink: Sink<'_>,
        deadline: Instant,
    ) -> Result<usize, Stopped> {
        let seen = self.framing.sees_payload();
        let checked = seen || refused || self.footer.wanted > 0;
        let part = left.min(want);
        let moved = match sink {
            _ if refused => 0,
            Sink::Pipe(_) if seen => 0,
            Sink::Pipe(pipe) => self.splice(pipe, part, deadline)?,
            Sink::Memory(room) => {
                self.stash.expect(if checked { left - part } else { 0 });
                self.copy(&mut room[..part], deadline)?;
                part
            }
        };
        if checked {
            if self.stash.wanted == 0 {
                self.stash.expect(self.left());
            }
            self.finish(deadline)?;
            if refused {
                self.stash.expect(0);
            }
        } else if self.left() == 0 {
            self.phase = Phase::Header;
        }
        Ok(moved)
    }

    fn left(&self) -> usize {
        if let Phase::Body { left, .. } = self.phase { left } else { 0 }
    }

    /// `count` bytes of payload into the pipe.
    fn splice(&mut self, to: Pipe, count: usize, deadline: Instant) -> Result<usize, Stopped> {
        let mut moved = 0;
        let mut polled = false;
        while moved < count {
            match pipe::splice(self.socket, None, to.write, None, count - moved) {
                Ok(0) => return Err(self.broken(Fault::Closed)),
                Ok(n) => {
                    moved += n;
                    polled = false;
                    self.arrived(n);
                    self.position += n as u64;
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if polled || !is_writable(to.write) => {
                    return Err(Stopped::Full { moved });
                }
                Err(Errno::EAGAIN) => {
                    wait(self.socket, deadline).map_err(|fault| self.broken(fault))?;
                    polled = true;
                }
                Err(errno) => return Err(self.broken(Fault::Socket(errno))),
            }
        }
        Ok(moved)
    }

    /// Fills `room` with payload; what is behind it may come along.
    fn copy(&mut self, room: &mut [u8], deadline: Instant) -> Result<(), Stopped> {
        let mut done = 0;
        while done < room.len() {
            let arrived = self.receive(&mut room[done..], deadline);
            done += arrived.map_err(|fault| self.broken(fault))?;
        }
        Ok(())
    }

    /// Reads the packet to its end, and has it verified.
    fn finish(&mut self, deadline: Instant) -> Result<(), Stopped> {
        while !self.stash.is_whole() || !self.footer.is_whole() {
            self.receive(&mut [], deadline).map_err(|fault| self.broken(fault))?;
        }
        if (self.footer.wanted > 0 || self.framing.sees_payload())
            && let Err(errno) = self.framing.footer(self.footer.bytes())
        {
            self.broken(Fault::Footer(errno));
            return Err(Stopped::Failed(errno));
        }
        self.phase = Phase::Header;
        Ok(())
    }

    /// Receives once, at least one byte: first into `room`, then for the stash, then the footer
    /// and the next header, as far as they are known to come next. Returns the bytes in `room`.
    fn receive(&mut self, room: &mut [u8], deadline: Instant) -> Result<usize, Fault> {
        let to_the_end = self.left() == room.len() + self.stash.missing().len();
        let (footer, header) = match to_the_end {
            true => (self.footer.missing(), self.header.missing()),
            false => (&mut [][..], &mut [][..]),
        };
        let stash = self.stash.missing();
        let stash_length = stash.len();
        let mut arrived = {
            let mut parts = [&mut *room, stash, footer, header].map(IoSliceMut::new);
            read(self.socket, &mut parts, deadline)?
        };
        let in_room = arrived.min(room.len());
        arrived -= in_room;
        let stashed = arrived.min(stash_length);
        self.arrived(in_room + stashed);
        self.position += in_room as u64;
        if self.framing.sees_payload() {
            self.framing.payload(&room[..in_room]);
            let at = self.stash.got;
            self.framing.payload(&self.stash.room[at..at + stashed]);
        }
        arrived = self.stash.add(arrived);
        arrived = self.footer.add(arrived);
        self.header.add(arrived);
        Ok(in_room)
    }

    fn arrived(&mut self, count: usize) {
        if let Phase::Body { left, .. } = &mut self.phase {
            *left -= count;
        }
        if count > 0 {
            points::reach(Point::Streaming);
        }
    }

    /// Gives out what is in the stash.
    fn unstash(&mut self, want: usize, sink: &mut Sink<'_>) -> Result<usize, Stopped> {
        let bytes = &self.stash.bytes()[self.given..];
        let bytes = &bytes[..bytes.len().min(want)];
        let moved = match sink {
            Sink::Memory(room) => {
                room[..bytes.len()].copy_from_slice(bytes);
                bytes.len()
            }
            Sink::Pipe(pipe) => match nix::unistd::write(pipe.write, bytes) {
                Ok(moved) => moved,
                Err(Errno::EAGAIN) => return Err(Stopped::Full { moved: 0 }),
                Err(Errno::EINTR) => 0,
                Err(errno) => return Err(self.broken(Fault::Socket(errno))),
            },
        };
        Ok(self.give(moved))
    }

    fn give(&mut self, count: usize) -> usize {
        self.given += count;
        self.position += count as u64;
        count
    }

    fn broken(&mut self, fault: Fault) -> Stopped {
        tracing::debug!("packets of descriptor {}: {fault}", self.socket.number());
        self.fault = Some(fault);
        Stopped::Failed(Errno::EIO)
    }
}

impl<F: Framing> Packets for Section<F> {
    fn take(&mut self, want: usize, sink: Sink<'_>) -> Result<usize, Stopped> {
        let deadline = Instant::now() + self.timeout;
        self.take_until(want, sink, deadline)
    }

    fn wants_memory(&self) -> bool {
        self.framing.sees_payload()
    }
}

/// One readv(2) that waits until the deadline; at least one byte.
fn read(socket: Fd, parts: &mut [IoSliceMut<'_>], deadline: Instant) -> Result<usize, Fault> {
    loop {
        match nix::sys::uio::readv(socket, parts) {
            Ok(0) => return Err(Fault::Closed),
            Ok(n) => return Ok(n),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => wait(socket, deadline)?,
            Err(errno) => return Err(Fault::Socket(errno)),
        }
    }
}

/// Until there is something to be read, or an error to be had by reading.
fn wait(socket: Fd, deadline: Instant) -> Result<(), Fault> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Fault::Stalled);
        }
        // Rounded up, so that it does not look again and again within the last millisecond.
        let left = PollTimeout::try_from(left + Duration::from_millis(1));
        let mut polled = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, left.unwrap_or(PollTimeout::MAX)) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(()),
            Err(errno) => return Err(Fault::Socket(errno)),
        }
    }
}

/// Whether a pipe has a buffer free.
fn is_writable(pipe: Fd) -> bool {
    let mut polled = [PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)];
    poll(&mut polled, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

//! Requests and replies over io_uring (FUSE_OVER_IO_URING, Linux 6.14).
//!
//! The kernel keeps a queue for each possible CPU: a request goes to the queue of the CPU that its
//! caller runs on. A server registers *entries* with a queue, each with memory for a header and a
//! payload. A request is copied into an entry and completes the command that waits there; its
//! answer is put in the same place, and one command commits it and waits for the next. The kernel
//! uses the rings once every queue has an entry; until then all callers wait. FORGET and INTERRUPT
//! still come by /dev/fuse, and notifications still go there.
//!
//! An entry belongs to one thread here, with a ring of its own: whichever thread is blocked, no
//! request waits behind it, as the kernel gives requests to entries that are free only, and to the
//! one that was free last first. What is put in an entry is
//!
//! ```text
//! | fuse_in_header, arguments, lengths | ... | fuse_in_header, arguments | payload | room |
//! ^ 0                                        the request, in one piece   ^ PAGE
//! ```
//!
//! The kernel writes the header at 0 and the payload at `PAGE`. The few bytes of the header are put
//! before the payload, so that the request is in one piece, without copying what it carries. The
//! data of a reply are made where the payload goes, unless the request has one itself; then in the
//! room behind it.
//!
//! # No order
//!
//! Requests of different CPUs are carried out side by side. The kernel waits for nobody but the
//! caller of a request, so a READ for its page cache may overtake a WRITE of the same pages from
//! another CPU, and leave in the cache what was there before it (see `session::uring`).
//!
//! # No recovery
//!
//! Requests that come this way do not survive the process that serves them, so the transport is for
//! unsupervised mounts. Measured on Linux 6.18, with rings and payloads in memory that a successor
//! has at the same addresses, and with the rings' descriptors in a table that outlives the process:
//!
//! * *The worker submits.* Its ring outlives it, and a successor can commit, from a ring of its
//!   own, the request that the dead one was handed: COMMIT_AND_FETCH finds the entry by the commit
//!   id, and the caller gets its answer. Requests that arrive while nobody is there wait, and are
//!   given to the entries that the successor registers. But a request that is on its way into an
//!   entry while its thread dies fails with ECANCELED, which the caller sees: in two runs of 20
//!   kills under four callers, 14 and 6 calls did. The kernel does this in the dying thread, before
//!   anybody else can act.
//! * *The supervisor submits*, by a kernel thread of its own (IORING_SETUP_SQPOLL). Nothing that
//!   the kernel handed over is lost with the worker then: the ring itself says what the dead one
//!   had still committed. In two runs of 40 kills under four callers no caller got stuck or saw
//!   ECANCELED. (One got another wrong answer: the program of that measurement could not tell a
//!   request from an answer half written over it, which a journal can.) A request took about three
//!   times as long, as each passes through one more thread. That thread is the supervisor's and
//!   ends with it: its death has to be expected to lose what a worker's death loses above, and no
//!   standby could prevent it. (That was not measured.)
//!
//! So neither form keeps what /dev/fuse keeps.

use std::cell::RefCell;
use std::io::IoSlice;

use zerocopy::{FromBytes, IntoBytes};

use crate::Errno;
use crate::sys::Fd;
use crate::sys::memory::PAGE;
use crate::sys::uring::{COMMAND, Ring};
use crate::wire::abi::{
    FUSE_URING_OP_IN_OUT_SZ, fuse_in_header, fuse_uring_cmd_req, fuse_uring_ent_in_out,
    fuse_uring_req_header,
};
use crate::wire::{Unique, encode};

/// Registers an entry, and waits for its first request.
const REGISTER: u32 = 1;
/// Commits an answer, and waits for the next request.
const COMMIT_AND_FETCH: u32 = 2;
/// The kernel's parameter, Y or N.
const PARAMETER: &str = "/sys/module/fuse/parameters/enable_uring";
/// How many possible CPUs there are.
const POSSIBLE: &str = "/sys/devices/system/cpu/possible";
/// The longest payload that is not of the size of a READ or WRITE: SETXATTR's name and value.
pub const LEAST_PAYLOAD: usize = (64 << 10) + PAGE;

const HEADER: usize = size_of::<fuse_in_header>();
const LENGTHS_AT: usize = std::mem::offset_of!(fuse_uring_req_header, ring_ent_in_out);
const ARGUMENTS_AT: usize = std::mem::offset_of!(fuse_uring_req_header, op_in);

/// Why requests cannot come over io_uring here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The kernel has no such thing.
    #[error(
        "--transport uring: this kernel has no FUSE over io_uring: boot Linux 6.14 or newer with \
         CONFIG_FUSE_IO_URING, or use '--transport auto'"
    )]
    NotBuilt,
    /// The kernel has it, and does not offer it.
    #[error(
        "--transport uring: it is off in this kernel: 'echo Y > {PARAMETER}' as root turns it on"
    )]
    Off,
    /// No ring can be made.
    #[error(
        "--transport uring: io_uring_setup(2): {}: allow it (sysctl kernel.io_uring_disabled=0, or \
         the container's filter), or use '--transport auto'",
        .0.desc()
    )]
    NoRing(Errno),
}

/// Whether requests can come over io_uring, as far as can be known before there is a mount.
pub fn available() -> Result<(), Unavailable> {
    match std::fs::read_to_string(PARAMETER) {
        Ok(text) if text.starts_with('N') => return Err(Unavailable::Off),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Unavailable::NotBuilt);
        }
        // Without /sys, INIT tells.
        _ => {}
    }
    crate::sys::uring::probe().map_err(Unavailable::NoRing)
}

/// How many queues a connection has: the number of possible CPUs, most of which may be absent.
pub fn queues() -> u16 {
    let text = std::fs::read_to_string(POSSIBLE).unwrap_or_default();
    let count = count_list(text.trim()).or_else(|| {
        let count = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_CONF);
        count.ok().flatten().and_then(|count| u16::try_from(count).ok())
    });
    count.unwrap_or(1)
}

/// The number of CPUs in a list such as `0-3,8`.
fn count_list(list: &str) -> Option<u16> {
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        (last.parse::<u16>().ok()? + 1).checked_sub(first.parse().ok()?)
    };
    list.split(',').try_fold(0_u16, |sum, range| sum.checked_add(count(range)?))
}

/// What became of the request in a thread's entry.
#[derive(Default)]
struct Answer {
    given: bool,
    unique: u64,
    error: Option<Errno>,
    /// What comes first.
    head: Vec<u8>,
    /// What follows it: so many bytes of the room for data.
    tail: usize,
    /// Where that room is, and how long.
    room: (usize, usize),
}

thread_local! {
    static ANSWER: RefCell<Answer> = RefCell::default();
}

/// Answers the request in the calling thread's entry, which it commits afterwards.
pub(super) fn answer(unique: Unique, error: Option<Errno>, payload: &[IoSlice<'_>]) {
    ANSWER.with_borrow_mut(|answer| {
        answer.head.clear();
        (answer.given, answer.unique, answer.error, answer.tail) = (true, unique.0, error, 0);
        for (index, part) in payload.iter().enumerate() {
            let (room, length) = answer.room;
            let in_place = part.as_ptr() as usize == room && part.len() <= length;
            if in_place && index + 1 == payload.len() {
                answer.tail = part.len();
            } else {
                answer.head.extend_from_slice(part);
            }
        }
    });
}

/// Where a request stands in an entry's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    /// Bytes before the payload, and of it.
    before: usize,
    payload: usize,
    commit_id: u64,
}

/// One entry of a queue, and the ring that it is served through.
#[derive(Debug)]
pub struct Entry {
    ring: Ring,
    queue: u16,
    /// Bytes of payload at the most.
    room: usize,
    place: Place,
}

impl Entry {
    /// An entry of queue `queue` for requests and replies with up to `max_data` bytes. It serves
    /// the thread that makes it.
    pub fn new(device: Fd, queue: u16, max_data: usize) -> Result<Entry, Errno> {
        let room = max_data.max(LEAST_PAYLOAD).next_multiple_of(PAGE);
        let ring = Ring::new(device, PAGE + 2 * room)?;
        Ok(Entry { ring, queue, room, place: Place::default() })
    }

    /// Gives the entry to the kernel. An error that the kernel finds is the result of the command.
    pub fn register(&mut self) -> Result<(), Errno> {
        let parts = [(0, size_of::<fuse_uring_req_header>()), (PAGE, self.room)];
        self.ring.start_with(REGISTER, command(self.queue, 0), parts)?;
        // A request may have come at once.
        if self.ring.is_complete() { self.take() } else { Ok(()) }
    }

    /// Whether the kernel has put a request here, or will not.
    pub fn is_here(&mut self) -> bool {
        !self.ring.is_under_way() || self.ring.is_complete()
    }

    /// Tells the kernel of the answer; with `wait`, returns when [`Entry::is_here`].
    pub fn enter(&mut self, wait: bool) -> Result<(), Errno> {
        self.ring.enter(usize::from(wait))
    }

    /// Takes the request that is here, and puts it in one piece. ENOTCONN: none will come.
    pub fn take(&mut self) -> Result<(), Errno> {
        if self.ring.is_under_way() {
            match self.ring.completion() {
                None => return Err(Errno::EAGAIN),
                Some(error @ ..0) => return Err(Errno::from_raw(-error)),
                Some(_) => {}
            }
        }
        let room = self.room;
        let buffer = self.ring.buffer().ok_or(Errno::EBUSY)?;
        self.place = arrange(buffer, room).ok_or(Errno::EPROTO)?;
        Ok(())
    }

    /// The request, and the room for its reply's data.
    pub fn parts(&mut self) -> Result<(&[u8], &mut [u8]), Errno> {
        let (room, place) = (self.room, self.place);
        let buffer = self.ring.buffer().ok_or(Errno::EBUSY)?;
        // Where the payload goes, if the request has none itself.
        let behind = PAGE + if place.payload > 0 { room } else { 0 };
        let (request, data) = buffer.split_at_mut(behind);
        let data = &mut data[..room];
        ANSWER.with_borrow_mut(|answer| {
            answer.given = false;
            answer.room = (data.as_ptr() as usize, data.len());
        });
        Ok((&request[PAGE - place.before..PAGE + place.payload], data))
    }

    /// Puts the answer in place, to be committed by the next [`Entry::enter`].
    pub fn commit(&mut self) -> Result<(), Errno> {
        let (room, place) = (self.room, self.place);
        let buffer = self.ring.buffer().ok_or(Errno::EBUSY)?;
        ANSWER.with_borrow_mut(|answer| put(buffer, room, place, answer));
        self.ring.start(COMMIT_AND_FETCH, command(self.queue, place.commit_id))
    }
}

fn command(queue: u16, commit_id: u64) -> [u8; COMMAND] {
    let request = fuse_uring_cmd_req { flags: 0, commit_id, qid: queue, padding: [0; 6] };
    let mut bytes = [0; COMMAND];
    bytes[..size_of_val(&request)].copy_from_slice(request.as_bytes());
    bytes
}

/// Puts header and arguments before the payload; `None`: the lengths make no sense.
fn arrange(buffer: &mut [u8], room: usize) -> Option<Place> {
    let (header, _) = fuse_in_header::read_from_prefix(buffer).ok()?;
    let (lengths, _) = fuse_uring_ent_in_out::read_from_prefix(&buffer[LENGTHS_AT..]).ok()?;
    let payload = lengths.payload_sz as usize;
    let before = (header.len as usize).checked_sub(payload).filter(|before| *before >= HEADER)?;
    let arguments = before - HEADER;
    if payload > room || arguments > FUSE_URING_OP_IN_OUT_SZ {
        return None;
    }
    buffer.copy_within(ARGUMENTS_AT..ARGUMENTS_AT + arguments, PAGE - arguments);
    buffer.copy_within(..HEADER, PAGE - before);
    Some(Place { before, payload, commit_id: lengths.commit_id })
}

/// Puts the answer where the kernel looks for it. No answer is an error: the caller waits, and the
/// kernel has no other use for the entry.
fn put(buffer: &mut [u8], room: usize, place: Place, answer: &mut Answer) {
    let head = answer.head.len();
    if !answer.given || head + answer.tail > room {
        *answer = Answer { unique: place.commit_id, error: Some(Errno::EIO), ..Answer::default() };
    }
    let (head, payload) = (&answer.head, answer.head.len() + answer.tail);
    let from = PAGE + if place.payload > 0 { room } else { 0 };
    if answer.tail > 0 && from != PAGE + head.len() {
        buffer.copy_within(from..from + answer.tail, PAGE + head.len());
    }
    buffer[PAGE..PAGE + head.len()].copy_from_slice(head);
    let header = encode::out_header(Unique(answer.unique), answer.error, payload);
    buffer[..header.as_bytes().len()].copy_from_slice(header.as_bytes());
    let lengths = fuse_uring_ent_in_out {
        flags: 0,
        commit_id: place.commit_id,
        payload_sz: payload as u32,
        padding: 0,
        reserved: 0,
    };
    buffer[LENGTHS_AT..LENGTHS_AT + size_of_val(&lengths)].copy_from_slice(lengths.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::decode::{Operation, Protocol, decode};

    const ROOM: usize = 2 * PAGE;

    /// A request that carries `body`.
    fn request(opcode: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes[..4].copy_from_slice(&((HEADER + body.len()) as u32).to_ne_bytes());
        bytes[4..8].copy_from_slice(&opcode.to_ne_bytes());
        bytes[8] = 5;
        bytes.extend_from_slice(body);
        bytes
    }

    fn lookup() -> Vec<u8> {
        request(1, b"name\0")
    }

    fn getattr() -> Vec<u8> {
        request(3, &[1; 16])
    }

    /// As the kernel leaves an entry: the first `arguments` bytes of the body apart.
    fn entry(request: &[u8], arguments: usize) -> Vec<u8> {
        let (header, body) = request.split_at(HEADER);
        let (first, payload) = body.split_at(arguments);
        let mut buffer = vec![0; PAGE + 2 * ROOM];
        buffer[..HEADER].copy_from_slice(header);
        buffer[ARGUMENTS_AT..ARGUMENTS_AT + arguments].copy_from_slice(first);
        buffer[PAGE..PAGE + payload.len()].copy_from_slice(payload);
        let lengths = fuse_uring_ent_in_out {
            flags: 0,
            commit_id: 77,
            payload_sz: payload.len() as u32,
            padding: 0,
            reserved: 0,
        };
        buffer[LENGTHS_AT..LENGTHS_AT + 32].copy_from_slice(lengths.as_bytes());
        buffer
    }

    fn of(error: Option<Errno>, head: &[u8], tail: usize) -> Answer {
        Answer { given: true, unique: 5, error, head: head.to_vec(), tail, room: (0, 0) }
    }

    fn header_and_length(buffer: &[u8]) -> ([u8; 16], u32) {
        let at = LENGTHS_AT + std::mem::offset_of!(fuse_uring_ent_in_out, payload_sz);
        let length = u32::from_ne_bytes(buffer[at..at + 4].try_into().unwrap());
        (buffer[..16].try_into().unwrap(), length)
    }

    #[test]
    fn a_request_comes_in_one_piece() {
        let mkdir = request(9, b"\x01\x02\x03\x04\x05\x06\x07\x08name\0");
        for (request, arguments) in [(lookup(), 0), (mkdir, 8), (getattr(), 16)] {
            let mut buffer = entry(&request, arguments);
            let place = arrange(&mut buffer, ROOM).unwrap();
            assert_eq!(place.commit_id, 77);
            assert_eq!(buffer[PAGE - place.before..PAGE + place.payload], request);
        }
    }

    #[test]
    fn lengths_that_make_no_sense_are_refused() {
        let request = lookup();
        let payload_at = LENGTHS_AT + std::mem::offset_of!(fuse_uring_ent_in_out, payload_sz);
        for (at, value) in [(payload_at, 1000), (payload_at, u32::MAX), (0, 39), (0, 4096)] {
            let mut buffer = entry(&request, 0);
            buffer[at..at + 4].copy_from_slice(&value.to_ne_bytes());
            assert_eq!(arrange(&mut buffer, ROOM), None, "{value} at {at}");
        }
    }

    #[test]
    fn an_answer_is_put_where_the_payload_was() {
        let mut buffer = entry(&lookup(), 0);
        let place = arrange(&mut buffer, ROOM).unwrap();
        assert!(place.payload > 0);
        buffer[PAGE + ROOM..PAGE + ROOM + 3].copy_from_slice(b"end");
        put(&mut buffer, ROOM, place, &mut of(None, b"begin ", 3));
        let (header, length) = header_and_length(&buffer);
        assert_eq!(header, encode::out_header(Unique(5), None, 9).as_bytes());
        assert_eq!((&buffer[PAGE..PAGE + 9], length), (&b"begin end"[..], 9));
    }

    #[test]
    fn data_that_are_in_place_stay_there() {
        let mut buffer = entry(&getattr(), 16);
        let place = arrange(&mut buffer, ROOM).unwrap();
        assert_eq!(place.payload, 0);
        buffer[PAGE..PAGE + 4].copy_from_slice(b"data");
        put(&mut buffer, ROOM, place, &mut of(None, b"", 4));
        assert_eq!(&buffer[PAGE..PAGE + 4], b"data");
        put(&mut buffer, ROOM, place, &mut of(None, b"<", 4));
        assert_eq!((&buffer[PAGE..PAGE + 5], header_and_length(&buffer).1), (&b"<data"[..], 5));
    }

    #[test]
    fn a_caller_without_an_answer_gets_an_error() {
        for mut none in [Answer::default(), of(None, b"x", ROOM)] {
            let mut buffer = entry(&getattr(), 16);
            let place = arrange(&mut buffer, ROOM).unwrap();
            put(&mut buffer, ROOM, place, &mut none);
            let expected = encode::out_header(Unique(77), Some(Errno::EIO), 0);
            let (header, length) = header_and_length(&buffer);
            assert_eq!((&header[..], length), (expected.as_bytes(), 0));
        }
    }

    #[test]
    fn an_answer_knows_what_is_in_place() {
        let data = [7; 100];
        let room = (data.as_ptr() as usize, data.len());
        ANSWER.with_borrow_mut(|answer| answer.room = room);
        answer(Unique(1), None, &[IoSlice::new(b"head"), IoSlice::new(&data[..9])]);
        ANSWER.with_borrow(|answer| assert_eq!((&answer.head[..], answer.tail), (&b"head"[..], 9)));
        answer(Unique(1), None, &[IoSlice::new(&data[..2]), IoSlice::new(&data[1..3])]);
        ANSWER.with_borrow(|answer| assert_eq!((&answer.head[..], answer.tail), (&[7; 4][..], 0)));
    }

    #[test]
    fn cpus_are_counted() {
        let counts = ["0", "0-1", "0-3,8", "0-3,8-11", "", "x", "3-1"].map(count_list);
        assert_eq!(counts, [Some(1), Some(2), Some(5), Some(8), None, None, None]);
        assert!(queues() > 0);
    }

    #[test]
    fn what_is_arranged_can_be_decoded() {
        let mut buffer = entry(&lookup(), 0);
        let place = arrange(&mut buffer, ROOM).unwrap();
        let bytes = &buffer[PAGE - place.before..PAGE + place.payload];
        let request = decode(bytes, &Protocol::default()).unwrap();
        assert!(matches!(request.operation, Operation::Lookup(_)));
    }
}

//! Moving bytes between one descriptor and another, or memory: what it takes to lose none.

use std::os::fd::AsFd;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::Errno;
use crate::buffer::{Packets, Pipe, Sink, Stopped};
use crate::sys::memory::PAGE;
use crate::sys::{Fd, pipe};

/// How a step ended.
pub(super) enum End {
    /// All that was wanted has been moved.
    Whole,
    /// Less, and no more is to be tried.
    Short,
    /// These two cannot be spliced; what is left can be copied.
    NoSplice,
    /// An error, behind what has been moved.
    Failed(Errno),
}

/// What has become of some bytes.
pub(super) struct Step {
    /// Bytes that have arrived.
    pub(super) moved: usize,
    /// Those behind them, which have left the stream that they were in.
    pub(super) undelivered: Vec<u8>,
    pub(super) end: End,
}

impl Step {
    fn new(moved: usize, end: End) -> Step {
        Step { moved, undelivered: Vec::new(), end }
    }

    pub(super) fn whole(moved: usize) -> Step {
        Step::new(moved, End::Whole)
    }

    pub(super) fn failed(errno: Errno) -> Step {
        Step::new(0, End::Failed(errno))
    }
}

impl Step {
    /// Whether it is splice(2) itself that is not to be had.
    fn is_refused(&self) -> bool {
        matches!(self.end, End::Failed(Errno::EINVAL | Errno::ENOSYS))
    }

    /// How it ended, as a transfer by splice(2).
    fn spliced(self) -> End {
        if self.is_refused() { End::NoSplice } else { self.end }
    }
}

/// A descriptor, and where in it.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) fd: Fd,
    /// None: where it stands.
    pub(super) at: Option<u64>,
    /// A short transfer is gone on with.
    pub(super) retry: bool,
}

impl From<Fd> for Place {
    /// Where it stands.
    fn from(fd: Fd) -> Place {
        Place { fd, at: None, retry: false }
    }
}

impl Place {
    fn behind(self, count: usize) -> Place {
        Place { at: self.at.map(|at| at.saturating_add(count as u64)), ..self }
    }

    /// Fills `to`.
    pub(super) fn read(self, to: &mut [u8]) -> Step {
        until(to.len(), self.retry, |done| match self.behind(done).at {
            Some(at) => nix::sys::uio::pread(self.fd, &mut to[done..], offset(at)?),
            None => nix::unistd::read(self.fd, &mut to[done..]),
        })
    }

    /// Writes all of `from`.
    pub(super) fn write(self, from: &[u8]) -> Step {
        until(from.len(), self.retry, |done| match self.behind(done).at {
            Some(at) => nix::sys::uio::pwrite(self.fd, &from[done..], offset(at)?),
            None => nix::unistd::write(self.fd, &from[done..]),
        })
    }

    /// What to do with bytes that came from here and are not delivered: a file has them still.
    fn keep(self, bytes: Vec<u8>) -> Vec<u8> {
        if self.at.is_some() { Vec::new() } else { bytes }
    }
}

fn offset(at: u64) -> Result<libc::off_t, Errno> {
    libc::off_t::try_from(at).map_err(|_| Errno::EINVAL)
}

/// Calls with the bytes done so far until there are `length`, the end, or an error; once, without
/// `retry`.
fn until(length: usize, retry: bool, mut call: impl FnMut(usize) -> Result<usize, Errno>) -> Step {
    let mut done = 0;
    while done < length {
        match call(done) {
            Ok(n) => {
                done += n;
                if n == 0 || (done < length && !retry) {
                    return Step::new(done, End::Short);
                }
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Step::new(done, End::Failed(errno)),
        }
    }
    Step::whole(done)
}

/// From one descriptor to another, through memory.
pub(super) fn by_memory(from: Place, to: Place, length: usize, room: &mut [u8]) -> Step {
    let mut done = 0;
    while done < length {
        let wanted = room.len().min(length - done);
        let read = from.behind(done).read(&mut room[..wanted]);
        let written = to.behind(done).write(&room[..read.moved]);
        done += written.moved;
        if written.moved < read.moved {
            let undelivered = from.keep(room[written.moved..read.moved].to_vec());
            return Step { moved: done, undelivered, end: written.end };
        }
        if !matches!(read.end, End::Whole) {
            return Step::new(done, read.end);
        }
    }
    Step::whole(done)
}

/// From one descriptor to another by splice(2): at once if one of them is a pipe.
pub(super) fn by_splice(from: Place, to: Place, length: usize, pipe: Pipe) -> Step {
    let mut done = 0;
    // A pipe has no positions.
    if from.at.is_none() || to.at.is_none() {
        let step = until(length, from.retry && to.retry, |done| {
            splice(from.behind(done), to.behind(done), length - done)
        });
        if !step.is_refused() {
            return step;
        }
        done = step.moved;
    }
    while done < length {
        let wanted = chunk(pipe).min(length - done);
        let filled = until(wanted, false, |_| splice(from.behind(done), pipe.write.into(), wanted));
        if filled.moved == 0 {
            return Step::new(done, filled.spliced());
        }
        let emptied = empty(pipe, to.behind(done), filled.moved);
        done += emptied.moved;
        if emptied.moved < filled.moved {
            let undelivered = from.keep(emptied.undelivered);
            return Step { moved: done, undelivered, end: emptied.end };
        }
        if filled.moved < wanted && !from.retry {
            return Step::new(done, End::Short);
        }
    }
    Step::whole(done)
}

/// Bytes that surely have room in the pipe, when they are those of a file: one more page than
/// they fill, for they may begin in the middle of one.
fn chunk(pipe: Pipe) -> usize {
    pipe.size.saturating_sub(PAGE).max(PAGE)
}

/// The `count` bytes in the pipe to where they belong. It is empty then in any case.
fn empty(pipe: Pipe, to: Place, count: usize) -> Step {
    let step =
        until(count, to.retry, |done| splice(pipe.read.into(), to.behind(done), count - done));
    if step.moved == count {
        return step;
    }
    Step { moved: step.moved, undelivered: drain(pipe), end: step.spliced() }
}

/// What is in the pipe.
fn drain(pipe: Pipe) -> Vec<u8> {
    let mut bytes = vec![0; pipe.content().unwrap_or(0)];
    let place = Place { retry: true, ..pipe.read.into() };
    let read = place.read(&mut bytes);
    bytes.truncate(read.moved);
    bytes
}

/// Payload to a descriptor; what has been verified only.
pub(super) fn payload(
    packets: &mut Option<Box<dyn Packets + '_>>,
    to: Place,
    length: usize,
    pipe: Option<Pipe>,
    room: &mut [u8],
) -> Step {
    let mut done = 0;
    while done < length {
        let pipe = pipe.filter(|_| packets.as_ref().is_some_and(|packets| !packets.wants_memory()));
        let most = pipe.map_or(usize::MAX, chunk).min(room.len());
        let wanted = most.min(length - done);
        let taken = match pipe {
            Some(pipe) => take_by_pipe(packets, pipe, &mut room[..wanted]),
            None => take(packets, wanted, Sink::Memory(room)).map(Taken::Memory),
        };
        let (taken, step) = match taken {
            Err(errno) => return Step::new(done, End::Failed(errno)),
            Ok(Taken::Pipe(pipe, count)) => (count, empty(pipe, to.behind(done), count)),
            Ok(Taken::Memory(count)) => {
                let step = to.behind(done).write(&room[..count]);
                let undelivered = room[step.moved..count].to_vec();
                (count, Step { undelivered, ..step })
            }
        };
        done += step.moved;
        if step.moved < taken {
            return Step { moved: done, ..step };
        }
        if taken < wanted {
            return Step::new(done, End::Short);
        }
    }
    Step::whole(done)
}

/// Where payload has come to.
enum Taken {
    Pipe(Pipe, usize),
    Memory(usize),
}

/// As much payload as `room` is long, by the pipe if that is large enough.
fn take_by_pipe(
    packets: &mut Option<Box<dyn Packets + '_>>,
    pipe: Pipe,
    room: &mut [u8],
) -> Result<Taken, Errno> {
    let taken = packets.as_mut().ok_or(Errno::EIO)?.take(room.len(), Sink::Pipe(pipe));
    let moved = match taken {
        Ok(count) => return Ok(Taken::Pipe(pipe, count)),
        Err(Stopped::Full { moved }) => moved,
        Err(Stopped::Failed(errno)) => {
            drain(pipe);
            *packets = None;
            return Err(errno);
        }
    };
    let begun = drain(pipe);
    room.get_mut(..moved).filter(|room| room.len() == begun.len()).ok_or(Errno::EIO)?;
    room[..moved].copy_from_slice(&begun);
    let rest = &mut room[moved..];
    let count = take(packets, rest.len(), Sink::Memory(rest))?;
    Ok(Taken::Memory(moved + count))
}

/// Payload to memory.
pub(super) fn payload_to_memory(
    packets: &mut Option<Box<dyn Packets + '_>>,
    to: &mut [u8],
) -> Step {
    let length = to.len();
    match take(packets, length, Sink::Memory(to)) {
        Ok(count) if count < length => Step::new(count, End::Short),
        Ok(count) => Step::whole(count),
        Err(errno) => Step::failed(errno),
    }
}

/// From packets that have failed nothing is taken any more.
fn take(
    packets: &mut Option<Box<dyn Packets + '_>>,
    want: usize,
    memory: Sink<'_>,
) -> Result<usize, Errno> {
    let taken = packets.as_mut().ok_or(Errno::EIO)?.take(want, memory);
    taken.map_err(|stopped| {
        *packets = None;
        match stopped {
            Stopped::Failed(errno) => errno,
            // Memory is never full.
            Stopped::Full { .. } => Errno::EIO,
        }
    })
}

/// splice(2), which waits for the descriptors that may block.
fn splice(from: Place, to: Place, length: usize) -> Result<usize, Errno> {
    loop {
        match pipe::splice(from.fd, from.at, to.fd, to.at, length) {
            Err(Errno::EAGAIN) if wait(from.fd, to.fd) => {}
            result => return result,
        }
    }
}

/// Waits for the end that is not ready, if it is one that may block.
fn wait(from: Fd, to: Fd) -> bool {
    for (fd, ready) in [(from, PollFlags::POLLIN), (to, PollFlags::POLLOUT)] {
        let mut polled = [PollFd::new(fd.as_fd(), ready)];
        if poll(&mut polled, PollTimeout::ZERO) == Ok(0) {
            let flags =
                fcntl(fd, FcntlArg::F_GETFL).map_or(OFlag::O_NONBLOCK, OFlag::from_bits_retain);
            return !flags.contains(OFlag::O_NONBLOCK)
                && poll(&mut polled, PollTimeout::NONE).is_ok();
        }
    }
    false
}

//! One measurement within this process: the server is a thread, so is the client that reads the
//! pipe, and so are the peers. Clocks are those of the threads; a peer's time is what the process
//! took beside the other two.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::pipe2;

use super::frames::Frames;
use super::moving::{Input, Mover, write_all};
use super::pattern::Pattern;
use super::peer::Peers;
use super::pin::pin;
use super::report::{Fallbacks, Sample, Slots};
use super::{BenchError, Cell, Mode, Result, Sink, Source};
use crate::buffer::Section;
use crate::sys::memory::PAGE;
use crate::sys::{Fd, pipe};

/// No peer is waited for longer.
const PATIENCE: Duration = Duration::from_secs(20);
/// So many blocks are put into a pipe to see how many of its buffers they take.
const PROBES: usize = 32;

/// What all measurements have in common.
pub(super) struct Place<'a> {
    /// What the source holds.
    pub(super) pattern: &'a Pattern,
    /// The file with it.
    pub(super) bytes: &'a Path,
    /// Where the file is made that is written.
    pub(super) out: &'a Path,
    /// CPUs of client and server.
    pub(super) cpus: Option<(usize, usize)>,
}

/// Memory that a receiver keeps what arrives in, from a page on.
pub(super) struct Window(Vec<u8>);

impl Window {
    pub(super) fn new(length: usize) -> Window {
        Window(vec![0; length + PAGE])
    }

    /// `length` bytes, all of them zero and their pages there.
    pub(super) fn clean(&mut self, length: usize) -> &mut [u8] {
        let start = self.0.as_ptr().align_offset(PAGE);
        let room = &mut self.0[start..start + length];
        room.fill(0);
        room
    }
}

/// The time that the calling thread, or all threads of this process, have had of the CPUs.
pub(super) fn cpu(clock: ClockId) -> Result<Duration> {
    clock_gettime(clock).map(Duration::from).map_err(BenchError::system("a CPU clock"))
}

const THREAD: ClockId = ClockId::CLOCK_THREAD_CPUTIME_ID;
const PROCESS: ClockId = ClockId::CLOCK_PROCESS_CPUTIME_ID;

/// What a thread reports: when it began and ended, its time of the CPUs, and its splices.
struct Run {
    begun: Instant,
    ended: Instant,
    own: Duration,
    process: Duration,
    splices: u64,
}

impl Run {
    fn of(work: impl FnOnce() -> Result<()>) -> Result<Run> {
        let splices = pipe::splices();
        let (own, process, begun) = (cpu(THREAD)?, cpu(PROCESS)?, Instant::now());
        work()?;
        let ended = Instant::now();
        let (own, process) = (cpu(THREAD)? - own, cpu(PROCESS)? - process);
        Ok(Run { begun, ended, own, process, splices: pipe::splices() - splices })
    }
}

/// The source as the server has it, with what has to be kept open and to be asked first.
struct Intake {
    input: Input,
    kept: OwnedFd,
    message: Vec<u8>,
}

impl Intake {
    fn open(place: &Place<'_>, peers: &mut Peers, cell: Cell, total: usize) -> Result<Intake> {
        if cell.source == Source::File {
            let name = place.bytes.display().to_string();
            let kept: OwnedFd = File::open(place.bytes).map_err(BenchError::io(name))?.into();
            let input = Input::File(Fd::from_number(kept.as_raw_fd()));
            return Ok(Intake { input, kept, message: Vec::new() });
        }
        let (kept, message, frames): (OwnedFd, _, Frames) =
            peers.connect(cell.source, cell.size, total)?;
        let socket = Fd::from_number(kept.as_raw_fd());
        let input = match cell.mode {
            Mode::Copy => Input::Pieces(socket, frames),
            _ => {
                let section = Section::new(socket, frames, PATIENCE);
                Input::Packets(Box::new(section.map_err(BenchError::system("a socket"))?))
            }
        };
        Ok(Intake { input, kept, message })
    }

    fn ask(&self) -> Result<()> {
        write_all(Fd::from_number(self.kept.as_raw_fd()), &self.message)
    }
}

/// The sink's end for the server, and the one for the client.
fn outlet(place: &Place<'_>, cell: Cell) -> Result<(OwnedFd, Option<File>)> {
    match cell.sink {
        Sink::Pipe => {
            let (read, write) =
                pipe2(OFlag::O_CLOEXEC).map_err(BenchError::system("a pipe for the client"))?;
            // As much as is granted: the block and what may be before it.
            let mut wanted = (cell.size + 2 * PAGE).next_power_of_two();
            let number = Fd::from_number(write.as_raw_fd());
            while pipe::set_size(number, wanted).is_err() && wanted > 16 * PAGE {
                wanted /= 2;
            }
            Ok((write, Some(read.into())))
        }
        Sink::File => {
            let failed = || BenchError::io(place.out.display().to_string());
            Ok((File::create(place.out).map_err(failed())?.into(), None))
        }
        _ => {
            let null = File::options().write(true).open("/dev/null");
            Ok((null.map_err(BenchError::io("/dev/null"))?.into(), None))
        }
    }
}

/// Moves `blocks` blocks, and compares what has arrived; into /dev/null nothing does.
pub(super) fn measure(
    place: &Place<'_>,
    peers: &mut Peers,
    window: &mut Window,
    cell: Cell,
    blocks: usize,
) -> Result<Sample> {
    let total = blocks * cell.size;
    let mut intake = Intake::open(place, peers, cell, total)?;
    let (sink, client) = outlet(place, cell)?;
    let mut mover = Mover::new(cell.mode, cell.size)?;
    let arrived = window.clean(total);
    let begin = Barrier::new(1 + usize::from(client.is_some()));
    let (server, client) = thread::scope(|scope| {
        let (mover, intake, begin, cpus) = (&mut mover, &mut intake, &begin, place.cpus);
        let server = scope.spawn(move || {
            let pinned = cpus.map_or(Ok(()), |(_, cpu)| pin(cpu));
            begin.wait();
            pinned?;
            let to = Fd::from_number(sink.as_raw_fd());
            Run::of(|| {
                intake.ask()?;
                (0..blocks).try_for_each(|block| {
                    mover.block(&mut intake.input, (block * cell.size) as u64, to)
                })
            })
            // The client finds the end when the sink goes with this thread.
        });
        let client = client.map(|input| {
            let room = &mut *arrived;
            scope.spawn(move || {
                let pinned = cpus.map_or(Ok(()), |(cpu, _)| pin(cpu));
                begin.wait();
                pinned?;
                Run::of(|| receive(input, room, cell.size))
            })
        });
        let died = |_| Err(BenchError::Failed("a thread died".into()));
        (server.join().unwrap_or_else(died), client.map(|it| it.join().unwrap_or_else(died)))
    });
    let (server, client) = (server?, client.transpose()?);
    match cell.sink {
        Sink::Pipe => place.pattern.check(0, arrived, &cell.to_string())?,
        Sink::File => {
            let failed = || BenchError::io(place.out.display().to_string());
            let file = File::open(place.out).map_err(failed())?;
            file.read_exact_at(arrived, 0).map_err(failed())?;
            place.pattern.check(0, arrived, &cell.to_string())?;
        }
        _ => {}
    }
    let ended = client.as_ref().map_or(server.ended, |client| client.ended.max(server.ended));
    let client = client.map(|client| client.own);
    let others = server.process.saturating_sub(server.own + client.unwrap_or_default());
    Ok(Sample {
        bytes: total as u64,
        requests: blocks as u64,
        wall: ended - server.begun,
        server: Some(server.own),
        client,
        peer: (cell.source != Source::File).then_some(others),
        splices: mover.pipe_bytes().map(|_| server.splices),
        fallbacks: mover
            .pipe_bytes()
            .map(|_| Fallbacks { full: mover.full, ..Fallbacks::default() }),
        pipe_bytes: mover.pipe_bytes(),
    })
}

/// Reads a pipe until `room` is full; what is missing at its end stays zero.
fn receive(mut input: File, room: &mut [u8], size: usize) -> Result<()> {
    let mut done = 0;
    while done < room.len() {
        let end = room.len().min(done + size);
        match input.read(&mut room[done..end]).map_err(BenchError::io("the client's pipe"))? {
            0 => break,
            n => done += n,
        }
    }
    Ok(())
}

/// How many buffers of a pipe some blocks of a cell take; none where that cannot be seen. Not
/// while anything is measured: each pipe is filled up to count what is left of it.
pub(super) fn slots(
    place: &Place<'_>,
    peers: &mut Peers,
    cell: Cell,
    blocks: usize,
) -> Result<Option<Slots>> {
    let blocks = blocks.min(PROBES);
    let mut intake = Intake::open(place, peers, cell, blocks * cell.size)?;
    let mut mover = Mover::new(cell.mode, cell.size)?;
    intake.ask()?;
    let mut taken = Vec::new();
    for block in 0..blocks {
        let at = block * cell.size;
        if let Some((slots, arrived)) = mover.probe(&mut intake.input, at as u64)? {
            place.pattern.check(at, arrived, &cell.to_string())?;
            taken.push(slots);
        }
    }
    Ok(Slots::of(&taken))
}

#[cfg(test)]
mod tests {
    use super::super::name;
    use super::*;

    const BLOCKS: usize = 6;
    const WAYS: [Mode; 4] = [Mode::Copy, Mode::Iovec, Mode::Splice, Mode::Fallback];

    /// Measures each way of a source to a sink, with this byte of the source wrong.
    fn each(
        source: Source,
        sink: Sink,
        size: usize,
        corrupt: Option<usize>,
        seen: impl Fn(Mode, Result<Sample>, Result<Option<Slots>>),
    ) {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let pattern = Pattern::new(BLOCKS * size, corrupt);
        let (bytes, out) = (dir.path().join("bytes"), dir.path().join("out"));
        std::fs::write(&bytes, pattern.source()).unwrap();
        let place = Place { pattern: &pattern, bytes: &bytes, out: &out, cpus: None };
        let mut peers = Peers::new(dir.path(), &bytes);
        let mut window = Window::new(BLOCKS * size);
        for mode in WAYS {
            let cell = Cell { source, sink, size, mode };
            let sample = measure(&place, &mut peers, &mut window, cell, BLOCKS);
            seen(mode, sample, slots(&place, &mut peers, cell, BLOCKS));
        }
    }

    #[test]
    fn right_bytes_arrive_on_every_way() {
        for source in [Source::File, Source::Unix, Source::Tcp] {
            for (sink, size) in [(Sink::Pipe, 4096), (Sink::File, 1 << 17), (Sink::Pipe, 1 << 20)] {
                each(source, sink, size, None, |mode, sample, slots| {
                    let way = format!("{source:?} {sink:?} {size} {mode:?}");
                    let sample = sample.unwrap_or_else(|error| panic!("{way}: {error}"));
                    assert_eq!(sample.bytes, (BLOCKS * size) as u64, "{way}");
                    assert_eq!(sample.client.is_some(), sink == Sink::Pipe, "{way}");
                    let slots = slots.unwrap_or_else(|error| panic!("{way}: {error}"));
                    match mode {
                        Mode::Fallback => {
                            assert_eq!(sample.fallbacks.unwrap().full, BLOCKS as u64, "{way}");
                        }
                        Mode::Splice => {
                            let slots = slots.unwrap_or_else(|| panic!("{way}: no slots"));
                            let pages = size / PAGE;
                            assert!(slots.min >= 1 && slots.max <= pages + 2, "{way}: {slots:?}");
                        }
                        _ => assert_eq!((sample.fallbacks, slots), (None, None), "{way}"),
                    }
                });
            }
        }
    }

    #[test]
    fn a_wrong_byte_is_seen_on_every_way() {
        let at = 5 * 65_536 + 4097;
        for source in [Source::File, Source::Unix, Source::Tcp] {
            for sink in [Sink::Pipe, Sink::File] {
                each(source, sink, 65_536, Some(at), |mode, sample, slots| {
                    let error = sample.map(|_| ()).unwrap_err().to_string();
                    let way = format!("a wrong byte: {} to {}", name(source), name(sink));
                    assert!(error.starts_with(&way), "{mode:?}: {error}");
                    assert!(error.contains(&format!("at {at}: sent")), "{mode:?}: {error}");
                    if mode == Mode::Splice {
                        assert!(slots.is_err(), "a probe looks too");
                    }
                });
            }
        }
    }

    #[test]
    fn dev_null_takes_what_nobody_sees() {
        each(Source::File, Sink::Null, 4096, Some(0), |_, sample, _| {
            assert_eq!(sample.unwrap().client, None);
        });
    }
}

//! Callers of a mount under test. One is hit by the fault, and its thread is known before it
//! calls; the other is its neighbour, who is to notice nothing but a pause.
//!
//! Both are threads of their own: what hangs for good does not take the test with it.

use std::fs::{File, OpenOptions};
use std::io::{self, Result};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::Signal;
use nix::unistd::gettid;

use crate::crash::CrashError;
use crate::crash::target::{SOON, Target, wait_until};
use crate::recovery::board::Cell;
use crate::recovery::points::Armed;
use crate::wire::Opcode;

const BLOCK: usize = 4096;
/// The block that a file has at first, and what [`Deed::Write`] makes of it.
const FIRST: u64 = 1;
pub(super) const WRITTEN: u64 = 2;

/// Who the fault hits, and with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// Makes a directory.
    Mkdir,
    /// Reads a file, past the kernel's cache.
    Read,
    /// Writes one.
    Write,
}

impl Deed {
    /// The request that it is.
    pub(super) fn opcode(self) -> Opcode {
        match self {
            Deed::Mkdir => Opcode::FUSE_MKDIR,
            Deed::Read => Opcode::FUSE_READ,
            Deed::Write => Opcode::FUSE_WRITE,
        }
    }

    /// As the protocol calls it.
    pub(super) fn name(self) -> &'static str {
        self.opcode().info().name
    }

    /// Makes ready; the call itself comes later.
    fn prepare(self, path: &Path) -> Result<Box<dyn FnOnce() -> Result<()> + Send>> {
        let path = path.to_path_buf();
        if self == Deed::Mkdir {
            return Ok(Box::new(move || std::fs::create_dir(path)));
        }
        std::fs::write(&path, block(FIRST))?;
        let file = direct(&path)?;
        Ok(match self {
            Deed::Write => Box::new(move || file.write_all_at(&block(WRITTEN), 0)),
            _ => Box::new(move || {
                let mut bytes = vec![0; BLOCK];
                file.read_exact_at(&mut bytes, 0)?;
                if bytes == block(FIRST) { Ok(()) } else { Err(io::Error::other("other bytes")) }
            }),
        })
    }

    /// What there has to be behind it; `below`: where it is looked for.
    fn is_done(self, below: &Path) -> bool {
        match self {
            Deed::Mkdir => std::fs::read_dir(below).is_ok_and(|mut names| names.next().is_none()),
            Deed::Read => std::fs::read(below).is_ok_and(|bytes| bytes == block(FIRST)),
            Deed::Write => std::fs::read(below).is_ok_and(|bytes| bytes == block(WRITTEN)),
        }
    }
}

/// What a call came to.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Its result; `None`: none in time.
    pub(super) result: Option<Result<()>>,
    /// How long it took.
    pub(super) took: Duration,
    /// The thread that called.
    pub(super) caller: i32,
    /// What it was done to.
    path: PathBuf,
    deed: Deed,
}

impl Outcome {
    /// Whether it came to what it comes to without a fault: answered right, and done.
    pub(super) fn is_right(&self, target: &Target) -> bool {
        matches!(self.result, Some(Ok(()))) && self.is_done(target)
    }

    /// Whether it is done, as seen through the mount and below it.
    pub(super) fn is_done(&self, target: &Target) -> bool {
        let below =
            target.lower().map(|lower| lower.join(self.path.file_name().unwrap_or_default()));
        self.deed.is_done(&self.path) && below.is_none_or(|below| self.deed.is_done(&below))
    }

    /// For people.
    pub(super) fn seen(&self) -> String {
        let took = super::millis(self.took);
        match &self.result {
            Some(Ok(())) => format!("answered after {took}"),
            Some(Err(error)) => format!("{error} after {took}"),
            None => format!("no answer in {took}"),
        }
    }
}

/// A caller that is ready to do what it does to a new file.
pub(super) struct Caller {
    deed: Deed,
    path: PathBuf,
    thread: i32,
    go: Sender<()>,
    result: Receiver<Result<()>>,
}

impl Caller {
    pub(super) fn new(
        target: &Target,
        deed: Deed,
        name: &str,
    ) -> std::result::Result<Caller, CrashError> {
        let path = target.point().join(name);
        let call = deed.prepare(&path).map_err(CrashError::io(path.display().to_string()))?;
        let ((say, said), (go, wait), (tell, result)) = (channel(), channel(), channel());
        std::thread::spawn(move || {
            // Where nobody listens any more, the test has gone without this call.
            let _ = say.send(gettid().as_raw());
            if wait.recv() == Ok(()) {
                let _ = tell.send(call());
            }
        });
        let thread =
            said.recv().map_err(|_| CrashError::Failed("a thread did not start".into()))?;
        Ok(Caller { deed, path, thread, go, result })
    }

    /// Calls, with `armed` for this call alone, and does `meanwhile`. Has the answer not come
    /// when that is over and `limit` is past, it is set free.
    pub(super) fn call(
        self,
        target: &Target,
        armed: Armed,
        limit: Duration,
        meanwhile: impl FnOnce(),
    ) -> Outcome {
        let armed = armed.of(self.deed.opcode() as u32);
        target.points().arm(armed, None, Some(self.thread));
        let start = Instant::now();
        // It waits for this and for nothing else.
        let _ = self.go.send(());
        meanwhile();
        let result = self.result.recv_timeout(limit.saturating_sub(start.elapsed())).ok();
        let took = start.elapsed();
        target.points().disarm();
        if result.is_none() {
            self.set_free(target);
        }
        Outcome { result, took, caller: self.thread, path: self.path, deed: self.deed }
    }

    /// Ends a call that does not end: a worker without the fault answers it; at the worst all
    /// calls fail.
    fn set_free(&self, target: &Target) {
        if let Some(worker) = target.process(Cell::WorkerPid) {
            worker.signal(Signal::SIGKILL);
        }
        if self.result.recv_timeout(SOON).is_err() {
            // Aborts the connection, whether the mount is in use or not.
            let _ = umount2(&target.point(), MntFlags::MNT_FORCE);
            let _ = self.result.recv_timeout(SOON);
        }
    }
}

/// Somebody who reads and writes another file all the time.
pub(super) struct Neighbour {
    over: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
    wrong: Arc<Mutex<Option<String>>>,
    thread: JoinHandle<()>,
}

impl Neighbour {
    pub(super) fn start(target: &Target) -> std::result::Result<Neighbour, CrashError> {
        let path = target.point().join("neighbour");
        let file = std::fs::write(&path, "").and_then(|()| direct(&path));
        let file = file.map_err(CrashError::io(path.display().to_string()))?;
        let (over, calls, wrong) = (Arc::default(), Arc::default(), Arc::default());
        let thread = std::thread::spawn({
            let over: Arc<AtomicBool> = Arc::clone(&over);
            let calls: Arc<AtomicU64> = Arc::clone(&calls);
            let wrong: Arc<Mutex<Option<String>>> = Arc::clone(&wrong);
            move || {
                while !over.load(Ordering::Relaxed) {
                    let round = calls.load(Ordering::Relaxed);
                    if let Err(error) = write_and_read(&file, round) {
                        *wrong.lock().unwrap() = Some(format!("after {round} rounds: {error}"));
                        break;
                    }
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Ok(Neighbour { over, calls, wrong, thread })
    }

    /// Whether it gets some more calls answered in time.
    pub(super) fn goes_on(&self, limit: Duration) -> bool {
        let before = self.calls.load(Ordering::Relaxed);
        wait_until(limit, || self.calls.load(Ordering::Relaxed) > before + 4)
    }

    /// Its end: how many rounds it made, or what was wrong.
    pub(super) fn end(self) -> std::result::Result<u64, String> {
        let goes_on = self.goes_on(SOON);
        self.over.store(true, Ordering::Relaxed);
        let ended = wait_until(SOON, || self.thread.is_finished());
        match self.wrong.lock().unwrap().take() {
            Some(wrong) => Err(wrong),
            None if goes_on && ended => Ok(self.calls.load(Ordering::Relaxed)),
            None => Err("a call without an answer".into()),
        }
    }
}

/// Opened so that each read and write is a request.
fn direct(path: &Path) -> Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT).open(path)
}

pub(super) fn block(number: u64) -> Vec<u8> {
    (0..BLOCK as u64).map(|at| (number * 31 + at * 7) as u8).collect()
}

fn write_and_read(file: &File, round: u64) -> Result<()> {
    let written = block(round);
    file.write_all_at(&written, 0)?;
    let mut bytes = vec![0; BLOCK];
    file.read_exact_at(&mut bytes, 0)?;
    if bytes == written { Ok(()) } else { Err(io::Error::other("other bytes")) }
}

//! A caller: a thread that makes one small call after the other, and notes the longest.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use serde::Serialize;

use crate::mount::check_stopped;

const PAGE: usize = 4096;
/// The file that is looked at and written.
const NAME: &str = "called";
/// The one that is made and unlinked.
const SHORT_LIVED: &str = "short-lived";
/// A call that takes longer hangs.
const HANGS: Duration = Duration::from_secs(30);

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Call {
    /// Looked up by the server each time: nothing is trusted for any time.
    Stat,
    CreateUnlink,
    /// 4 KiB, through the server.
    Write,
}

impl Call {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Call::Stat => "stat, uncached",
            Call::CreateUnlink => "create + unlink",
            Call::Write => "4 KiB write",
        }
    }
}

/// Mount options with which each call is a request.
pub(crate) const UNCACHED: [&str; 2] = ["-o", "entry_timeout=0,attr_timeout=0,nopassthrough"];

/// Who calls.
pub(crate) struct Caller {
    directory: File,
    file: File,
    page: [u8; PAGE],
}

impl Caller {
    /// With a new file in a mount.
    pub(crate) fn new(point: &Path) -> anyhow::Result<Caller> {
        let directory = File::open(point)?;
        let file = File::create(point.join(NAME))?;
        Ok(Caller { directory, file, page: [0x5a; PAGE] })
    }

    /// Makes the call, and looks at what it says.
    pub(crate) fn call(&self, call: Call) -> anyhow::Result<()> {
        match call {
            Call::Stat => {
                let stat = fstatat(&self.directory, NAME, AtFlags::AT_SYMLINK_NOFOLLOW)?;
                ensure!(stat.st_nlink == 1, "{NAME} has {} links", stat.st_nlink);
            }
            Call::CreateUnlink => {
                let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
                openat(&self.directory, SHORT_LIVED, flags, Mode::from_bits_truncate(0o644))?;
                unlinkat(&self.directory, SHORT_LIVED, UnlinkatFlags::NoRemoveDir)?;
            }
            Call::Write => self.file.write_all_at(&self.page, 0)?,
        }
        Ok(())
    }
}

/// What the calling thread tells.
#[derive(Default)]
struct Notes {
    over: AtomicBool,
    calls: AtomicU64,
    longest_ns: AtomicU64,
}

/// A thread that calls, until it is dropped.
pub(crate) struct Calling {
    notes: Arc<Notes>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Calling {
    pub(crate) fn start(caller: Caller, call: Call) -> Calling {
        let notes = Arc::new(Notes::default());
        let shared = notes.clone();
        let thread = std::thread::spawn(move || {
            while !shared.over.load(Ordering::Relaxed) {
                let start = Instant::now();
                caller.call(call).context("a call failed")?;
                let took = start.elapsed().as_nanos() as u64;
                shared.longest_ns.fetch_max(took, Ordering::Relaxed);
                shared.calls.fetch_add(1, Ordering::Release);
            }
            Ok(())
        });
        Calling { notes, thread: Some(thread) }
    }

    /// Does `event`, and returns how long the longest call took from then on for as long as
    /// `window`, and until calls come back again.
    pub(crate) fn longest(
        &mut self,
        window: Duration,
        event: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<Duration> {
        /// Calls that come back behind the window.
        const FURTHER: u64 = 10;
        self.notes.longest_ns.store(0, Ordering::Relaxed);
        event()?;
        sleep(window);
        let (seen, start) = (self.notes.calls.load(Ordering::Acquire), Instant::now());
        while self.notes.calls.load(Ordering::Acquire) < seen + FURTHER {
            check_stopped()?;
            ensure!(start.elapsed() < HANGS, "a call hangs");
            if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                self.end()?;
            }
            sleep(Duration::from_micros(200));
        }
        Ok(Duration::from_nanos(self.notes.longest_ns.load(Ordering::Relaxed)))
    }

    /// Ends the thread; an error when a call has failed.
    pub(crate) fn end(&mut self) -> anyhow::Result<()> {
        self.notes.over.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the calling thread has ended")?;
        thread.join().expect("the calling thread does not panic")
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        // Not waited for here: on the way out because of a call that hangs it would be for ever.
        self.notes.over.store(true, Ordering::Relaxed);
    }
}

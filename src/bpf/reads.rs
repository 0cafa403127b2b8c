//! Queue time from system calls, for kernels that tell it in no other way.
//!
//! The program is on the way of every system call of the machine, at 30 to 50 ns each (measured
//! with getppid on Linux 6.18: 100 ns without), and at some 250 ns more where one reads a request.
//! So it has a budget: as long as the calls are few it sees them all, and where they are many it
//! is taken away until it has saved up for another look. Then the queue and service times are those of a sample of the
//! requests; counts and total times do not come from here.

use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{Error, Link, MapCore, MapFlags, MapHandle, Result};

use super::skeleton::reads::{ReadsSkel, ReadsSkelBuilder};

/// What a system call costs when the program sees it, in seconds.
const CALL: f64 = 50e-9;
/// What one that reads a request costs more.
const READ: f64 = 250e-9;
/// What it may cost in the long run: this part of one CPU's time.
const SHARE: f64 = 0.0025;
/// What it may cost at once.
const BURST: Duration = Duration::from_millis(5);
/// A look lasts at least so long.
const WINDOW: Duration = Duration::from_millis(50);

/// The program, at work within its budget until this is dropped.
pub(super) struct Reads {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Reads {
    /// Begins to write into the map `arrivals`.
    ///
    /// # Errors
    /// The program cannot be loaded or attached, or this is not x86-64.
    pub(super) fn start(arrivals: MapHandle) -> Result<Reads> {
        if !cfg!(target_arch = "x86_64") {
            return Err(Error::from(std::io::Error::other("known for x86-64 only")));
        }
        let (stop, stopped) = channel();
        let (ready, is_ready) = channel();
        // The program stays in its thread, as it cannot be handed to another one.
        let run = move || match load(&arrivals) {
            Ok((skeleton, link)) => {
                let _ = ready.send(Ok(()));
                keep(&skeleton, link, &stopped);
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        };
        let thread = thread::Builder::new().name("reads".into()).spawn(run)?;
        let reads = Reads { stop: Some(stop), thread: Some(thread) };
        match is_ready.recv() {
            Ok(result) => result.map(|()| reads),
            Err(_) => Err(Error::from(std::io::Error::other("its thread is gone"))),
        }
    }
}

impl Drop for Reads {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn load(arrivals: &MapHandle) -> Result<(ReadsSkel<'static>, Link)> {
    let object = Box::leak(Box::new(MaybeUninit::uninit()));
    let mut open = ReadsSkelBuilder::default().open(object)?;
    open.maps.arrivals.reuse_fd(arrivals.as_fd())?;
    let skeleton = open.load()?;
    let link = skeleton.progs.syscall_read.attach()?;
    Ok((skeleton, link))
}

/// What may be spent.
struct Budget {
    left: f64,
    since: Instant,
}

impl Budget {
    /// What has been saved and `spent` (in seconds) up to `now`.
    fn settle(&mut self, now: Instant, spent: f64) {
        let earned = now.duration_since(self.since).as_secs_f64() * SHARE;
        self.left = (self.left + earned - spent).min(BURST.as_secs_f64());
        self.since = now;
    }

    /// How long to wait until a look can be paid that costs as much as the last one.
    fn pause(&self, last: f64) -> Duration {
        let wanted = last - self.left;
        Duration::from_secs_f64((wanted / SHARE).clamp(0.0, 60.0))
    }
}

/// Looks as often as the budget allows.
fn keep(skeleton: &ReadsSkel<'_>, link: Link, stop: &Receiver<()>) {
    let mut link = Some(link);
    let mut budget = Budget { left: BURST.as_secs_f64(), since: Instant::now() };
    let (mut spent, mut wait) = (0.0, WINDOW);
    while stop.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
        let all = count(skeleton, CALL_ANY) * CALL + count(skeleton, CALL_READ) * READ;
        let new = all - spent;
        spent = all;
        budget.settle(Instant::now(), new);
        wait = WINDOW;
        if link.is_none() {
            link = skeleton.progs.syscall_read.attach().ok();
        } else if budget.left < 0.0 {
            link = None;
            wait = budget.pause(new);
        }
    }
}

/// Kinds of calls, as in `bpf/reads.bpf.c`.
const CALL_ANY: u32 = 0;
const CALL_READ: u32 = 1;

/// How many system calls of a kind the program has seen.
fn count(skeleton: &ReadsSkel<'_>, kind: u32) -> f64 {
    let of_cpus = skeleton.maps.calls.lookup_percpu(&kind.to_ne_bytes(), MapFlags::ANY);
    let counts = of_cpus.ok().flatten().unwrap_or_default();
    let numbers = counts.iter().filter_map(|bytes| bytes[..].try_into().ok());
    numbers.map(|bytes| u64::from_ne_bytes(bytes) as f64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds of looking in a minute with so many calls a second.
    fn looks(calls_a_second: f64) -> f64 {
        let begin = Instant::now();
        let mut now = begin;
        let mut budget = Budget { left: BURST.as_secs_f64(), since: now };
        let mut looked = Duration::ZERO;
        while now < begin + Duration::from_secs(60) {
            now += WINDOW;
            looked += WINDOW;
            let spent = calls_a_second * WINDOW.as_secs_f64() * CALL;
            budget.settle(now, spent);
            if budget.left < 0.0 {
                now += budget.pause(spent);
                budget.settle(now, 0.0);
            }
        }
        looked.as_secs_f64()
    }

    #[test]
    fn few_calls_are_all_seen() {
        assert!(looks(40_000.0) >= 60.0);
    }

    #[test]
    fn many_calls_cost_no_more_than_the_budget() {
        for calls in [200_000.0, 1e6, 1e7] {
            let cost = looks(calls) * calls * CALL;
            let allowed = 60.0 * SHARE + BURST.as_secs_f64() + calls * WINDOW.as_secs_f64() * CALL;
            assert!(cost <= allowed * 1.01, "{calls}: {cost} of {allowed}");
            assert!(looks(calls) >= WINDOW.as_secs_f64(), "{calls}");
        }
    }
}

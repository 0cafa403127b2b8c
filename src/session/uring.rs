//! Serving requests that come over io_uring.
//!
//! Each thread has one entry of one queue, and runs on that queue's CPU, where its callers are: to
//! be woken there costs a switch, elsewhere an interrupt. A queue has one thread as long as that
//! keeps up. While it is busy, requests wait in the kernel, which hands over the next one in the
//! very call that commits the last: a second thread would be woken for it instead, which was
//! measured to cost up to a fifth of the speed where requests come in pairs (CREATE, and the
//! RELEASE before it), and lets a request overtake the one before it. A further one is started when
//! the watcher finds one asleep over a request and none free, or when a caller waits for a lock, up
//! to the limit. Threads that wait for a lock are not counted: there may be thousands, each with
//! the entry that is to be answered. An entry cannot be taken back, so threads stay; the kernel
//! gives a request to the entry that was free last, so the others sleep.
//!
//! Requests from different CPUs are carried out side by side, in no order: a caller that moves to
//! another CPU may have its next request carried out before the RELEASE that it did not wait for.
//! And where many write and read the same pages of a file through the kernel's cache, a READ may
//! overtake a WRITE that the kernel has let go of the page for; the cache then shows what was there
//! before, until it is asked for anew. (Seen with two threads a queue, not with one.) No order that
//! could be kept here prevents it: of a WRITE that still waits in another CPU's queue nobody knows
//! when the READ is carried out. Files that bypass the cache (`cache=never`) do not have it.
//!
//! What does not come over the rings, FORGET and INTERRUPT, is read from /dev/fuse by the thread
//! that called [`serve`].

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::patience::Patience;
use super::watcher::sleeps;
use super::{SessionError, Shared, dispatch, undecodable};
use crate::Errno;
use crate::channel::uring::{self, Entry};
use crate::fs::Filesystem;
use crate::recovery::journal::Journal;
use crate::sys::process;
use crate::wire::decode;

/// How long FORGETs may gather before they are read: each by itself would cost a switch of threads.
/// An INTERRUPT may come as late.
const GATHER: Duration = Duration::from_millis(1);
/// How often the watcher looks.
const TICK: Duration = Duration::from_millis(5);
/// Ticks with nothing done after which it sleeps until the next request, or for so long.
const QUIET_TICKS: u32 = 40;
const NAP: Duration = Duration::from_secs(1);

/// The threads of all queues.
pub(super) struct Rings {
    queues: Box<[Queue]>,
    seats: Mutex<Vec<Arc<Seat>>>,
    /// How many threads wait for a lock.
    waiting: AtomicUsize,
    /// Threads at the most, but for those that wait.
    limit: AtomicUsize,
    handles: Mutex<Vec<JoinHandle<()>>>,
    error: Mutex<Option<SessionError>>,
    /// The watcher, when it sleeps.
    asleep: AtomicBool,
    watcher: OnceLock<Thread>,
    ended: AtomicBool,
}

#[derive(Default)]
struct Queue {
    /// Threads that have no request.
    free: AtomicUsize,
    /// A further one is on its way.
    starting: AtomicBool,
}

/// What the watcher sees of a thread.
struct Seat {
    queue: u16,
    id: i32,
    /// Counts beginnings and ends of requests: odd while there is one.
    state: AtomicU64,
}

impl Rings {
    pub(super) fn new(max_threads: usize) -> Rings {
        let queues: Box<[Queue]> = (0..uring::queues()).map(|_| Queue::default()).collect();
        let limit = AtomicUsize::new(max_threads.max(2 * queues.len()));
        Rings {
            queues,
            seats: Mutex::default(),
            waiting: AtomicUsize::default(),
            limit,
            handles: Mutex::default(),
            error: Mutex::default(),
            asleep: AtomicBool::default(),
            watcher: OnceLock::new(),
            ended: AtomicBool::default(),
        }
    }

    fn may_grow(&self) -> bool {
        let threads = self.seats.lock().unwrap().len();
        threads.saturating_sub(self.waiting.load(Ordering::Relaxed))
            < self.limit.load(Ordering::Relaxed)
    }

    /// Wakes the watcher if it sleeps.
    fn stir(&self) {
        if self.asleep.load(Ordering::Relaxed)
            && let Some(watcher) = self.watcher.get()
        {
            self.asleep.store(false, Ordering::Relaxed);
            watcher.unpark();
        }
    }
}

/// Gives the kernel an entry of each queue; from here on it uses them.
pub(super) fn start<F: Filesystem>(
    shared: &Arc<Shared<F>>,
    rings: &Rings,
) -> Result<(), SessionError> {
    let (tell, told) = mpsc::channel();
    for queue in 0..rings.queues.len() {
        spawn(shared, rings, queue as u16, Some(tell.clone()))?;
    }
    drop(tell);
    // One word from each thread: it has registered, or why not.
    told.iter().try_for_each(|result| result.map_err(|errno| failed("registering with", errno)))?;
    let watched = shared.clone();
    let watcher = std::thread::Builder::new().name("watch".into()).spawn(move || watch(&watched));
    let watcher = watcher.map_err(|_| failed("starting a thread for", Errno::EAGAIN))?;
    let _ = rings.watcher.set(watcher.thread().clone());
    rings.handles.lock().unwrap().push(watcher);
    Ok(())
}

/// Serves until the mount is gone.
pub(super) fn serve<F: Filesystem>(
    shared: &Arc<Shared<F>>,
    rings: &Rings,
) -> Result<(), SessionError> {
    shared.fs.thread_started();
    let connection = shared.device(0)?;
    let Some(mut server) = shared.server(0, connection) else { return Ok(()) };
    // There are few requests here, which nobody waits for.
    server.patience = Patience::new(Duration::ZERO);
    server.enter();
    while server.receive()? {
        server.handle(shared);
        std::thread::sleep(GATHER);
    }
    shared.waiting.interrupt_all();
    rings.ended.store(true, Ordering::Relaxed);
    if let Some(watcher) = rings.watcher.get() {
        watcher.unpark();
    }
    loop {
        // Not in the condition, where the lock would be held.
        let handle = rings.handles.lock().unwrap().pop();
        match handle {
            Some(handle) => drop(handle.join()),
            None => break,
        }
    }
    rings.error.lock().unwrap().take().map_or(Ok(()), Err)
}

fn failed(what: &'static str, errno: Errno) -> SessionError {
    SessionError::Device { what, errno }
}

type Tell = Option<mpsc::Sender<Result<(), Errno>>>;

fn spawn<F: Filesystem>(
    shared: &Arc<Shared<F>>,
    rings: &Rings,
    queue: u16,
    tell: Tell,
) -> Result<(), SessionError> {
    let for_thread = shared.clone();
    let body = move || run(&for_thread, queue, tell);
    let spawned = std::thread::Builder::new().name(format!("ring-{queue}")).spawn(body);
    let handle = spawned.map_err(|_| failed("starting a thread for", Errno::EAGAIN))?;
    rings.handles.lock().unwrap().push(handle);
    Ok(())
}

fn run<F: Filesystem>(shared: &Arc<Shared<F>>, queue: u16, tell: Tell) {
    let Some(rings) = &shared.rings else { return };
    // The CPU may be absent, or not for this program: the queue is served from elsewhere then.
    let mut cpus = CpuSet::new();
    if cpus.set(usize::from(queue)).is_ok() {
        let _ = sched_setaffinity(Pid::from_raw(0), &cpus);
    }
    shared.fs.thread_started();
    let place = &rings.queues[usize::from(queue)];
    let entry = Entry::new(shared.connection.device(), queue, shared.negotiated.max_data());
    let registered = entry.and_then(|mut entry| entry.register().map(|()| entry));
    let result = match registered {
        Ok(entry) => {
            let id = process::thread_id().as_raw();
            let seat = Arc::new(Seat { queue, id, state: AtomicU64::new(0) });
            rings.seats.lock().unwrap().push(seat.clone());
            place.free.fetch_add(1, Ordering::AcqRel);
            place.starting.store(false, Ordering::Release);
            let _ = tell.map(|tell| tell.send(Ok(())));
            let (journal, patience) = (Journal::private(), shared.patience());
            Server { shared, rings, seat, entry, journal, patience }.serve()
        }
        Err(errno) => {
            place.starting.store(false, Ordering::Release);
            match tell {
                Some(tell) => drop(tell.send(Err(errno))),
                // The mount is gone.
                None if errno == Errno::ENOTCONN => {}
                None => one_fewer(rings, &errno),
            }
            Ok(())
        }
    };
    if let Err(error) = result {
        tracing::error!("queue {queue}: {error}");
        rings.error.lock().unwrap().get_or_insert(error);
    }
}

/// No more threads can be had: it is not tried again.
fn one_fewer(rings: &Rings, error: &dyn std::fmt::Display) {
    let threads = rings.seats.lock().unwrap().len();
    rings.limit.fetch_min(threads, Ordering::Relaxed);
    tracing::warn!("{threads} threads, fewer than wanted: {error}");
}

/// Sees to it that a thread of `queue` is free.
fn keep_one_free<F: Filesystem>(shared: &Arc<Shared<F>>, rings: &Rings, queue: u16) {
    let place = &rings.queues[usize::from(queue)];
    if place.free.load(Ordering::Acquire) > 0
        || !rings.may_grow()
        || place.starting.swap(true, Ordering::AcqRel)
    {
        return;
    }
    if let Err(error) = spawn(shared, rings, queue, None) {
        place.starting.store(false, Ordering::Release);
        one_fewer(rings, &error);
    }
}

/// The calling thread, which serves `queue`, waits in `wait` for as long as a caller likes.
pub(super) fn while_waiting<F: Filesystem, T>(
    shared: &Arc<Shared<F>>,
    queue: u16,
    wait: impl FnOnce() -> T,
) -> T {
    let Some(rings) = &shared.rings else { return wait() };
    rings.waiting.fetch_add(1, Ordering::Relaxed);
    keep_one_free(shared, rings, queue);
    let result = wait();
    rings.waiting.fetch_sub(1, Ordering::Relaxed);
    result
}

/// Sees to it that a queue whose thread is asleep over a request gets another one.
fn watch<F: Filesystem>(shared: &Arc<Shared<F>>) {
    let Some(rings) = &shared.rings else { return };
    let (mut last, mut quiet) = (Vec::new(), 0);
    while !rings.ended.load(Ordering::Relaxed) {
        if quiet < QUIET_TICKS {
            std::thread::park_timeout(TICK);
        } else {
            rings.asleep.store(true, Ordering::Relaxed);
            std::thread::park_timeout(NAP);
            rings.asleep.store(false, Ordering::Relaxed);
        }
        let seats = rings.seats.lock().unwrap().clone();
        last.resize(seats.len(), 0);
        let mut active = false;
        for (seat, last) in seats.iter().zip(&mut last) {
            let state = seat.state.load(Ordering::Relaxed);
            let busy = state % 2 == 1;
            active |= busy || state != *last;
            if busy && state == *last && sleeps(seat.id) {
                keep_one_free(shared, rings, seat.queue);
            }
            *last = state;
        }
        quiet = if active { 0 } else { quiet + 1 };
    }
}

/// One thread, and its entry.
struct Server<'a, F> {
    shared: &'a Arc<Shared<F>>,
    rings: &'a Rings,
    seat: Arc<Seat>,
    entry: Entry,
    journal: Journal,
    patience: Patience,
}

impl<F: Filesystem> Server<'_, F> {
    fn serve(&mut self) -> Result<(), SessionError> {
        let place = &self.rings.queues[usize::from(self.seat.queue)];
        loop {
            match self.receive() {
                Ok(()) => {}
                // Unmounted, or aborted by an administrator.
                Err(Errno::ENOTCONN | Errno::ECONNABORTED | Errno::ENODEV | Errno::ECANCELED) => {
                    return Ok(());
                }
                Err(errno) => return Err(failed("fetching from", errno)),
            }
            place.free.fetch_sub(1, Ordering::AcqRel);
            self.seat.state.fetch_add(1, Ordering::Relaxed);
            self.rings.stir();
            self.handle().and_then(|()| self.entry.commit()).map_err(|e| failed("answering", e))?;
            self.seat.state.fetch_add(1, Ordering::Relaxed);
            place.free.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Sends what is to be sent, and waits for a request.
    fn receive(&mut self) -> Result<(), Errno> {
        if !self.entry.is_here() && self.patience.pays() {
            self.entry.enter(false)?;
            // The kernel copies a request in when this thread is in a system call, as yielding is.
            self.patience.look(|| self.entry.is_here());
        }
        while !self.entry.is_here() {
            self.entry.enter(true)?;
        }
        self.entry.take()
    }

    fn handle(&mut self) -> Result<(), Errno> {
        let (shared, journal) = (self.shared, self.journal);
        journal.reset();
        let connection = shared.connection.in_queue(self.seat.queue);
        let (bytes, data) = self.entry.parts()?;
        match decode::decode(bytes, &shared.negotiated.protocol) {
            Ok(request) => {
                let place =
                    dispatch::Place { connection, journal, data, splicing: None, incoming: None };
                dispatch::dispatch(shared, &request, place);
            }
            Err(error) => undecodable(shared, connection, &error),
        }
        Ok(())
    }
}

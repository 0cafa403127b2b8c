//! Who reads the device next.
//!
//! The kernel wakes waiting readers in turn. With several of them a caller's requests go
//! round all threads, each cold, each woken on another CPU; one warm thread answers twice as
//! fast. So reading takes a *turn*, of which there is one at first, and a thread that
//! answers a request at once keeps its turn and reads on. It gives the turn away
//!
//! * before it does what may wait for a disk ([`about_to_block`]),
//! * when the watcher has seen it at the same request for two ticks.
//!
//! The watcher also adds turns, up to the number of CPUs, while requests wait in the queue
//! and every reader is busy, and takes them back when that has ended. It sleeps while there
//! is nothing to do. Threads without a turn are parked, last in, first out; they are
//! started when needed, up to the limit, and stay.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Server, SessionError, Shared};
use crate::fs::Filesystem;
use crate::sys::device;

/// How often the watcher looks.
const TICK: Duration = Duration::from_millis(5);
/// Ticks with nothing done after which the watcher sleeps.
const QUIET_TICKS: u32 = 40;
/// Ticks in a row with requests waiting after which a turn is added.
const BACKLOG_TICKS: u32 = 3;
/// Ticks in a row with none waiting after which an added turn is taken back.
const CALM_TICKS: u32 = 200;

/// What a thread is doing, in the two low bits of its state; above them a count that makes
/// each request's state a different number.
const READING: u64 = 0;
const BUSY: u64 = 1;
const HANDED_OVER: u64 = 2;
const PARKED: u64 = 3;
const WHAT: u64 = 3;

/// One thread's state, which the watcher may change from BUSY to HANDED_OVER.
#[derive(Default)]
struct Thread {
    state: AtomicU64,
}

impl Thread {
    fn begin(&self) {
        let next = (self.state.load(Ordering::Relaxed) & !WHAT) + (WHAT + 1);
        self.state.store(next | BUSY, Ordering::Release);
    }

    /// Gives the turn away, if it still has it; `state` is what it was seen in.
    fn hand_over(&self, state: u64) -> bool {
        let next = state & !WHAT | HANDED_OVER;
        state & WHAT == BUSY
            && self
                .state
                .compare_exchange(state, next, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }

    /// The request is done; false when the turn is gone.
    fn finish(&self) -> bool {
        let state = self.state.load(Ordering::Relaxed);
        state & WHAT == BUSY
            && self
                .state
                .compare_exchange(state, state & !WHAT | READING, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }
}

/// The turns of one session.
struct Turns {
    inner: Mutex<Inner>,
    watcher: Condvar,
    watcher_sleeps: AtomicBool,
}

#[derive(Default)]
struct Inner {
    /// Turns nobody has.
    free: usize,
    /// Turns in all.
    total: usize,
    /// Turns to be given up by whoever finishes next.
    surplus: usize,
    /// The last in is woken first: it is the warmest.
    parked: Vec<Arc<Parked>>,
    threads: Vec<Arc<Thread>>,
    handles: Vec<JoinHandle<()>>,
    ended: bool,
    error: Option<SessionError>,
}

#[derive(Default)]
struct Parked {
    woken: Mutex<bool>,
    condvar: Condvar,
}

impl Parked {
    fn wake(&self) {
        *self.woken.lock().unwrap() = true;
        self.condvar.notify_one();
    }

    fn wait(&self) {
        let woken = self.woken.lock().unwrap();
        drop(self.condvar.wait_while(woken, |woken| !*woken).unwrap());
    }
}

impl Turns {
    fn new() -> Turns {
        Turns {
            inner: Mutex::new(Inner { total: 1, ..Inner::default() }),
            watcher: Condvar::new(),
            watcher_sleeps: AtomicBool::new(false),
        }
    }

    /// Whether the thread that just finished may read on, after waiting for a turn if need be.
    fn next(&self, thread: &Thread) -> bool {
        if thread.finish() && !self.surrender(thread) {
            return true;
        }
        let parked = {
            let mut inner = self.inner.lock().unwrap();
            if inner.ended {
                return false;
            }
            if inner.free > 0 {
                inner.free -= 1;
                None
            } else {
                let parked = Arc::new(Parked::default());
                thread.state.fetch_or(PARKED, Ordering::Relaxed);
                inner.parked.push(parked.clone());
                Some(parked)
            }
        };
        if let Some(parked) = parked {
            parked.wait();
        }
        thread.state.fetch_and(!WHAT, Ordering::Relaxed);
        !self.inner.lock().unwrap().ended
    }

    /// Gives up a turn that is one too many.
    fn surrender(&self, thread: &Thread) -> bool {
        // Looked at once in many requests: the lock is not for the fast path.
        if thread.state.load(Ordering::Relaxed) >> 2 & 0xff != 0 {
            return false;
        }
        let mut inner = self.inner.lock().unwrap();
        if inner.surplus == 0 || inner.total < 2 {
            return false;
        }
        inner.surplus -= 1;
        inner.total -= 1;
        true
    }

    /// Wakes the watcher if it sleeps.
    fn stir(&self) {
        if self.watcher_sleeps.load(Ordering::Relaxed) {
            let _guard = self.inner.lock().unwrap();
            self.watcher_sleeps.store(false, Ordering::Relaxed);
            self.watcher.notify_one();
        }
    }

    fn end(&self, error: Option<SessionError>) {
        let mut inner = self.inner.lock().unwrap();
        inner.ended = true;
        inner.error = inner.error.take().or(error);
        inner.parked.drain(..).for_each(|parked| parked.wake());
        self.watcher.notify_one();
    }
}

/// The pool: turns, and how to start a thread.
struct Pool<F> {
    turns: Turns,
    shared: Arc<Shared<F>>,
    max_threads: usize,
    max_turns: usize,
}

thread_local! {
    /// Gives the calling thread's turn away.
    static YIELD: RefCell<Option<Box<dyn Fn()>>> = const { RefCell::new(None) };
}

/// Says that the request under way may now wait, for a disk or for another program, so that
/// another thread should read the device meanwhile. Does nothing in other threads.
pub fn about_to_block() {
    YIELD.with_borrow(|hand_over| {
        if let Some(hand_over) = hand_over {
            hand_over();
        }
    });
}

/// Serves with as many threads as are needed, until the mount is gone.
pub(super) fn serve<F: Filesystem>(shared: &Arc<Shared<F>>) -> Result<(), SessionError> {
    let cpus = std::thread::available_parallelism().map_or(1, |n| n.get());
    let max_threads = shared.config.max_threads.max(1);
    let pool = Arc::new(Pool {
        turns: Turns::new(),
        shared: shared.clone(),
        max_threads,
        max_turns: cpus.min(max_threads),
    });
    pool.start_thread(&mut pool.turns.inner.lock().unwrap())?;
    watch(&pool);
    // Each thread ends by itself once the device says that the mount is gone.
    let handles = std::mem::take(&mut pool.turns.inner.lock().unwrap().handles);
    for handle in handles {
        let _ = handle.join();
    }
    let error = pool.turns.inner.lock().unwrap().error.take();
    error.map_or(Ok(()), Err)
}

impl<F: Filesystem> Pool<F> {
    /// Starts a thread that has a turn.
    fn start_thread(self: &Arc<Self>, inner: &mut Inner) -> Result<(), SessionError> {
        let device = |errno| SessionError::Device { what: "cloning", errno };
        // The first thread uses the mount's own descriptor, so that one is enough.
        let connection = match inner.threads.len() {
            0 => self.shared.connection,
            _ => self.shared.connection.clone_device().map_err(device)?,
        };
        let server = self.shared.server(connection)?;
        let thread = Arc::new(Thread::default());
        let (pool, own) = (self.clone(), thread.clone());
        let handle = std::thread::Builder::new()
            .name(format!("serve-{}", inner.threads.len()))
            .spawn(move || pool.run(&own, server))
            .map_err(|_| SessionError::Device { what: "starting a thread for", errno: crate::Errno::EAGAIN })?;
        inner.threads.push(thread);
        inner.handles.push(handle);
        Ok(())
    }

    fn run(self: &Arc<Self>, thread: &Arc<Thread>, server: Server) {
        self.shared.fs.thread_started();
        let (pool, own): (Weak<Self>, _) = (Arc::downgrade(self), thread.clone());
        YIELD.set(Some(Box::new(move || {
            let state = own.state.load(Ordering::Relaxed);
            if let Some(pool) = pool.upgrade()
                && own.hand_over(state)
            {
                pool.pass_turn();
            }
        })));
        let result = self.serve_requests(thread, server);
        YIELD.set(None);
        self.turns.end(result.err());
    }

    fn serve_requests(&self, thread: &Thread, mut server: Server) -> Result<(), SessionError> {
        while server.receive()? {
            thread.begin();
            self.turns.stir();
            server.handle(&self.shared);
            if !self.turns.next(thread) {
                break;
            }
        }
        Ok(())
    }

    /// Gives a turn to the thread parked last, or to a new one, or leaves it for whoever
    /// finishes first.
    fn pass_turn(self: &Arc<Self>) {
        let mut inner = self.turns.inner.lock().unwrap();
        if let Some(parked) = inner.parked.pop() {
            parked.wake();
            return;
        }
        let started = inner.threads.len() < self.max_threads && {
            let result = self.start_thread(&mut inner);
            if let Err(error) = &result {
                tracing::warn!("one thread fewer than wanted: {error}");
            }
            result.is_ok()
        };
        if !started {
            inner.free += 1;
        }
    }
}

/// What the watcher remembers from tick to tick.
#[derive(Default)]
struct Watch {
    last: Vec<u64>,
    quiet: u32,
    backlog: u32,
    calm: u32,
}

/// Watches until the session ends.
fn watch<F: Filesystem>(pool: &Arc<Pool<F>>) {
    let mut watch = Watch::default();
    loop {
        {
            let inner = pool.turns.inner.lock().unwrap();
            if inner.ended {
                return;
            }
            if watch.quiet >= QUIET_TICKS {
                pool.turns.watcher_sleeps.store(true, Ordering::Relaxed);
                let asleep = |inner: &mut Inner| {
                    !inner.ended && pool.turns.watcher_sleeps.load(Ordering::Relaxed)
                };
                drop(pool.turns.watcher.wait_while(inner, asleep).unwrap());
                watch.quiet = 0;
            } else {
                drop(pool.turns.watcher.wait_timeout(inner, TICK).unwrap());
            }
        }
        watch.tick(pool);
    }
}

impl Watch {
    fn tick<F: Filesystem>(&mut self, pool: &Arc<Pool<F>>) {
        let threads = pool.turns.inner.lock().unwrap().threads.clone();
        self.last.resize(threads.len(), 0);
        let (mut active, mut all_busy) = (false, true);
        for (thread, last) in threads.iter().zip(&mut self.last) {
            let state = thread.state.load(Ordering::Acquire);
            if state == *last && thread.hand_over(state) {
                pool.pass_turn();
            }
            active |= state != *last || state & WHAT == BUSY;
            *last = state;
            all_busy &= state & WHAT != READING;
        }
        self.quiet = if active { 0 } else { self.quiet + 1 };
        let waiting = all_busy
            && device::readable(pool.shared.connection.device(), 0).unwrap_or(false);
        self.adapt(pool, waiting);
    }

    /// More turns while requests wait, fewer when they have not for a while.
    fn adapt<F: Filesystem>(&mut self, pool: &Arc<Pool<F>>, waiting: bool) {
        self.backlog = if waiting { self.backlog + 1 } else { 0 };
        self.calm = if waiting { 0 } else { self.calm + 1 };
        if self.backlog >= BACKLOG_TICKS {
            self.backlog = 0;
            let more = {
                let mut inner = pool.turns.inner.lock().unwrap();
                let more = inner.total < pool.max_turns;
                inner.total += usize::from(more);
                inner.surplus = 0;
                more
            };
            if more {
                pool.pass_turn();
            }
        } else if self.calm >= CALM_TICKS {
            self.calm = 0;
            let mut inner = pool.turns.inner.lock().unwrap();
            inner.surplus = inner.total - 1;
        }
    }
}

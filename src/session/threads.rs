//! Who reads the device next.
//!
//! The kernel wakes waiting readers in turn. With several of them a caller's requests go
//! round all threads, each cold, each woken on another CPU; one warm thread answers twice as
//! fast. So reading takes a *turn*, of which there is one at first, and a thread that
//! answers a request at once keeps its turn and reads on. It gives the turn away
//!
//! * before it does what may wait for a disk ([`about_to_block`]),
//! * when the watcher (see `watcher`) finds it asleep over a request.
//!
//! The watcher also adds turns while requests pile up, and takes them back. Threads without
//! a turn are parked, last in, first out; they are started when needed, up to the limit,
//! and stay.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::JoinHandle;

use super::follow::{Follower, Home, Place};
use super::watcher;
use super::{Server, SessionError, Shared};
use crate::fs::Filesystem;
use crate::sys::process;

/// What a thread is doing, in the two low bits of its state; above them a count that makes
/// each request's state a different number.
pub(super) const READING: u64 = 0;
pub(super) const BUSY: u64 = 1;
const HANDED_OVER: u64 = 2;
const PARKED: u64 = 3;
pub(super) const WHAT: u64 = 3;

/// One thread's state, which the watcher may change from BUSY to HANDED_OVER.
#[derive(Default)]
pub(super) struct Thread {
    state: AtomicU64,
    id: AtomicI32,
    pub(super) place: Place,
}

impl Thread {
    pub(super) fn new(home: Option<Arc<Home>>) -> Thread {
        Thread { place: Place::new(home), ..Thread::default() }
    }

    /// Makes it the calling thread.
    pub(super) fn started(&self) {
        self.id.store(process::thread_id().as_raw(), Ordering::Relaxed);
    }

    fn begin(&self) {
        let next = (self.state.load(Ordering::Relaxed) & !WHAT) + (WHAT + 1);
        self.state.store(next | BUSY, Ordering::Release);
    }

    /// What it is doing: a number that differs from request to request.
    pub(super) fn state(&self) -> u64 {
        self.state.load(Ordering::Acquire)
    }

    /// The thread's id; 0 before it has started.
    pub(super) fn id(&self) -> i32 {
        self.id.load(Ordering::Relaxed)
    }

    /// Gives the turn away, if it still has it; `state` is what it was seen in.
    pub(super) fn hand_over(&self, state: u64) -> bool {
        let next = state & !WHAT | HANDED_OVER;
        state & WHAT == BUSY
            && self.state.compare_exchange(state, next, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// The request is done; false when the turn is gone.
    fn finish(&self) -> bool {
        let state = self.state.load(Ordering::Relaxed);
        state & WHAT == BUSY
            && self
                .state
                .compare_exchange(
                    state,
                    state & !WHAT | READING,
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                )
                .is_ok()
    }
}

/// The turns of one session.
pub(super) struct Turns {
    pub(super) inner: Mutex<Inner>,
    pub(super) watcher: Condvar,
    pub(super) watcher_sleeps: AtomicBool,
}

#[derive(Default)]
pub(super) struct Inner {
    /// Turns nobody has.
    free: usize,
    /// Turns in all.
    pub(super) total: usize,
    /// Turns to be given up by whoever finishes next.
    pub(super) surplus: usize,
    /// The last in is woken first: it is the warmest.
    parked: Vec<Arc<Parked>>,
    pub(super) threads: Vec<Arc<Thread>>,
    handles: Vec<JoinHandle<()>>,
    pub(super) ended: bool,
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
pub(super) struct Pool<F> {
    pub(super) turns: Turns,
    pub(super) shared: Arc<Shared<F>>,
    home: Option<Arc<Home>>,
    max_threads: usize,
    pub(super) max_turns: usize,
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
    let max_threads = shared.config.max_threads.max(1);
    let pool = Arc::new(Pool {
        turns: Turns::new(),
        shared: shared.clone(),
        home: shared.config.follow.then(Home::new).flatten().map(Arc::new),
        max_threads: max_threads.min(shared.slots.count()),
        // The callers need CPUs too: a second reader on a machine of two makes all slower.
        max_turns: (shared.cpus / 2).clamp(1, max_threads),
    });
    let deferred = shared.deferred.load(Ordering::Acquire);
    let (own, server) = {
        let mut inner = pool.turns.inner.lock().unwrap();
        // The calling thread serves too: after a death callers wait for it, not for a thread that
        // has to come to a CPU first. What a dead worker has left comes first.
        let (own, server) = pool.next_thread()?;
        inner.threads.push(own.clone());
        for _ in 1..deferred {
            pool.start_thread(&mut inner, false)?;
        }
        if deferred > 0 {
            match shared.slots.next_free() {
                Some(_) => pool.start_thread(&mut inner, true)?,
                // All of them finish something first.
                None => inner.free += 1,
            }
        }
        let watched = pool.clone();
        inner.handles.push(spawn("watch", move || watcher::watch(&watched))?);
        (own, server)
    };
    pool.run(&own, server, deferred == 0);
    pool.end()
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, SessionError> {
    std::thread::Builder::new().name(name.into()).spawn(body).map_err(|_| no_thread())
}

fn no_thread() -> SessionError {
    SessionError::Device { what: "starting a thread for", errno: crate::Errno::EAGAIN }
}

impl<F: Filesystem> Pool<F> {
    /// Starts a thread on a free slot. `turn`: it may read the device; else it finishes what a dead
    /// worker has left in the slot, and then waits for a turn.
    fn start_thread(self: &Arc<Self>, inner: &mut Inner, turn: bool) -> Result<(), SessionError> {
        let (own, server) = self.next_thread()?;
        let (pool, name) = (self.clone(), format!("serve-{}", server.slot.index()));
        let thread = own.clone();
        inner.handles.push(spawn(&name, move || pool.run(&own, server, turn))?);
        inner.threads.push(thread);
        Ok(())
    }

    /// What one more thread serves with.
    fn next_thread(&self) -> Result<(Arc<Thread>, Server), SessionError> {
        let slot = self.shared.slots.next_free().ok_or_else(no_thread)?;
        let connection = self.shared.device(slot)?;
        let mut server = self.shared.server(slot, connection).ok_or_else(no_thread)?;
        let thread = Arc::new(Thread::new(self.home.clone()));
        server.follower = Some(Follower::new(thread.clone()));
        Ok((thread, server))
    }

    /// Waits for all threads: each ends by itself once the device says that the mount is gone.
    fn end(&self) -> Result<(), SessionError> {
        loop {
            let (handle, error) = {
                let mut inner = self.turns.inner.lock().unwrap();
                (inner.handles.pop(), inner.error.take())
            };
            match (handle, error) {
                // The mount is still there, and other threads wait for its requests.
                (_, Some(error)) => return Err(error),
                (Some(handle), None) => drop(handle.join()),
                (None, None) => return Ok(()),
            }
        }
    }

    fn run(self: &Arc<Self>, thread: &Arc<Thread>, mut server: Server, turn: bool) {
        thread.started();
        self.home.iter().for_each(|home| home.enter());
        // Before the slot is this thread's: what a dead worker has left there is not to blame.
        self.shared.fs.thread_started();
        server.enter();
        let (pool, own): (Weak<Self>, _) = (Arc::downgrade(self), thread.clone());
        YIELD.set(Some(Box::new(move || {
            let state = own.state.load(Ordering::Relaxed);
            own.place.free(own.id());
            if let Some(pool) = pool.upgrade()
                && own.hand_over(state)
            {
                pool.pass_turn();
            }
        })));
        let result = self.serve_requests(thread, server, turn);
        YIELD.set(None);
        // Nobody looks after it from here on.
        thread.place.free(thread.id());
        self.turns.end(result.err());
    }

    fn serve_requests(
        &self,
        thread: &Thread,
        mut server: Server,
        turn: bool,
    ) -> Result<(), SessionError> {
        if !turn {
            thread.state.store(HANDED_OVER, Ordering::Release);
            server.finish_deferred(&self.shared);
            if !self.turns.next(thread) {
                return Ok(());
            }
        }
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
    pub(super) fn pass_turn(self: &Arc<Self>) {
        let mut inner = self.turns.inner.lock().unwrap();
        if let Some(parked) = inner.parked.pop() {
            parked.wake();
            return;
        }
        let started = inner.threads.len() < self.max_threads && {
            let result = self.start_thread(&mut inner, true);
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

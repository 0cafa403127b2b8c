//! Requests that wait for other callers: SETLKW, and the INTERRUPT that ends the wait.
//!
//! A blocked lock must not hold a serving thread: the unlock that it waits for has to be
//! served too. It waits in a thread of its own. INTERRUPT makes that thread's system call
//! return EINTR by a signal, sent again until the thread has noticed: it may arrive just
//! before the call.
//!
//! An INTERRUPT can be read before the thread that read its request has come here. Such
//! ids are remembered for a while; ids are never used twice, so one that nobody asks for
//! does no harm.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use nix::unistd::Pid;

use super::Shared;
use super::parked::{MAX_WAITING, Parked, Parking};
use super::reply::Responder;
use super::uring;
use crate::Errno;
use crate::channel::Connection;
use crate::fs::{Context, Filesystem};
use crate::recovery::arena::{Arena, ArenaError};
use crate::sys::process;
use crate::wire::{NodeId, Unique, ops};

/// How often a thread is woken, a millisecond apart. One that still waits does so where no
/// signal reaches it, on a network file system.
const MAX_SIGNALS: usize = 100;

pub(super) struct Waiting {
    inner: Mutex<HashMap<Unique, Waiter>>,
    /// Somebody stopped waiting.
    changed: Condvar,
    parking: Parking,
}

#[derive(Default)]
struct Waiter {
    /// Its record; 0: it has not begun to wait.
    parked: u64,
    thread: Option<Pid>,
    interrupted: bool,
}

impl Waiting {
    pub(super) fn new(arena: &Arena) -> Result<Waiting, ArenaError> {
        let parking = Parking::new(arena)?;
        Ok(Waiting { inner: Mutex::default(), changed: Condvar::new(), parking })
    }

    fn enter(&self, unique: Unique) -> Result<(), Errno> {
        let mut inner = self.inner.lock().unwrap();
        if inner.len() >= MAX_WAITING as usize {
            return Err(Errno::ENOLCK);
        }
        let interrupted = self.parking.was_early(unique);
        inner.insert(unique, Waiter { interrupted, ..Waiter::default() });
        Ok(())
    }

    fn leave(&self, unique: Unique) {
        self.inner.lock().unwrap().remove(&unique);
        self.changed.notify_all();
    }

    /// Whether this is a request that waits already, sent once more: its answer goes there.
    fn is_known(&self, connection: Connection, unique: Unique) -> bool {
        let inner = self.inner.lock().unwrap();
        let Some(waiter) = inner.get(&unique.base()) else { return false };
        self.parking.resent(waiter.parked, connection, unique);
        true
    }

    /// Leaves the slot: from here on the record stands for the request.
    fn park(&self, parked: &Parked) -> Option<u64> {
        let mut inner = self.inner.lock().unwrap();
        let waiter = inner.get_mut(&parked.unique().base())?;
        waiter.parked = self.parking.insert(parked)?;
        if waiter.interrupted {
            self.parking.interrupt(waiter.parked);
        }
        Some(waiter.parked)
    }

    /// Names the calling thread as the one that waits; false when it need not begin.
    fn begin(&self, unique: Unique) -> bool {
        let mut inner = self.inner.lock().unwrap();
        inner.get_mut(&unique).is_some_and(|waiter| {
            waiter.thread = Some(process::thread_id());
            !waiter.interrupted
        })
    }

    fn is_interrupted(&self, unique: Unique) -> bool {
        self.inner.lock().unwrap().get(&unique).is_none_or(|waiter| waiter.interrupted)
    }

    /// INTERRUPT: ends the wait of `unique`, now or as soon as it begins.
    pub(super) fn interrupt(&self, unique: Unique) {
        let unique = unique.base();
        let mut inner = self.inner.lock().unwrap();
        let Some(waiter) = inner.get_mut(&unique) else {
            self.parking.note_early(unique);
            return;
        };
        waiter.interrupted = true;
        self.parking.interrupt(waiter.parked);
        let Some(thread) = waiter.thread else { return };
        for _ in 0..MAX_SIGNALS {
            if !inner.contains_key(&unique) || process::wake(thread).is_err() {
                return;
            }
            inner = self.changed.wait_timeout(inner, Duration::from_millis(1)).unwrap().0;
        }
    }

    /// The mount is gone: nobody needs to wait any more.
    pub(super) fn interrupt_all(&self) {
        let all: Vec<Unique> = self.inner.lock().unwrap().keys().copied().collect();
        all.into_iter().for_each(|unique| self.interrupt(unique));
    }

    /// See [`Parking::move_to`].
    pub(super) fn move_to(&self, connection: Connection) {
        self.parking.move_to(connection);
    }

    /// Takeover: knows again who waits; returns their records.
    pub(super) fn remember(&self) -> Vec<u64> {
        let mut remembered = Vec::new();
        let mut inner = self.inner.lock().unwrap();
        for (id, parked) in self.parking.all() {
            let interrupted = parked.is_interrupted();
            inner.insert(parked.unique().base(), Waiter { parked: id, thread: None, interrupted });
            remembered.push(id);
        }
        remembered
    }

    /// Sends the result of a request, parked in record `id`, and lets it go. A record that is
    /// damaged by now keeps nobody waiting.
    fn answer(&self, id: u64, mut parked: Parked, result: Result<(), Errno>) {
        self.parking.note_result(id, result);
        loop {
            Responder::new(parked.connection(), parked.unique()).empty(result);
            let mut inner = self.inner.lock().unwrap();
            match self.parking.get(id) {
                // Sent once more meanwhile: the kernel waits for the answer to that one.
                Some(now) if now.unique() != parked.unique() => parked = now,
                _ => {
                    self.parking.remove(id);
                    inner.remove(&parked.unique().base());
                    break;
                }
            }
        }
        self.changed.notify_all();
    }
}

/// SETLKW: tries at once, then waits elsewhere.
pub(super) fn setlkw<F: Filesystem>(
    shared: &Arc<Shared<F>>,
    responder: Responder,
    cx: Context,
    node: NodeId,
    op: ops::Setlk,
) {
    if shared.waiting.is_known(responder.connection, cx.unique) {
        return;
    }
    let unique = cx.unique.base();
    let tried = match shared.waiting.enter(unique) {
        Ok(()) => shared.fs.setlk(&cx, node, &op),
        Err(error) => return responder.empty(Err(error)),
    };
    if tried != Err(Errno::EAGAIN) {
        shared.waiting.leave(unique);
        return responder.empty(tried);
    }
    if let Some(queue) = responder.connection.queue() {
        let tried = uring::while_waiting(shared, queue, || wait(shared, &cx, node, &op));
        shared.waiting.leave(unique);
        return responder.empty(tried);
    }
    match shared.waiting.park(&Parked::new(responder.connection, &cx, node, &op)) {
        Some(parked) => {
            // From here on nobody finishes it from the slot.
            responder.is_elsewhere();
            start(shared, parked);
        }
        None => {
            shared.waiting.leave(unique);
            responder.empty(Err(Errno::ENOLCK));
        }
    }
}

/// Starts the thread that waits for a parked lock.
pub(super) fn start<F: Filesystem>(shared: &Arc<Shared<F>>, id: u64) {
    let Some(parked) = shared.waiting.parking.get(id) else { return };
    let for_thread = shared.clone();
    let wait = move || {
        // It may have been answered by a worker that died behind it.
        let result = parked
            .result()
            .unwrap_or_else(|| wait(&for_thread, &parked.cx(), parked.node(), &parked.op()));
        for_thread.waiting.answer(id, parked, result);
    };
    let spawned = std::thread::Builder::new().name("lock".into()).stack_size(64 << 10).spawn(wait);
    if spawned.is_err() {
        shared.waiting.answer(id, parked, Err(Errno::ENOLCK));
    }
}

fn wait<F: Filesystem>(
    shared: &Shared<F>,
    cx: &Context,
    node: NodeId,
    op: &ops::Setlk,
) -> Result<(), Errno> {
    let unique = cx.unique.base();
    if !shared.waiting.begin(unique) {
        return Err(Errno::EINTR);
    }
    loop {
        match shared.fs.setlkw(cx, node, op) {
            Err(Errno::EINTR) if !shared.waiting.is_interrupted(unique) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parked::MAX_EARLY;
    use super::*;
    use crate::sys::Fd;
    use crate::wire::flags::LockFlags;
    use crate::wire::ops::FileLock;
    use crate::wire::{FileHandle, LockOwner};
    use std::sync::atomic::{AtomicBool, Ordering};

    fn waiting() -> Waiting {
        Waiting::new(&Arena::create().unwrap()).unwrap()
    }

    #[test]
    fn an_early_interrupt_is_remembered() {
        let waiting = waiting();
        waiting.interrupt(Unique(7));
        waiting.enter(Unique(7)).unwrap();
        assert!(!waiting.begin(Unique(7)));
        waiting.enter(Unique(8)).unwrap();
        assert!(waiting.begin(Unique(8)));
    }

    #[test]
    fn early_interrupts_are_bounded_and_outlive_the_worker() {
        let arena = Arena::create().unwrap();
        let waiting = Waiting::new(&arena).unwrap();
        (1..=5 * MAX_EARLY as u64).for_each(|n| waiting.interrupt(Unique(n)));
        let successor = Waiting::new(&arena).unwrap();
        assert!(!successor.parking.was_early(Unique(4 * MAX_EARLY as u64)));
        assert!(successor.parking.was_early(Unique(4 * MAX_EARLY as u64 + 1)));
        assert!(successor.parking.was_early(Unique(5 * MAX_EARLY as u64)));
    }

    #[test]
    fn who_waits_is_known_to_the_successor() {
        let arena = Arena::create().unwrap();
        let cx = Context { unique: Unique(7), uid: 1, gid: 2, pid: 3 };
        let lk = FileLock { start: 10, end: 20, typ: 1, pid: 3 };
        let (fh, owner, lk_flags) = (FileHandle(5), LockOwner(6), LockFlags::empty());
        let op = ops::Setlk { fh, owner, lk, lk_flags };
        let connection = Connection::new(Fd::from_number(1000));
        let waiting = Waiting::new(&arena).unwrap();
        waiting.enter(Unique(7)).unwrap();
        let id = waiting.park(&Parked::new(connection, &cx, NodeId(9), &op)).unwrap();
        waiting.interrupt(Unique(7));

        let successor = Waiting::new(&arena).unwrap();
        successor.remember();
        let parked = successor.parking.get(id).unwrap();
        assert_eq!((parked.node(), parked.op(), parked.cx().pid), (NodeId(9), op, 3));
        assert!(!successor.begin(Unique(7)), "interrupted before its worker died");
        let again = Connection::new(Fd::from_number(1001));
        assert!(successor.is_known(again, Unique(1 << 63 | 7)));
        assert!(!successor.is_known(again, Unique(8)));
        let parked = successor.parking.get(id).unwrap();
        assert_eq!(parked.connection().device().number(), 1001);
        assert!(parked.unique().is_resend());
        successor.answer(id, parked, Ok(()));
        assert!(successor.parking.all().is_empty());
        assert!(!successor.is_known(again, Unique(7)));
    }

    #[test]
    fn a_resent_interrupt_names_the_same_request() {
        let waiting = waiting();
        waiting.interrupt(Unique(1 << 63 | 9));
        waiting.enter(Unique(9)).unwrap();
        assert!(!waiting.begin(Unique(9)));
    }

    #[test]
    fn the_waiting_thread_is_woken_whenever_the_signal_comes() {
        process::install_wake_handler().unwrap();
        static WAITING: std::sync::LazyLock<Waiting> = std::sync::LazyLock::new(waiting);
        static BEGUN: AtomicBool = AtomicBool::new(false);
        let unique = Unique(1);
        WAITING.enter(unique).unwrap();
        let thread = std::thread::spawn(move || {
            assert!(WAITING.begin(unique));
            BEGUN.store(true, Ordering::Relaxed);
            // The signal may come before, in and behind any of these naps.
            while !WAITING.is_interrupted(unique) {
                std::thread::sleep(Duration::from_micros(50));
            }
            let slept = nix::poll::poll(&mut [], nix::poll::PollTimeout::NONE);
            WAITING.leave(unique);
            slept
        });
        while !BEGUN.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        WAITING.interrupt(unique);
        assert_eq!(thread.join().unwrap(), Err(Errno::EINTR));
    }
}

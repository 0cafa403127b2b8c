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

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use nix::unistd::Pid;

use super::Shared;
use super::reply::Responder;
use crate::Errno;
use crate::fs::{Context, Filesystem};
use crate::sys::process;
use crate::wire::{NodeId, Unique, ops};

/// More locks than this do not wait: ENOLCK.
const MAX_WAITING: usize = 4096;
/// How often a thread is woken, a millisecond apart. One that still waits does so where no
/// signal reaches it, on a network file system.
const MAX_SIGNALS: usize = 100;
/// How many early INTERRUPTs are remembered.
const MAX_EARLY: usize = 1024;

#[derive(Default)]
pub(super) struct Waiting {
    inner: Mutex<Inner>,
    /// Somebody stopped waiting.
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    waiters: HashMap<Unique, Waiter>,
    early: VecDeque<Unique>,
}

#[derive(Default)]
struct Waiter {
    thread: Option<Pid>,
    interrupted: bool,
}

impl Waiting {
    fn enter(&self, unique: Unique) -> Result<(), Errno> {
        let mut inner = self.inner.lock().unwrap();
        if inner.waiters.len() >= MAX_WAITING {
            return Err(Errno::ENOLCK);
        }
        let interrupted = inner.early.contains(&unique);
        inner.waiters.insert(unique, Waiter { thread: None, interrupted });
        Ok(())
    }

    fn leave(&self, unique: Unique) {
        self.inner.lock().unwrap().waiters.remove(&unique);
        self.changed.notify_all();
    }

    /// Names the calling thread as the one that waits; false when it need not begin.
    fn begin(&self, unique: Unique) -> bool {
        let mut inner = self.inner.lock().unwrap();
        inner.waiters.get_mut(&unique).is_some_and(|waiter| {
            waiter.thread = Some(process::thread_id());
            !waiter.interrupted
        })
    }

    fn is_interrupted(&self, unique: Unique) -> bool {
        self.inner.lock().unwrap().waiters.get(&unique).is_none_or(|waiter| waiter.interrupted)
    }

    /// INTERRUPT: ends the wait of `unique`, now or as soon as it begins.
    pub(super) fn interrupt(&self, unique: Unique) {
        let unique = unique.base();
        let mut inner = self.inner.lock().unwrap();
        let Some(waiter) = inner.waiters.get_mut(&unique) else {
            if inner.early.len() >= MAX_EARLY {
                inner.early.pop_front();
            }
            inner.early.push_back(unique);
            return;
        };
        waiter.interrupted = true;
        let Some(thread) = waiter.thread else { return };
        for _ in 0..MAX_SIGNALS {
            if !inner.waiters.contains_key(&unique) || process::wake(thread).is_err() {
                return;
            }
            inner = self.changed.wait_timeout(inner, Duration::from_millis(1)).unwrap().0;
        }
    }

    /// The mount is gone: nobody needs to wait any more.
    pub(super) fn interrupt_all(&self) {
        let all: Vec<Unique> = self.inner.lock().unwrap().waiters.keys().copied().collect();
        all.into_iter().for_each(|unique| self.interrupt(unique));
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
    let unique = cx.unique.base();
    let tried = match shared.waiting.enter(unique) {
        Ok(()) => shared.fs.setlk(&cx, node, &op),
        Err(error) => return responder.empty(Err(error)),
    };
    if tried != Err(Errno::EAGAIN) {
        shared.waiting.leave(unique);
        return responder.empty(tried);
    }
    let for_thread = shared.clone();
    let spawned =
        std::thread::Builder::new().name("lock".into()).stack_size(64 << 10).spawn(move || {
            let result = wait(&for_thread, &cx, node, &op);
            // First the answer: the interrupter may stop only when it is out.
            responder.empty(result);
            for_thread.waiting.leave(unique);
        });
    if spawned.is_err() {
        shared.waiting.leave(unique);
        responder.empty(Err(Errno::ENOLCK));
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
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn an_early_interrupt_is_remembered() {
        let waiting = Waiting::default();
        waiting.interrupt(Unique(7));
        waiting.enter(Unique(7)).unwrap();
        assert!(!waiting.begin(Unique(7)));
        waiting.enter(Unique(8)).unwrap();
        assert!(waiting.begin(Unique(8)));
    }

    #[test]
    fn early_interrupts_are_bounded() {
        let waiting = Waiting::default();
        (0..5 * MAX_EARLY as u64).for_each(|n| waiting.interrupt(Unique(n)));
        assert_eq!(waiting.inner.lock().unwrap().early.len(), MAX_EARLY);
    }

    #[test]
    fn a_resent_interrupt_names_the_same_request() {
        let waiting = Waiting::default();
        waiting.interrupt(Unique(1 << 63 | 9));
        waiting.enter(Unique(9)).unwrap();
        assert!(!waiting.begin(Unique(9)));
    }

    #[test]
    fn the_waiting_thread_is_woken_whenever_the_signal_comes() {
        process::install_wake_handler().unwrap();
        static WAITING: std::sync::LazyLock<Waiting> = std::sync::LazyLock::new(Waiting::default);
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

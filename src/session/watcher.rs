//! Who watches the serving threads: sees that reading goes on, and that enough threads read.
//!
//! Every few milliseconds, while anything is going on, it looks at each thread. One that is
//! asleep over the same request as at the last tick waits for something, and its turn is given
//! to another. (One that is merely waiting for a CPU keeps it: a second thread would not get
//! one either.) While requests wait in the queue at tick after tick and every reader is busy,
//! a turn is added, up to half the number of CPUs; it is taken back when that has ended.
//!
//! A thread that follows a caller (see `follow`) gets no CPU that somebody else wants. One that has
//! something to do and does not get on is set free.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::threads::{BUSY, Inner, Pool, READING, WHAT};
use crate::fs::Filesystem;
use crate::sys::{device, file, process};

/// How often it looks.
const TICK: Duration = Duration::from_millis(5);
/// Ticks with nothing done after which it sleeps until the next request.
const QUIET_TICKS: u32 = 40;
/// How long it sleeps at the most: a request may have begun just before it fell asleep.
const NAP: Duration = Duration::from_secs(1);
/// Ticks in a row with requests waiting after which a turn is added.
const BACKLOG_TICKS: u32 = 3;
/// Ticks in a row with none waiting after which an added turn is taken back.
const CALM_TICKS: u32 = 200;

/// Ticks in a row without getting on after which a thread that follows a caller is set free.
const STARVED_TICKS: u32 = 2;

/// What the watcher remembers from tick to tick.
#[derive(Default)]
struct Watch {
    /// Of each thread: its state, and for how many ticks it has starved.
    last: Vec<(u64, u32)>,
    quiet: u32,
    backlog: u32,
    calm: u32,
}

/// Watches until the session ends.
pub(super) fn watch<F: Filesystem>(pool: &Arc<Pool<F>>) {
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
                let (_inner, _) =
                    pool.turns.watcher.wait_timeout_while(inner, NAP, asleep).unwrap();
                pool.turns.watcher_sleeps.store(false, Ordering::Relaxed);
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
        self.last.resize(threads.len(), (0, 0));
        let (mut active, mut all_busy) = (false, true);
        let readable = || device::readable(pool.shared.connection.device(), 0).unwrap_or(false);
        for (thread, (last, starved)) in threads.iter().zip(&mut self.last) {
            let state = thread.state();
            let (stays, busy) = (state == *last, state & WHAT == BUSY);
            if stays && sleeps(thread.id()) && thread.hand_over(state) {
                thread.place.free(thread.id());
                pool.pass_turn();
            }
            let starves = stays && thread.place.follows() && (busy || readable());
            *starved = if starves { *starved + 1 } else { 0 };
            if *starved >= STARVED_TICKS {
                thread.place.bar();
                thread.place.free(thread.id());
            }
            active |= !stays || busy;
            *last = state;
            all_busy &= state & WHAT != READING;
        }
        self.quiet = if active { 0 } else { self.quiet + 1 };
        if self.quiet >= QUIET_TICKS {
            // Nobody looks after them from here on.
            threads.iter().for_each(|thread| thread.place.free(thread.id()));
        }
        self.adapt(pool, all_busy && readable());
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

/// Whether a thread of this process is asleep, in the kernel's words S or D.
pub(super) fn sleeps(thread: i32) -> bool {
    let state = process::stat_field(&file::proc_self(&format!("task/{thread}/stat")), 3);
    matches!(state.as_deref(), None | Some("S" | "D"))
}

#[cfg(test)]
mod tests {
    use super::sleeps;
    use crate::sys::process::thread_id;

    #[test]
    fn a_running_thread_does_not_sleep_and_a_sleeping_one_does() {
        assert!(!sleeps(thread_id().as_raw()));
        let (send, receive) = std::sync::mpsc::channel();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            send.send(thread_id().as_raw()).unwrap();
            stopped.recv().unwrap();
        });
        let id = receive.recv().unwrap();
        while !sleeps(id) {
            std::thread::yield_now();
        }
        stop.send(()).unwrap();
        thread.join().unwrap();
    }
}

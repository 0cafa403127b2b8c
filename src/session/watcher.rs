//! Who watches the serving threads: sees that reading goes on, and that enough threads read.
//!
//! Every few milliseconds, while anything is going on, it looks at each thread. One that is
//! asleep over the same request as at the last tick waits for something, and its turn is given
//! to another. (One that is merely waiting for a CPU keeps it: a second thread would not get
//! one either.) While requests wait in the queue at tick after tick and every reader is busy,
//! a turn is added, up to half the number of CPUs; it is taken back when that has ended.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::threads::{BUSY, Inner, Pool, READING, WHAT};
use crate::fs::Filesystem;
use crate::sys::{device, file};

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

/// What the watcher remembers from tick to tick.
#[derive(Default)]
struct Watch {
    last: Vec<u64>,
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
        self.last.resize(threads.len(), 0);
        let (mut active, mut all_busy) = (false, true);
        for (thread, last) in threads.iter().zip(&mut self.last) {
            let state = thread.state();
            if state == *last && sleeps(thread.id()) && thread.hand_over(state) {
                pool.pass_turn();
            }
            active |= state != *last || state & WHAT == BUSY;
            *last = state;
            all_busy &= state & WHAT != READING;
        }
        self.quiet = if active { 0 } else { self.quiet + 1 };
        let waiting =
            all_busy && device::readable(pool.shared.connection.device(), 0).unwrap_or(false);
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

/// Whether a thread of this process is asleep, in the kernel's words S or D.
pub(super) fn sleeps(thread: i32) -> bool {
    let stat = std::fs::read_to_string(file::proc_self(&format!("task/{thread}/stat")));
    // The name before the state may hold anything but ends with the last parenthesis.
    let state = stat.ok().and_then(|text| Some(text.rsplit_once(") ")?.1.chars().next()));
    matches!(state.flatten(), None | Some('S' | 'D'))
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

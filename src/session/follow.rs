//! Serving a caller on its own CPU.
//!
//! A caller that asks one small thing after another waits for each answer. Served on another CPU,
//! each request wakes an idle CPU, and so does each answer: on a virtual machine that is most of
//! the time (40 to 100 us of a cold stat, measured; 10 to 15 on one CPU). So the serving thread
//! follows such a caller:
//!
//! * It is pinned to the CPU that the caller runs on. It sees that a caller has moved by a request
//!   that comes late, and looks then.
//! * It runs there as SCHED_IDLE. A CPU that runs nothing else is taken for an idle one when a
//!   thread is woken (Linux 5.4), so that the caller stays where it is instead of being moved to
//!   another CPU at each answer, and runs at once.
//! * It does not look for the next request before it sleeps: the caller cannot send it meanwhile.
//!
//! What may go wrong: such a thread does not run while a busy third party has the CPU. The
//! watcher sees that within some ticks, makes it one like others again ([`Place::free`]), and it
//! does not follow for a while. It does not see one that gets on slowly, and it dies with a worker
//! that is killed: on a machine whose CPUs are all busy, where tests were seen to wait for seconds,
//! such a mount is slower, and so is the end of its worker. So it is to be asked for. A thread is also set free before it waits for anything, when
//! another caller asks, when large pieces are moved (where caller and server have something to do
//! at the same time), and when nothing is asked any more.
//!
//! It takes the right to become a thread like others again, which is tried out first by a thread
//! that is not needed: root has it (CAP_SYS_NICE). Who has set another policy is obeyed: nobody
//! follows then, nor to a CPU that the program is kept from.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::threads::Thread;
use crate::sys::{clock, process, sched};

/// Requests in a row of one caller until it is followed.
const STREAK: u32 = 16;
/// Requests for large pieces in a row until it is not any more.
const BULK: u32 = 4;
/// Bytes of data that make a request one for a large piece.
const LARGE: usize = 16 << 10;
/// A request that comes so long after the last answer may come from another CPU.
const LATE: Duration = Duration::from_micros(12);
/// Late requests in a row that are taken as they are at the most, once a look has found nothing
/// new: the caller does something else between two requests.
const SKIPS: u32 = 63;
/// How long a thread does not follow that had to be set free.
const BARRED: Duration = Duration::from_secs(10);

/// Where threads that follow nobody run.
pub(super) struct Home {
    cpus: CpuSet,
    may_return: OnceLock<bool>,
}

impl Home {
    /// That of the calling thread; none if its threads are to stay where they are.
    pub(super) fn new() -> Option<Home> {
        let cpus = sched_getaffinity(Pid::from_raw(0)).ok()?;
        let count = (0..CpuSet::count()).filter(|cpu| cpus.is_set(*cpu) == Ok(true)).count();
        (count > 1 && sched::is_normal()).then(|| Home { cpus, may_return: OnceLock::new() })
    }

    /// Makes the calling thread, whose parent may have followed somebody, one like others.
    pub(super) fn enter(&self) {
        self.bring_back(process::thread_id());
    }

    fn bring_back(&self, thread: Pid) {
        let back = sched::set_idle(thread, false).and(sched_setaffinity(thread, &self.cpus));
        if let Err(errno) = back {
            tracing::debug!("serving thread {thread} stays where it is: {errno}");
        }
    }

    /// Whether a thread could come back, tried out once.
    fn may_return(&self) -> bool {
        *self.may_return.get_or_init(|| {
            let there_and_back = || {
                let own = process::thread_id();
                sched::set_idle(own, true).and_then(|()| sched::set_idle(own, false)).is_ok()
            };
            let trial = std::thread::Builder::new().name("trial".into()).spawn(there_and_back);
            let may = trial.is_ok_and(|thread| thread.join().is_ok_and(|may| may));
            if !may {
                tracing::debug!("callers are not followed: no right to leave SCHED_IDLE again");
            }
            may
        })
    }
}

/// Whether a thread follows: known to itself and to the watcher.
#[derive(Default)]
pub(super) struct Place {
    home: Option<Arc<Home>>,
    follows: AtomicBool,
    /// On the monotonic clock, in ns.
    barred_until: AtomicU64,
}

impl Place {
    pub(super) fn new(home: Option<Arc<Home>>) -> Place {
        Place { home, ..Place::default() }
    }

    pub(super) fn follows(&self) -> bool {
        self.follows.load(Ordering::Relaxed)
    }

    /// Ends it for the thread with this id.
    pub(super) fn free(&self, thread: i32) {
        if self.follows()
            && self.follows.swap(false, Ordering::Relaxed)
            && let Some(home) = &self.home
        {
            home.bring_back(Pid::from_raw(thread));
        }
    }

    /// For a while the thread does not follow.
    pub(super) fn bar(&self) {
        let until = clock::monotonic_ns() + BARRED.as_nanos() as u64;
        self.barred_until.store(until, Ordering::Relaxed);
    }

    fn is_barred(&self) -> bool {
        let until = self.barred_until.load(Ordering::Relaxed);
        until != 0 && clock::monotonic_ns() < until
    }

    /// Takes the calling thread to a CPU; false if it cannot go there.
    fn follow_to(&self, cpu: usize) -> bool {
        let Some(home) = &self.home else { return false };
        let (own, mut there) = (process::thread_id(), CpuSet::new());
        if home.cpus.is_set(cpu) != Ok(true) || self.is_barred() || !home.may_return() {
            return false;
        }
        // Known to the watcher first: it can end what is only half done.
        self.follows.store(true, Ordering::Relaxed);
        let done = there.set(cpu).and_then(|()| sched_setaffinity(own, &there));
        done.and_then(|()| sched::set_idle(own, true)).is_ok()
    }
}

/// One serving thread's knowledge of who asks.
pub(super) struct Follower {
    thread: Arc<Thread>,
    caller: u32,
    streak: u32,
    bulk: u32,
    cpu: Option<usize>,
    answered: Option<Instant>,
    /// Late requests in a row that are not looked into: how many more, and how many last time.
    skip: (u32, u32),
}

impl Follower {
    pub(super) fn new(thread: Arc<Thread>) -> Follower {
        let (caller, streak, bulk, cpu, answered, skip) = (0, 0, 0, None, None, (0, 0));
        Follower { thread, caller, streak, bulk, cpu, answered, skip }
    }

    pub(super) fn follows(&self) -> bool {
        self.thread.place.follows()
    }

    /// Before a request is carried out: who asks, and how many bytes of data it is about.
    pub(super) fn asked(&mut self, caller: u32, bytes: usize) {
        if self.thread.place.home.is_none() || caller == 0 {
            // A request of nobody, such as FORGET, or of another PID namespace.
            return;
        }
        if caller != self.caller {
            (self.caller, self.bulk) = (caller, 0);
            self.leave();
            self.streak = 1;
        } else if bytes > LARGE {
            self.bulk += 1;
            if self.bulk >= BULK {
                self.leave();
            }
        } else {
            (self.bulk, self.streak) = (0, self.streak.saturating_add(1));
            if self.streak >= STREAK && self.is_late() {
                self.look();
            }
        }
    }

    /// After the answer. On one CPU the caller has run meanwhile, and its next request is there.
    pub(super) fn answered(&mut self) {
        if self.streak >= STREAK {
            self.answered = Some(Instant::now());
        }
    }

    fn leave(&mut self) {
        (self.streak, self.skip, self.cpu) = (0, (0, 0), None);
        self.thread.place.free(self.thread.id());
    }

    /// Whether it is time to look where the caller is.
    fn is_late(&mut self) -> bool {
        if self.answered.is_some_and(|at| at.elapsed() <= LATE) {
            // Together with the caller: the next late one says something again.
            self.skip = (0, 0);
            return false;
        }
        let skips = self.skip.0 > 0;
        self.skip.0 -= u32::from(skips);
        !skips
    }

    fn look(&mut self) {
        let cpu = process::cpu_of(self.caller);
        let place = &self.thread.place;
        let stays = place.follows() && cpu == self.cpu;
        if !stays && cpu.is_some_and(|cpu| place.follow_to(cpu)) {
            (self.cpu, self.skip) = (cpu, (0, 0));
            return;
        }
        if !stays {
            place.free(self.thread.id());
        }
        let next = (2 * self.skip.1 + 1).min(SKIPS);
        self.skip = (next, next);
    }
}

#[cfg(test)]
mod tests;

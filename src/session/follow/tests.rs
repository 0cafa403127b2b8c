use std::sync::mpsc;

use super::*;
use crate::sys::process::{stat_field, thread_id};

/// What /proc says of a thread: its policy, and the CPUs that it may use.
fn policy(thread: i32) -> i32 {
    stat_field(&format!("/proc/self/task/{thread}/stat"), 41).unwrap().parse().unwrap()
}

fn cpus(thread: i32) -> CpuSet {
    sched_getaffinity(Pid::from_raw(thread)).unwrap()
}

fn only(cpu: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(cpu).unwrap();
    set
}

/// Runs `body` in a thread of its own, whose policy and CPUs it may change, with what follows for
/// it and the first two CPUs; skips where there is one, or no right to come back.
fn in_thread(body: impl FnOnce(Follower, [usize; 2]) + Send + 'static) {
    let run = || {
        let Some(home) = Home::new() else {
            eprintln!("SKIP: following: one CPU, or another policy");
            return;
        };
        if !home.may_return() {
            eprintln!("SKIP: following: needs CAP_SYS_NICE");
            return;
        }
        let mut both = (0..CpuSet::count()).filter(|cpu| home.cpus.is_set(*cpu) == Ok(true));
        let both = [both.next().unwrap(), both.next().unwrap()];
        let thread = Thread::new(Some(Arc::new(home)));
        thread.started();
        body(Follower::new(Arc::new(thread)), both);
    };
    std::thread::spawn(run).join().unwrap();
}

/// A caller: a thread that goes where it is told, and sleeps there.
struct Caller {
    id: u32,
    orders: mpsc::Sender<usize>,
    done: mpsc::Receiver<i32>,
}

impl Caller {
    fn new() -> Caller {
        let (orders, ordered) = mpsc::channel::<usize>();
        let (tell, done) = mpsc::channel();
        std::thread::spawn(move || {
            tell.send(thread_id().as_raw()).unwrap();
            for cpu in ordered {
                sched_setaffinity(Pid::from_raw(0), &only(cpu)).unwrap();
                // It is not there before it has run there.
                std::thread::yield_now();
                tell.send(0).unwrap();
            }
        });
        let id = done.recv().unwrap() as u32;
        Caller { id, orders, done }
    }

    fn go_to(&self, cpu: usize) {
        self.orders.send(cpu).unwrap();
        self.done.recv().unwrap();
    }
}

/// Requests that all come late.
fn ask(follower: &mut Follower, caller: u32, times: u32) {
    for _ in 0..times {
        follower.answered = None;
        follower.asked(caller, 64);
    }
}

#[test]
fn a_caller_is_followed_to_where_it_is() {
    in_thread(|mut follower, [first, second]| {
        let (own, caller) = (thread_id().as_raw(), Caller::new());
        let home = cpus(own);
        caller.go_to(second);
        ask(&mut follower, caller.id, STREAK - 1);
        assert!(!follower.follows());
        ask(&mut follower, caller.id, 1);
        assert!(follower.follows());
        assert_eq!((policy(own), cpus(own)), (libc::SCHED_IDLE, only(second)));
        caller.go_to(first);
        ask(&mut follower, caller.id, 2);
        assert_eq!((policy(own), cpus(own)), (libc::SCHED_IDLE, only(first)));
        // Nobody's requests change nothing; somebody else's end it.
        ask(&mut follower, 0, 1);
        assert!(follower.follows());
        ask(&mut follower, caller.id + 1, 1);
        assert_eq!((follower.follows(), policy(own), cpus(own)), (false, libc::SCHED_OTHER, home));
    });
}

#[test]
fn large_pieces_end_it() {
    in_thread(|mut follower, [first, _]| {
        let (own, caller) = (thread_id().as_raw(), Caller::new());
        caller.go_to(first);
        ask(&mut follower, caller.id, STREAK);
        for _ in 1..BULK {
            follower.asked(caller.id, LARGE + 1);
        }
        // One small request between them, and they are not in a row.
        follower.asked(caller.id, LARGE);
        for _ in 1..BULK {
            follower.asked(caller.id, LARGE + 1);
        }
        assert!(follower.follows());
        follower.asked(caller.id, LARGE + 1);
        assert_eq!((follower.follows(), policy(own)), (false, libc::SCHED_OTHER));
    });
}

#[test]
fn another_thread_can_end_it_for_a_while() {
    in_thread(|mut follower, [first, _]| {
        let (own, caller) = (thread_id().as_raw(), Caller::new());
        let home = cpus(own);
        caller.go_to(first);
        ask(&mut follower, caller.id, STREAK);
        let thread = follower.thread.clone();
        let watcher = std::thread::spawn(move || {
            thread.place.bar();
            thread.place.free(own);
        });
        watcher.join().unwrap();
        assert_eq!((follower.follows(), policy(own), cpus(own)), (false, libc::SCHED_OTHER, home));
        ask(&mut follower, caller.id, 4 * SKIPS);
        assert!(!follower.follows(), "it was barred");
        follower.thread.place.barred_until.store(clock::monotonic_ns(), Ordering::Relaxed);
        ask(&mut follower, caller.id, SKIPS + 1);
        assert!(follower.follows());
    });
}

#[test]
fn nobody_goes_where_the_program_may_not() {
    in_thread(|follower, [first, second]| {
        let own = thread_id().as_raw();
        let home = Home { cpus: only(first), may_return: OnceLock::from(true) };
        let mut narrow = Follower::new(Arc::new(Thread::new(Some(Arc::new(home)))));
        drop(follower);
        let caller = Caller::new();
        caller.go_to(second);
        ask(&mut narrow, caller.id, STREAK + SKIPS);
        assert_eq!((narrow.follows(), policy(own)), (false, libc::SCHED_OTHER));
    });
}

#[test]
fn what_comes_at_once_is_not_looked_into() {
    in_thread(|mut follower, [first, second]| {
        let caller = Caller::new();
        caller.go_to(first);
        ask(&mut follower, caller.id, STREAK);
        caller.go_to(second);
        for _ in 0..1000 {
            follower.answered = Some(Instant::now() + Duration::from_secs(60));
            follower.asked(caller.id, 64);
        }
        assert_eq!(follower.cpu, Some(first));
        ask(&mut follower, caller.id, 1);
        assert_eq!(follower.cpu, Some(second));
    });
}

#[test]
fn a_caller_that_does_something_else_is_looked_for_less_and_less() {
    in_thread(|mut follower, [first, second]| {
        let caller = Caller::new();
        caller.go_to(first);
        ask(&mut follower, caller.id, STREAK + 64 * SKIPS);
        assert_eq!(follower.skip.1, SKIPS);
        caller.go_to(second);
        // It was looked for just now, or will be after so many.
        ask(&mut follower, caller.id, SKIPS + 1);
        assert_eq!(follower.cpu, Some(second));
        // One that comes at once ends the pause.
        ask(&mut follower, caller.id, 64 * SKIPS);
        follower.answered = Some(Instant::now() + Duration::from_secs(60));
        follower.asked(caller.id, 64);
        caller.go_to(first);
        ask(&mut follower, caller.id, 1);
        assert_eq!(follower.cpu, Some(first));
    });
}

#[test]
fn a_child_of_a_follower_comes_home() {
    in_thread(|mut follower, [first, _]| {
        let (own, caller) = (thread_id().as_raw(), Caller::new());
        let home = cpus(own);
        caller.go_to(first);
        ask(&mut follower, caller.id, STREAK);
        let place = follower.thread.place.home.clone().unwrap();
        let child = std::thread::spawn(move || {
            let own = thread_id().as_raw();
            let before = policy(own);
            place.enter();
            (before, policy(own), cpus(own))
        });
        assert_eq!(child.join().unwrap(), (libc::SCHED_IDLE, libc::SCHED_OTHER, home));
    });
}

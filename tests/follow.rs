//! With `--follow` a serving thread follows its only caller to that one's CPU: that it does, and that nobody waits
//! long where the CPUs are wanted by others.

mod common;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use common::{Mount, SOON, wait_until};

const SCHED_IDLE: &str = "5";

/// How often the mount is asked, one question after the other.
const QUESTIONS: usize = 3000;

/// The policies of all threads of a process, as proc(5) numbers them.
fn policies(process: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
    let policy = |stat: String| {
        let (_, fields) = stat.rsplit_once(") ")?;
        fields.split(' ').nth(41 - 3).map(str::to_string)
    };
    stats.filter_map(policy).collect()
}

fn follows(process: u32) -> bool {
    policies(process).iter().any(|policy| policy == SCHED_IDLE)
}

/// Asks for names that are not there.
fn ask(point: &Path, times: usize) {
    for number in 0..times {
        fs::symlink_metadata(point.join(format!("missing-{number}"))).unwrap_err();
    }
}

/// The CPUs that there are for this process, one by one.
fn cpus() -> Vec<CpuSet> {
    let all = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let each = (0..CpuSet::count()).filter(|cpu| all.is_set(*cpu).unwrap());
    let only = |cpu| {
        let mut set = CpuSet::new();
        set.set(cpu).map(|()| set).unwrap()
    };
    each.map(only).collect()
}

fn why_not() -> Option<String> {
    (cpus().len() < 2).then(|| "one CPU".to_string())
}

/// Whether `look` ever said so while the mount was asked.
fn while_asking(mount: &Mount, mut look: impl FnMut() -> bool) -> bool {
    let point = mount.point();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&point, QUESTIONS));
        let mut seen = false;
        while !asking.is_finished() {
            seen |= look();
            std::thread::sleep(Duration::from_millis(1));
        }
        seen
    })
}

#[test]
fn a_caller_is_followed_for_as_long_as_it_asks() {
    need_mounts!();
    if let Some(reason) = why_not() {
        skip!(reason);
    }
    for mode in [&["--follow", "--no-supervise"][..], &["--follow"]] {
        let mount = Mount::new(mode);
        let workers: Vec<u32> =
            mount.place().servers().iter().map(|pid| pid.as_raw() as u32).collect();
        let any = || workers.iter().any(|pid| follows(*pid));
        assert!(!any(), "{mode:?}: nobody has asked");
        assert!(while_asking(&mount, any), "{mode:?}: not followed");
        assert!(wait_until(SOON, || !any()), "{mode:?}: still followed");
    }
}

#[test]
fn two_callers_are_not_followed() {
    need_mounts!();
    let mount = Mount::new(&["--follow", "--no-supervise"]);
    let point = mount.point();
    // Taking turns, each has to wait for the other one.
    let turn = AtomicBool::new(false);
    let take_turns = |own: bool| {
        for number in 0..200 {
            while turn.load(Ordering::Acquire) != own {
                std::thread::yield_now();
            }
            fs::symlink_metadata(point.join(format!("missing-{own}-{number}"))).unwrap_err();
            assert!(!follows(mount.pid()));
            turn.store(!own, Ordering::Release);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| take_turns(false));
        scope.spawn(|| take_turns(true));
    });
}

/// Says to threads that they are to end, when it is dropped.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn who_wants_the_cpu_does_not_stop_a_mount() {
    need_mounts!();
    if let Some(reason) = why_not() {
        skip!(reason);
    }
    let (mount, ended) = (Mount::new(&["--follow", "--no-supervise"]), AtomicBool::new(false));
    let (ended, point) = (&ended, mount.point());
    std::thread::scope(|scope| {
        let _ending = Ending(ended);
        scope.spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                ask(&point, 16);
            }
        });
        assert!(wait_until(SOON, || follows(mount.pid())), "not followed");
        for cpu in cpus() {
            scope.spawn(move || {
                sched_setaffinity(Pid::from_raw(0), &cpu).unwrap();
                while !ended.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        // What starves is set free for a while, and not only until the next question.
        let stays_free = || {
            (0..100).all(|_| {
                std::thread::sleep(Duration::from_millis(10));
                !follows(mount.pid())
            })
        };
        assert!(wait_until(SOON, stays_free), "it goes on following");
    });
}

//! Who looks at a storm from outside: its time, what it has come to, and calls that hang.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};

use super::course::Course;
use super::{Progress, StormConfig, Under};

/// The comparison of whole trees may take so many times as long.
const WHOLE: u32 = 4;
/// Between two reports of progress.
const LOOK: Duration = Duration::from_millis(100);

/// Who looks at a storm from outside.
pub(super) struct Watcher<'a> {
    pub(super) config: &'a StormConfig,
    pub(super) course: &'a Course,
    pub(super) under: &'a Under,
    pub(super) stop: &'a AtomicBool,
}

impl Watcher<'_> {
    /// Looks until it is done. True: something hung, and the connection was aborted.
    pub(super) fn until(&self, done: &AtomicBool, progress: &impl Fn(Progress)) -> bool {
        let Watcher { config, course, .. } = self;
        let mut hung = false;
        let mut last = course.start;
        while !done.load(Ordering::Acquire) {
            std::thread::sleep(LOOK / 10);
            let time_is_over = config.limit().is_some_and(|limit| course.start.elapsed() >= limit);
            if time_is_over || self.stop.load(Ordering::Acquire) {
                course.end();
            }
            if last.elapsed() >= LOOK {
                last = Instant::now();
                progress(self.progress());
                hung |= self.end_if_hung(hung);
            }
        }
        progress(self.progress());
        hung
    }

    fn progress(&self) -> Progress {
        let course = self.course;
        Progress {
            operations: course.operations(),
            worker_deaths: course.worker_deaths.load(Ordering::Acquire),
            supervisor_deaths: course.supervisor_deaths.load(Ordering::Acquire),
            anomalies: course.wrong(),
            elapsed: course.start.elapsed(),
        }
    }

    fn end_if_hung(&self, already: bool) -> bool {
        let Some(what) = self.what_hangs() else { return false };
        if !already {
            self.course.find(&what, "an end", "it hangs: the connection is aborted".into());
        }
        self.course.stop_killing();
        self.abort();
        true
    }

    fn what_hangs(&self) -> Option<String> {
        let (course, patience) = (self.course, self.config.patience);
        let whole = patience * WHOLE;
        let told = |what: &str, time: Duration| format!("{what}, for {} s", time.as_secs());
        for (thread, time) in course.progress.stuck(patience) {
            if !course.is_own(thread) {
                return Some(told(&format!("a call of thread {thread}"), time));
            }
            if time > whole {
                return Some(told("what is done around the workload", time));
            }
        }
        let ending = course.ending_since().filter(|time| *time > whole);
        ending.map(|time| told("the comparison at the end", time))
    }

    /// Gives every caller an error.
    fn abort(&self) {
        let point = match self.under {
            Under::Own(target) => target.point(),
            Under::Other(other) => other.mount().to_path_buf(),
        };
        // In use, it stays mounted; the connection has ended all the same.
        let _ = umount2(&point, MntFlags::MNT_FORCE);
    }
}

//! A worker that dies in the middle of a request, with a file open that no table knows yet: its
//! successor closes it.
//!
//! The request is held there by the file system below, which is a mount too, with a worker that
//! is stopped: opening the file is up to the kernel, its attributes are up to that worker.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use nix::sys::signal::Signal;

use crate::common::{Mount, Place, SOON, sys, wait_until};
use crate::damage::hold;
use crate::leaks::descriptors;
use crate::line::{number, status, until};
use crate::need_mounts;

const DEATHS: u64 = 4;

/// A stopped process, which goes on when this goes.
struct Stopped(OwnedFd);

impl Stopped {
    fn new(pid: u64) -> Stopped {
        let stopped = Stopped(sys::pidfd(pid as i32).unwrap());
        sys::signal_pidfd(&stopped.0, Signal::SIGSTOP).unwrap();
        let stat = format!("/proc/{pid}/stat");
        let done = wait_until(SOON, || fs::read_to_string(&stat).unwrap().contains(") T "));
        assert!(done, "{pid} is not stopped");
        stopped
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have ended.
        let _ = sys::signal_pidfd(&self.0, Signal::SIGCONT);
    }
}

#[test]
fn what_a_dead_worker_had_just_opened_is_closed() {
    need_mounts!();
    let lower = Mount::new(&["-o", "nopassthrough,attr_timeout=86400,entry_timeout=86400"]);
    let source = lower.point();
    let mode = ["-o", "nopassthrough,entry_timeout=0"];
    let upper = Mount::of(Place::new(), source.to_str().unwrap(), &mode, None);
    let path = source.join("file");
    // Behind a write the kernel asks for the attributes again, but not for the name. Nothing stays
    // open: a program that this one starts would close it, and wait for who is stopped.
    fs::write(&path, "written").unwrap();
    let _known_below = hold(&path);
    fs::metadata(upper.point()).unwrap();
    let open = || descriptors(&upper).get(path.to_str().unwrap()).copied().unwrap_or(0);
    assert_eq!(open(), 0);
    let kill = |pid: u64| {
        let process = sys::pidfd(pid as i32).unwrap();
        assert_eq!(number(&status(&upper.point()), "worker_pid"), pid);
        sys::signal_pidfd(&process, Signal::SIGKILL).unwrap();
    };
    std::thread::scope(|scope| {
        let stopped = Stopped::new(number(&status(&source), "worker_pid"));
        let caller = scope.spawn(|| fs::metadata(upper.point().join("file")).map(|it| it.size()));
        for deaths in 1..=DEATHS {
            assert!(wait_until(SOON, || open() > 0), "the worker does not come to it");
            kill(number(&status(&upper.point()), "worker_pid"));
            until(&upper.point(), "the next worker", |it| {
                number(it, "generation") == deaths && number(it, "worker_pid") != 0
            });
        }
        drop(stopped);
        assert_eq!(caller.join().unwrap().unwrap(), 7);
    });
    // The node's, and none of those that died.
    let _known = hold(&upper.point().join("file"));
    assert_eq!(open(), 1, "{:?}", descriptors(&upper));
    assert_eq!(number(&status(&upper.point()), "worker_deaths"), DEATHS);
}

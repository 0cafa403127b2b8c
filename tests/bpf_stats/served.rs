//! A mount of any server, which goes with the value.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{Place, SOON, wait_until};
use crate::said::Said;
use crate::sftp::Sftp;

/// A server in the foreground, and what it serves.
pub(crate) struct Served {
    place: Place,
    child: Child,
    /// The other end, of one that has another end.
    sftp: Option<Sftp>,
}

impl Served {
    /// Runs `command`, which mounts on the place's `point` and stays in the foreground.
    pub(crate) fn start(place: Place, command: Command) -> Served {
        Served::over(place, command, None)
    }

    /// The same of a server that needs another one.
    pub(crate) fn over(place: Place, mut command: Command, sftp: Option<Sftp>) -> Served {
        let log = File::create(place.path("server.log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.env_remove("RUST_LOG").spawn().unwrap();
        let mut served = Served { place, child, sftp };
        let point = served.point();
        let mounted = wait_until(SOON, || {
            served.child.try_wait().unwrap().is_some()
                || served.place.mounts().iter().any(|entry| entry.mount_point == point)
        });
        let runs = served.child.try_wait().unwrap().is_none();
        assert!(mounted && runs, "{command:?} has not mounted: {}", served.log());
        // Answered behind INIT, and behind what it does first.
        std::fs::metadata(&point).unwrap();
        served
    }

    /// The mount point.
    pub(crate) fn point(&self) -> PathBuf {
        self.place.point()
    }

    /// What lies under the mount.
    pub(crate) fn source(&self) -> PathBuf {
        self.place.source()
    }

    /// The place that it is in.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// The connection's number.
    pub(crate) fn connection(&self) -> u64 {
        let (point, mounts) = (self.point(), self.place.mounts());
        let entry = mounts.iter().find(|entry| entry.mount_point == point).unwrap();
        entry.minor.into()
    }

    /// The server's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends the server a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Stops the server, and waits until all of its threads have stopped.
    pub(crate) fn pause(&self) {
        self.signal(Signal::SIGSTOP);
        let tasks = format!("/proc/{}/task", self.pid());
        let stopped = wait_until(SOON, || {
            std::fs::read_dir(&tasks).unwrap().flatten().all(|task| {
                let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
                stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" T "))
            })
        });
        assert!(stopped, "the server goes on after SIGSTOP");
    }

    /// What the server wrote.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.place.path("server.log")).unwrap_or_default()
    }

    /// What it was asked so far, of a server of libfuse with `-d`, once it has answered all.
    pub(crate) fn said(&self) -> Said {
        Said::when_quiet(|| self.log())
    }

    fn end(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            // Stopped, it would not notice; and a caller whose request it has read would not end.
            self.signal(Signal::SIGCONT);
        }
        self.place.unmount_all();
        let ended = wait_until(SOON, || self.child.try_wait().unwrap().is_some());
        if !ended {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
        assert!(ended || std::thread::panicking(), "the server goes on after the unmount");
        self.sftp = None;
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the server's log: {}", self.log());
        }
        self.end();
    }
}

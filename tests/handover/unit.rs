//! A mount as a service: `fusex supervise` with a manager, or without one, whose processes can be
//! killed all together, and started again with what the manager has kept.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use fusex::supervise::client;
use fusex::supervise::protocol::Request;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::caller::Caller;
use crate::common::{Place, SOON, wait_until};
use crate::manager::Manager;

/// Starts the program as a manager does: what is kept is its 3 and 4, and the process ids are
/// those of the process that becomes it.
const START: &str = "exec 3<&0 4<&1 </dev/null >>\"$LOG\" 2>&1; \
    export LISTEN_PID=$$ WATCHDOG_PID=$$; exec \"$0\" \"$@\"";
/// The processes of a mount, as the status names them.
const FOUR: [&str; 4] = ["supervisor_pid", "standby_pid", "reserve_pid", "worker_pid"];

/// What is kept, with its names.
pub(crate) type Stored = Vec<(String, OwnedFd)>;

pub(crate) struct Unit {
    pub(crate) manager: Option<Manager>,
    /// What is started: a file of this place, which the test may replace.
    pub(crate) program: PathBuf,
    arguments: Vec<String>,
    /// Where it is mounted, as the arguments say it.
    point: PathBuf,
    /// WATCHDOG_USEC.
    watchdog: Option<u64>,
    process: Option<Child>,
    /// The test has ended it: how is no failure.
    killed: bool,
    /// Last: what is left is taken away when everything else is gone.
    pub(crate) place: Place,
}

impl Unit {
    /// A service with a manager, serving a tmpfs: a file system whose handles open again.
    pub(crate) fn managed(arguments: &[&str], watchdog: Option<u64>) -> Unit {
        Unit::managed_at("point", arguments, watchdog)
    }

    /// As [`Unit::managed`], mounted somewhere else in its place.
    pub(crate) fn managed_at(point: &str, arguments: &[&str], watchdog: Option<u64>) -> Unit {
        let place = Place::new();
        place.tmpfs(&place.source(), "size=64m");
        std::fs::create_dir_all(place.path(point)).unwrap();
        let manager = Manager::new(&place.path("notify"));
        let point = place.path(point);
        Unit::start_in(place, point, Some(manager), arguments, watchdog)
    }

    /// A mount that nobody manages.
    pub(crate) fn alone(arguments: &[&str]) -> Unit {
        let place = Place::new();
        let point = place.point();
        Unit::start_in(place, point, None, arguments, None)
    }

    fn start_in(
        place: Place,
        point: PathBuf,
        manager: Option<Manager>,
        arguments: &[&str],
        watchdog: Option<u64>,
    ) -> Unit {
        let program = place.path("fusex");
        let arguments = arguments.iter().map(|argument| argument.to_string()).collect();
        let (process, killed) = (None, false);
        let mut unit =
            Unit { manager, program, arguments, point, watchdog, process, killed, place };
        // A name is enough until another program takes its place.
        if std::fs::hard_link(env!("CARGO_BIN_EXE_fusex"), &unit.program).is_err() {
            unit.install(env!("CARGO_BIN_EXE_fusex"));
        }
        unit.start(Vec::new());
        unit.until_serving();
        unit
    }

    pub(crate) fn manager(&self) -> &Manager {
        self.manager.as_ref().expect("a manager")
    }

    /// Puts a copy of `from` in the place of the program, as package managers do. The copy is made
    /// by another process: what this one has open for writing a child may hold for a moment, and
    /// cannot be executed then.
    pub(crate) fn install(&self, from: &str) {
        let new = self.program.with_extension("new");
        let status = Command::new("install").args(["-m", "755", from]).arg(&new).status();
        assert!(status.unwrap().success(), "{from}");
        std::fs::rename(new, &self.program).unwrap();
    }

    /// The command that the manager starts.
    fn command(&self, stored: Stored) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", START]).arg(&self.program).arg("supervise").args(&self.arguments);
        command.arg(self.place.source()).arg(&self.point);
        command.env("LOG", self.place.path("server.log")).env_remove("RUST_LOG");
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_FDNAMES"] {
            command.env_remove(name);
        }
        if let Some(manager) = &self.manager {
            command.env("NOTIFY_SOCKET", &manager.socket);
        }
        if let Some(limit) = self.watchdog {
            command.env("WATCHDOG_USEC", limit.to_string());
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        if !stored.is_empty() {
            let names: Vec<_> = stored.iter().map(|(name, _)| name.as_str()).collect();
            command.env("LISTEN_FDNAMES", names.join(":"));
            command.env("LISTEN_FDS", stored.len().to_string());
        }
        assert!(stored.len() <= 2, "there are two places");
        let mut fds = stored.into_iter().map(|(_, fd)| fd);
        fds.next().map(|fd| command.stdin(fd));
        fds.next().map(|fd| command.stdout(fd));
        command
    }

    /// Starts the program with `stored`.
    pub(crate) fn start(&mut self, stored: Stored) {
        assert!(self.process.is_none(), "it is there already");
        self.process = Some(self.command(stored).spawn().unwrap());
    }

    /// Starts the program with `stored`, which it must refuse: how it ended, and what it said.
    pub(crate) fn start_refused(&mut self, stored: Stored) -> (Option<i32>, String) {
        let before = self.log().len();
        self.start(stored);
        let status = self.ended().unwrap_or_else(|| panic!("it goes on: {}", self.log()));
        (status.code(), self.log()[before..].to_string())
    }

    /// The end of the process that was started, if it comes.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let process = self.process.as_mut().expect("it was started");
        let mut status = None;
        wait_until(SOON, || {
            status = process.try_wait().unwrap();
            status.is_some()
        });
        if status.is_some() {
            self.process = None;
        }
        status
    }

    /// Runs `fusex supervise ACTION` on the mount point.
    pub(crate) fn ask(&self, action: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fusex"));
        command.arg("supervise").args(action).arg(&self.point).env_remove("RUST_LOG");
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// What the supervisor says of the mount, if it answers.
    pub(crate) fn status(&self) -> Option<Value> {
        let status = client::ask(&client::find(&self.point).ok()?, Request::Status).ok()?;
        serde_json::to_value(status).ok()
    }

    /// A number of the status.
    pub(crate) fn number(&self, key: &str) -> u64 {
        let status = self.status().unwrap_or_else(|| panic!("no status: {}", self.log()));
        status[key].as_u64().unwrap_or_else(|| panic!("no number {key}: {status}"))
    }

    /// The test has the process end that was started: how is no failure.
    pub(crate) fn expect_killed(&mut self) {
        self.killed = true;
    }

    /// Waits until a worker serves and all processes are there; returns their ids, the supervisor's
    /// first.
    pub(crate) fn until_serving(&self) -> Vec<i32> {
        let mut pids = Vec::new();
        let all = wait_until(SOON, || {
            let status = self.status().unwrap_or_default();
            pids = FOUR.iter().filter_map(|key| status[key].as_i64()).map(|it| it as i32).collect();
            pids.len() == FOUR.len() && pids.iter().all(|pid| *pid > 0)
        });
        let found = client::find(&self.point);
        assert!(all, "not all are there: {pids:?}, {found:?}: {}", self.log());
        pids
    }

    /// Kills all processes of the mount once they are all there; returns when they are gone.
    pub(crate) fn kill_all(&mut self) {
        let all = self.until_serving();
        self.kill(all);
    }

    /// Kills these processes and whoever else there is of the mount.
    pub(crate) fn kill(&mut self, first: Vec<i32>) {
        let mut left: Vec<Pid> = first.into_iter().map(Pid::from_raw).collect();
        // In the middle of exec(2) it has no arguments to be found by.
        left.extend(self.process.as_ref().map(|process| Pid::from_raw(process.id() as i32)));
        self.killed = true;
        // Those that took the place of others before their turn came are found by the directory.
        let gone = wait_until(SOON, || {
            for pid in &left {
                let _ = kill(*pid, Signal::SIGKILL);
            }
            let _ = self.process.as_mut().map(Child::try_wait);
            left = self.place.servers();
            left.is_empty()
        });
        assert!(gone, "left: {left:?}");
        assert!(self.ended().is_some(), "it is none of those");
    }

    /// What the manager does when all are gone: starts it again with what it has kept.
    pub(crate) fn restart(&mut self) {
        let stored = self.manager().stored();
        self.manager().forget_heard();
        self.start(stored);
    }

    /// A caller that is at the mount point.
    pub(crate) fn caller(&self) -> Caller {
        Caller::new(&self.point)
    }

    /// What it wrote, all starts together.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.place.path("server.log")).unwrap_or_default()
    }

    /// The connections that are mounted on the mount point.
    pub(crate) fn fuse_mounts(&self) -> Vec<u32> {
        let mounts = self.place.mounts();
        mounts.iter().filter(|entry| entry.is_fuse()).map(|entry| entry.minor).collect()
    }

    /// Ends every wait for an answer from this mount.
    fn abort(&self) {
        for connection in self.fuse_mounts() {
            let path = format!("/sys/fs/fuse/connections/{connection}/abort");
            let aborted =
                File::options().write(true).open(path).and_then(|mut it| it.write_all(b"1"));
            if aborted.is_err() {
                let flags = nix::mount::MntFlags::MNT_FORCE;
                let _ = nix::mount::umount2(&self.point, flags);
            }
        }
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        let panicking = std::thread::panicking();
        if panicking {
            eprintln!("fusex supervise {}: {}", self.arguments.join(" "), self.log());
        }
        // Nobody serves: an unmount might wait.
        if panicking || self.process.is_none() {
            self.abort();
        }
        if let Some(manager) = &self.manager {
            manager.forget_stored();
        }
        if !panicking && !self.fuse_mounts().is_empty() {
            // Not by an unmount alone: who has made a mount namespace meanwhile has a copy.
            let _ = self.ask(&["stop"]);
        }
        self.place.unmount_all();
        if self.process.is_none() {
            return;
        }
        let status = self.ended();
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
        if !panicking {
            let status = status.expect("it ends when the mount is gone");
            assert!(status.success() || self.killed, "{status}: {}", self.log());
        }
    }
}

//! A supervised server in a process of its own, and what is known of it from outside.
//!
//! The server of [`crate::traps`] is this test binary, run again with [`serve`] as its only test.
//! Where it serves is one more argument, a test's name that nothing has: so its processes are
//! found by the place they belong to.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use fusex::mount::{self, Options};
use fusex::recovery::arena::Arena;
use fusex::session::{Session, SessionConfig, TakeoverConfig};
use fusex::supervise::client::{ask, find};
use fusex::supervise::protocol::{Request, Status};
use fusex::supervise::{self, Service};
use fusex::sys::Fd;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use serde::{Deserialize, Serialize};

use crate::common::{Place, SOON, wait_until};
use crate::fault::{CAUSES, Cause};
use crate::traps::Traps;

/// A [`Setup`], as JSON.
const SETUP: &str = "FUSEX_FAULTS_SETUP";

/// How the traps are served.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) single: bool,
    /// Milliseconds.
    pub(crate) request_timeout: Option<u64>,
    pub(crate) poison_after: u64,
    pub(crate) restart_limit: u32,
}

impl Default for Setup {
    fn default() -> Setup {
        let poison_after = TakeoverConfig::default().max_deaths;
        let supervision = supervise::Config::default();
        assert_eq!(supervision.request_timeout, None, "nothing hangs, unless it is asked for");
        let restart_limit = supervision.restart_limit;
        Setup { single: false, request_timeout: None, poison_after, restart_limit }
    }
}

#[test]
#[ignore = "the server of other tests, which start it"]
fn serve() {
    let Ok(setup) = std::env::var(SETUP) else { return };
    let place =
        std::env::args_os().map(PathBuf::from).find(|path| path.is_absolute() && path.is_dir());
    let (setup, place) = (serde_json::from_str(&setup).unwrap(), place.unwrap());
    // The harness has a second thread; a forked child has one.
    match fusex::sys::process::fork().unwrap() {
        ForkResult::Child => std::process::exit(supervise(setup, place)),
        ForkResult::Parent { child } => match waitpid(child, None).unwrap() {
            WaitStatus::Exited(_, code) => std::process::exit(code),
            other => panic!("{other:?}"),
        },
    }
}

/// The exit code of the whole.
fn supervise(setup: Setup, place: PathBuf) -> i32 {
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false);
    log.with_max_level(tracing::Level::INFO).init();
    let point = place.join("point");
    let checked = mount::check::mountpoint(&point).unwrap();
    let mounted = mount::mount(&checked, "traps", &Options::default()).unwrap();
    let arena = Arena::create().unwrap();
    let traps = Traps::new(&arena, place.clone());
    let device = Fd::from_owned(mounted.device);
    let session = SessionConfig { single_threaded: setup.single, ..SessionConfig::default() };
    let session = Session::start_in(&arena, device, traps, session).unwrap();
    let takeover = TakeoverConfig { max_deaths: setup.poison_after, ..TakeoverConfig::default() };
    let connection = mounted.connection;
    let service = Service { connection, takeover, ..Service::new(session, &arena, Some(point)) };
    let config = supervise::Config {
        request_timeout: setup.request_timeout.map(Duration::from_millis),
        restart_limit: setup.restart_limit,
        ..supervise::Config::default()
    };
    let ready = || std::fs::write(place.join("ready"), "").unwrap();
    match service.run(&arena, config, ready) {
        Ok(()) => 0,
        Err(error) => error.exit().code().into(),
    }
}

/// A mount with its supervisor.
pub(crate) struct Server {
    place: Place,
    child: Child,
}

impl Server {
    /// Serves the traps.
    pub(crate) fn start(setup: Setup) -> Server {
        Server::start_in(Place::new(), setup)
    }

    /// As [`Server::start`], ready or not.
    pub(crate) fn begin_in(place: Place, setup: &Setup) -> Server {
        let program = std::env::current_exe().unwrap();
        let mut command = Command::new(program);
        let only = ["--exact", "server::serve", "--ignored", "--nocapture", "--test-threads=1"];
        command.args(only).arg(place.path(""));
        command.env(SETUP, serde_json::to_string(setup).unwrap());
        Server::spawn(place, command)
    }

    /// As [`Server::start`], in a place made ready before.
    pub(crate) fn start_in(place: Place, setup: Setup) -> Server {
        let server = Server::begin_in(place, &setup);
        let ready = wait_until(SOON, || server.path("ready").exists());
        assert!(ready, "not mounted: {}", server.log());
        server
    }

    /// `fusex` with these arguments, and with source and mount point behind them.
    pub(crate) fn program(place: Place, arguments: &[&str]) -> Server {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fusex"));
        command.args(arguments).arg(place.source()).arg(place.point());
        let server = Server::spawn(place, command);
        let ready = wait_until(SOON, || server.try_status().is_some_and(|it| it.standby_pid > 0));
        assert!(ready, "not mounted: {}", server.log());
        server
    }

    fn spawn(place: Place, mut command: Command) -> Server {
        let log = std::fs::File::create(place.path("server.log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).env_remove("RUST_LOG");
        let child = command.spawn().unwrap();
        Server { place, child }
    }

    /// Something in its place.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path(name)
    }

    /// A file of the mount.
    pub(crate) fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.place.point().join(name)
    }

    /// The place it is in.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Makes or takes away a sign for the file system.
    pub(crate) fn sign(&self, name: &str, there: bool) {
        match there {
            true => std::fs::write(self.path(name), "").unwrap(),
            false => std::fs::remove_file(self.path(name)).unwrap(),
        }
    }

    /// What it wrote to stderr.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("server.log")).unwrap_or_default()
    }

    /// What its supervisor says.
    pub(crate) fn status(&self) -> Status {
        self.try_status().unwrap_or_else(|| panic!("no status: {}", self.log()))
    }

    /// As [`Server::status`], where it answers. It does not while a worker takes over.
    pub(crate) fn try_status(&self) -> Option<Status> {
        ask(&find(&self.place.point()).ok()?, Request::Status).ok()
    }

    /// Ends the worker that serves, as a fault would.
    pub(crate) fn end_worker(&self) {
        let deaths = || self.log().matches("died: ").count();
        let (before, pid) = (deaths(), self.status().worker_pid);
        kill(Pid::from_raw(pid as i32), Signal::SIGABRT).unwrap();
        assert!(wait_until(SOON, || deaths() > before), "it lives: {}", self.log());
    }

    /// The deaths of each cause, in the order of [`CAUSES`].
    pub(crate) fn deaths(&self) -> [u64; CAUSES.len()] {
        let status = self.status();
        CAUSES.map(|cause| match cause {
            Cause::Signal => status.deaths_signal,
            Cause::Exit => status.deaths_exit,
            Cause::Killed => status.deaths_killed,
            Cause::Timeout => status.deaths_timeout,
        })
    }

    /// Waits until the deaths are these: one is counted when its successor is on its way.
    pub(crate) fn wait_for_deaths(&self, expected: [u64; CAUSES.len()]) {
        wait_until(SOON, || self.deaths() == expected);
        assert_eq!(self.deaths(), expected, "deaths by {CAUSES:?}: {}", self.log());
    }

    /// Waits until `done` is true of the deaths; returns them.
    pub(crate) fn wait_for(
        &self,
        done: impl Fn([u64; CAUSES.len()]) -> bool,
    ) -> [u64; CAUSES.len()] {
        wait_until(SOON, || done(self.deaths()));
        let deaths = self.deaths();
        assert!(done(deaths), "deaths by {CAUSES:?}: {deaths:?}: {}", self.log());
        deaths
    }

    /// Waits for its end.
    pub(crate) fn exit(&mut self) -> ExitStatus {
        let ended = wait_until(SOON, || self.child.try_wait().unwrap().is_some());
        assert!(ended, "it goes on: {}", self.log());
        self.child.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            eprintln!("its log: {}", log.chars().take(8000).collect::<String>());
        }
        self.place.unmount_all();
        let ended = wait_until(SOON, || self.child.try_wait().unwrap().is_some());
        if !ended {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
            assert!(std::thread::panicking(), "the server goes on after the unmount");
        }
    }
}

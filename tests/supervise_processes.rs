//! The processes of a mount, without a mount: supervisor, standbys and workers of a stand-in for
//! the work, in processes of their own, killed in every combination.
//!
//! The supervisor under test is this very program, run again with [`stand_in`] as its only test
//! and a variable that makes that test be one. Its board is read through its memfd.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fusex::recovery::arena::{Arena, Origin};
use fusex::recovery::board::{Board, Cell};
use fusex::supervise::client::ask;
use fusex::supervise::protocol::{Request, Status};
use fusex::supervise::{Config, Work, run};
use fusex::sys::Fd;
use fusex::sys::process::fork;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long anything may take that should be quick.
const SOON: Duration = Duration::from_secs(20);
/// Says what the stand-in does; see [`StandIn::serve`].
const MODE: &str = "FUSEX_STAND_IN";
/// Its directory, which tells its processes from others.
const PLACE: &str = "FUSEX_STAND_IN_PLACE";

// Cells that the stand-in uses for itself.
/// The mount is gone.
const GONE: Cell = Cell::Sandbox;
/// A request hangs.
const STUCK: Cell = Cell::Damaged;
/// The connection was aborted.
const ABORTED: Cell = Cell::LeakedLookups;
/// When the worker's `serve` was entered: CLOCK_MONOTONIC, nanoseconds.
const ENTERED: Cell = Cell::MountedAt;
const FINISHED: Cell = Cell::RecoveredFromSlots;

struct StandIn {
    board: Board,
    mode: String,
}

fn monotonic() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

#[allow(unconditional_recursion)]
fn overflow(depth: u64) -> u64 {
    let array = std::hint::black_box([depth; 1000]);
    overflow(depth + 1) + array[7]
}

impl Work for StandIn {
    fn serve(&self, generation: u64) -> i32 {
        let me = Pid::this();
        self.board.set(ENTERED, monotonic());
        if self.mode == "never" {
            return 3;
        }
        self.board.set(Cell::ReadyGeneration, generation + 1);
        self.board.add(FINISHED, u64::from(self.mode != "crash"));
        match self.mode.as_str() {
            "crash" if generation > 0 => std::process::abort(),
            _ if generation >= 3 => {}
            "panic" => panic!("on purpose"),
            "abort" => std::process::abort(),
            "overflow" => return overflow(0) as i32,
            "exit" => std::process::exit(7),
            "return" => return 5,
            // The first one only ends the handler that tells of stack overflows.
            "segv" => (0..2).for_each(|_| kill(me, Signal::SIGSEGV).unwrap()),
            "bus" => (0..2).for_each(|_| kill(me, Signal::SIGBUS).unwrap()),
            "kill" => kill(me, Signal::SIGKILL).unwrap(),
            _ => {}
        }
        while self.board.get(GONE) == 0 || self.mode == "stays" {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.board.set(Cell::Ended, 1);
        0
    }

    fn stuck(&self, _limit: Duration) -> bool {
        let stuck = self.board.get(STUCK) == 1;
        self.board.set(STUCK, 0);
        stuck
    }

    fn is_busy(&self) -> bool {
        true
    }

    fn finished(&self) -> u64 {
        self.board.get(FINISHED)
    }

    fn unmount(&self, lazy: bool) -> bool {
        if self.mode == "hangs" {
            std::thread::sleep(Duration::from_secs(3600));
        }
        let goes = lazy || self.mode != "busy";
        self.board.set(GONE, u64::from(goes));
        goes
    }

    fn abort(&self) {
        self.board.set(ABORTED, 1);
    }

    fn counts(&self) -> (u64, u64) {
        (11, 12)
    }

    fn confine(&self) -> Result<(), String> {
        Ok(())
    }
}

/// The supervisor under test, where the variable says so; otherwise nothing.
#[test]
fn stand_in() {
    let Ok(mode) = std::env::var(MODE) else { return };
    let place = PathBuf::from(std::env::var_os(PLACE).unwrap());
    // The harness has a second thread; a forked child has one.
    if fork().unwrap().is_parent() {
        std::process::exit(0);
    }
    assert_eq!(std::fs::read_dir("/proc/self/task").unwrap().count(), 1, "one thread");
    let arena = Arena::create().unwrap();
    std::fs::write(place.join("pid"), std::process::id().to_string()).unwrap();
    let config = Config {
        request_timeout: (mode == "watched").then(|| Duration::from_millis(200)),
        restart_limit: 5,
        mount_point: Some(place.clone()),
        connection: Some(7),
        control: Some(place.join("control/7.sock")),
        ..Config::default()
    };
    let work = StandIn { board: arena.board(), mode };
    let ready = || std::fs::write(place.join("ready"), "x").unwrap();
    let result = run(&work, arena.board(), &config, ready);
    let end = result.map_or_else(|error| error.to_string(), |()| "well".to_string());
    std::fs::write(place.join("end"), end).unwrap();
    std::process::exit(0);
}

/// A supervisor that runs, and all its processes.
struct Mount {
    dir: tempfile::TempDir,
    first: Child,
    board: Board,
}

impl Mount {
    fn start(mode: &str) -> Mount {
        let mount = Mount::begin(mode);
        mount.until("ready", || mount.path("ready").exists());
        mount.until("standbys", || mount.is_complete());
        mount
    }

    fn begin(mode: &str) -> Mount {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "stand_in", "--nocapture", "--test-threads=1"]);
        command.env(MODE, mode).env(PLACE, dir.path()).stdout(Stdio::null());
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let first = command.stderr(log).spawn().unwrap();
        let start = Instant::now();
        let board = loop {
            if let Some(board) = board_of(&dir.path().join("pid")) {
                break board;
            }
            assert!(start.elapsed() < SOON, "no arena");
            std::thread::sleep(Duration::from_millis(1));
        };
        Mount { dir, first, board }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn socket(&self) -> PathBuf {
        self.path("control/7.sock")
    }

    fn until(&self, what: &str, done: impl Fn() -> bool) {
        let start = Instant::now();
        while !done() {
            let cells = ALL.map(|cell| (cell, self.board.get(cell)));
            assert!(start.elapsed() < SOON, "not in time: {what}: {cells:?} {:?}", self.living());
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    fn pid(&self, cell: Cell) -> Option<Pid> {
        // With a mark in the upper bits it does not stand on its own yet.
        let pid = i32::try_from(self.board.get(cell)).unwrap_or(0);
        (pid != 0 && is_alive(pid)).then_some(Pid::from_raw(pid))
    }

    /// Whether all five run, and the worker serves.
    fn is_complete(&self) -> bool {
        let ready = self.board.get(Cell::ReadyGeneration) == self.board.get(Cell::Generation) + 1;
        let pids = FIVE.map(|cell| self.pid(cell));
        let different = |pid: &Option<Pid>| pids.iter().filter(|it| *it == pid).count() == 1;
        ready && pids.iter().all(|pid| pid.is_some() && different(pid))
    }

    fn kill(&self, cells: &[Cell]) {
        let pids: Vec<Pid> = cells.iter().map(|cell| self.pid(*cell).unwrap()).collect();
        // The order in which they are killed is not that in which they die.
        for pid in pids {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }

    /// Kills these; when all five run again, returns the worker before and after.
    fn kill_and_wait(&self, cells: &[Cell]) -> (u64, u64) {
        let before = FIVE.map(|cell| self.board.get(cell));
        self.kill(cells);
        let killed: Vec<u64> = cells.iter().map(|cell| self.board.get(*cell)).collect();
        self.until("all five again", || {
            let gone = before.iter().zip(FIVE).all(|(pid, cell)| {
                !cells.contains(&cell) || !FIVE.iter().any(|it| self.board.get(*it) == *pid)
            });
            gone && self.is_complete()
        });
        assert_eq!(self.living().len(), 5, "after {cells:?}, {killed:?}");
        (before[1], self.board.get(Cell::WorkerPid))
    }

    fn fds(&self) -> usize {
        let pid = self.board.get(Cell::SupervisorPid);
        std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
    }

    /// The processes that belong to this mount and are not dead.
    fn living(&self) -> Vec<i32> {
        let place = format!("{PLACE}={}\0", self.dir.path().display());
        let belongs = |pid: &i32| {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.windows(place.len()).any(|part| part == place.as_bytes())
        };
        let pids = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(belongs).filter(|pid| is_alive(*pid)).collect()
    }

    /// What `run` returned, once nothing is left.
    fn end(&self) -> String {
        self.until("the end", || self.path("end").exists() && self.living().is_empty());
        assert!(!self.socket().exists(), "the socket is left");
        std::fs::read_to_string(self.path("end")).unwrap()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let start = Instant::now();
        loop {
            let living = self.living();
            if living.is_empty() || start.elapsed() > SOON {
                break;
            }
            for pid in living {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        let _ = self.first.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
            eprintln!("{}", log.chars().take(4000).collect::<String>());
        }
    }
}

const FIVE: [Cell; 5] =
    [Cell::SupervisorPid, Cell::WorkerPid, Cell::StandbyPid, Cell::ReservePid, Cell::SparePid];
const ALL: [Cell; 11] = [
    Cell::Generation,
    Cell::ReadyGeneration,
    Cell::SupervisorPid,
    Cell::WorkerPid,
    Cell::StandbyPid,
    Cell::ReservePid,
    Cell::SparePid,
    Cell::DeathsKilled,
    Cell::Failures,
    Cell::SupervisorDeaths,
    Cell::Stopping,
];

fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

fn zombies_of(parent: u64) -> usize {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = pids.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    stats.filter(|stat| stat.contains(&format!(") Z {parent} "))).count()
}

fn board_of(pid: &Path) -> Option<Board> {
    let pid = std::fs::read_to_string(pid).ok().filter(|pid| !pid.is_empty())?;
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten() {
        let link = std::fs::read_link(entry.path()).unwrap_or_default();
        if link.to_string_lossy().starts_with("/memfd:fusex arena") {
            let options = std::fs::OpenOptions::new().read(true).write(true).open(entry.path());
            let fd = Fd::from_owned(options.ok()?.into());
            return Arena::attach(fd, Origin::Inherited).ok().map(|arena| arena.board());
        }
    }
    None
}

#[test]
fn every_cause_of_death_is_counted_and_cured() {
    let causes = [
        ("kill", Cell::DeathsKilled),
        ("segv", Cell::DeathsSignal),
        ("bus", Cell::DeathsSignal),
        ("abort", Cell::DeathsSignal),
        ("panic", Cell::DeathsSignal),
        ("overflow", Cell::DeathsSignal),
        ("exit", Cell::DeathsExit),
        ("return", Cell::DeathsExit),
    ];
    for (mode, cell) in causes {
        let mount = Mount::start(mode);
        // A death is counted when its successor is on its way.
        mount.until(mode, || {
            let counted = mount.board.get(cell) == 3;
            counted && mount.board.get(Cell::ReadyGeneration) == 4 && mount.is_complete()
        });
        let cells = [Cell::DeathsKilled, Cell::DeathsSignal, Cell::DeathsExit, Cell::DeathsTimeout];
        for other in cells {
            let expected = if other == cell { 3 } else { 0 };
            assert_eq!(mount.board.get(other), expected, "{mode}: {other:?}");
        }
    }
}

#[test]
fn any_two_may_be_killed_together() {
    let mount = Mount::start("serves");
    let [s, w, b, r, p] = FIVE;
    let fds = mount.fds();
    let sets: [&[Cell]; 11] =
        [&[s], &[b], &[r], &[p], &[s, b], &[b, s], &[s, r], &[b, r], &[w], &[s, b], &[s, p]];
    for cells in sets {
        let (before, after) = mount.kill_and_wait(cells);
        assert_eq!(before == after, !cells.contains(&w), "the worker, after {cells:?}");
    }
    let sets: [&[Cell]; 7] = [&[s, w], &[w, s], &[w, b], &[w, r], &[w, p], &[p, w], &[s, b, w]];
    for cells in sets {
        let (before, after) = mount.kill_and_wait(cells);
        assert_ne!(before, after, "{cells:?}");
    }
    assert_eq!(mount.fds(), fds, "descriptors are flat");
    assert!(mount.board.get(Cell::SupervisorDeaths) >= 8);
}

#[test]
fn no_number_below_the_workers_is_free() {
    let mount = Mount::start("serves");
    let pid = mount.board.get(Cell::SupervisorPid);
    let is_open = |number: &i32| PathBuf::from(format!("/proc/{pid}/fd/{number}")).is_symlink();
    // The worker could open it and would never be allowed to close it.
    assert_eq!((0..64).find(|number| !is_open(number)), None);
}

#[test]
fn a_thousand_deaths_leave_nothing() {
    let mount = Mount::start("serves");
    let fds = mount.fds();
    for round in 1..=1000 {
        mount.until("ready", || mount.board.get(Cell::ReadyGeneration) == round);
        let pid = mount.pid(Cell::WorkerPid).unwrap();
        kill(pid, Signal::SIGKILL).unwrap();
        mount.until("the next one", || mount.board.get(Cell::Generation) == round);
    }
    mount.until("ready", || mount.is_complete());
    assert_eq!(mount.board.get(Cell::DeathsKilled), 1000);
    assert_eq!(mount.fds(), fds);
    assert_eq!(mount.living().len(), 5);
    assert_eq!(zombies_of(mount.board.get(Cell::SupervisorPid)), 0);
}

#[test]
fn supervisors_die_at_any_moment() {
    let mount = Mount::start("serves");
    for round in 0_u64..200 {
        let before = mount.board.get(Cell::SupervisorPid);
        // From the very moment of the takeover on, when children are half born.
        std::thread::sleep(Duration::from_micros(round * 23 % 900));
        if round % 3 == 0 {
            let _ = mount.pid(Cell::WorkerPid).map(|pid| kill(pid, Signal::SIGKILL));
        }
        if round % 5 == 0 {
            // A standby as well: the reserve is left.
            mount.until("a reserve", || mount.is_complete());
            let _ = mount.pid(Cell::StandbyPid).map(|pid| kill(pid, Signal::SIGKILL));
        }
        mount.until("a successor", || mount.pid(Cell::StandbyPid).is_some() || round % 5 == 0);
        let _ = kill(Pid::from_raw(before as i32), Signal::SIGKILL);
        mount.until("another supervisor", || {
            let now = mount.board.get(Cell::SupervisorPid);
            now != before && is_alive(now as i32)
        });
    }
    mount.until("all five", || mount.is_complete() && mount.living().len() == 5);
}

#[test]
fn what_never_serves_is_given_up_at_once() {
    let mount = Mount::begin("never");
    let end = mount.end();
    assert!(end.contains("3 workers in a row died"), "{end}");
    assert_eq!(mount.board.get(ABORTED), 1);
    assert_eq!(mount.board.get(GONE), 1, "unmounted");
    assert!(!mount.path("ready").exists());
}

#[test]
fn a_crash_loop_ends_after_its_budget() {
    let mount = Mount::start("crash");
    kill(mount.pid(Cell::WorkerPid).unwrap(), Signal::SIGABRT).unwrap();
    let end = mount.end();
    assert!(end.contains("5 workers in a row died"), "{end}");
    assert_eq!(mount.board.get(ABORTED), 1);
}

#[test]
fn a_worker_that_hangs_is_replaced() {
    let mount = Mount::start("watched");
    mount.board.set(STUCK, 1);
    mount.until("another", || mount.board.get(Cell::Generation) == 1 && mount.is_complete());
    assert_eq!(mount.board.get(Cell::DeathsTimeout), 1);
    assert_eq!(mount.board.get(Cell::DeathsKilled), 0);
}

#[test]
fn signals_take_the_mount_away() {
    for (mode, signal) in
        [("serves", Signal::SIGTERM), ("busy", Signal::SIGINT), ("stays", Signal::SIGHUP)]
    {
        let mount = Mount::start(mode);
        let start = Instant::now();
        kill(mount.pid(Cell::SupervisorPid).unwrap(), signal).unwrap();
        assert_eq!(mount.end(), "well", "{mode}");
        assert_eq!(mount.board.get(GONE), 1, "{mode}");
        assert_eq!(mount.board.get(ABORTED), 0, "{mode}");
        assert!(start.elapsed() < Duration::from_secs(4), "{mode}: {:?}", start.elapsed());
    }
}

#[test]
fn an_unmount_that_hangs_ends_in_an_abort() {
    let mount = Mount::start("hangs");
    kill(mount.pid(Cell::SupervisorPid).unwrap(), Signal::SIGTERM).unwrap();
    assert_eq!(mount.end(), "well");
    assert_eq!(mount.board.get(ABORTED), 1);
}

#[test]
fn a_supervisor_killed_while_stopping_is_no_excuse() {
    let mount = Mount::start("stays");
    let supervisor = mount.pid(Cell::SupervisorPid).unwrap();
    kill(supervisor, Signal::SIGTERM).unwrap();
    mount.until("stopping", || mount.board.get(Cell::Stopping) == 1);
    kill(supervisor, Signal::SIGKILL).unwrap();
    assert_eq!(mount.end(), "well");
    assert_eq!(mount.board.get(Cell::SupervisorDeaths), 1);
}

#[test]
fn the_socket_answers() {
    let mount = Mount::start("serves");
    let status = ask(&mount.socket(), Request::Status).unwrap();
    assert_eq!((status.inodes, status.open_files, status.connection), (11, 12, Some(7)));
    let Status { supervisor_pid, worker_pid, standby_pid, reserve_pid, spare_pid, .. } = status;
    let pids = [supervisor_pid, worker_pid, standby_pid, reserve_pid, spare_pid];
    assert_eq!(pids, FIVE.map(|cell| mount.board.get(cell)));
    let after = ask(&mount.socket(), Request::Restart).unwrap();
    assert_eq!((after.generation, after.restarts, after.worker_deaths), (1, 1, 0));
    assert_ne!(after.worker_pid, status.worker_pid);
    let error = ask(&mount.socket(), Request::Upgrade).unwrap_err();
    assert_eq!(error.message, "upgrade: this program does not do that: the old version goes on");
    // A successor has the same socket.
    mount.kill_and_wait(&[Cell::SupervisorPid]);
    // The upgrade that failed has ended a worker.
    let status = ask(&mount.socket(), Request::Status).unwrap();
    assert_eq!((status.supervisor_deaths, status.restarts), (1, 2));
    ask(&mount.socket(), Request::Stop).unwrap();
    assert_eq!(mount.end(), "well");
}

fn say(socket: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let _ = stream.write_all(bytes);
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn the_socket_takes_anything() {
    let mount = Mount::start("serves");
    let fds = mount.fds();
    let long = vec![b'a'; 10_000];
    let long_line = [&vec![b' '; 4096][..], b"\n"].concat();
    let bad: [&[u8]; 6] =
        [b"\n", b"\xff\xfe\0\n", b"{\"request\":\"x\"}\n", b"[[[[[\n", &long, &long_line];
    for bytes in bad {
        let answer = say(&mount.socket(), bytes);
        assert!(answer.starts_with("{\"error\":\"not a request"), "{answer}");
    }
    // More silent ones than there are places: they are dropped, and the next one is served.
    let silent: Vec<UnixStream> =
        (0..12).map(|_| UnixStream::connect(mount.socket()).unwrap()).collect();
    let mut half = UnixStream::connect(mount.socket()).unwrap();
    half.write_all(b"{\"request\":").unwrap();
    drop(UnixStream::connect(mount.socket()).unwrap());
    let start = Instant::now();
    assert!(ask(&mount.socket(), Request::Status).is_ok());
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    drop((silent, half));
    mount.until("no descriptor is left", || mount.fds() == fds);
    assert_eq!(mount.board.get(Cell::Generation), 0);
}

#[test]
fn strangers_are_refused() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let mount = Mount::start("serves");
    // The modes keep strangers out already; here the credentials have to.
    for (path, mode) in [(".", 0o755), ("control", 0o755), ("control/7.sock", 0o666)] {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(mount.path(path), permissions).unwrap();
    }
    let script = "import socket,sys,os; os.setgid(65534); os.setuid(65534); \
        s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); \
        s.sendall(b'{\"request\":\"stop\"}\\n'); print(s.recv(4096).decode())";
    let output = Command::new("python3").args(["-c", script]).arg(mount.socket()).output().unwrap();
    let answer = String::from_utf8(output.stdout).unwrap();
    assert!(answer.contains("user 65534 may not: run it as root or as user 0"), "{answer}");
    assert_eq!(mount.board.get(Cell::Stopping), 0);
}

/// Not a test of right or wrong: prints the time from a kill to the next worker's `serve`.
#[test]
#[ignore = "a measurement: run it with --release --ignored --nocapture"]
fn pause() {
    let mount = Mount::start("serves");
    let mut times: Vec<u64> = (1..=1000)
        .map(|round| {
            mount.until("ready", || mount.board.get(Cell::ReadyGeneration) == round);
            std::thread::sleep(Duration::from_millis(2));
            let start = monotonic();
            kill(mount.pid(Cell::WorkerPid).unwrap(), Signal::SIGKILL).unwrap();
            mount.until("entered", || mount.board.get(ENTERED) > start);
            mount.board.get(ENTERED) - start
        })
        .collect();
    times.sort_unstable();
    println!("kill to serve: p50 {} us, p99 {} us", times[500] / 1000, times[990] / 1000);
}

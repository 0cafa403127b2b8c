//! `fusex crash-test`: the arguments as given, and checked.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, ValueEnum};
use nix::sys::signal::Signal;

use super::mount::parse_seconds;
use crate::channel::Transport;
use crate::crash::faults::Fault;
use crate::crash::matrix::{self, MatrixConfig, Size, Threads};
use crate::crash::storm::{self, Kills, MountKind, Server, StormConfig};
use crate::crash::target::FsKind;
use crate::crash::workload::{self, Kinds};
use crate::exit::{CRASH_TEST_STATUS, Exit, Failure};
use crate::mount::options::{Options, Unknown};
use crate::recovery::points::{Point, Protection};
use crate::wire::opcode;

/// Kill the processes of a mount, and see whether anybody notices
///
/// Mounts a file system of its own in a temporary directory, uses it, kills who serves it, and
/// compares every answer with what it should be. '--matrix' kills at each named point of each
/// operation; a storm ('--kill-worker', '--kill-supervisor') at random moments of a random
/// workload; '--hang', '--poison', '--oom' and '--core' try other faults. Several of them run one
/// after the other. With '--mount' a storm tests a mount of somebody else.
#[derive(Debug, clap::Args)]
#[command(after_help = CRASH_TEST_STATUS, after_long_help = CRASH_TEST_STATUS)]
#[command(group = ArgGroup::new("storm").multiple(true).args(["kill_worker", "kill_supervisor", "mount"]))]
pub struct CrashTestArgs {
    /// List the points at which '--matrix' kills: name, part, what was done last
    #[arg(long, help_heading = "Tests", conflicts_with_all = ["matrix", "storm", "replay", "hang", "poison", "oom", "core", "report"])]
    list_points: bool,

    /// Every operation crossed with every point, and with pairs of points
    #[arg(long, help_heading = "Tests", conflicts_with_all = ["mount", "replay"])]
    matrix: bool,

    /// A storm: kill workers, until the end or N of them
    #[arg(long, help_heading = "Tests", value_name = "N", num_args = 0..=1, require_equals = true, value_parser = clap::value_parser!(u64).range(1..))]
    kill_worker: Option<Option<u64>>,

    /// A storm: kill supervisors, until the end or N of them
    #[arg(long, help_heading = "Tests", value_name = "N", num_args = 0..=1, require_equals = true, value_parser = clap::value_parser!(u64).range(1..))]
    kill_supervisor: Option<Option<u64>>,

    /// Run a failed storm again, from the trace it wrote; with '--trace' it is made smaller too
    #[arg(long, help_heading = "Tests", value_name = "FILE", conflicts_with = "storm")]
    replay: Option<PathBuf>,

    /// Let a worker hang: it has to be replaced
    #[arg(long, help_heading = "Tests", conflicts_with_all = ["mount", "replay"])]
    hang: bool,

    /// Send a request that every worker dies of: it has to be answered EIO
    #[arg(long, help_heading = "Tests", conflicts_with_all = ["mount", "replay"])]
    poison: bool,

    /// Let a worker run out of memory, in a memory cgroup
    #[arg(long, help_heading = "Tests", conflicts_with_all = ["mount", "replay"])]
    oom: bool,

    /// Let a worker dump core
    #[arg(long, help_heading = "Tests", conflicts_with_all = ["mount", "replay"])]
    core: bool,

    /// A sample of the matrix, in minutes [default: the whole matrix]
    #[arg(long, help_heading = "Matrix", requires = "matrix")]
    short: bool,

    /// These operations only: steps as the table has them, or opcodes
    #[arg(long, help_heading = "Matrix", value_name = "NAME", num_args = 1.., value_delimiter = ',', requires = "matrix", value_parser = parse_operation)]
    operation: Vec<String>,

    /// These points only, for the first crash
    #[arg(long, help_heading = "Matrix", value_name = "NAME", num_args = 1.., value_delimiter = ',', requires = "matrix", value_parser = parse_point)]
    point: Vec<Point>,

    /// Kill with this signal, such as KILL, SEGV or 9, or with 'random' ones [default: KILL]
    #[arg(long, help_heading = "Storm", value_name = "SIGNAL", requires = "storm", value_parser = parse_signals)]
    signal: Option<Signals>,

    /// About so many milliseconds between two deaths
    #[arg(long, help_heading = "Storm", value_name = "MS", requires = "storm", default_value_t = storm::EVERY.as_millis() as u64, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    every: u64,

    /// End after so many seconds [default: when N processes are killed; 10 without N]
    #[arg(long, help_heading = "Storm", value_name = "SECONDS", requires = "storm", value_parser = parse_duration)]
    duration: Option<Duration>,

    /// What chance begins with; the same seed is the same workload [default: a random one]
    #[arg(long, help_heading = "Storm", value_name = "N")]
    seed: Option<u64>,

    /// So many threads use the mount
    #[arg(long, help_heading = "Storm", value_name = "N", requires = "storm", default_value_t = storm::THREADS as u16, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,

    /// So many files are made beforehand
    #[arg(long, help_heading = "Storm", value_name = "N", requires = "storm", default_value_t = storm::INODES as u32, value_parser = clap::value_parser!(u32).range(..=10_000_000))]
    inodes: u32,

    /// These kinds of operations only
    #[arg(long, help_heading = "Storm", value_name = "NAME", value_delimiter = ',', requires = "storm", value_parser = parse_kind)]
    ops: Vec<String>,

    /// Where a failing storm writes its trace [default: fusex-crash-SEED.json]
    #[arg(long, help_heading = "Storm", value_name = "FILE", conflicts_with_all = ["mount", "list_points"])]
    trace: Option<PathBuf>,

    /// A storm on this mount, whoever serves it. Its server is killed, and somebody has to start
    /// it again; files are made and removed in a directory of the test's own
    #[arg(long, help_heading = "Somebody else's mount", value_name = "MOUNTPOINT", requires = "server", conflicts_with_all = ["kill_supervisor", "fs_type", "single_threaded", "options", "transport", "no_resend", "without"])]
    mount: Option<PathBuf>,

    /// The process that serves it
    #[arg(long, help_heading = "Somebody else's mount", group = "server", requires = "mount", value_parser = clap::value_parser!(i32).range(2..))]
    pid: Option<i32>,

    /// A shell command that prints its process id; it is run again after each death
    #[arg(
        long,
        help_heading = "Somebody else's mount",
        group = "server",
        value_name = "COMMAND",
        requires = "mount"
    )]
    pid_command: Option<String>,

    /// What to mount; merge, where nothing can be changed, for the matrix alone [default: dir; all
    /// for the matrix]
    #[arg(
        short = 't',
        long = "type",
        help_heading = "File system",
        value_name = "TYPE",
        conflicts_with = "replay"
    )]
    fs_type: Option<FsKind>,

    /// Serve with one thread [default: several; both for the matrix]
    #[arg(short, long, help_heading = "File system", conflicts_with = "replay")]
    single_threaded: bool,

    /// Mount options as for 'fusex mount'; may be repeated
    #[arg(short, help_heading = "File system", value_name = "OPTIONS", conflicts_with_all = ["matrix", "replay"])]
    options: Vec<String>,

    /// How requests and replies travel: auto, dev or splice [default: auto; dev, and splice for
    /// READ and WRITE, for the matrix]
    #[arg(long, help_heading = "File system", value_name = "HOW", conflicts_with_all = ["matrix", "replay"], value_parser = parse_transport)]
    transport: Option<Transport>,

    /// Do not ask the kernel to send requests again [default: ask; both for the matrix]
    #[arg(long, help_heading = "File system", conflicts_with = "replay")]
    no_resend: bool,

    /// One JSON object on stdout in place of the summary
    #[arg(long, help_heading = "Output")]
    json: bool,

    /// Also write one HTML page with all of it, such as for a bug report
    #[arg(long, help_heading = "Output", value_name = "FILE")]
    report: Option<PathBuf>,

    /// Switch a protection off, to see that it is needed
    #[arg(long, hide = true, value_name = "PROTECTION", value_parser = parse_protection, conflicts_with = "replay")]
    without: Vec<Protection>,
}

/// What `--signal` stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Signals(Vec<Signal>);

/// What is to be done, checked.
#[derive(Debug)]
pub struct CrashTest {
    /// Which of the uses it is.
    pub asked: Asked,
    /// JSON in place of text.
    pub json: bool,
    /// Where to write the page.
    pub report: Option<PathBuf>,
}

/// The uses of the command.
#[derive(Debug)]
pub enum Asked {
    /// Print the kill points.
    ListPoints,
    /// Run a trace again.
    Replay {
        /// The trace.
        file: PathBuf,
        /// Where to write a smaller one.
        smaller: Option<PathBuf>,
    },
    /// Run tests, one after the other.
    Tests(Box<Tests>),
}

/// Those that are to be run.
#[derive(Debug, Default)]
pub struct Tests {
    /// `--matrix`
    pub matrix: Option<MatrixConfig>,
    /// A storm.
    pub storm: Option<StormConfig>,
    /// Where the storm writes its trace if it fails; `None`: it cannot be replayed.
    pub trace: Option<PathBuf>,
    /// `--hang` and the like.
    pub faults: Vec<Fault>,
    /// What the faults are tried on.
    pub fs: Option<FsKind>,
    /// Arguments of its `fusex mount`.
    pub arguments: Vec<String>,
}

impl Asked {
    /// What chance begins with, where it has a part and that is known beforehand.
    pub fn seed(&self) -> Option<u64> {
        let Asked::Tests(tests) = self else { return None };
        let matrix = tests.matrix.as_ref().map(|matrix| matrix.seed);
        matrix.or(tests.storm.as_ref().map(|storm| storm.seed))
    }
}

impl CrashTestArgs {
    /// Checks everything that clap has not.
    ///
    /// # Errors
    /// There is nothing to do, or an option is wrong.
    pub fn check(self) -> Result<CrashTest, Failure> {
        let asked = match (self.list_points, &self.replay) {
            (true, _) => Asked::ListPoints,
            (false, Some(file)) => {
                Asked::Replay { file: file.clone(), smaller: self.trace.clone() }
            }
            (false, None) => Asked::Tests(Box::new(self.tests()?)),
        };
        Ok(CrashTest { asked, json: self.json, report: self.report })
    }

    fn tests(&self) -> Result<Tests, Failure> {
        let faults = [
            (self.hang, Fault::Hang),
            (self.poison, Fault::Poison),
            (self.oom, Fault::Oom),
            (self.core, Fault::Core),
        ];
        let faulty = faults.iter().any(|(on, _)| *on);
        let storms = self.kill_worker.is_some() || self.kill_supervisor.is_some();
        if self.fs_type == Some(FsKind::Merge) && (faulty || storms) {
            return Err(usage("-t merge: nothing can be changed there: --matrix alone tests it"));
        }
        let seed = self.seed.unwrap_or_else(random_seed);
        let storm = self.storm(seed)?;
        let default = || PathBuf::from(format!("fusex-crash-{seed}.json"));
        let tests = Tests {
            matrix: self.matrix.then(|| self.matrix(seed)).transpose()?,
            trace: (storm.is_some() && self.mount.is_none())
                .then(|| self.trace.clone().unwrap_or_else(default)),
            storm,
            faults: faults.into_iter().filter_map(|(on, fault)| on.then_some(fault)).collect(),
            fs: self.fs_type,
            arguments: self.arguments()?,
        };
        if tests.matrix.is_none() && tests.storm.is_none() && tests.faults.is_empty() {
            return Err(usage(
                "no test: give --matrix, --kill-worker, --kill-supervisor, --mount, --replay, \
                 --hang, --poison, --oom, --core or --list-points",
            ));
        }
        if self.trace.is_some() && tests.trace.is_none() {
            return Err(usage(
                "--trace: nothing to trace: give --kill-worker or --kill-supervisor",
            ));
        }
        Ok(tests)
    }

    fn matrix(&self, seed: u64) -> Result<MatrixConfig, Failure> {
        if self.without.len() > 1 {
            return Err(usage("--without: one at a time with --matrix"));
        }
        Ok(MatrixConfig {
            size: if self.short { Size::Short } else { Size::Full },
            operations: self.operation.clone(),
            points: self.point.clone(),
            file_systems: self.fs_type.into_iter().collect(),
            threads: self.single_threaded.then_some(Threads::One).into_iter().collect(),
            resend: self.no_resend.then_some(false).into_iter().collect(),
            without: self.without.first().copied(),
            seed,
        })
    }

    fn storm(&self, seed: u64) -> Result<Option<StormConfig>, Failure> {
        let server = match (self.pid, &self.pid_command) {
            (Some(pid), _) => Some(Server::Pid(pid)),
            (None, command) => command.clone().map(Server::Command),
        };
        let target = match (&self.mount, server) {
            (Some(mount), Some(server)) => MountKind::Other { mount: mount.clone(), server },
            _ if self.kill_worker.is_some() || self.kill_supervisor.is_some() => MountKind::Own {
                kind: self.fs_type.unwrap_or(FsKind::Passthrough),
                arguments: self.arguments()?,
            },
            _ => return Ok(None),
        };
        // Who names a server means it to be killed.
        let kill_worker = if self.mount.is_some() { Kills::UntilTheEnd } else { Kills::Never };
        let defaults = StormConfig::new(target, seed);
        let kinds = match &self.ops[..] {
            [] => defaults.kinds.clone(),
            names => Kinds::named(names).map_err(|error| usage(format!("--ops: {error}")))?,
        };
        Ok(Some(StormConfig {
            kill_worker: self.kill_worker.map_or(kill_worker, kills),
            kill_supervisor: self.kill_supervisor.map_or(Kills::Never, kills),
            signals: self.signal.as_ref().map_or(Vec::new(), |signals| signals.0.clone()),
            every: Duration::from_millis(self.every),
            duration: self.duration,
            threads: self.threads.into(),
            inodes: self.inodes as usize,
            without: self.without.clone(),
            kinds,
            ..defaults
        }))
    }

    /// What `fusex mount` gets.
    fn arguments(&self) -> Result<Vec<String>, Failure> {
        Options::parse(&self.options, Unknown::Refuse).map_err(|error| usage(error.to_string()))?;
        let options = self.options.iter().flat_map(|options| ["-o", options]);
        let switches = [(self.single_threaded, "-s"), (self.no_resend, "--no-resend")];
        let switches = switches.into_iter().filter_map(|(on, switch)| on.then_some(switch));
        let transport = self.transport.and_then(|how| how.to_possible_value());
        let transport = transport.map(|how| format!("--transport={}", how.get_name()));
        Ok(switches.chain(options).map(String::from).chain(transport).collect())
    }
}

/// Those that go together with supervision.
fn parse_transport(text: &str) -> Result<Transport, String> {
    let known = Transport::from_str(text, false).ok().filter(|how| *how != Transport::Uring);
    known.ok_or_else(|| "give auto, dev or splice".into())
}

fn usage(message: impl Into<String>) -> Failure {
    Failure { exit: Exit::Untested, message: message.into() }
}

fn kills(times: Option<u64>) -> Kills {
    times.map_or(Kills::UntilTheEnd, Kills::Times)
}

/// 32 bits: short to type, and exact in whatever reads the JSON.
fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish() >> 32
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    parse_seconds(text).and_then(|duration| match duration.is_zero() {
        true => Err("give more than 0".to_string()),
        false => Ok(duration),
    })
}

fn parse_point(name: &str) -> Result<Point, String> {
    Point::named(name).ok_or("no such point: '--list-points' lists them".to_string())
}

fn parse_operation(name: &str) -> Result<String, String> {
    let steps = matrix::step_names();
    let known = steps.contains(&name) || opcode::TABLE.iter().any(|row| row.name == name);
    let similar = closest(name, &steps);
    known.then(|| name.to_string()).ok_or(format!("no such operation{similar}"))
}

fn parse_kind(name: &str) -> Result<String, String> {
    let kinds = workload::kinds();
    let known = kinds.contains(&name).then(|| name.to_string());
    known.ok_or(format!("no such kind: give some of {}", kinds.join(",")))
}

/// A name that may have been meant.
fn closest(name: &str, known: &[&str]) -> String {
    let distance = |known: &&str| strsim::damerau_levenshtein(name, known);
    match known.iter().copied().min_by_key(distance).filter(|known| distance(known) <= 2) {
        Some(known) => format!(": '{known}' is one"),
        None => format!(": there are {} and opcodes such as MKDIR", known.join(", ")),
    }
}

fn parse_protection(name: &str) -> Result<Protection, String> {
    let names: Vec<&str> = Protection::ALL.iter().map(|it| it.name()).collect();
    let found = Protection::ALL.iter().copied().find(|it| it.name() == name);
    found.ok_or(format!("give one of {}", names.join(", ")))
}

/// A signal by name, with or without SIG, or by number; those that end nobody are refused.
fn parse_signals(text: &str) -> Result<Signals, String> {
    if text == "random" {
        return Ok(Signals(storm::DEADLY.to_vec()));
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let by_number = text.parse().ok().and_then(|number: i32| Signal::try_from(number).ok());
    let signal = by_number.or_else(|| format!("SIG{name}").parse().ok());
    signal
        .filter(|signal| storm::DEADLY.contains(signal))
        .map(|signal| Signals(vec![signal]))
        .ok_or_else(|| {
            let names: Vec<&str> = storm::DEADLY.iter().map(|it| &it.as_str()[3..]).collect();
            format!("give random or one of {}", names.join(", "))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: CrashTestArgs,
    }

    fn tests(line: &[&str]) -> Tests {
        let args = Line::try_parse_from([&["crash-test"], line].concat()).unwrap().args;
        let Asked::Tests(tests) = args.check().unwrap().asked else { panic!("{line:?}") };
        *tests
    }

    #[test]
    fn a_storm_with_defaults() {
        let tests = tests(&["--kill-worker"]);
        let storm = tests.storm.unwrap();
        let expected = MountKind::Own { kind: FsKind::Passthrough, arguments: Vec::new() };
        assert_eq!(storm.target, expected);
        assert_eq!((storm.kill_worker, storm.kill_supervisor), (Kills::UntilTheEnd, Kills::Never));
        assert_eq!(storm.duration, None);
        assert_eq!(storm.every, storm::EVERY);
        assert_eq!((storm.threads, storm.inodes), (storm::THREADS, storm::INODES));
        let trace = format!("fusex-crash-{}.json", storm.seed);
        assert_eq!(tests.trace, Some(trace.into()));
        assert!(tests.matrix.is_none() && tests.faults.is_empty());
    }

    #[test]
    fn a_storm_with_everything() {
        let line = "--kill-worker=9 --kill-supervisor=3 --signal sigsegv --every 5 --duration 1.5 \
                    --seed 7 --threads 2 --inodes 0 -t mem -s --no-resend -o ro,sync -o noatime \
                    --trace t --without journal --without append";
        let tests = tests(&line.split_whitespace().collect::<Vec<_>>());
        let storm = tests.storm.unwrap();
        let arguments = ["-s", "--no-resend", "-o", "ro,sync", "-o", "noatime"].map(String::from);
        let target = MountKind::Own { kind: FsKind::Mem, arguments: arguments.to_vec() };
        assert_eq!(storm.target, target);
        assert_eq!((storm.kill_worker, storm.kill_supervisor), (Kills::Times(9), Kills::Times(3)));
        assert_eq!(storm.signals, [Signal::SIGSEGV]);
        assert_eq!(storm.every, Duration::from_millis(5));
        assert_eq!(storm.duration, Some(Duration::from_millis(1500)));
        assert_eq!((storm.seed, storm.threads, storm.inodes), (7, 2, 0));
        assert_eq!(storm.without, [Protection::Journal, Protection::Append]);
        assert_eq!(tests.trace, Some("t".into()));
    }

    #[test]
    fn a_storm_on_a_mount_of_somebody_else() {
        let tests = tests(&["--mount", "/mnt", "--pid-command", "pgrep sshfs"]);
        let storm = tests.storm.unwrap();
        let server = Server::Command("pgrep sshfs".into());
        assert_eq!(storm.target, MountKind::Other { mount: "/mnt".into(), server });
        assert_eq!((storm.kill_worker, tests.trace), (Kills::UntilTheEnd, None));
        let tests = self::tests(&["--mount", "/mnt", "--pid", "77", "--kill-worker=1"]);
        assert_eq!(tests.storm.unwrap().kill_worker, Kills::Times(1));
    }

    #[test]
    fn which_part_of_the_matrix() {
        let all = tests(&["--matrix", "--seed", "5"]).matrix.unwrap();
        let expected = MatrixConfig { size: Size::Full, seed: 5, ..MatrixConfig::default() };
        assert_eq!(format!("{all:?}"), format!("{expected:?}"));
        let line = "--matrix --short --operation MKDIR,WRITE --point read --point after-call,sent \
                    -t mem -s --no-resend --without slots --seed 5";
        let part = tests(&line.split_whitespace().collect::<Vec<_>>()).matrix.unwrap();
        let expected = MatrixConfig {
            size: Size::Short,
            operations: vec!["MKDIR".into(), "WRITE".into()],
            points: vec![Point::Read, Point::Called, Point::Sent],
            file_systems: vec![FsKind::Mem],
            threads: vec![Threads::One],
            resend: vec![false],
            without: Some(Protection::Slots),
            seed: 5,
        };
        assert_eq!(format!("{part:?}"), format!("{expected:?}"));
    }

    #[test]
    fn several_tests_at_once() {
        let tests = tests(&["--matrix", "--kill-worker=1", "--hang", "--core", "--seed", "3"]);
        assert_eq!(tests.matrix.unwrap().seed, 3);
        assert_eq!(tests.storm.unwrap().seed, 3);
        assert_eq!(tests.faults, [Fault::Hang, Fault::Core]);
    }

    #[test]
    fn signals() {
        for name in ["SEGV", "segv", "SIGSEGV", "11"] {
            assert_eq!(parse_signals(name), Ok(Signals(vec![Signal::SIGSEGV])), "{name}");
        }
        assert_eq!(parse_signals("random").unwrap().0.len(), storm::DEADLY.len());
        for bad in ["", "CONT", "STOP", "0", "-9", "9999", "SIG"] {
            assert!(parse_signals(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn seeds_fit_where_numbers_are_floating_point() {
        assert!((0..50).all(|_| random_seed() < 1 << 32));
        assert_ne!(random_seed(), random_seed());
    }
}

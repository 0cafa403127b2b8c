//! What it costs a mount that `fusex bpf-stats` watches: a stat storm without and with it.
//!
//! A measurement lies between two without it, and is compared with their mean, so that what
//! drifts cancels out. Every variant takes its turn in every round. The first variant is nothing
//! at all: how far its ratio is from 1 is what the machine's noise comes to.
//!
//! `cargo bench --bench bpf_stats -- --help` lists the options. Works only as root.

mod beside;
#[path = "../common/mod.rs"]
mod common;
mod report;
#[path = "../common/server.rs"]
mod server;
mod storm;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;

use beside::Beside;
use common::machine::Machine;
use common::output;
use common::pin::{Pin, pin};
use report::{Cost, Report};
use server::Server;
use storm::{Storm, Turn};

const FUSEX: &str = env!("CARGO_BIN_EXE_fusex");

/// Who serves: each stat is a request, nothing is trusted for any time.
const SERVERS: [(&str, &str, &[&str]); 2] = [
    ("fusex", FUSEX, &["mount", "-f", "-o", "entry_timeout=0,attr_timeout=0", "LOWER", "MOUNT"]),
    ("bindfs", "bindfs", &["-f", "-o", "entry_timeout=0,attr_timeout=0", "LOWER", "MOUNT"]),
];

/// What runs beside the storm; the reports go to a file.
const VARIANTS: [&[&str]; 3] = [
    &["bpf-stats", "--json", "-i", "1"],
    &["bpf-stats", "--json", "-i", "1", "--top", "10"],
    &["bpf-stats", "--json", "-i", "1", "--slow", "1000"],
];

/// Measure what a mount pays for being watched by fusex bpf-stats
#[derive(Parser)]
#[command(name = "bpf_stats")]
struct Args {
    /// Measurements of each variant; the figures are medians over them
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// 7 rounds in place of 15, each storm 0.3 seconds in place of 1
    #[arg(long)]
    quick: bool,

    /// Which CPUs client and server run on: on one (same) requests are fastest, and the share of
    /// the cost is the greatest that there is; none leaves it to the scheduler, which is noise
    #[arg(long, value_enum, default_value_t = Pin::Cross)]
    pin: Pin,

    /// Only these servers: fusex, bindfs
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,

    /// A command to run beside the storm in place of fusex bpf-stats
    #[arg(long, value_name = "COMMAND")]
    beside: Option<String>,

    /// Every figure as JSON on stdout, in place of the tables
    #[arg(long)]
    json: bool,

    /// From cargo: this is a run of benchmarks, not of tests.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    common::main_of("bpf_stats", args.bench, || run(&args))
}

fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "not root: loading BPF programs needs it");
    server::end_on_signals()?;
    let lower = Path::new("/dev/shm");
    let mut report = Report {
        schema: 1,
        machine: Machine::of(lower)?,
        rounds: if args.quick { args.rounds.min(7) } else { args.rounds },
        pin: args.pin.name(),
        costs: Vec::new(),
    };
    let length = Duration::from_millis(if args.quick { 300 } else { 1000 });
    for (name, program, arguments) in SERVERS {
        if !args.only.is_empty() && !args.only.iter().any(|only| only == name) {
            continue;
        }
        if let Err(error) = output(Command::new(program).arg("--version")) {
            eprintln!("bpf_stats: {name} is skipped: {error:#}");
            continue;
        }
        let cpus = args.pin.cpus()?;
        let mount = Mount::start(program, arguments, lower, cpus)?;
        let storm = Storm::new(&mount.point, length, cpus.map(|(cpu, _)| cpu))?;
        let costs = measure(name, &mount, &storm, &args.variants(), report.rounds);
        report.costs.extend(costs.context(name)?);
    }
    if args.json {
        println!("{:#}", serde_json::to_value(&report)?);
    } else {
        print!("{}", report.markdown());
    }
    Ok(())
}

impl Args {
    /// The commands that run beside the storm: title, program and arguments. The first is none.
    fn variants(&self) -> Vec<(String, Option<Vec<String>>)> {
        let mut all = vec![("nothing".to_string(), None)];
        let shell = |command: &String| {
            let script = format!("exec {command}");
            (command.clone(), Some(["sh", "-c", &script].map(String::from).to_vec()))
        };
        let ours = |arguments: &[&str]| {
            let words: Vec<String> =
                [&[FUSEX], arguments].concat().into_iter().map(String::from).collect();
            (format!("fusex {}", arguments.join(" ")), Some(words))
        };
        match &self.beside {
            Some(command) => all.push(shell(command)),
            None => all.extend(VARIANTS.map(ours)),
        }
        all
    }
}

/// The CPUs of client and server; `None` for all of them.
type Cpus = Option<(usize, usize)>;

/// Runs `work` in a thread of its own, whose pinning ends with it.
fn on_cpu<T: Send>(
    cpu: Option<usize>,
    work: impl FnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    std::thread::scope(|scope| {
        let pinned = scope.spawn(|| {
            cpu.map_or(Ok(()), pin)?;
            work()
        });
        pinned.join().expect("what is pinned does not panic")
    })
}

/// A server's mount in a directory of its own.
struct Mount {
    point: PathBuf,
    server: Server,
    base: tempfile::TempDir,
}

impl Mount {
    fn start(
        program: &str,
        arguments: &[&str],
        parent: &Path,
        cpus: Cpus,
    ) -> anyhow::Result<Mount> {
        let base = tempfile::Builder::new().prefix("fusex-bpf-stats-").tempdir_in(parent)?;
        let (lower, point) = (base.path().join("lower"), base.path().join("mount"));
        std::fs::create_dir(&lower)?;
        std::fs::create_dir(&point)?;
        let log = base.path().join("log");
        // A server inherits its CPU from the thread that starts it.
        let start = || Server::start(Path::new(program), arguments, &lower, &point, &log);
        let server = on_cpu(cpus.map(|(_, cpu)| cpu), start)?;
        Ok(Mount { point, server, base })
    }
}

/// All variants in turns; between two of them always one storm with nothing beside it.
fn measure(
    server: &'static str,
    mount: &Mount,
    storm: &Storm,
    variants: &[(String, Option<Vec<String>>)],
    rounds: u32,
) -> anyhow::Result<Vec<Cost>> {
    let mut costs: Vec<Cost> =
        variants.iter().map(|(beside, _)| Cost::new(server, beside.clone())).collect();
    // What is done once only is not measured.
    storm.turn(&mount.server)?;
    let mut before = storm.turn(&mount.server)?;
    for round in 0..rounds {
        for turn in 0..variants.len() {
            let which = (turn + round as usize) % variants.len();
            let with = measure_beside(mount, storm, &variants[which], &mut costs[which])?;
            let after = storm.turn(&mount.server)?;
            ensure!(!server::stopped(), "stopped by a signal");
            costs[which].add(before, with, after);
            let (ratio, title) =
                (costs[which].ratios.last().copied().unwrap_or(0.0), &variants[which].0);
            eprintln!(
                "{}/{rounds} {server}: {title}: {:.2} us, {ratio:.3}",
                round + 1,
                with.stat_us
            );
            before = after;
        }
    }
    Ok(costs)
}

fn measure_beside(
    mount: &Mount,
    storm: &Storm,
    (title, command): &(String, Option<Vec<String>>),
    cost: &mut Cost,
) -> anyhow::Result<Turn> {
    let Some(command) = command else { return storm.turn(&mount.server) };
    let beside = Beside::start(command, mount.base.path()).with_context(|| title.clone())?;
    cost.memory_bytes = cost.memory_bytes.max(beside.memory()?);
    let turn = storm.turn(&mount.server)?;
    beside.end().with_context(|| title.clone())?;
    Ok(turn)
}

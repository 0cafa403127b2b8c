//! Measures what it means that a worker can be replaced: the pause that a caller sees when it is
//! killed, what that costs while nobody is, and the memory of a million inodes.
//!
//! Within a round each part is measured once for every mount and call, one after the other, so that
//! what else the machine does hits all of them. Figures are medians over the rounds.
//!
//! `cargo bench --bench recovery -- --help` lists the options. Works only as root: without, every
//! inode needs a descriptor, and 100,000 are too many.

mod calls;
#[path = "../common/mod.rs"]
mod common;
mod cost;
mod million;
mod mount;
mod pause;
mod report;
mod tree;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::{Parser, ValueEnum};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use common::machine::{Machine, memory_for};
use common::pin::Pin;
use pause::SETUPS;
use report::{Report, Round};

/// Bytes of memory for each file of a tree: its inodes and names, below and in the mount.
const FILE: u64 = 4096;
/// More load than this, and figures are those of a busy machine.
const BUSY: f64 = 1.5;

/// Measure pauses, costs and memory of a supervised mount
#[derive(Parser)]
#[command(name = "recovery")]
struct Args {
    /// Rounds; the figures are medians over them
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// 40 kills a round in place of 200, 50 turns in place of 300, 100,000 inodes for a million
    #[arg(long)]
    quick: bool,

    /// Where the lower directories are made [default: /dev/shm, so that no disk decides]
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    lower: PathBuf,

    /// Which CPUs client and servers run on while costs are measured
    #[arg(long, value_enum, default_value_t = Pin::Same)]
    pin: Pin,

    /// Only these parts
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<Part>,

    /// Every figure of every round as JSON on stdout, in place of the tables
    #[arg(long)]
    json: bool,

    /// From cargo: this is a run of benchmarks, not of tests.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// What a caller sees when the worker is killed
    Pause,
    /// Supervised against not supervised
    Cost,
    /// A million inodes: once, whatever --rounds says
    Million,
}

/// How much is done.
struct Size {
    kills: u32,
    turns: u32,
    inodes: usize,
}

fn main() -> ExitCode {
    let args = Args::parse();
    common::main_of("recovery", args.bench, || run(&args))
}

fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "not root: opening files by handle needs it");
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    mount::end_on_signals()?;
    let size = if args.quick {
        Size { kills: 40, turns: 50, inodes: 100_000 }
    } else {
        Size { kills: 200, turns: 300, inodes: 1_000_000 }
    };
    let lower = args.lower.canonicalize().with_context(|| args.lower.display().to_string())?;
    let inodes = if args.wants(Part::Million) { size.inodes } else { 100_000 };
    ensure!(memory_for(&lower, inodes as u64 * FILE), "too little memory for {inodes} files");
    let load = load()?;
    if load > BUSY {
        eprintln!("recovery: the load is {load}: these are figures of a busy machine");
    }
    let mut report = Report {
        schema: 1,
        machine: Machine::of(&lower)?,
        load,
        rounds: args.rounds,
        cost_pin: args.pin.name(),
        pauses: Vec::new(),
        costs: Vec::new(),
        million: None,
    };
    for round in 0..args.rounds {
        measure_round(args, &lower, &size, round, &mut report)?;
    }
    if args.wants(Part::Million) {
        let million = million::measure(&lower, size.inodes, size.kills);
        report.million = Some(million.context("a million inodes")?);
    }
    if args.json {
        println!("{:#}", serde_json::to_value(&report)?);
    } else {
        print!("{}", report.markdown());
    }
    Ok(())
}

impl Args {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

fn measure_round(
    args: &Args,
    lower: &Path,
    size: &Size,
    round: u32,
    report: &mut Report,
) -> anyhow::Result<()> {
    if args.wants(Part::Pause) {
        for setup in SETUPS {
            let results = pause::measure(lower, setup, size.kills);
            let results = results.with_context(|| format!("pause, {setup:?}"))?;
            for result in results {
                eprintln!("{}/{} {setup:?} {result:?}", round + 1, args.rounds);
                report.pauses.push(Round { round, setup: Some(setup), result });
            }
        }
    }
    if args.wants(Part::Cost) {
        // In a thread of its own, whose pinning ends with it.
        let cpus = args.pin.cpus()?;
        let results = std::thread::scope(|scope| {
            let pinned = scope.spawn(|| cost::measure(lower, cpus, size.turns, round % 2 == 1));
            pinned.join().expect("a round does not panic")
        });
        for result in results.context("cost")? {
            eprintln!("{}/{} {result:?}", round + 1, args.rounds);
            report.costs.push(Round { round, setup: None, result });
        }
    }
    Ok(())
}

/// The load over the last minute.
fn load() -> anyhow::Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    let first = text.split_whitespace().next().and_then(|first| first.parse().ok());
    first.context("/proc/loadavg")
}

//! Compares fusex with the native directory, libfuse's `passthrough_ll` and bindfs.
//!
//! One interleaved run: within a round every workload is done by every contestant, one right
//! after the other, in an order that rotates, so that what else the machine does hits all of
//! them. Every contestant gets a fresh lower directory and a fresh mount for every workload.
//! Figures are medians over the rounds; ratios are taken within a round first.
//!
//! `cargo bench --bench compare -- --help` lists the options. Works only as root, because it
//! mounts for all and drops the kernel's caches.

#[path = "../common/mod.rs"]
mod common;
mod contestants;
mod environment;
mod json;
#[path = "../common/libfuse.rs"]
mod libfuse;
mod results;
mod rows;
#[path = "../common/server.rs"]
mod server;
mod tables;
mod workloads;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use common::machine;
use common::pin::Pin;
use contestants::Contestant;
use environment::Environment;
use results::Results;
use rows::Row;
use workloads::{Samples, Size, WORKLOADS, Workload};

/// Compare fusex with the native directory, libfuse's passthrough_ll and bindfs
#[derive(Parser)]
#[command(name = "compare")]
struct Args {
    /// Rounds; the figures are medians over them
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// 2,000 files in place of 10,000, 64 MiB in place of 1 GiB
    #[arg(long)]
    quick: bool,

    /// Where the lower directories are made [default: /dev/shm where memory allows, so that no
    /// disk decides; else the directory for temporary files]
    #[arg(long, value_name = "DIR")]
    lower: Option<PathBuf>,

    /// Which CPUs client and server run on
    #[arg(long, value_enum, default_value_t = Pin::None)]
    pin: Pin,

    /// Only these rows
    #[arg(long, value_name = "ROW", value_delimiter = ',')]
    only: Vec<Row>,

    /// Every sample as JSON on stdout, in place of the tables
    #[arg(long)]
    json: bool,

    /// Put the tables into README.md, between its two bench comments
    #[arg(long)]
    write_readme: bool,

    /// From cargo: this is a run of benchmarks, not of tests.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    common::main_of("compare", args.bench, || run(&args))
}

fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "not root: mounting for all users needs it");
    let readme = args.write_readme.then(|| tables::Readme::open(&readme_path())).transpose()?;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    // passthrough_ll holds a descriptor a file and does not raise the limit itself.
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    server::end_on_signals()?;

    let size = if args.quick { Size::quick() } else { Size::full() };
    let lower = lower_parent(args.lower.as_deref(), &size)?;
    let tools = tempfile::Builder::new().prefix("fusex-compare-").tempdir()?;
    let contestants = contestants::all(tools.path());
    let environment = Environment::of(&lower, args.rounds, &size, args.pin)?;
    let workloads: Vec<&Workload> =
        WORKLOADS.iter().filter(|workload| wanted(workload.rows, &args.only)).collect();
    let cpus = args.pin.cpus()?;
    let results = compete(args.rounds, &workloads, &contestants, |workload, contestant| {
        workload.run(contestant, &lower, &size, cpus)
    })?;

    let shown: Vec<Row> = workloads
        .iter()
        .flat_map(|workload| workload.rows)
        .copied()
        .filter(|row| wanted(&[*row], &args.only))
        .collect();
    let tables = tables::markdown(&environment, &size, &contestants, &shown, &results);
    if args.json {
        println!("{:#}", json::document(&environment, &contestants, &shown, &results));
    } else {
        print!("{tables}");
    }
    let failed = results.failures();
    ensure!(!failed.iter().any(|name| name.starts_with("fusex")), "fusex failed, see above");
    readme.map_or(Ok(()), |readme| readme.write(&tables))
}

fn wanted(rows: &[Row], only: &[Row]) -> bool {
    only.is_empty() || rows.iter().any(|row| only.contains(row))
}

fn readme_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")
}

/// The directory in which the lower directories are made.
fn lower_parent(asked: Option<&Path>, size: &Size) -> anyhow::Result<PathBuf> {
    if let Some(asked) = asked {
        return asked.canonicalize().with_context(|| format!("--lower {}", asked.display()));
    }
    let shm = Path::new("/dev/shm");
    // The file, the mount's copy of it in the page cache, and room for the rest.
    if machine::memory_for(shm, 3 * size.sequential) {
        return Ok(shm.to_path_buf());
    }
    let fallback = std::env::temp_dir();
    eprintln!("compare: too little memory for /dev/shm, using {}", fallback.display());
    Ok(fallback)
}

/// Every workload by every contestant, as many times as there are rounds.
fn compete(
    rounds: u32,
    workloads: &[&Workload],
    contestants: &[Contestant],
    run: impl Fn(&Workload, &Contestant) -> anyhow::Result<Samples>,
) -> anyhow::Result<Results> {
    let mut results = Results::default();
    for round in 0..rounds {
        for workload in workloads {
            for turn in 0..contestants.len() {
                let contestant = &contestants[(turn + round as usize) % contestants.len()];
                let outcome = run(workload, contestant);
                if server::stopped() {
                    bail!("stopped by a signal");
                }
                match outcome {
                    Ok(samples) => {
                        let line: Vec<String> =
                            samples.iter().map(|(row, sample)| row.summary(sample)).collect();
                        let name = contestant.name;
                        eprintln!("{}/{rounds} {name}: {}", round + 1, line.join("; "));
                        results.add(round, contestant.name, &samples);
                    }
                    Err(error) => {
                        eprintln!("{}: {}: failed: {error:#}", contestant.name, workload.name);
                        results.fail(contestant.name, workload.rows);
                    }
                }
            }
        }
    }
    Ok(results)
}

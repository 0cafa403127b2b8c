//! Compares fusex with the native directory, libfuse's `passthrough_ll`, bindfs and mergerfs.
//!
//! One interleaved run: within a round every workload of every scene is done by every contestant,
//! one right after the other, in an order that rotates, so that what else the machine does hits
//! all of them. Every contestant gets a fresh lower directory and a fresh mount for every
//! workload. Figures are medians over the rounds; ratios are taken within a round first.
//!
//! `cargo bench --bench compare -- --help` lists the options. Works only as root, because it
//! mounts for all and drops the kernel's caches.

#[path = "../common/mod.rs"]
mod common;
mod contestants;
mod environment;
mod goals;
mod json;
#[path = "../common/libfuse.rs"]
mod libfuse;
mod place;
mod progress;
mod results;
mod rows;
mod scenes;
#[path = "../common/server.rs"]
mod server;
mod tables;
mod uring;
mod workloads;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{bail, ensure};
use clap::Parser;
use clap::builder::PossibleValuesParser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use common::pin::Pin;
use contestants::Contestants;
use environment::Environment;
use progress::Progress;
use results::Results;
use rows::Row;
use scenes::{Scene, Wishes};
use workloads::{Size, WORKLOADS, Workload};

/// Compare fusex with the native directory, libfuse's passthrough_ll, bindfs and mergerfs
///
/// Every lower directory is used with every number of clients, the first of them also with every
/// pinning. Of clients and pinnings the first is the main one; the others are for small requests,
/// unless --only says otherwise.
#[derive(Parser)]
#[command(name = "compare")]
struct Args {
    /// Rounds; the figures are medians over them
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// A fourth of the files and random operations, an eighth of the sequential bytes
    #[arg(long)]
    quick: bool,

    /// Where the lower directories are made; may be repeated [default: /dev/shm where memory
    /// allows, so that no disk decides, and the directory for temporary files]
    #[arg(long, value_name = "DIR")]
    lower: Vec<PathBuf>,

    /// Clients at once, powers of two
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,4", value_parser = clients)]
    clients: Vec<usize>,

    /// Which CPUs client and server run on
    #[arg(long, value_enum, value_delimiter = ',', default_value = "none,same")]
    pin: Vec<Pin>,

    /// Only these mounts, all of them everywhere
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = PossibleValuesParser::new(contestants::names()))]
    contestant: Vec<String>,

    /// Only these rows, all of them everywhere
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

fn clients(text: &str) -> Result<usize, String> {
    let number: usize = text.parse().map_err(|_| "not a number".to_string())?;
    match number {
        1..=64 if number.is_power_of_two() => Ok(number),
        _ => Err("not a power of two up to 64".into()),
    }
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

    let size = if args.quick { Size::QUICK } else { Size::FULL };
    let wishes =
        Wishes { lowers: &args.lower, clients: &args.clients, pins: &args.pin, rows: &args.only };
    let scenes = wishes.scenes(&size)?;
    let tools = tempfile::Builder::new().prefix("fusex-compare-").tempdir()?;
    let contestants = Contestants::gather(&args.contestant, tools.path());
    let environment = Environment::of(&scenes, args.rounds, size)?;
    let measured = compete(args.rounds, scenes, &contestants, &size)?;

    let tables = tables::markdown(&environment, &contestants, &measured);
    if args.json {
        println!("{:#}", json::document(&environment, &contestants, &measured));
    } else {
        print!("{tables}");
    }
    let failed = |name: &str| name.starts_with("fusex");
    let fusex_failed =
        measured.iter().any(|(_, results)| results.failures().into_iter().any(failed));
    ensure!(!fusex_failed, "fusex failed, see above");
    readme.map_or(Ok(()), |readme| readme.write(&tables))
}

fn readme_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")
}

/// Every workload of every scene by every contestant, as many times as there are rounds.
fn compete(
    rounds: u32,
    scenes: Vec<Scene>,
    contestants: &Contestants,
    size: &Size,
) -> anyhow::Result<Vec<(Scene, Results)>> {
    let mut measured: Vec<(Scene, Results)> =
        scenes.into_iter().map(|scene| (scene, Results::default())).collect();
    let in_a_round = measured
        .iter()
        .map(|(scene, _)| contestants.of(scene).len() * workloads(scene).count())
        .sum::<usize>();
    warm_up(&measured, contestants, size)?;
    let mut progress = Progress::of(rounds as usize * in_a_round);
    for round in 0..rounds {
        for (scene, results) in &mut measured {
            let contestants = contestants.of(scene);
            for workload in workloads(scene) {
                for turn in 0..contestants.len() {
                    let contestant = contestants[(turn + round as usize) % contestants.len()];
                    let outcome = workload.run(contestant, scene, size);
                    if server::stopped() {
                        bail!("stopped by a signal");
                    }
                    progress.step(&format!("{}: {}", scene.title(), contestant.name), &outcome);
                    match outcome {
                        Ok(samples) => results.add(round, contestant.name, &samples),
                        Err(_) => results.fail(contestant.name, workload.rows),
                    }
                }
            }
        }
    }
    Ok(measured)
}

/// Every workload natively, unmeasured: the first to use memory of a virtual machine, or blocks of
/// a disk, pays for that.
fn warm_up(
    scenes: &[(Scene, Results)],
    contestants: &Contestants,
    size: &Size,
) -> anyhow::Result<()> {
    for (scene, _) in scenes {
        for workload in workloads(scene) {
            workload.run(contestants.native(), scene, size)?;
        }
    }
    Ok(())
}

/// Those that measure something that the scene is for.
fn workloads(scene: &Scene) -> impl Iterator<Item = &'static Workload> {
    WORKLOADS.iter().filter(|workload| workload.is_for(&scene.rows))
}

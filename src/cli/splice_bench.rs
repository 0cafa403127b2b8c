//! `fusex splice-bench`: the arguments as given, and checked.

use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure, SPLICE_BENCH_STATUS};
use crate::mount::options;
use crate::splicing::pin::Pin;
use crate::splicing::{Config, LEAST, MOST, Mode, Sink, Source};

const SIZES: &[usize] = &[4, 8, 16, 32, 64, 128, 256, 512, 1024];
const SIZES_QUICK: &[usize] = &[4, 128, 1024];
const ROUNDS: u32 = 5;
const ROUNDS_QUICK: u32 = 3;
const BYTES: usize = 16 << 20;
const BYTES_QUICK: usize = 2 << 20;
const TRIPS: u32 = 4_000;
const TRIPS_QUICK: u32 = 500;
/// Memory with a file system on it, where there is one.
const SHM: &str = "/dev/shm";

/// Measure how bytes travel on this machine: copied, or by splice
///
/// Moves blocks from a file, a unix socket and a TCP connection to /dev/null, a pipe, a file and
/// FUSE mounts of its own, by each way there is, and says how fast that is and how much of the CPUs
/// the server, its client and its peer take. Every byte that arrives is compared with what was
/// sent, while no clock runs. The ways take turns, so that whatever else the machine does meets
/// all of them, and each is given against the plain copy beside it.
#[derive(Debug, clap::Args)]
#[command(after_help = SPLICE_BENCH_STATUS, after_long_help = SPLICE_BENCH_STATUS)]
pub struct SpliceBenchArgs {
    /// Sources [default: all]
    #[arg(long, help_heading = "What", value_enum, value_name = "NAME", value_delimiter = ',')]
    source: Vec<Source>,

    /// Sizes of a block, multiples of 4K up to 1M
    /// [default: 4K,8K,16K,32K,64K,128K,256K,512K,1M; with '--quick' 4K,128K,1M]
    #[arg(long, help_heading = "What", value_name = "SIZE", value_delimiter = ',', value_parser = parse_size)]
    size: Vec<usize>,

    /// Ways [default: all]. The plain copy is always measured: the others are compared with it
    #[arg(long, help_heading = "What", value_enum, value_name = "NAME", value_delimiter = ',')]
    mode: Vec<Mode>,

    /// Sinks [default: all]
    #[arg(long, help_heading = "What", value_enum, value_name = "NAME", value_delimiter = ',')]
    sink: Vec<Sink>,

    /// Also read this file on a FUSE mount, or one that is put into this directory there
    #[arg(long, help_heading = "What", value_name = "PATH")]
    mount: Option<PathBuf>,

    /// Measure each combination so often; figures are medians [default: 5; with '--quick' 3]
    #[arg(long, help_heading = "How", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,

    /// Move so many bytes in a measurement, such as 64M [default: 16M; with '--quick' 2M]
    #[arg(long, help_heading = "How", value_name = "SIZE", value_parser = parse_bytes)]
    bytes: Option<usize>,

    /// Three sizes, few bytes, done in seconds
    #[arg(long, help_heading = "How")]
    quick: bool,

    /// Which CPUs server and client run on; a peer runs where the client does
    #[arg(long, help_heading = "How", value_enum, value_name = "HOW", default_value_t = Pin::None)]
    pin: Pin,

    /// Where files are made [default: /dev/shm, else the directory for temporary files]
    #[arg(long, help_heading = "How", value_name = "DIR")]
    dir: Option<PathBuf>,

    /// One JSON object on stdout in place of the table
    #[arg(long, help_heading = "Output", conflicts_with_all = ["csv", "chart"])]
    json: bool,

    /// Comma-separated values, a line for each combination
    #[arg(long, help_heading = "Output", conflicts_with = "chart")]
    csv: bool,

    /// Bars in place of the table
    #[arg(long, help_heading = "Output")]
    chart: bool,

    /// Let the source have a wrong byte at this position, to see that it is found
    #[arg(long, hide = true, value_name = "POSITION")]
    corrupt: Option<usize>,
}

/// What is to be done, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpliceBench {
    /// What to measure.
    pub config: Config,
    /// What is made of it.
    pub form: Form,
}

/// The forms of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Table,
    /// For people, as bars.
    Chart,
    /// One object.
    Json,
    /// Comma-separated values.
    Csv,
}

impl SpliceBenchArgs {
    /// Checks everything that clap has not.
    ///
    /// # Errors
    /// There is no such directory, or `--mount` is for no sink.
    pub fn check(self) -> Result<SpliceBench, Failure> {
        let default = |full, quick| if self.quick { quick } else { full };
        let sizes = default(SIZES, SIZES_QUICK).iter().map(|kib| kib << 10).collect();
        let mut modes = all_or(self.mode);
        modes.push(Mode::Copy);
        let sinks = all_or(self.sink);
        if self.mount.is_some() && !sinks.iter().any(|sink| sink.is_mount()) {
            return Err(usage("--mount: no sink reads it: give --sink mount-direct,mount-cached"));
        }
        let config = Config {
            sources: all_or(self.source),
            sizes: sorted(if self.size.is_empty() { sizes } else { self.size }),
            modes: sorted(modes),
            sinks,
            rounds: self.rounds.unwrap_or(if self.quick { ROUNDS_QUICK } else { ROUNDS }),
            bytes: self.bytes.unwrap_or(if self.quick { BYTES_QUICK } else { BYTES }),
            pin: self.pin,
            dir: self.dir.map_or_else(|| Ok(default_dir()), |dir| checked(&dir))?,
            mount: self.mount,
            trips: if self.quick { TRIPS_QUICK } else { TRIPS },
            corrupt: self.corrupt,
        };
        let form = match (self.json, self.csv, self.chart) {
            (true, ..) => Form::Json,
            (_, true, _) => Form::Csv,
            (.., true) => Form::Chart,
            _ => Form::Table,
        };
        Ok(SpliceBench { config, form })
    }
}

/// What was given, each once and in order; all that can be, of nothing.
fn all_or<T: clap::ValueEnum + Ord>(given: Vec<T>) -> Vec<T> {
    match given.is_empty() {
        true => {
            let all = T::value_variants().iter().cloned();
            // What has no name cannot be asked for.
            all.filter(|value| value.to_possible_value().is_some()).collect()
        }
        false => sorted(given),
    }
}

fn sorted<T: Ord>(mut values: Vec<T>) -> Vec<T> {
    values.sort();
    values.dedup();
    values
}

fn usage(message: impl Into<String>) -> Failure {
    Failure { exit: Exit::Untested, message: message.into() }
}

/// Absolute: servers run elsewhere.
fn checked(dir: &Path) -> Result<PathBuf, Failure> {
    let wrong = |why: String| usage(format!("--dir: {}: {why}", dir.display()));
    let path = dir.canonicalize().map_err(|error| wrong(error.kind().to_string()))?;
    match path.is_dir() {
        true => Ok(path),
        false => Err(wrong("not a directory: give one".into())),
    }
}

fn default_dir() -> PathBuf {
    use nix::unistd::{AccessFlags, access};
    match access(SHM, AccessFlags::W_OK | AccessFlags::X_OK) {
        Ok(()) => SHM.into(),
        Err(_) => std::env::temp_dir(),
    }
}

fn parse_size(text: &str) -> Result<usize, String> {
    let size = options::size(text.as_bytes(), LEAST as u32..=MOST as u32).map(|it| it as usize);
    let whole = size.ok().filter(|size| size.is_multiple_of(LEAST));
    whole.ok_or("give a multiple of 4K from 4K to 1M".into())
}

fn parse_bytes(text: &str) -> Result<usize, String> {
    let bytes = options::size(text.as_bytes(), LEAST as u32..=1 << 30);
    bytes.map(|it| it as usize).map_err(|_| "give 4K to 1024M".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: SpliceBenchArgs,
    }

    fn check(line: &str) -> Result<SpliceBench, String> {
        let words = std::iter::once("splice-bench").chain(line.split_whitespace());
        let parsed = Line::try_parse_from(words).map_err(|error| error.kind().to_string())?;
        parsed.args.check().map_err(|failure| failure.message)
    }

    fn config(line: &str) -> Config {
        check(line).unwrap_or_else(|error| panic!("{line}: {error}")).config
    }

    #[test]
    fn all_of_it_unless_told_otherwise() {
        let all = config("");
        assert_eq!((all.sources.len(), all.modes.len(), all.sinks.len()), (3, 6, 5));
        assert_eq!((all.sizes.first(), all.sizes.last()), (Some(&LEAST), Some(&MOST)));
        assert_eq!((all.rounds, all.bytes, all.pin), (5, 16 << 20, Pin::None));
        let quick = config("--quick");
        assert_eq!(quick.sizes, [4 << 10, 128 << 10, 1 << 20]);
        assert_eq!((quick.rounds, quick.bytes), (3, 2 << 20));
        assert_eq!((&quick.modes, &quick.sinks), (&all.modes, &all.sinks));
    }

    #[test]
    fn what_is_asked_for() {
        let line = "--quick --source tcp,file --size 1M,8k,8192 --mode splice --sink pipe,null \
                    --rounds 7 --bytes 64M --pin same --dir /";
        let asked = config(line);
        assert_eq!(asked.sources, [Source::File, Source::Tcp]);
        assert_eq!(asked.sizes, [8192, 1 << 20]);
        assert_eq!(asked.modes, [Mode::Copy, Mode::Splice], "what all is compared with");
        assert_eq!(asked.sinks, [Sink::Null, Sink::Pipe]);
        assert_eq!((asked.rounds, asked.bytes, asked.pin), (7, 64 << 20, Pin::Same));
        assert_eq!(asked.dir, Path::new("/"));
    }

    #[test]
    fn what_cannot_be() {
        for bad in [
            "--size 2K",
            "--size 5000",
            "--size 2M",
            "--size x",
            "--bytes 1",
            "--bytes 2048M",
            "--rounds 0",
            "--mode existing",
            "--sink nowhere",
            "--json --csv",
            "--chart --json",
            "--pin both",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
        let line = "--mount: no sink reads it: give --sink mount-direct,mount-cached";
        assert_eq!(check("--mount /mnt --sink pipe"), Err(line.into()));
        assert_eq!(check("--dir /none"), Err("--dir: /none: entity not found".into()));
        let line = "--dir: /dev/null: not a directory: give one";
        assert_eq!(check("--dir /dev/null"), Err(line.into()));
    }

    #[test]
    fn forms() {
        for (line, form) in [
            ("", Form::Table),
            ("--json", Form::Json),
            ("--csv", Form::Csv),
            ("--chart", Form::Chart),
        ] {
            assert_eq!(check(line).unwrap().form, form);
        }
    }
}

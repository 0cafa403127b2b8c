//! The results as Markdown, and their place in README.md.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::common::spread::Spread;
use crate::contestants::{Contestant, Contestants, NATIVE};
use crate::environment::Environment;
use crate::goals;
use crate::results::Results;
use crate::rows::Row;
use crate::scenes::Scene;

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";

/// The whole text: what was measured how, a table for each scene, the servers' CPU time in the
/// first one, and the goals.
pub(crate) fn markdown(
    environment: &Environment,
    contestants: &Contestants,
    measured: &[(Scene, Results)],
) -> String {
    let mut text = header(environment);
    for (scene, results) in measured {
        let names = contestants.of(scene);
        let _ = write!(text, "\n**{}**\n\n{}", scene.title(), ratios(scene, &names, results));
    }
    if let Some((scene, results)) = measured.first() {
        let _ = write!(
            text,
            "\n**Server CPU, microseconds an operation** (less is better; median; {})\n\n{}",
            scene.title(),
            server_cpu(scene, &contestants.of(scene), results)
        );
    }
    text + &goals::markdown(measured)
}

fn ratios(scene: &Scene, contestants: &[&Contestant], results: &Results) -> String {
    let cell = |name: &'static str, row: Row| match name {
        NATIVE => results.rate(row, NATIVE).map_or_else(failed, |rate| row.show(rate.median)),
        _ => ratio(results.ratio(row, name, NATIVE)),
    };
    by_contestant(scene, contestants.iter().map(|contestant| contestant.name), cell)
}

fn server_cpu(scene: &Scene, contestants: &[&Contestant], results: &Results) -> String {
    let mounts =
        contestants.iter().map(|contestant| contestant.name).filter(|name| *name != NATIVE);
    by_contestant(scene, mounts, |name, row| {
        results.server_cpu(row, name).map_or_else(failed, microseconds)
    })
}

fn by_contestant(
    scene: &Scene,
    names: impl Iterator<Item = &'static str>,
    cell: impl Fn(&'static str, Row) -> String,
) -> String {
    let heads = scene.rows.iter().map(|row| row.title().to_string());
    let cells = |name| scene.rows.iter().map(|row| cell(name, *row)).collect();
    table(heads, names.map(|name| (name.to_string(), cells(name))))
}

fn header(environment: &Environment) -> String {
    let size = &environment.size;
    format!(
        "{headline}; {rounds} rounds, interleaved; {versions}; {wakeups}.\n\n\
         {files} files; {sequential} MiB sequential; {ops} random operations of 4 KiB in {random} \
         MiB; of several clients each does its share in a directory of its own; no fsync. The \
         lower file system's caches are warm for all, the mounts' are empty except for cached \
         stats. `shared`: for all users, with permissions checked (`allow_other`, and \
         `default_permissions` for `passthrough_ll`). `dev`, `splice`, `uring`: `--transport`. \
         `unsupervised`: `--no-supervise`, without passthrough. bindfs has `big_writes`, mergerfs \
         one branch and `cache.files=partial`; else all run with their defaults (timeouts of 1 s, \
         `cache=auto`).\n\n\
         Native throughput, and each mount's as a ratio to it (more is better; median, least to \
         greatest of the rounds):\n",
        headline = environment.machine.headline(),
        rounds = environment.rounds,
        versions = environment.versions.join(", "),
        wakeups = environment.machine.wakeups(),
        files = size.files,
        sequential = size.sequential >> 20,
        ops = size.random_ops,
        random = size.random >> 20,
    )
}

/// A table with an empty head above the names of its lines.
pub(crate) fn table(
    heads: impl Iterator<Item = String>,
    lines: impl IntoIterator<Item = (String, Vec<String>)>,
) -> String {
    let mut text = String::from("| |");
    let mut rule = String::from("| --- |");
    for head in heads {
        let _ = write!(text, " {head} |");
        rule.push_str(" ---: |");
    }
    let _ = writeln!(text, "\n{rule}");
    for (name, cells) in lines {
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    }
    text
}

fn failed() -> String {
    "failed".to_string()
}

/// Median, least and greatest.
pub(crate) fn ratio(spread: Option<Spread>) -> String {
    let show = |Spread { median, min, max }| {
        format!("{} ({}–{})", significant(median), significant(min), significant(max))
    };
    spread.map_or_else(failed, show)
}

/// Two digits that say something.
fn significant(ratio: f64) -> String {
    if ratio >= 9.95 {
        format!("{ratio:.0}")
    } else if ratio >= 0.0995 {
        format!("{ratio:.2}")
    } else {
        format!("{ratio:.3}")
    }
}

fn microseconds(cpu: Spread) -> String {
    if cpu.median < 9.95 { format!("{:.2}", cpu.median) } else { format!("{:.1}", cpu.median) }
}

/// The README and where the tables go in it.
pub(crate) struct Readme {
    path: PathBuf,
    before: String,
    after: String,
}

impl Readme {
    /// # Errors
    /// When it is not there or does not have both comments, in order.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Readme> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let between = text.split_once(BEGIN).and_then(|(before, rest)| {
            rest.split_once(END).map(|(_, after)| (before.to_string(), after.to_string()))
        });
        let (before, after) =
            between.with_context(|| format!("{}: no {BEGIN} and {END}", path.display()))?;
        Ok(Readme { path: path.to_path_buf(), before, after })
    }

    pub(crate) fn write(&self, tables: &str) -> anyhow::Result<()> {
        let text = format!("{}{BEGIN}\n{tables}{END}{}", self.before, self.after);
        std::fs::write(&self.path, text).with_context(|| self.path.display().to_string())
    }
}

//! The results as Markdown, and their place in README.md.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::common::spread::Spread;
use crate::contestants::{Contestant, NATIVE, PAIRS};
use crate::environment::Environment;
use crate::results::Results;
use crate::rows::Row;
use crate::workloads::Size;

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";

/// The whole text: what was measured where, then three tables.
pub(crate) fn markdown(
    environment: &Environment,
    size: &Size,
    contestants: &[Contestant],
    rows: &[Row],
    results: &Results,
) -> String {
    let names: Vec<&'static str> = contestants.iter().map(|contestant| contestant.name).collect();
    let mounts: Vec<&'static str> = names.iter().copied().filter(|name| *name != NATIVE).collect();
    let pairs: Vec<(&str, &str)> =
        PAIRS.iter().copied().filter(|(_, peer)| names.contains(peer)).collect();

    let mut text = header(environment, size);
    text.push_str(
        "\nNative throughput, and each mount's as a ratio to it (more is better; median, least \
         to greatest):\n\n",
    );
    let heads = [NATIVE].iter().chain(&mounts).map(ToString::to_string);
    text.push_str(&table(heads, rows, |row| {
        let native = results.rate(row, NATIVE).map_or_else(failed, |rate| row.show(rate.median));
        let ratios = mounts.iter().map(|name| ratio(results.ratio(row, name, NATIVE)));
        [native].into_iter().chain(ratios).collect()
    }));
    text.push_str("\nServer CPU, microseconds an operation (less is better; median):\n\n");
    text.push_str(&table(mounts.iter().map(ToString::to_string), rows, |row| {
        let cell = |name: &&'static str| results.server_cpu(row, name);
        mounts.iter().map(cell).map(|cpu| cpu.map_or_else(failed, microseconds)).collect()
    }));
    if !pairs.is_empty() {
        text.push_str("\nfusex's throughput as a ratio to libfuse's `passthrough_ll`:\n\n");
        let heads = pairs.iter().map(|(ours, peer)| format!("{ours} / {peer}"));
        text.push_str(&table(heads, rows, |row| {
            pairs.iter().map(|(ours, peer)| ratio(results.ratio(row, ours, peer))).collect()
        }));
    }
    text
}

fn header(environment: &Environment, size: &Size) -> String {
    format!(
        "{headline}; {rounds} rounds, interleaved; pinning: {pin}; {versions}; {wakeups}.\n\n\
         {files} files; {sequential} MiB sequential; {ops} random operations in {random} MiB; one \
         client thread, no fsync. The lower file system's caches are warm for all, the mounts' \
         are empty except for cached stats. All run with their defaults (timeouts of 1 s, \
         `cache=auto`); `shared`: for all users, with permissions checked (`allow_other`, and \
         `default_permissions` for `passthrough_ll`).\n",
        headline = environment.machine.headline(),
        rounds = environment.rounds,
        pin = environment.pin.name(),
        versions = environment.versions.join(", "),
        wakeups = environment.machine.wakeups(),
        files = size.files,
        sequential = size.sequential >> 20,
        ops = size.random_ops,
        random = size.random >> 20,
    )
}

fn table(
    heads: impl Iterator<Item = String>,
    rows: &[Row],
    cells: impl Fn(Row) -> Vec<String>,
) -> String {
    let mut text = String::from("| |");
    let mut rule = String::from("| --- |");
    for head in heads {
        let _ = write!(text, " {head} |");
        rule.push_str(" ---: |");
    }
    let _ = writeln!(text, "\n{rule}");
    for row in rows {
        let _ = writeln!(text, "| {} | {} |", row.title(), cells(*row).join(" | "));
    }
    text
}

fn failed() -> String {
    "failed".to_string()
}

fn ratio(spread: Option<Spread>) -> String {
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

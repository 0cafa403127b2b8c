//! A report for each interval, and between them the lines that are wanted.

use std::time::Instant;

use anyhow::Context;

use super::lines::Lines;
use super::{End, print};
use crate::cli::bpf_stats::{Config, Form};
use crate::output::Look;
use crate::output::stats::{View, json, openmetrics, text};
use crate::stats::Snapshot;
use crate::stats::collect::Collector;
use crate::stats::tier::Source;

/// Prints them until all are printed, or until the end.
///
/// # Errors
/// What the kernel counted cannot be read, or nothing can be written.
pub(super) fn run(config: &Config, collector: &mut Collector, end: &End) -> anyhow::Result<()> {
    let mut before = collector.snapshot()?;
    let mut lines = Lines::new(config);
    let mut due = Instant::now();
    let mut printed = 0;
    while config.count.is_none_or(|count| printed < count) {
        // Without counts there is nothing to wait for: the first report is as good at once.
        if printed > 0 || collector.tier().source != Source::None {
            due += config.interval;
            if !lines.print_until(due, collector, end)? {
                return Ok(());
            }
        }
        let now = collector.snapshot()?;
        let report = report(config, collector, &now, &before, printed == 0);
        if !print(&report).context("stdout")? {
            return Ok(());
        }
        printed += 1;
        // Time that was missed is not made up for.
        if due.elapsed() > config.interval {
            due = Instant::now();
        }
        before = now;
    }
    Ok(())
}

fn report(
    config: &Config,
    collector: &Collector,
    now: &Snapshot,
    before: &Snapshot,
    first: bool,
) -> String {
    let tier = &collector.tier();
    let mut interval = now.since(before);
    interval.keep_top(config.top);
    match config.form {
        Form::Json => json::report(&interval, tier, config.histogram),
        Form::OpenMetrics { .. } => openmetrics::exposition(now, tier),
        _ => {
            let view = View { histogram: config.histogram, top: config.top, first };
            let blank = if first { "" } else { "\n" };
            blank.to_string() + &text(&interval, tier, &view, Look::of_stdout())
        }
    }
}

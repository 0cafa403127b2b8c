//! `fusex splice-bench`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::print;
use crate::cli::splice_bench::{Form, SpliceBench};
use crate::exit::Exit;
use crate::output::Look;
use crate::output::progress::Bar;
use crate::output::splice_bench::{chart, csv, json, table};
use crate::splicing::{self, server};

/// Measures, and prints what it came to.
///
/// # Errors
/// A wrong byte has arrived, something is in the way, or the figures cannot be written.
pub fn run(bench: &SpliceBench) -> anyhow::Result<Exit> {
    let stop = end_on_signals().context("signals")?;
    let bar = Bar::new("splice-bench");
    let report = splicing::run(&bench.config, &stop, &|progress| {
        bar.at(progress.done as u64, progress.total as u64, &progress.cell.to_string());
    });
    drop(bar);
    let report = report?;
    let look = Look::of_stdout();
    let text = match bench.form {
        Form::Table => table::table(&report, look),
        Form::Chart => chart::chart(&report, look),
        Form::Json => json::json(&report)?,
        Form::Csv => csv::csv(&report),
    };
    print(&text).context("stdout")?;
    Ok(Exit::Success)
}

/// From here on SIGINT, SIGTERM and SIGHUP end the run, and all that it has made goes with it. The
/// servers end at once: a reader that waits for one of them gets an error in place of its bytes.
fn end_on_signals() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let set = stop.clone();
    std::thread::spawn(move || {
        for _ in signals.forever() {
            set.store(true, Ordering::Release);
            server::kill_all();
        }
    });
    Ok(stop)
}

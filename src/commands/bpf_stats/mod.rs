//! `fusex bpf-stats`.

mod lines;
pub mod listen;
pub mod live;
mod reports;

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::poll::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::{mounts, print};
use crate::cli::bpf_stats::{Config, Form};
use crate::exit::{Exit, Failure};
use crate::output::stats::{json, openmetrics, tier_text};
use crate::stats::collect::{self, Collector, Wants};
use crate::stats::tier::Source;

/// So long at most until an interrupt, or that nobody reads stdout any more, is noticed.
const PIECE: Duration = Duration::from_millis(200);

/// Measures and prints until that is done, somebody interrupts it, or nobody reads any more.
///
/// # Errors
/// A mount point that is none, nothing to be measured for what is asked, or no output.
pub fn run(config: &Config) -> anyhow::Result<Exit> {
    // 1 has a meaning of its own here.
    asked(config)
        .map_err(|error| Failure { exit: Exit::Untested, message: format!("{error:#}") }.into())
}

fn asked(config: &Config) -> anyhow::Result<Exit> {
    if let Form::Probe { json } = config.form {
        let tier = collect::probe();
        return written(&if json { json::tier(&tier) } else { tier_text(&tier) });
    }
    let connections = mounts::connections(&config.mount_points)?;
    let wants = Wants {
        top: config.top,
        slow_ns: config.slow.map(|limit| u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX)),
        connections,
    };
    let mut collector = Collector::start(wants);
    if config.form == Form::Live {
        return live::run(&collector.tier(), config.interval, || collector.snapshot());
    }
    let end = End::on_signals()?;
    match config.form {
        Form::OpenMetrics { listen: Some(address) } => {
            tell_what_is_missing(&collector);
            let make = || Ok(openmetrics::exposition(&collector.snapshot()?, &collector.tier()));
            listen::serve(address, make, &end.stop).map(|()| Exit::Success)
        }
        _ if config.reports => {
            if matches!(config.form, Form::OpenMetrics { .. }) {
                tell_what_is_missing(&collector);
            }
            reports::run(config, &mut collector, &end).map(|()| Exit::Success)
        }
        _ => {
            needs_counts(config, &collector)?;
            lines::run(config, &mut collector, &end)
        }
    }
}

fn written(text: &str) -> anyhow::Result<Exit> {
    print(text).map(|_| Exit::Success).context("stdout")
}

/// Why nothing is counted, for the form of output that does not say it itself.
fn tell_what_is_missing(collector: &Collector) {
    let tier = collector.tier();
    if tier.source == Source::None {
        tier.missing.iter().for_each(|missing| tracing::warn!("{missing}"));
    }
}

/// Lines about single requests alone: without BPF there would never be any.
fn needs_counts(config: &Config, collector: &Collector) -> Result<(), Failure> {
    let tier = collector.tier();
    if tier.source != Source::None {
        return Ok(());
    }
    let option = if config.slow.is_some() { "--slow" } else { "--stuck" };
    let why = tier.missing.first().map_or("no BPF".to_string(), |missing| missing.to_string());
    let message = format!("{option}: no request can be seen here: {why}");
    Err(Failure { exit: Exit::Untested, message })
}

/// When to end before everything is done.
struct End {
    stop: Arc<AtomicBool>,
}

impl End {
    /// On the first signal of these; on a second one at once.
    fn on_signals() -> anyhow::Result<End> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register_conditional_shutdown(signal, 128 + signal, stop.clone())
                .and_then(|_| flag::register(signal, stop.clone()))
                .context("signals")?;
        }
        Ok(End { stop })
    }

    /// Whether it is time: a signal came, or nobody reads stdout any more.
    fn is_now(&self) -> bool {
        self.stop.load(Ordering::Acquire) || self.unread(Duration::ZERO)
    }

    /// Sleeps until then, or until the end.
    fn sleep_until(&self, then: Instant) {
        loop {
            let left = then.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stop.load(Ordering::Acquire) || self.unread(left) {
                return;
            }
        }
    }

    /// Waits for a while and says whether the other end of stdout is closed. A signal ends it.
    fn unread(&self, wait: Duration) -> bool {
        let stdout = std::io::stdout();
        let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
        // A part of a millisecond is waited for too, or the last one would be spent in a loop.
        let wait = wait.min(PIECE).as_micros().div_ceil(1000) as u16;
        let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
        poll(&mut fds, wait).is_ok()
            && fds[0].revents().is_some_and(|events| events.intersects(gone))
    }
}

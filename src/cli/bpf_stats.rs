//! `fusex bpf-stats`: the arguments as given, and checked.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::mount::parse_seconds;
use crate::exit::{BPF_STATS_STATUS, Exit, Failure};

/// The time between two reports.
const INTERVAL: Duration = Duration::from_secs(1);
/// No shorter one: a look at all requests takes time itself.
const SHORTEST: Duration = Duration::from_millis(10);
/// Where metrics are served.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT);
const PORT: u16 = 9857;
/// Callers and nodes in the live view.
const TOP_LIVE: u16 = 10;
const TOP_MOST: i64 = 1000;

/// Show what FUSE mounts are doing, whoever serves them
///
/// Counts every request of every FUSE mount of this machine by BPF, in the kernel, and prints a
/// report each second: for each mount and operation how many there were, how they ended, and how
/// long they waited for the server (queue) and in the server (service). No mount is touched: one
/// whose server hangs is shown like any other. What cannot be measured here is said, and why;
/// without BPF it is what sysfs, the mount table and /proc tell.
#[derive(Debug, clap::Args)]
#[command(after_help = BPF_STATS_STATUS, after_long_help = BPF_STATS_STATUS)]
pub struct BpfStatsArgs {
    /// These mounts only [default: all, new ones as they come]
    #[arg(value_name = "MOUNTPOINT")]
    mount_points: Vec<PathBuf>,

    /// So many seconds from one report to the next, such as 5 or 0.5 [default: 1]
    #[arg(short, long, help_heading = "Reports", value_name = "SECONDS", value_parser = parse_interval)]
    interval: Option<Duration>,

    /// End after so many reports [default: go on until interrupted]
    #[arg(short, long, help_heading = "Reports", value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// One report. With '--stuck' alone: look once, without waiting
    #[arg(long, help_heading = "Reports", conflicts_with = "count")]
    once: bool,

    /// Show the times of each operation as histograms, by powers of two
    #[arg(long, help_heading = "Reports")]
    histogram: bool,

    /// Also show the N processes and the N nodes that caused the most requests [default: 0, and 10
    /// with '--live']
    #[arg(long, help_heading = "Reports", value_name = "N", value_parser = clap::value_parser!(u16).range(..=TOP_MOST))]
    top: Option<u16>,

    /// Print a line for each request that took longer, as it ends, in place of reports ('-i': both)
    #[arg(long, help_heading = "Requests", value_name = "MS", value_parser = parse_milliseconds)]
    slow: Option<Duration>,

    /// Print a line for each request that has waited so long for its answer, in place of reports
    /// ('-i': both)
    #[arg(long, help_heading = "Requests", value_name = "SECONDS", value_parser = parse_wait)]
    stuck: Option<Duration>,

    /// Print JSON: one object a line
    #[arg(long, help_heading = "Output", conflicts_with = "openmetrics")]
    json: bool,

    /// Print OpenMetrics text: counters since the start, with '# EOF' after each report
    #[arg(long, help_heading = "Output", conflicts_with_all = ["slow", "stuck", "histogram", "top"])]
    openmetrics: bool,

    /// Serve it over HTTP, at /metrics, in place of printing it [default: 127.0.0.1:9857]
    #[arg(long, help_heading = "Output", value_name = "ADDR", num_args = 0..=1, requires = "openmetrics", conflicts_with_all = ["count", "once", "interval"], value_parser = parse_address)]
    listen: Option<Option<SocketAddr>>,

    /// A view that fills the terminal, with keys
    #[arg(long, help_heading = "Output", conflicts_with_all = ["json", "openmetrics", "slow", "stuck", "count", "once", "histogram"])]
    live: bool,

    /// Say what can be measured on this machine, and why not more; then end
    #[arg(long, help_heading = "Output", conflicts_with_all = ["mount_points", "interval", "count", "once", "histogram", "top", "slow", "stuck", "openmetrics", "live"])]
    probe: bool,
}

/// What is to be done, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// These mounts only; empty for all.
    pub mount_points: Vec<PathBuf>,
    /// From one report to the next.
    pub interval: Duration,
    /// How many reports; none: until interrupted.
    pub count: Option<u64>,
    /// What is made of them.
    pub form: Form,
    /// With histograms.
    pub histogram: bool,
    /// From which total time on a request gets a line.
    pub slow: Option<Duration>,
    /// From which age on a request in flight gets a line.
    pub stuck: Option<Duration>,
    /// Reports are wanted, not lines alone.
    pub reports: bool,
    /// How many callers and nodes; 0 for none.
    pub top: usize,
}

/// The forms of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Text,
    /// One object a line.
    Json,
    /// For Prometheus and the like.
    OpenMetrics {
        /// Where to serve it; none: on stdout.
        listen: Option<SocketAddr>,
    },
    /// The full-screen view.
    Live,
    /// What can be measured, and nothing else.
    Probe {
        /// As JSON.
        json: bool,
    },
}

impl BpfStatsArgs {
    /// Checks everything that clap has not.
    ///
    /// # Errors
    /// Options that say nothing together.
    pub fn check(self) -> Result<Config, Failure> {
        let lines = self.slow.is_some() || self.stuck.is_some();
        let reports = !lines || self.interval.is_some();
        self.check_lines(reports)?;
        let form = match (self.probe, self.live, self.openmetrics, self.json) {
            (true, ..) => Form::Probe { json: self.json },
            (_, true, ..) => Form::Live,
            (_, _, true, _) => {
                Form::OpenMetrics { listen: self.listen.map(|given| given.unwrap_or(LISTEN)) }
            }
            (.., true) => Form::Json,
            (.., false) => Form::Text,
        };
        let top = self.top.unwrap_or(if self.live { TOP_LIVE } else { 0 });
        Ok(Config {
            mount_points: self.mount_points,
            interval: self.interval.unwrap_or(INTERVAL),
            count: if self.once { Some(1) } else { self.count },
            form,
            histogram: self.histogram,
            slow: self.slow,
            stuck: self.stuck,
            reports,
            top: top.into(),
        })
    }

    /// What is about reports says nothing where there are none.
    fn check_lines(&self, reports: bool) -> Result<(), Failure> {
        let alone = self.stuck.is_some() && self.slow.is_none();
        let given = [
            (self.once && !alone, "--once"),
            (self.count.is_some(), "--count"),
            (self.histogram, "--histogram"),
            (self.top.is_some(), "--top"),
        ];
        match given.iter().find(|(given, _)| *given && !reports) {
            Some((_, option)) => {
                let lines = if self.slow.is_some() { "--slow" } else { "--stuck" };
                let message = format!("{option}: {lines} prints no reports: give -i too");
                Err(Failure { exit: Exit::Untested, message })
            }
            None => Ok(()),
        }
    }
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = parse_seconds(text)?;
    let shortest = SHORTEST.as_secs_f64();
    (interval >= SHORTEST).then_some(interval).ok_or(format!("give {shortest} or more"))
}

fn parse_wait(text: &str) -> Result<Duration, String> {
    let wait = parse_seconds(text)?;
    (!wait.is_zero()).then_some(wait).ok_or("give more than 0".to_string())
}

fn parse_milliseconds(text: &str) -> Result<Duration, String> {
    let limit = parse_seconds(text).map(|thousand| thousand / 1000);
    limit.map_err(|_| "give a number of milliseconds, such as 10 or 0.5".to_string())
}

/// `IP:PORT`, or only one of the two.
fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let ip = text.trim_start_matches('[').trim_end_matches(']').parse();
    let whole = text.parse().ok().or_else(|| Some(SocketAddr::new(ip.ok()?, PORT)));
    let port = || text.strip_prefix(':').unwrap_or(text).parse().ok();
    let found = whole.or_else(|| Some(SocketAddr::new(LISTEN.ip(), port()?)));
    found.ok_or(format!("give an address and a port, such as {LISTEN} or [::1]:{PORT}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: BpfStatsArgs,
    }

    fn check(line: &str) -> Result<Config, String> {
        let words = std::iter::once("bpf-stats").chain(line.split_whitespace());
        let parsed = Line::try_parse_from(words).map_err(|error| error.kind().to_string())?;
        parsed.args.check().map_err(|failure| failure.message)
    }

    fn config(line: &str) -> Config {
        check(line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    #[test]
    fn defaults() {
        let expected = Config {
            mount_points: vec![],
            interval: Duration::from_secs(1),
            count: None,
            form: Form::Text,
            histogram: false,
            slow: None,
            stuck: None,
            reports: true,
            top: 0,
        };
        assert_eq!(config(""), expected);
        assert_eq!(config("--once"), Config { count: Some(1), ..expected.clone() });
        assert_eq!(config("--live"), Config { form: Form::Live, top: 10, ..expected.clone() });
        assert_eq!(config("--json --probe").form, Form::Probe { json: true });
        let line = "/a -i 0.25 -c 3 --json --histogram --top 7 /b --slow 1.5 --stuck 30";
        let all = Config {
            mount_points: vec!["/a".into(), "/b".into()],
            interval: Duration::from_millis(250),
            count: Some(3),
            form: Form::Json,
            histogram: true,
            slow: Some(Duration::from_micros(1500)),
            stuck: Some(Duration::from_secs(30)),
            reports: true,
            top: 7,
        };
        assert_eq!(config(line), all);
    }

    #[test]
    fn lines_in_place_of_reports() {
        assert!(!config("--slow 5").reports);
        assert!(!config("--stuck 5 --json").reports);
        assert!(config("--stuck 5 -i 60").reports);
        assert_eq!(config("--once --stuck 5").count, Some(1));
        for (line, option) in [
            ("--slow 5 --once", "--once: --slow"),
            ("--slow 5 --stuck 5 --once", "--once: --slow"),
            ("--stuck 5 -c 2", "--count: --stuck"),
            ("--stuck 5 --histogram", "--histogram: --stuck"),
            ("--stuck 5 --once --top 3", "--top: --stuck"),
        ] {
            let expected = format!("{option} prints no reports: give -i too");
            assert_eq!(check(line), Err(expected), "{line}");
        }
    }

    #[test]
    fn addresses() {
        let listen = |line: &str| match config(line).form {
            Form::OpenMetrics { listen } => listen.map(|address| address.to_string()),
            other => panic!("{other:?}"),
        };
        assert_eq!(listen("--openmetrics"), None);
        for (given, address) in [
            ("", "127.0.0.1:9857"),
            ("0.0.0.0", "0.0.0.0:9857"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("[::1]:80", "[::1]:80"),
            ("[::1]", "[::1]:9857"),
            ("::1", "[::1]:9857"),
            (":80", "127.0.0.1:80"),
            ("80", "127.0.0.1:80"),
        ] {
            let line = format!("--openmetrics --listen {given}");
            assert_eq!(listen(&line).as_deref(), Some(address), "{given}");
        }
        for bad in ["x", "1.2.3:80", "80000", "/mnt", "1.2.3.4:", "1.2.3.4:-1"] {
            assert!(check(&format!("--openmetrics --listen {bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers() {
        for bad in [
            "-i 0",
            "-i 0.001",
            "-i x",
            "-i nan",
            "-i inf",
            "-c 0",
            "-c x",
            "--slow x",
            "--slow nan",
            "--stuck 0",
            "--stuck 1s",
            "--top 1001",
            "--top x",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert_eq!(config("--slow 0").slow, Some(Duration::ZERO));
        assert_eq!(config("-i 0.01").interval, SHORTEST);
    }
}

//! `--openmetrics --listen` of a real mount, scraped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{SOON, wait_until};
use crate::servers::{TRUSTED, bindfs};
use crate::{FUSEX, need, need_counts};

/// A server of metrics, ended with the value.
struct Metrics {
    child: Child,
    address: String,
}

impl Metrics {
    /// On a free port of 127.0.0.1.
    fn start() -> Metrics {
        let mut command = Command::new(FUSEX);
        command.args(["bpf-stats", "--openmetrics", "--listen", "127.0.0.1:0"]);
        command.env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (mut said, mut stderr) = (String::new(), BufReader::new(child.stderr.take().unwrap()));
        let mut metrics = Metrics { child, address: String::new() };
        stderr.read_line(&mut said).unwrap();
        let address = said.trim().strip_prefix("metrics at http://");
        let address = address.and_then(|address| address.strip_suffix("/metrics"));
        metrics.address = address.unwrap_or_else(|| panic!("no address: {said}")).to_string();
        metrics
    }

    fn scrape(&self) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(body.ends_with("\n# EOF\n"), "{body}");
        body.to_string()
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        // Ended already, where the test waited for it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The value of the series with this name and these labels; 0 where there is none.
fn value(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let mut series = text.lines().filter(|line| {
        let whole = |(label, value): &(&str, &str)| line.contains(&format!("{label}=\"{value}\""));
        line.starts_with(&format!("{name}{{")) && labels.iter().all(whole)
    });
    let found = series.next().map_or("0", |line| line.rsplit_once(' ').unwrap().1);
    assert_eq!(series.next(), None, "{name} {labels:?} more than once");
    found.parse().unwrap()
}

#[test]
fn scraped() {
    need_counts!();
    let served = need!(bindfs(TRUSTED));
    std::fs::write(served.source().join("data"), [7; 5000]).unwrap();
    let (metrics, point) = (Metrics::start(), served.point());
    let place = ("mount_point", point.to_str().unwrap());
    let of = |text: &str, name: &str, labels: &[(&str, &str)]| {
        value(text, name, &[&[place], labels].concat())
    };
    let lookups = |text: &str| of(text, "fusex_requests_total", &[("opcode", "LOOKUP")]);
    assert_eq!(lookups(&metrics.scrape()), 0.0);
    for number in 0..30 {
        assert!(!point.join(format!("absent-{number}")).exists());
    }
    assert_eq!(std::fs::read(point.join("data")).unwrap().len(), 5000);
    let text = metrics.scrape();
    assert_eq!(lookups(&text), 31.0);
    let enoent = [("opcode", "LOOKUP"), ("errno", "ENOENT")];
    assert_eq!(of(&text, "fusex_request_errors_total", &enoent), 30.0);
    let read = [("opcode", "READ")];
    assert_eq!(of(&text, "fusex_request_data_bytes_total", &read), 5000.0);
    let lookup = [("opcode", "LOOKUP")];
    assert_eq!(of(&text, "fusex_request_duration_seconds_count", &lookup), 31.0);
    // Counters go on.
    assert!(!point.join("absent").exists());
    assert_eq!(lookups(&metrics.scrape()), 32.0);
    let mut metrics = metrics;
    kill(Pid::from_raw(metrics.child.id().cast_signed()), Signal::SIGINT).unwrap();
    assert!(wait_until(SOON, || metrics.child.try_wait().unwrap().is_some()));
    assert!(metrics.child.wait().unwrap().success());
}

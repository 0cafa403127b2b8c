//! `fusex bpf-stats` beside a test: what it prints, line by line.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::FUSEX;
use crate::common::{SOON, wait_until};

/// What was counted of one operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) count: u64,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) bytes: u64,
}

/// By the kernel's number of the operation.
pub(crate) type Counts = BTreeMap<u32, Count>;

/// A running `fusex bpf-stats --json`.
pub(crate) struct Watch {
    child: Child,
    lines: Receiver<String>,
    /// All reports so far.
    pub(crate) reports: Vec<Value>,
}

/// The interval of those that look often.
pub(crate) const OFTEN: &[&str] = &["-i", "0.1"];

impl Watch {
    /// Starts it with reports, and waits for the first: from then on it counts.
    pub(crate) fn start(arguments: &[&str]) -> Watch {
        let mut watch = Watch::spawn(arguments);
        watch.report();
        watch
    }

    /// Starts it.
    pub(crate) fn spawn(arguments: &[&str]) -> Watch {
        let mut command = Command::new(FUSEX);
        command.args(["bpf-stats", "--json"]).args(arguments).env_remove("RUST_LOG");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines() {
                if sender.send(line.unwrap()).is_err() {
                    break;
                }
            }
        });
        Watch { child, lines, reports: Vec::new() }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line.
    pub(crate) fn line(&mut self) -> Value {
        let line = self.lines.recv_timeout(SOON).expect("no further line of bpf-stats");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Whether it has printed nothing more until now.
    pub(crate) fn is_silent(&self) -> bool {
        self.lines.try_recv().is_err()
    }

    /// The next report.
    pub(crate) fn report(&mut self) -> &Value {
        let report = self.line();
        assert_eq!(report["schema"], 1, "{report}");
        assert!(report["connections"].is_array(), "{report}");
        self.reports.push(report);
        self.reports.last().unwrap()
    }

    /// Reads reports until one is as wanted; fails when none is soon.
    pub(crate) fn until(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> &Value {
        let mut left = 200;
        while !wanted(self.report()) {
            left -= 1;
            assert!(left > 0, "not {what}: {}", self.reports.last().unwrap());
        }
        self.reports.last().unwrap()
    }

    /// What was counted of a connection in the reports from `first` on.
    pub(crate) fn counts(&self, connection: u64, first: usize) -> Counts {
        self.counts_where(first, |found| found["connection"] == connection)
    }

    /// The same of those connections that are `wanted`.
    fn counts_where(&self, first: usize, wanted: impl Fn(&Value) -> bool) -> Counts {
        let mut counts = Counts::new();
        for report in &self.reports[first..] {
            let connections = report["connections"].as_array().unwrap().iter();
            connections.filter(|found| wanted(found)).for_each(|found| add(&mut counts, found));
        }
        counts
    }

    /// Waits until it has counted what was done, from the report `first` on, and asserts that it
    /// counts no more.
    pub(crate) fn agrees(&mut self, connection: u64, first: usize, expected: &Counts) {
        self.agrees_where(first, expected, |found| found["connection"] == connection);
    }

    /// The same of what is mounted there.
    pub(crate) fn agrees_at(&mut self, point: &Path, first: usize, expected: &Counts) {
        self.agrees_where(first, expected, |found| found["mount_point"].as_str() == point.to_str());
    }

    fn agrees_where(&mut self, first: usize, expected: &Counts, wanted: impl Fn(&Value) -> bool) {
        for _ in 0..20 {
            self.report();
            if self.counts_where(first, &wanted) == *expected {
                break;
            }
        }
        self.report();
        self.report();
        let counted = self.counts_where(first, &wanted);
        assert_eq!(counted, *expected, "left: bpf-stats, right: the server");
        self.lost_nothing();
    }

    /// Asserts that it has seen all.
    pub(crate) fn lost_nothing(&self) {
        for report in &self.reports {
            for kind in ["operations", "requests", "events"] {
                assert_eq!(report["lost"][kind], 0, "{report}");
            }
        }
    }

    /// Ends it as a user does; its exit code.
    pub(crate) fn interrupt(mut self) -> Option<i32> {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGINT).unwrap();
        self.wait()
    }

    /// Waits until it has ended by itself; its exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let ended = wait_until(SOON, || self.child.try_wait().unwrap().is_some());
        assert!(ended, "bpf-stats does not end");
        self.child.wait().unwrap().code()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Ended already, where the test waited for it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection in a report.
pub(crate) fn find(report: &Value, connection: u64) -> Option<&Value> {
    let connections = report["connections"].as_array().unwrap();
    connections.iter().find(|it| it["connection"] == connection)
}

fn add(counts: &mut Counts, connection: &Value) {
    for operation in connection["operations"].as_array().unwrap() {
        let number = |key: &str| operation[key].as_u64().unwrap_or_else(|| panic!("{operation}"));
        let count = counts.entry(number("opcode_number") as u32).or_default();
        count.count += number("count");
        count.bytes += number("bytes");
        let errors = operation["errors_by_errno"].as_object().unwrap();
        assert_eq!(number("errors"), errors.values().filter_map(Value::as_u64).sum::<u64>());
        for (errno, times) in errors {
            *count.errors.entry(errno.clone()).or_default() += times.as_u64().unwrap();
        }
    }
}

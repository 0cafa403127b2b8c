//! A report for programs: one object a line, schema 1. Units are in the keys, what is not known is
//! null, and what there cannot be without a split is left out.
//!
//! ```text
//! schema time_unix_s interval_s memory_bytes
//! tier { name source split missing[{ what why cure }] }
//! lost { operations requests earlier events }
//! connections[{ connection mount_point other_mount_points[] fs_type source
//!   server_pid server_command server_threads
//!   waiting max_background congestion_threshold in_flight oldest_s split unanswered
//!   operations[{ opcode opcode_number count per_s errors errors_by_errno{} bytes split_count
//!     total_p50_ns total_p90_ns total_p99_ns total_max_ns total_sum_ns (queue_*, service_*)
//!     total_histogram[{ from_ns count }] (queue_histogram, service_histogram) }]
//!   callers[{ pid command count total_ns }] nodes[{ node path count total_ns }]
//!   in_flight_requests[{ .. }] }]
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::{errno_name, rate};
use crate::output::is_command;
use crate::stats::{self, Histogram, Lost, Snapshot, Split};

/// The version of all that is printed here: it changes when a key goes or means something else.
pub(super) const SCHEMA: u32 = 1;

/// The report on an interval: one line, with its newline.
pub fn report(interval: &Snapshot, tier: &stats::tier::Tier, histogram: bool) -> String {
    let connections = interval.connections.iter();
    let covers_ns = interval.covers_ns;
    line(&Report {
        schema: SCHEMA,
        time_unix_s: unix_s(interval.wall),
        interval_s: covers_ns as f64 / 1e9,
        tier: Tier::of(tier),
        lost: Losses::of(interval.lost),
        memory_bytes: interval.memory_bytes,
        connections: connections.map(|of| Connection::of(of, covers_ns, histogram)).collect(),
    })
}

/// What can be measured: one line, with its newline.
pub fn tier(tier: &stats::tier::Tier) -> String {
    #[derive(Serialize)]
    struct Probe<'a> {
        schema: u32,
        tier: Tier<'a>,
    }
    line(&Probe { schema: SCHEMA, tier: Tier::of(tier) })
}

/// One line. What a terminal would take for a command can only be within a string, where JSON
/// has another way to write it.
pub(in crate::output) fn line(value: &impl Serialize) -> String {
    // Keys are strings and numbers are finite, so it does not fail.
    let text = serde_json::to_string(value).unwrap_or_default();
    let mut safe = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        match is_command(c) {
            true => safe += &format!("\\u{:04x}", c as u32),
            false => safe.push(c),
        }
    }
    safe + "\n"
}

/// Seconds since 1970, to the millisecond.
pub(super) fn unix_s(wall: SystemTime) -> f64 {
    wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as f64 / 1e3
}

pub(super) fn lossy(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    time_unix_s: f64,
    interval_s: f64,
    tier: Tier<'a>,
    lost: Losses,
    memory_bytes: u64,
    connections: Vec<Connection<'a>>,
}

#[derive(Serialize)]
struct Tier<'a> {
    name: &'static str,
    source: &'static str,
    split: &'static str,
    missing: Vec<Missing<'a>>,
}

#[derive(Serialize)]
struct Missing<'a> {
    what: &'a str,
    why: &'a str,
    cure: Option<&'a str>,
}

impl Tier<'_> {
    fn of(tier: &stats::tier::Tier) -> Tier<'_> {
        let missing = tier.missing.iter().map(|missing| Missing {
            what: missing.what,
            why: &missing.why,
            cure: Some(missing.cure.as_str()).filter(|cure| !cure.is_empty()),
        });
        Tier {
            name: tier.name(),
            source: tier.source.name(),
            split: tier.split.name(),
            missing: missing.collect(),
        }
    }
}

#[derive(Serialize)]
struct Losses {
    operations: u64,
    requests: u64,
    earlier: u64,
    events: u64,
}

impl Losses {
    fn of(Lost { operations, requests, earlier, events }: Lost) -> Losses {
        Losses { operations, requests, earlier, events }
    }
}

#[derive(Serialize)]
struct Connection<'a> {
    connection: u32,
    mount_point: Option<String>,
    other_mount_points: Vec<String>,
    fs_type: Option<&'a str>,
    source: Option<&'a str>,
    server_pid: Option<u32>,
    server_command: Option<&'a str>,
    server_threads: Option<u64>,
    waiting: Option<u64>,
    max_background: Option<u64>,
    congestion_threshold: Option<u64>,
    in_flight: Option<u64>,
    oldest_s: Option<f64>,
    split: &'static str,
    unanswered: u64,
    operations: Vec<Operation<'a>>,
    callers: Vec<Caller<'a>>,
    nodes: Vec<Node<'a>>,
    in_flight_requests: Vec<InFlight<'a>>,
}

impl Connection<'_> {
    fn of(of: &stats::Connection, covers_ns: u64, histogram: bool) -> Connection<'_> {
        let known = |text: &'_ str| !text.is_empty();
        let split = of.split != Split::None;
        let operations = of.operations.iter();
        Connection {
            connection: of.id,
            mount_point: of.mount_point.as_deref().map(lossy),
            other_mount_points: of.other_mount_points.iter().map(|path| lossy(path)).collect(),
            fs_type: Some(of.fs_type.as_str()).filter(|text| known(text)),
            source: Some(of.source.as_str()).filter(|text| known(text)),
            server_pid: of.server.as_ref().map(|server| server.pid),
            server_command: of.server.as_ref().map(|server| server.command.as_str()),
            server_threads: of.server.as_ref().and_then(|server| server.threads),
            waiting: of.waiting,
            max_background: of.max_background,
            congestion_threshold: of.congestion_threshold,
            in_flight: of.in_flight,
            oldest_s: of.pending.first().map(|oldest| oldest.age_ns as f64 / 1e9),
            split: of.split.name(),
            unanswered: of.unanswered,
            operations: operations
                .map(|operation| Operation::of(operation, covers_ns, split, histogram))
                .collect(),
            callers: of.callers.iter().map(Caller::of).collect(),
            nodes: of.nodes.iter().map(Node::of).collect(),
            in_flight_requests: of.pending.iter().map(InFlight::of).collect(),
        }
    }
}

#[derive(Serialize)]
struct Operation<'a> {
    opcode: String,
    opcode_number: u32,
    count: u64,
    per_s: Option<f64>,
    errors: u64,
    errors_by_errno: BTreeMap<String, u64>,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    split_count: Option<u64>,
    #[serde(flatten)]
    times: Times<'a>,
}

impl Operation<'_> {
    fn of(of: &stats::Operation, covers_ns: u64, split: bool, histogram: bool) -> Operation<'_> {
        let errors = of.errors.iter().map(|(errno, count)| (errno_name(*errno), *count));
        Operation {
            opcode: of.name(),
            opcode_number: of.opcode,
            count: of.count,
            per_s: rate(of.count, covers_ns),
            errors: of.error_count(),
            errors_by_errno: errors.collect(),
            bytes: of.bytes,
            split_count: split.then(|| of.queue.count()),
            times: Times { of, split, histogram },
        }
    }
}

/// Keys of total, queue and service time.
struct Times<'a> {
    of: &'a stats::Operation,
    split: bool,
    histogram: bool,
}

impl Serialize for Times<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let kinds =
            [("total", &self.of.total), ("queue", &self.of.queue), ("service", &self.of.service)];
        for (kind, times) in &kinds[..if self.split { 3 } else { 1 }] {
            let known = |ns| (times.count() > 0).then_some(ns);
            for (part, fraction) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
                let key = format!("{kind}_{part}_ns");
                map.serialize_entry(&key, &known(times.quantile(fraction)))?;
            }
            map.serialize_entry(&format!("{kind}_max_ns"), &known(times.max_ns()))?;
            map.serialize_entry(&format!("{kind}_sum_ns"), &known(times.sum_ns()))?;
            if self.histogram {
                map.serialize_entry(&format!("{kind}_histogram"), &octaves(times))?;
            }
        }
        map.end()
    }
}

#[derive(Serialize)]
struct Octave {
    from_ns: u64,
    count: u64,
}

fn octaves(times: &Histogram) -> Vec<Octave> {
    times.octaves().into_iter().map(|(from_ns, count)| Octave { from_ns, count }).collect()
}

#[derive(Serialize)]
struct Caller<'a> {
    pid: u32,
    command: &'a str,
    count: u64,
    total_ns: u64,
}

impl Caller<'_> {
    fn of(stats::Caller { pid, command, count, total_ns }: &stats::Caller) -> Caller<'_> {
        Caller { pid: *pid, command, count: *count, total_ns: *total_ns }
    }
}

#[derive(Serialize)]
struct Node<'a> {
    node: u64,
    path: Option<&'a str>,
    count: u64,
    total_ns: u64,
}

impl Node<'_> {
    fn of(stats::Node { id, path, count, total_ns }: &stats::Node) -> Node<'_> {
        Node { node: *id, path: path.as_deref(), count: *count, total_ns: *total_ns }
    }
}

/// A request in flight: its total is so far.
#[derive(Serialize)]
pub(super) struct InFlight<'a> {
    read_by_server: Option<bool>,
    #[serde(flatten)]
    request: Request<'a>,
}

impl InFlight<'_> {
    pub(super) fn of(of: &stats::Request) -> InFlight<'_> {
        InFlight { read_by_server: of.read, request: Request::of(of) }
    }
}

/// A request in flight, or one that was slow.
#[derive(Serialize)]
pub(super) struct Request<'a> {
    unique: u64,
    opcode: String,
    opcode_number: u32,
    node: u64,
    path: Option<&'a str>,
    caller_pid: u32,
    caller_tid: u32,
    caller_command: &'a str,
    /// ns since it was sent, or from sent to answered.
    total_ns: u64,
    /// The total is at least that: it was sent before the measurement began.
    older: bool,
    queue_ns: Option<u64>,
    service_ns: Option<u64>,
}

impl Request<'_> {
    pub(super) fn of(of: &stats::Request) -> Request<'_> {
        Request {
            unique: of.unique,
            opcode: stats::opcode_name(of.opcode),
            opcode_number: of.opcode,
            node: of.node,
            path: of.path.as_deref(),
            caller_pid: of.caller.pid,
            caller_tid: of.caller.tid,
            caller_command: &of.caller.command,
            total_ns: of.age_ns,
            older: of.older,
            queue_ns: of.queue_ns,
            service_ns: of.queue_ns.map(|queue_ns| of.age_ns.saturating_sub(queue_ns)),
        }
    }
}

#[cfg(test)]
mod tests;

//! Reports for programs: every key.

use super::*;
use crate::output::stats::testing;
use serde_json::{Value, json};

fn value(line: &str) -> Value {
    assert!(line.ends_with("}\n") && line.matches('\n').count() == 1, "{line}");
    serde_json::from_str(line).unwrap()
}

#[test]
fn a_report() {
    let report = value(&report(&testing::snapshot(), &testing::tier(), false));
    let [seen, other] = report["connections"].as_array().unwrap().as_slice() else {
        panic!("{report}")
    };
    let lookup = json!({
        "opcode": "LOOKUP", "opcode_number": 1, "count": 4, "per_s": 2.0, "errors": 3,
        "errors_by_errno": { "ENOENT": 2, "EACCES": 1 }, "bytes": 0,
        "total_p50_ns": 229_375, "total_p90_ns": 803_000, "total_p99_ns": 803_000,
        "split_count": 4, "total_max_ns": 803_000, "total_sum_ns": 1_307_000,
        "queue_p50_ns": 1023, "queue_p90_ns": 3000, "queue_p99_ns": 3000,
        "queue_max_ns": 3000, "queue_sum_ns": 7000,
        "service_p50_ns": 229_375, "service_p90_ns": 800_000, "service_p99_ns": 800_000,
        "service_max_ns": 800_000, "service_sum_ns": 1_300_000,
    });
    assert_eq!(seen["operations"][0], lookup);
    let request = json!({
        "read_by_server": true, "unique": 8, "opcode": "LOOKUP", "opcode_number": 1, "node": 12, "path": "a\n\"b\"",
        "caller_pid": 77, "caller_tid": 78, "caller_command": "cat",
        "total_ns": 1_200_000_000, "older": false, "queue_ns": 3000,
        "service_ns": 1_199_997_000,
    });
    assert_eq!(seen["in_flight_requests"], json!([request]));
    let caller = json!({ "pid": 77, "command": "cat", "count": 6, "total_ns": 6_318_000 });
    assert_eq!(seen["callers"], json!([caller]));
    let node = json!({ "node": 13, "path": null, "count": 2, "total_ns": 5_011_000 });
    assert_eq!(seen["nodes"][1], node);
    let mut rest = seen.clone();
    for part in ["operations", "in_flight_requests", "callers", "nodes"] {
        rest[part] = Value::Null;
    }
    let expected = json!({
        "connection": 42, "mount_point": "/mnt/data", "other_mount_points": ["/home/x"],
        "fs_type": "fuse.sshfs", "source": "me@host:/srv", "server_pid": 1234,
        "server_command": "sshfs me@host:/srv", "server_threads": 3, "waiting": 2,
        "max_background": 12, "congestion_threshold": 9, "in_flight": 1, "oldest_s": 1.2,
        "split": "fuse_request_sent", "unanswered": 3, "operations": null, "callers": null,
        "nodes": null, "in_flight_requests": null,
    });
    assert_eq!(rest, expected);
    for key in ["mount_point", "fs_type", "source", "server_pid", "server_threads"] {
        assert_eq!(other.get(key), Some(&Value::Null), "{key}");
    }
}

#[test]
fn what_it_was_measured_with() {
    let mut snapshot = testing::snapshot();
    snapshot.lost = Lost { operations: 1, requests: 2, earlier: 3, events: 4 };
    let mut report = value(&report(&snapshot, &testing::tier(), false));
    report["connections"] = Value::Null;
    let tier = json!({
        "name": "trace", "source": "tracepoints", "split": "fuse_request_sent",
        "missing": [{
            "what": "callers", "why": "the kernel has no task storage",
            "cure": "Linux 5.11 has it",
        }],
    });
    let expected = json!({
        "schema": 1, "time_unix_s": 1_795_262_400.25, "interval_s": 2.0, "tier": tier,
        "lost": { "operations": 1, "requests": 2, "earlier": 3, "events": 4 },
        "memory_bytes": 1_258_291, "connections": null,
    });
    assert_eq!(report, expected);
    let (_, mut none) = testing::uncounted();
    none.missing[0].cure.clear();
    let missing = json!({ "what": "counts and times", "why": "bpf(2): EPERM", "cure": null });
    let tier = json!({ "name": "none", "source": "none", "split": "none", "missing": [missing] });
    assert_eq!(value(&super::tier(&none)), json!({ "schema": 1, "tier": tier }));
}

#[test]
fn without_a_split_or_times() {
    let mut snapshot = testing::snapshot();
    let seen = &mut snapshot.connections[0];
    seen.split = Split::None;
    seen.operations[0].total = Histogram::default();
    snapshot.covers_ns = 0;
    let report = value(&report(&snapshot, &testing::tier(), true));
    let lookup = report["connections"][0]["operations"][0].as_object().unwrap();
    assert!(!lookup.keys().any(|key| key.starts_with("queue") || key.starts_with("service")));
    for key in ["total_p50_ns", "total_max_ns", "total_sum_ns", "per_s"] {
        assert_eq!(lookup.get(key), Some(&Value::Null), "{key}");
    }
    assert_eq!(lookup["total_histogram"], json!([]));
    let (uncounted, tier) = testing::uncounted();
    let report = value(&super::report(&uncounted, &tier, false));
    assert_eq!(report["connections"][0]["in_flight"], Value::Null);
    assert_eq!(report["connections"][0]["waiting"], 2);
}

#[test]
fn histograms_where_asked_for() {
    let report = value(&report(&testing::snapshot(), &testing::tier(), true));
    let read = &report["connections"][0]["operations"][1];
    let octaves = json!([
        { "from_ns": 1_048_576, "count": 1 }, { "from_ns": 2_097_152, "count": 1 },
    ]);
    assert_eq!((&read["total_histogram"], &read["service_histogram"]), (&octaves, &octaves));
    assert_eq!(read["queue_histogram"], json!([{ "from_ns": 4096, "count": 2 }]));
}

#[test]
fn a_terminal_is_safe_and_the_string_the_same() {
    let text = "\u{9b}31m\u{7f}\u{202e}\x1b\n\"é\\";
    let line = line(&text);
    assert_eq!(line, "\"\\u009b31m\\u007f\\u202e\\u001b\\n\\\"é\\\\\"\n");
    assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
}

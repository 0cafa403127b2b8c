//! Metrics, as text and as Prometheus' own parser understands them.

use super::*;
use crate::output::stats::testing;
use serde_json::{Value as Json, json};
use std::io::Write;
use std::process::{Command, Stdio};

/// The lines of one metric.
fn lines(text: &str, name: &str) -> Vec<String> {
    let of = |line: &&str| line.split([' ', '{']).any(|word| word == name);
    text.lines().filter(of).map(String::from).collect()
}

#[test]
fn counters_and_gauges() {
    let text = exposition(&testing::snapshot(), &testing::tier());
    let of = "connection=\"42\",mount_point=\"/mnt/data\",fs_type=\"fuse.sshfs\"";
    let expected = [
        "# HELP fusex_request_errors Of these, with an error".to_string(),
        "# TYPE fusex_request_errors counter".to_string(),
    ];
    assert_eq!(lines(&text, "fusex_request_errors"), expected);
    let mut seen = lines(&text, "fusex_request_errors_total");
    seen.sort();
    let expected = [("EACCES", 1), ("ENOENT", 2)].map(|(errno, count)| {
        let labels = format!("{of},opcode=\"LOOKUP\",errno=\"{errno}\"");
        format!("fusex_request_errors_total{{{labels}}} {count}")
    });
    assert_eq!(seen, expected);
    let expected = [("LOOKUP", 4), ("READ", 2)]
        .map(|(name, count)| format!("fusex_requests_total{{{of},opcode=\"{name}\"}} {count}"));
    assert_eq!(lines(&text, "fusex_requests_total"), expected);
    let expected = format!("fusex_request_data_bytes_total{{{of},opcode=\"READ\"}} 3145728");
    assert_eq!(lines(&text, "fusex_request_data_bytes_total"), [expected]);
    let unit = lines(&text, "fusex_request_data_bytes").pop();
    assert_eq!(unit.as_deref(), Some("# UNIT fusex_request_data_bytes bytes"));
    let age = lines(&text, "fusex_oldest_request_age_seconds");
    assert_eq!(age[3], format!("fusex_oldest_request_age_seconds{{{of}}} 1.2"));
    let other = "connection=\"43\",mount_point=\"\",fs_type=\"\"";
    assert_eq!(age[4], format!("fusex_oldest_request_age_seconds{{{other}}} 0.0"));
    assert!(text.ends_with("\n# EOF\n") && !text.contains("\n\n"), "{text}");
}

#[test]
fn buckets_are_always_the_same() {
    let mut times = testing::times(&[0, 1, 100, 200, 200, 70_000_000]);
    let buckets = buckets(&times);
    assert_eq!(buckets.len(), 25 + 1);
    assert_eq!(buckets[0], (0.000_004_096, 2));
    assert_eq!(buckets[24], (68.719_476_736, 0));
    assert_eq!(buckets[25], (f64::INFINITY, 1));
    // Up to 131 us and up to 262 us.
    assert_eq!((buckets[5].1, buckets[6].1), (1, 2));
    assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), times.count());
    times = Histogram::default();
    let bounds = |buckets: &[(f64, u64)]| buckets.iter().map(|it| it.0).collect::<Vec<_>>();
    assert_eq!(bounds(&super::buckets(&times)), bounds(&buckets));
}

#[test]
fn what_is_not_known_is_not_there() {
    let (snapshot, tier) = testing::uncounted();
    let text = exposition(&snapshot, &tier);
    assert!(!text.contains("fusex_request") && !text.contains("fusex_in_flight"), "{text}");
    assert_eq!(lines(&text, "fusex_waiting_requests").len(), 2 + 2);
    let none = "fusex_measurement_info{version=\"0.1.0\",tier=\"none\",source=\"none\",\
                    split=\"none\"} 1";
    assert_eq!(lines(&text, "fusex_measurement_info"), [none]);
    let mut total = testing::snapshot();
    total.connections[0].split = Split::None;
    let text = exposition(&total, &testing::tier());
    assert!(text.contains("fusex_request_duration_seconds_count{"), "{text}");
    assert!(!text.contains("fusex_request_queue") && !text.contains("_service"), "{text}");
}

/// Every metric that Prometheus' own parser finds, by name with labels sorted.
const PARSER: &str = r#"
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
found = []
for text in sys.stdin.buffer.read().decode().split("\0"):
    samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = json.dumps([sample.name, sorted(sample.labels.items())],
                             ensure_ascii=False, separators=(",", ":"))
            assert key not in samples, key
            samples[key] = sample.value
    found.append(samples)
json.dump(found, sys.stdout, ensure_ascii=False)
"#;

/// What the reference parser makes of `texts`; none where Debian's package of it is missing.
fn parsed(texts: &[String]) -> Option<Vec<Json>> {
    // Not one of another Python: the package is Debian's.
    let python = || Command::new("/usr/bin/python3");
    let import = ["-c", "import prometheus_client.openmetrics.parser"];
    let there = python().args(import).stderr(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        eprintln!("SKIP: OpenMetrics by its reference parser: no python3-prometheus-client");
        return None;
    }
    let mut command = python();
    command.args(["-c", PARSER]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(texts.join("\0").as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the parser refused:\n{}", texts.join("\n\n"));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// As [`PARSER`] names a metric of the first connection.
fn key(name: &str, mount_point: &str, more: &[(&str, &str)]) -> String {
    let mut labels = vec![
        ("connection".to_string(), "42".to_string()),
        ("fs_type".into(), "fuse.sshfs".into()),
        ("mount_point".into(), mount_point.into()),
    ];
    labels.extend(more.iter().map(|(name, value)| (name.to_string(), value.to_string())));
    labels.sort();
    json!([name, labels]).to_string()
}

#[test]
fn the_reference_parser_understands() {
    let (uncounted, none) = testing::uncounted();
    let mut empty = uncounted.clone();
    empty.connections.clear();
    let mut total = testing::snapshot();
    total.connections[0].split = Split::None;
    let texts = [
        exposition(&testing::snapshot(), &testing::tier()),
        exposition(&uncounted, &none),
        exposition(&empty, &none),
        exposition(&total, &testing::tier()),
    ];
    let Some(found) = parsed(&texts) else { return };
    let at = |name, more: &[(&str, &str)]| found[0][key(name, "/mnt/data", more)].as_f64();
    let lookup = ("opcode", "LOOKUP");
    assert_eq!(at("fusex_requests_total", &[lookup]), Some(4.0));
    let absent = [lookup, ("errno", "ENOENT")];
    assert_eq!(at("fusex_request_errors_total", &absent), Some(2.0));
    assert_eq!(at("fusex_request_duration_seconds_sum", &[lookup]), Some(0.001_307));
    for (bound, count) in [("0.000065536", 0.0), ("0.000131072", 1.0), ("+Inf", 4.0)] {
        let labels = [lookup, ("le", bound)];
        assert_eq!(at("fusex_request_duration_seconds_bucket", &labels), Some(count), "{bound}");
    }
    assert_eq!(at("fusex_requests_unanswered_total", &[]), Some(3.0));
    assert_eq!(at("fusex_server_threads", &[]), Some(3.0));
}

#[test]
fn the_reference_parser_understands_any_mount_point() {
    let mut points =
        vec!["\"", "\\", "\\\"", "\n", "\\n", "#", " # EOF", "a,b=\"c\"}", "é\u{2028}猫"];
    points.extend(["\u{1b}[2J", "", "{", "a\tb\u{85}", "\u{202e}"]);
    let texts: Vec<String> = points
        .iter()
        .map(|point| {
            let mut snapshot = testing::snapshot();
            snapshot.connections[0].mount_point = Some(point.into());
            snapshot.connections[1].source = point.to_string();
            exposition(&snapshot, &testing::tier())
        })
        .collect();
    let Some(found) = parsed(&texts) else { return };
    for (point, found) in points.into_iter().zip(found) {
        let key = key("fusex_requests_total", &plain(point), &[("opcode", "READ")]);
        assert_eq!(found[&key].as_f64(), Some(2.0), "{point:?}: {key}: {found}");
    }
}

//! Made-up findings for the tests of exporters.

use std::collections::BTreeMap;

use super::Findings;
use crate::crash::report::{
    Anomaly, Cell, FaultReport, MatrixReport, Pauses, Recovered, SCHEMA, StormReport, Verdict,
};

pub(super) fn cell(operation: &str, point: &str, second: Option<&str>, verdict: Verdict) -> Cell {
    let why = (verdict != Verdict::Ok).then(|| "expected <0>, got EIO".to_string());
    Cell {
        mount: "passthrough one-thread resend".into(),
        operation: operation.into(),
        point: point.into(),
        second: second.map(String::from),
        verdict,
        why,
    }
}

pub(super) fn matrix() -> MatrixReport {
    MatrixReport {
        schema: SCHEMA,
        cells: 6,
        ok: 4,
        wrong: 1,
        unreached: 1,
        worker_deaths: 7,
        supervisor_deaths: 0,
        duration_ns: 12_345_678_901,
        cell_list: vec![
            cell("mkdir", "after-call", None, Verdict::Ok),
            cell("mkdir", "read", None, Verdict::Ok),
            cell("mkdir", "read", None, Verdict::Wrong),
            cell("rename", "read", None, Verdict::Ok),
            cell("rename", "after-done", None, Verdict::Unreached),
            cell("rename", "read", Some("settled"), Verdict::Ok),
        ],
    }
}

pub(super) fn storm() -> StormReport {
    StormReport {
        schema: SCHEMA,
        operations: 1_234_567,
        worker_deaths: 100,
        supervisor_deaths: 3,
        deaths: BTreeMap::from([("worker SIGKILL".into(), 100), ("supervisor SIGKILL".into(), 3)]),
        anomalies: 1,
        anomaly_list: vec![Anomaly {
            operation: "open(O_CREAT|O_EXCL)".into(),
            path: "a/<b>\n&".into(),
            expected: "EEXIST".into(),
            got: "0".into(),
            generation: Some(41),
            before: vec!["mkdir a".into()],
        }],
        pauses: Pauses {
            pauses: 111,
            pause_p50_ns: 820_000,
            pause_p90_ns: 1_100_000,
            pause_p99_ns: 1_840_000,
            pause_max_ns: 3_000_000,
        },
        pause_histogram: vec![(1_000_000, 100), (2_000_000, 10), (4_000_000, 1)],
        recovered: Recovered {
            recovered_from_slots: 90,
            recovered_resent: 5,
            recovered_from_journal: 7,
            recovered_probed: 3,
        },
        leaked_lookups: 2,
        seed: 42,
        mount: "passthrough".into(),
        duration_ns: 60_000_000_000,
        unchecked: vec!["leaks: the server is not ours".into()],
        trace: Some("fusex-crash-42.json".into()),
    }
}

pub(super) fn findings() -> Findings {
    let fault =
        |fault: &str, steps: Vec<(String, String, bool)>, skipped: Option<&str>| FaultReport {
            schema: SCHEMA,
            fault: fault.into(),
            anomalies: steps.iter().filter(|step| !step.2).count() as u64,
            steps,
            skipped: skipped.map(String::from),
        };
    let steps = vec![
        ("the worker is replaced".into(), "after 0.6 s".into(), true),
        ("the call returns 0".into(), "EIO".into(), false),
    ];
    Findings {
        matrix: Some(matrix()),
        storm: Some(storm()),
        faults: vec![fault("hang", steps, None), fault("oom", vec![], Some("no memory cgroup"))],
    }
}

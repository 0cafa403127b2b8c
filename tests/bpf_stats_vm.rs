//! `fusex bpf-stats` on other kernels than this machine's: what it counts in a virtual machine that
//! `scripts/vm.sh` boots, to the last request. It takes some ten seconds for each kernel.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// What is done in the machine, and what it says when.
const SCRIPT: &str = "tests/fixtures/bpf_stats_vm.sh";
/// The exit code of `scripts/vm.sh` when there can be no machine here.
const NO_MACHINE: i32 = 77;
const NOBODY: [u64; 0] = [];

/// What was printed in the machine.
struct Said {
    reports: Vec<Value>,
    /// What came next: after how many reports, and who did it.
    notes: BTreeMap<String, (usize, u64)>,
}

impl Said {
    fn new(output: &str) -> Said {
        let mut said = Said { reports: Vec::new(), notes: BTreeMap::new() };
        for line in output.lines() {
            if let Some((what, pid)) = line.split_once(' ').filter(|_| !line.starts_with('{')) {
                said.notes.insert(what.to_string(), (said.reports.len(), pid.parse().unwrap()));
            } else {
                let report = serde_json::from_str(line);
                said.reports.push(report.unwrap_or_else(|error| panic!("{error}: {line}")));
            }
        }
        said
    }

    fn number(&self, note: &str) -> u64 {
        self.notes[note].1
    }

    /// The reports from one note to another, of the connection.
    fn between(&self, from: &str, to: &str) -> Vec<&Value> {
        let reports = &self.reports[self.notes[from].0..self.notes[to].0];
        let connections = reports.iter().flat_map(|it| it["connections"].as_array().unwrap());
        connections.filter(|it| it["connection"] == self.number("connection")).collect()
    }

    /// Adds up a number of an operation, which is at `key`.
    fn sum(&self, from: &str, to: &str, opcode: &str, key: &str) -> u64 {
        let connections = self.between(from, to).into_iter();
        let operations = connections.flat_map(|it| it["operations"].as_array().unwrap());
        let wanted = operations.filter(|it| it["opcode"] == opcode);
        wanted.filter_map(|it| it.pointer(key)?.as_u64()).sum()
    }

    /// Adds up the requests without a reply.
    fn unanswered(&self, from: &str, to: &str) -> u64 {
        self.between(from, to).iter().map(|it| it["unanswered"].as_u64().unwrap()).sum()
    }

    /// The processes with requests in flight in the last report before a note.
    fn waiting(&self, before: &str) -> Vec<u64> {
        let reports = self.between("connection", before);
        let in_flight = reports.last().unwrap()["in_flight_requests"].as_array().unwrap();
        in_flight.iter().map(|it| it["caller_pid"].as_u64().unwrap()).collect()
    }
}

/// Where a program is, if it is installed.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|it| it.join(name)).find(|it| it.is_file())
}

/// Does it all on the newest kernel of a series; or why that cannot be done here.
fn measure(series: &str) -> Result<Said, String> {
    let bindfs = program("bindfs").ok_or("bindfs is missing (package bindfs)")?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fusex = format!("{}:/bin/fusex", env!("CARGO_BIN_EXE_fusex"));
    let mut command = Command::new(root.join("scripts/vm.sh"));
    command.args(["-t", "300", series]).arg(root.join(SCRIPT)).arg(bindfs).arg(fusex);
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(NO_MACHINE) {
        return Err(errors.trim().to_string());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}: {errors}\n{text}", output.status);
    Ok(Said::new(&text))
}

/// What was done is what was counted, by whom it was done, and with what became of it.
fn is_exact(said: &Said) {
    let of = |opcode, key| said.sum("calls", "stopped", opcode, key);
    let (count, errors) = ("/count", "/errors");
    // 37 that are there and 23 that are not; data and full are there, written is not.
    assert_eq!([of("LOOKUP", count), of("LOOKUP", errors)], [63, 24]);
    assert_eq!(of("LOOKUP", "/errors_by_errno/ENOENT"), 24);
    assert_eq!([of("RMDIR", count), of("RMDIR", "/errors_by_errno/ENOTEMPTY")], [1, 1]);
    assert_eq!([of("CREATE", count), of("CREATE", errors)], [1, 0]);
    assert_eq!([of("OPEN", count), of("RELEASE", count)], [1, 2]);
    assert_eq!([of("READ", "/bytes"), of("WRITE", "/bytes")], [300_000, 100_000]);
    // Each was told apart into queue and service time.
    for opcode in ["LOOKUP", "READ", "WRITE", "RELEASE"] {
        let [total, queue, service] =
            ["/total_sum_ns", "/queue_sum_ns", "/service_sum_ns"].map(|key| of(opcode, key));
        assert!(queue > 0 && service > 0, "{opcode}: {queue} {service}");
        assert_eq!(queue + service, total, "{opcode}");
    }
    for (what, least) in [("there", 37), ("absent", 23)] {
        let reports = said.between("calls", "stopped");
        let callers = reports.iter().flat_map(|it| it["callers"].as_array().unwrap());
        let ours = callers.filter(|it| it["pid"] == said.number(what) && it["command"] == "stat");
        let calls: u64 = ours.map(|it| it["count"].as_u64().unwrap()).sum();
        // One may have asked for the attributes of the root, too.
        assert!((least..=least + 1).contains(&calls), "{what}: {calls}");
    }
}

/// What is not answered is in flight as long as somebody waits for it, and no longer.
fn leaves_nothing(said: &Said) {
    assert_eq!(said.waiting("stopped"), NOBODY);
    assert_eq!(said.waiting("killed"), [said.number("killed")]);
    assert_eq!(said.unanswered("connection", "killed"), 0);
    assert_eq!(said.waiting("one-killed"), NOBODY);
    assert_eq!(said.waiting("goes-on"), [said.number("waits")]);
    assert_eq!(said.waiting("stopped-again"), NOBODY);
    assert_eq!(said.unanswered("killed", "stopped-again"), 1);
    // The one that the server's death ended has its answer, from the kernel. The attributes of the
    // root are asked for first, if that was not done lately.
    assert_eq!(said.waiting("dies").len(), 1);
    let aborted = ["LOOKUP", "GETATTR"]
        .map(|opcode| said.sum("dies", "dead", opcode, "/errors_by_errno/ECONNABORTED"));
    assert_eq!(aborted.iter().sum::<u64>(), 1, "{aborted:?}");
    assert_eq!(said.waiting("dead"), NOBODY);
    assert_eq!(said.unanswered("stopped-again", "gone"), 0);
    assert_eq!(said.between("gone", "end").len(), 0);
    let whole = json!({ "operations": 0, "requests": 0, "earlier": 0, "events": 0 });
    assert!(said.reports.iter().all(|it| it["lost"] == whole), "{:?}", said.reports.last());
}

/// Measures with the means that this kernel has.
fn counts(series: &str, source: &str) -> Result<(), String> {
    let said = measure(series)?;
    let tier = &said.reports[0]["tier"];
    assert_eq!([&tier["source"], &tier["split"]], [source, "device-read"], "{tier}");
    is_exact(&said);
    leaves_nothing(&said);
    Ok(())
}

#[test]
fn linux_6_1_that_has_no_tracepoints() {
    if let Err(reason) = counts("6.1", "functions") {
        skip!(reason);
    }
}

#[test]
fn linux_6_12_that_has_no_numbers_in_its_tracepoints() {
    if let Err(reason) = counts("6.12", "tracepoints") {
        skip!(reason);
    }
}

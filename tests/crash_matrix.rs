//! The short crash matrix is green; and with one protection switched off at a time the program that
//! users run finds out.

mod common;

use std::process::Command;

use serde_json::Value;

/// Runs `fusex crash-test` to its end, which is its own matter: its exit code, what is on stdout,
/// and the rest.
fn crash_test(arguments: &str) -> (Option<i32>, Value, String) {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fusex"));
    command.args(["crash-test", "--json"]).args(arguments.split_whitespace());
    // Where a trace is left.
    command.env_remove("RUST_LOG").current_dir(dir.path());
    let output = command.output().unwrap();
    let rest = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|error| panic!("{arguments}: {error}: {rest}"));
    (output.status.code(), report, rest)
}

/// The cells that are not ok, and why.
fn bad(report: &Value) -> Vec<&Value> {
    let cells = report["cell_list"].as_array().into_iter().flatten();
    cells.filter(|cell| cell["verdict"] != "ok").collect()
}

#[test]
fn the_short_matrix_is_green() {
    need_mounts!();
    let (code, report, rest) = crash_test("--matrix --short");
    let number = |key: &str| report[key].as_u64().unwrap();
    let told = bad(&report);
    eprintln!("{} cells, {} worker deaths", report["cells"], report["worker_deaths"]);
    assert_eq!((code, told.len()), (Some(0), 0), "{told:#?} {rest}");
    assert_eq!(number("ok"), number("cells"));
    assert!(number("cells") > 4000 && number("worker_deaths") > 4000, "{rest}");
    assert!(number("supervisor_deaths") > 50, "{rest}");
}

/// Runs these cells, of which at least one has to be wrong, and again with everything in its place.
fn is_needed(protection: &str, cells: &str) {
    need_mounts!();
    let (code, report, rest) = crash_test(&format!("--matrix --short {cells}"));
    assert_eq!(code, Some(0), "with {protection}: {:#?} {rest}", bad(&report));
    let (code, report, rest) =
        crash_test(&format!("--matrix --short {cells} --without {protection}"));
    assert_eq!(code, Some(1), "without {protection}: {rest}");
    assert!(report["wrong"].as_u64() > Some(0), "without {protection}: {:#?}", bad(&report));
}

#[test]
fn without_the_journal() {
    let operations = "--operation rename-exchange,removexattr,setxattr-create";
    is_needed("journal", &format!("{operations} --point after-call -t dir -s"));
}

#[test]
fn without_the_slots() {
    is_needed("slots", "--operation mkdir --point after-call -t dir -s");
}

#[test]
fn without_the_progress_of_a_forget() {
    is_needed("forget-progress", "--operation forget-beside-lookup -t dir");
}

#[test]
fn with_files_that_append_below() {
    is_needed("append", "--operation append --point after-call,before-done -t dir -s");
}

#[test]
fn with_another_registration_of_a_file() {
    is_needed("backing", "--operation open-again,release -t dir -s");
}

#[test]
fn with_a_connection_that_looks_idle() {
    is_needed("busy", "--operation pieces-late --point source-asked -t merge");
}

#[test]
fn without_pages_beforehand() {
    need_mounts!();
    let storm = "--kill-worker=1500 --every 2 --ops large-write -o nopassthrough -s --seed 1";
    let (code, report, rest) = crash_test(&format!("{storm} --duration 8"));
    assert_eq!(code, Some(0), "{} {rest}", report["anomaly_list"]);
    let (code, report, rest) = crash_test(&format!("{storm} --duration 60 --without prefault"));
    assert_eq!(code, Some(1), "{rest}");
    assert!(report["anomalies"].as_u64() > Some(0), "{report}");
}

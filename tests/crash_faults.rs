//! `fusex crash-test --hang | --poison | --oom | --core`: right where the protection is there, wrong
//! where it is not.

mod common;

use std::path::Path;

use fusex::crash::faults::{Fault, run_program};
use fusex::crash::report::FaultReport;
use fusex::crash::target::FsKind;

const PROGRAM: &str = env!("CARGO_BIN_EXE_fusex");

fn report(fault: Fault, kind: FsKind, arguments: &[&str]) -> FaultReport {
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let report = run_program(Path::new(PROGRAM), fault, kind, &arguments).unwrap();
    assert_eq!(report.fault, fault.name());
    assert_eq!(report.anomalies as usize, wrong(&report).len());
    eprintln!("{kind:?} {arguments:?}: {report:#?}");
    report
}

fn wrong(report: &FaultReport) -> Vec<&str> {
    let wrong = report.steps.iter().filter(|(_, _, right)| !right);
    wrong.map(|(expected, _, _)| expected.as_str()).collect()
}

/// All steps are right, on both file systems, with many threads and with one.
fn is_survived(fault: Fault) {
    for kind in [FsKind::Passthrough, FsKind::Mem] {
        for arguments in [&[][..], &["-s"]] {
            let report = report(fault, kind, arguments);
            if let Some(reason) = report.skipped {
                skip!(reason);
            }
            assert!(report.steps.len() > 5, "{report:?}");
            assert_eq!(report.anomalies, 0, "{kind:?} {arguments:?}: {report:#?}");
        }
    }
}

/// Without the protection, these steps are wrong, among others.
fn is_found(fault: Fault, kind: FsKind, arguments: &[&str], expected: &[&str]) {
    let report = report(fault, kind, arguments);
    if let Some(reason) = report.skipped {
        skip!(reason);
    }
    for step in expected {
        assert!(wrong(&report).iter().any(|it| it.contains(step)), "{step}: {report:#?}");
    }
}

#[test]
fn hangs_end() {
    need_mounts!();
    is_survived(Fault::Hang);
}

#[test]
fn hangs_without_a_timeout_are_found() {
    need_mounts!();
    let expected = ["this MKDIR is answered", "workers replaced as a request hung"];
    is_found(Fault::Hang, FsKind::Passthrough, &["--request-timeout", "0"], &expected);
    is_found(Fault::Hang, FsKind::Mem, &["--request-timeout=0", "-s"], &expected);
}

#[test]
fn poison_is_contained() {
    need_mounts!();
    is_survived(Fault::Poison);
}

#[test]
fn poison_that_is_not_contained_is_found() {
    need_mounts!();
    let expected = ["gets EIO", "requests answered EIO: 1", "workers died of it", "the log names"];
    is_found(Fault::Poison, FsKind::Passthrough, &["--poison-after", "0"], &expected);
    is_found(Fault::Poison, FsKind::Mem, &["--poison-after=0", "-s"], &expected);
}

#[test]
fn a_worker_without_memory_is_replaced() {
    need_mounts!();
    is_survived(Fault::Oom);
}

#[test]
fn core_dumps_are_left_on_demand() {
    need_mounts!();
    is_survived(Fault::Core);
}

#[test]
fn core_dumps_without_demand_are_found() {
    need_mounts!();
    is_found(Fault::Core, FsKind::Passthrough, &["--core"], &["without --core: core dumps: 0"]);
}

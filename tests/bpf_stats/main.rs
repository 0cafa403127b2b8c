//! `fusex bpf-stats` on real mounts, most of them of servers that are not ours: what it says is
//! compared with what was done, and with what the servers themselves say that they were asked.

#[path = "../common/mod.rs"]
mod common;
#[path = "../../benches/common/libfuse.rs"]
mod libfuse;

mod caller;
mod counts;
mod ends;
mod metrics;
mod said;
mod served;
mod servers;
mod sftp;
mod slow;
mod stuck;
mod times;
mod top;
mod watch;

use std::process::Command;

use common::finish;

const FUSEX: &str = env!("CARGO_BIN_EXE_fusex");

/// Ends a test where requests cannot be counted.
#[macro_export]
macro_rules! need_counts {
    () => {
        if let Some(reason) = $crate::common::why_no_mounts().or_else($crate::why_no_counts) {
            $crate::skip!(reason);
        }
    };
}

/// Takes what is there, or ends the test with the reason why it is not.
#[macro_export]
macro_rules! need {
    ($there:expr) => {
        match $there {
            Ok(there) => there,
            Err(reason) => $crate::skip!(reason),
        }
    };
}

/// What `--probe` says.
fn tier() -> serde_json::Value {
    let output = finish(Command::new(FUSEX).args(["bpf-stats", "--probe", "--json"]));
    assert!(output.status.success(), "{output:?}");
    let mut probe: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    probe["tier"].take()
}

/// Why requests are not counted here, if they are not.
fn why_no_counts() -> Option<String> {
    let tier = tier();
    (tier["name"] == "none").then(|| format!("no BPF: {}", tier["missing"]))
}

/// Said where a request has no queue time because those are a sample.
const SAMPLE: &str = "queue time is that of a sample here, and this request was not in it";

/// Whether queue and service time may be those of a sample: on a machine with many system calls,
/// where these tell them. The tests in the virtual machine have them of all requests.
fn is_sampled() -> bool {
    tier()["split"] == "read-syscall"
}

/// Why queue and service time are not told apart here, if they are not.
fn why_no_split() -> Option<String> {
    let tier = tier();
    (tier["split"] == "none").then(|| format!("no split: {}", tier["missing"]))
}

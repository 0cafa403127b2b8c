//! `fusex bpf-load` for real: requests answered in the kernel, in a virtual machine that
//! `scripts/vm.sh` boots with the module that `kernel/build.sh` builds. What reaches the server is
//! counted by the kernel's own trace events.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What is done in the machine.
const SCRIPT: &str = "tests/fixtures/bpf_load_vm.sh";
/// The exit code of the scripts when it cannot be done here.
const NOT_HERE: i32 = 77;
/// In the mount's directory `full`, and as many that are not there.
const NAMES: u64 = 30;

/// Lines of the script: what it is about, and the rest.
struct Said(BTreeMap<String, String>);

impl Said {
    fn of(&self, what: &str) -> &str {
        self.0.get(what).unwrap_or_else(|| panic!("{what} was not said: {:?}", self.0))
    }

    fn sent(&self, what: &str) -> u64 {
        self.of(what).parse().unwrap()
    }

    fn json(&self, what: &str) -> Value {
        serde_json::from_str(self.of(what).strip_prefix("0 ").unwrap()).unwrap()
    }
}

/// Runs one of the scripts of this package; why it cannot be done here.
fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(NOT_HERE) {
        return Err(errors.trim().to_string());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{command:?}: {}: {errors}\n{text}", output.status);
    Ok(text.into_owned())
}

fn program(name: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|it| it.join(name)).find(|it| it.is_file());
    found.ok_or(format!("{name} is missing (package attr)"))
}

fn run() -> Result<Said, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let build = root.join("kernel/build.sh");
    if !build.exists() {
        return Err("kernel/build.sh is not in this package".to_string());
    }
    let xattrs = [program("getfattr")?, program("setfattr")?];
    let module = output(&mut Command::new(build))?;
    let fusex = format!("{}:/bin/fusex", env!("CARGO_BIN_EXE_fusex"));
    let mut command = Command::new(root.join("scripts/vm.sh"));
    command.args(["-t", "300", "-m", module.trim(), "6.12"]).arg(root.join(SCRIPT));
    let text = output(command.args(xattrs).arg(fusex))?;
    let lines = text.lines().map(|line| line.split_once(' ').unwrap_or((line, "")));
    Ok(Said(lines.map(|(what, rest)| (what.to_string(), rest.trim().to_string())).collect()))
}

/// No request at all for what is kept.
fn nothing_is_sent_for_what_is_kept(said: &Said) {
    assert!(said.sent("cold") > 2 * NAMES, "{}", said.of("cold"));
    for what in ["stats", "absents", "xattrs", "statfs", "kept-again"] {
        assert_eq!(said.sent(what), 0, "{what}");
    }
    // Inodes that are gone come back by LOOKUP, one each; the directory above them once.
    assert!(said.sent("dropped") >= NAMES - 2, "{}", said.of("dropped"));
    assert!(said.sent("without") >= said.sent("cold") / 2, "{}", said.of("without"));
    // Names are asked for, attributes are kept.
    assert!(said.sent("few") >= NAMES - 2, "{}", said.of("few"));
}

/// What is seen after each change is what it made.
fn changes_are_seen(said: &Said) {
    let seen = [
        ("chmod", "0 600"),
        ("append", "0 10"),
        ("truncate", "0 0"),
        ("fallocate", "0 4096"),
        ("link", "0 2"),
        ("unlink", "0 1"),
        ("unlinked", "1"),
        ("setxattr", "0 second"),
        ("removexattr", "1"),
        ("absent-xattr", "0 now"),
        ("create", "0 0"),
        ("mkdir", "0 3"),
        ("rmdir", "0 2"),
        ("removed", "1"),
        ("symlink", "0 x"),
        ("mknod", "0 fifo"),
        ("renamed", "1"),
        ("rename", "0 0"),
        ("moved", "1"),
        ("move", "0 0"),
    ];
    for (what, expected) in seen {
        assert_eq!(said.of(what), expected, "{what}");
    }
}

/// With the worker stopped, dead, and replaced.
fn answers_go_on_without_a_server(said: &Said) {
    let there = "0 /tmp/point/full/there-9";
    assert_eq!([said.of("gap"), said.of("after-death")], [there; 2]);
    assert_eq!([said.of("gap-absent"), said.of("served-again")], ["1", "0 0"]);
}

/// What the commands say.
fn commands_tell(said: &Said) {
    let loaded = said.json("load");
    assert_eq!(loaded["loaded"][0]["mount_point"], "/tmp/point");
    assert_eq!(said.of("twice"), "2", "a second load is refused");
    let listed = said.json("list");
    let counts = listed["loaded"][0]["counts"].as_array().unwrap();
    let lookups = counts.iter().find(|it| it["opcode"] == "LOOKUP").unwrap();
    let [served, passed_up] = ["served", "passed_up"].map(|key| lookups[key].as_u64().unwrap());
    assert!(served > 4 * NAMES && passed_up > NAMES, "{lookups}");
    let kept = said.json("dump");
    let kept = kept["kept"].as_array().unwrap();
    let is_good = |row: &&Value| row["left_ns"].as_u64().is_some();
    let to = |name: &str| kept.iter().filter(is_good).find(|row| row["name"] == name).unwrap();
    assert!(to("there-9")["to"].is_u64() && to("there-1")["to"].is_null(), "{kept:?}");
    // It was called so before the kernel let go of its directory.
    assert!(!kept.iter().filter(is_good).any(|row| row["name"] == "absent-9"), "{kept:?}");
    assert_eq!(said.of("detached"), "0 nothing is loaded");
    assert!(said.of("again").starts_with("0 /tmp/point: answered in the kernel: GETATTR "));
    assert_eq!(said.of("other-type"), "1");
}

#[test]
fn answers_in_the_kernel() {
    let said = match run() {
        Ok(said) => said,
        Err(reason) => skip!(reason),
    };
    nothing_is_sent_for_what_is_kept(&said);
    changes_are_seen(&said);
    answers_go_on_without_a_server(&said);
    commands_tell(&said);
    assert_eq!(said.of("log"), "0", "the kernel has complained");
}

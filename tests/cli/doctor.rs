//! `fusex doctor`.

use std::process::Command;

use crate::common::why_no_mounts;

fn doctor(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fusex"));
    let output = command.arg("doctor").args(arguments).output().unwrap();
    assert!(output.stderr.is_empty(), "{output:?}");
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn lines_and_json_say_the_same() {
    let (code, text) = doctor(&[]);
    let (json_code, json) = doctor(&["--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["schema"], 1);
    let checks = json["checks"].as_array().unwrap();
    let lines: Vec<String> = checks
        .iter()
        .map(|check| {
            let field = |name: &str| check[name].as_str().unwrap().to_string();
            let cure = field("cure");
            let cure = if cure.is_empty() { cure } else { format!(": {cure}") };
            format!("{:<5} {}: {}{cure}", field("level"), field("what"), field("detail"))
        })
        .collect();
    assert_eq!(text.lines().collect::<Vec<_>>(), lines);
    let fails = lines.iter().any(|line| line.starts_with("fail "));
    assert_eq!((code, json_code), (Some(if fails { 2 } else { 0 }), code));
}

#[test]
fn a_machine_that_mounts_does_not_fail() {
    if let Some(reason) = why_no_mounts() {
        crate::skip!(reason);
    }
    let (code, text) = doctor(&[]);
    assert_eq!(code, Some(0), "{text}");
    for what in ["kernel", "device", "mount", "proc", "seccomp", "pidfd_open"] {
        assert!(text.contains(&format!("ok    {what}: ")), "{what}: {text}");
    }
}

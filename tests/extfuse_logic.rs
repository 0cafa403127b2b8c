//! The logic of `bpf/extfuse.bpf.c`, compiled as a program of user space with maps, a clock and a
//! kernel of its own (`tests/fixtures/extfuse`): every operation is tried against every map.

mod common;

use std::path::Path;
use std::process::Command;

#[test]
fn every_operation_against_every_map() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/extfuse");
    let place = tempfile::tempdir().unwrap();
    let program = place.path().join("logic");
    let mut compiler = Command::new("cc");
    compiler.args(["-std=gnu11", "-g", "-O1", "-Wall", "-Werror", "-Wno-unknown-pragmas"]);
    // Messages that say no more than the line.
    compiler.arg("-Wno-format-zero-length");
    compiler.arg("-I").arg(root.join("include")).arg(root.join("main.c"));
    let compiled = compiler.arg("-o").arg(&program).output();
    let compiled = match compiled {
        Err(error) => skip!(format!("no C compiler: cc: {error}")),
        Ok(compiled) => compiled,
    };
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let ran = common::finish(&mut Command::new(&program));
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
}

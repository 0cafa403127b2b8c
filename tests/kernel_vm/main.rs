//! The kernel's side of answers from BPF programs (`kernel/`): the module is built, a virtual
//! machine is booted with it by `scripts/vm.sh`, and this test program runs there once more, with a
//! server of its own and the programs of `kernel/test/answers.bpf.c`. What is asserted is what the
//! server is asked. It takes one to two minutes, and one more when packages have to be fetched.

#[path = "../common/mod.rs"]
mod common;
mod machine;
mod server;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The exit code of the scripts when it cannot be done here.
const NOT_HERE: i32 = 77;
/// Where the test program and the BPF programs are in the machine.
const INSIDE: &str = "/bin/kernel_vm";
const OBJECT: &str = "/answers.o";

/// The output of a script; or why it cannot be run here.
fn run(command: &mut Command) -> Result<String, String> {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let errors = String::from_utf8_lossy(&stderr);
    if status.code() == Some(NOT_HERE) {
        return Err(errors.trim().to_string());
    }
    let text = String::from_utf8_lossy(&stdout).to_string();
    assert!(status.success(), "{command:?}: {status}: {errors}\n{text}");
    Ok(text)
}

/// Compiles the programs.
fn compile(root: &Path, object: &Path) {
    let include = format!("/usr/include/{}-linux-gnu", std::env::consts::ARCH);
    let options = ["-target", "bpf", "-ffreestanding", "-O2", "-g", "-mcpu=v3", "-Wall", "-Werror"];
    let mut clang = Command::new("clang");
    clang.args(options).args(["-idirafter", &include, "-I"]).arg(root.join("bpf/include"));
    clang.arg("-c").arg(root.join("kernel/test/answers.bpf.c")).arg("-o").arg(object);
    run(&mut clang).unwrap();
}

/// Runs the tests of `machine` in the machine; or says why that cannot be done here.
fn in_the_machine(directory: &Path) -> Result<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let module = run(&mut Command::new(root.join("kernel/build.sh")))?;
    let object = directory.join("answers.o");
    compile(root, &object);
    let script = directory.join("script");
    let test = format!("exec {INSIDE} --exact machine::all --ignored --nocapture 2>&1\n");
    std::fs::write(&script, test).unwrap();
    let place = |from: PathBuf, to: &str| format!("{}:{to}", from.display());
    let files = [place(std::env::current_exe().unwrap(), INSIDE), place(object.clone(), OBJECT)];
    let mut machine = Command::new(root.join("scripts/vm.sh"));
    machine.args(["-t", "500", "-m", module.trim(), "6.12"]).arg(script).args(files);
    run(&mut machine)
}

#[test]
fn the_kernel_keeps_its_rules() {
    let directory = tempfile::tempdir().unwrap();
    match in_the_machine(directory.path()) {
        Ok(text) => {
            eprint!("{text}");
            // It says so last, when nothing was left out.
            assert!(text.contains("\nall done\n"), "{text}");
        }
        Err(reason) => skip!(reason),
    }
}

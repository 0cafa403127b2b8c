//! What all benchmarks need: the machine, its CPUs, and how figures are summed up.

pub(crate) mod machine;

pub(crate) use fusex::splicing::{pin, spread};

use std::process::{Command, ExitCode};

use anyhow::{Context, ensure};

/// A whole benchmark: runs it where cargo asks for benchmarks (`bench`) and not for tests.
pub(crate) fn main_of(
    name: &str,
    bench: bool,
    run: impl FnOnce() -> anyhow::Result<()>,
) -> ExitCode {
    if !bench {
        eprintln!("{name}: skipped: a benchmark, run it with 'cargo bench --bench {name}'");
        return ExitCode::SUCCESS;
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What the command prints on stdout; an error when it fails.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| program.clone())?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = errors.trim().lines().last().unwrap_or_default();
    ensure!(output.status.success(), "{program}: {}: {last}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

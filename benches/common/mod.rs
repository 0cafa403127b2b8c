//! What all benchmarks need: the machine, its CPUs, and how figures are summed up.

pub(crate) mod machine;
pub(crate) mod pin;
pub(crate) mod spread;

use std::process::Command;

use anyhow::{Context, ensure};

/// What the command prints on stdout; an error when it fails.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| program.clone())?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = errors.trim().lines().last().unwrap_or_default();
    ensure!(output.status.success(), "{program}: {}: {last}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

//! What the figures depend on and no contestant decides: machine and versions.

use std::process::Command;

use anyhow::Context;

use crate::common::machine::Machine;
use crate::common::output;
use crate::scenes::Scene;
use crate::workloads::Size;

/// What stands above the tables.
pub(crate) struct Environment {
    pub(crate) machine: Machine,
    pub(crate) rounds: u32,
    /// Programs and libraries with their versions.
    pub(crate) versions: Vec<String>,
    pub(crate) size: Size,
}

impl Environment {
    pub(crate) fn of(scenes: &[Scene], rounds: u32, size: Size) -> anyhow::Result<Environment> {
        let mut machine = Machine::of(&scenes.first().context("no scene")?.lower)?;
        let mut types: Vec<&str> = Vec::new();
        for scene in scenes {
            if !types.contains(&scene.lower_type.as_str()) {
                types.push(&scene.lower_type);
            }
        }
        machine.lower_type = types.join(" and ");
        Ok(Environment { machine, rounds, versions: versions(), size })
    }
}

/// What can be asked for its version and answers.
fn versions() -> Vec<String> {
    let ask = |program: &str, argument: &[&str]| output(Command::new(program).args(argument)).ok();
    let libfuse = ask("pkg-config", &["--modversion", "fuse3"]);
    let bindfs = ask("bindfs", &["--version"]).zip(ask("bindfs", &["--fuse-version"]));
    let mergerfs = ask("mergerfs", &["--version"]);
    let last = |text: &str| text.split_whitespace().last().unwrap_or("?").to_string();
    [
        Some(format!("fusex {}", env!("CARGO_PKG_VERSION"))),
        libfuse.map(|version| format!("libfuse {}", version.trim())),
        bindfs.map(|(own, fuse)| format!("{} with libfuse {}", own.trim(), last(&fuse))),
        mergerfs.map(|text| format!("mergerfs {}", last(text.lines().next().unwrap_or_default()))),
    ]
    .into_iter()
    .flatten()
    .collect()
}

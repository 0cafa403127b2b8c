//! What the figures depend on and no contestant decides: machine and versions.

use std::path::Path;
use std::process::Command;

use crate::common::machine::Machine;
use crate::common::output;
use crate::common::pin::Pin;
use crate::workloads::Size;

/// What stands above the tables.
pub(crate) struct Environment {
    pub(crate) machine: Machine,
    pub(crate) rounds: u32,
    /// Programs and libraries with their versions.
    pub(crate) versions: Vec<String>,
    pub(crate) files: usize,
    /// Where client and server were kept.
    pub(crate) pin: Pin,
}

impl Environment {
    pub(crate) fn of(
        lower: &Path,
        rounds: u32,
        size: &Size,
        pin: Pin,
    ) -> anyhow::Result<Environment> {
        let machine = Machine::of(lower)?;
        Ok(Environment { machine, rounds, versions: versions(), files: size.files, pin })
    }
}

/// What can be asked for its version and answers.
fn versions() -> Vec<String> {
    let ask = |program: &str, argument: &[&str]| output(Command::new(program).args(argument)).ok();
    let libfuse = ask("pkg-config", &["--modversion", "fuse3"]);
    let bindfs = ask("bindfs", &["--version"]).zip(ask("bindfs", &["--fuse-version"]));
    [
        Some(format!("fusex {}", env!("CARGO_PKG_VERSION"))),
        libfuse.map(|version| format!("libfuse {}", version.trim())),
        bindfs.map(|(own, fuse)| {
            let linked = fuse.split_whitespace().last().unwrap_or("?");
            format!("{} with libfuse {linked}", own.trim())
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

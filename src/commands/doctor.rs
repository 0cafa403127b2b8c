//! `fusex doctor`.

use std::io::Write;

use crate::cli::doctor::DoctorArgs;
use crate::doctor::{self, Level};
use crate::exit::Exit;

/// Prints what was found; [`Exit::System`] when something fails.
///
/// # Errors
/// The output cannot be written.
pub fn run(args: &DoctorArgs) -> anyhow::Result<Exit> {
    let checks = doctor::examine();
    let text = match args.json {
        true => doctor::json(&checks),
        false => checks.iter().map(|check| format!("{check}\n")).collect(),
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    let failed = checks.iter().any(|check| check.level == Level::Fail);
    Ok(if failed { Exit::System } else { Exit::Success })
}

//! `fusex bpf-load`.

use std::path::Path;

use anyhow::Context;

use super::{mounts, print};
use crate::bpf::extfuse::{self, Loaded, Policy};
use crate::cli::bpf_load::{Action, Config};
use crate::exit::{Exit, Failure};
use crate::mount::mountinfo::{self, Entry};
use crate::output::bpf_load::{Listed, dump, list, loaded, probe};

/// Does what was asked for.
///
/// # Errors
/// No such mount, a kernel or a mount that cannot do it, or no output.
pub fn run(config: &Config) -> anyhow::Result<Exit> {
    let Config { action, dir, json } = config;
    let text = match action {
        Action::Probe => {
            let (tier, missing) = extfuse::probe();
            probe(tier, &missing, *json)
        }
        Action::Load(path, policy) => loaded(&load(path, policy, dir)?, *json),
        Action::Detach(path) => return detach(path, dir),
        Action::List => list(&listed(dir)?, *json),
        Action::Dump(path) => dump(&find(path, dir)?.kept().map_err(failed)?, *json),
    };
    print(&text).map(|_| Exit::Success).context("stdout")
}

fn load(path: &Path, policy: &Policy, dir: &Path) -> Result<Listed, Failure> {
    let mount = mount(path)?;
    let pins = extfuse::load(&mount, policy, dir).map_err(|error| at(path, error))?;
    let connection = mount.connection();
    described(&Loaded { connection, path: pins }, &[mount]).map_err(failed)
}

fn detach(path: &Path, dir: &Path) -> anyhow::Result<Exit> {
    let connection = mount(path)?.connection();
    match extfuse::detach(dir, connection) {
        Ok(true) => Ok(Exit::Success),
        Ok(false) => Err(none(path, dir).into()),
        Err(error) => Err(at(dir, error).into()),
    }
}

fn listed(dir: &Path) -> Result<Vec<Listed>, Failure> {
    let table = mountinfo::read().map_err(|error| at(Path::new("/proc/self/mountinfo"), error))?;
    let found = extfuse::list(dir).map_err(|error| at(dir, error))?;
    found.iter().map(|loaded| described(loaded, &table).map_err(failed)).collect()
}

/// With its mount point, its policy and its counts.
fn described(loaded: &Loaded, table: &[Entry]) -> anyhow::Result<Listed> {
    let mount = table.iter().find(|it| it.is_fuse() && it.connection() == loaded.connection);
    Ok(Listed {
        connection: loaded.connection,
        mount_point: mount.map(|mount| mount.mount_point.clone()),
        pins: loaded.path.clone(),
        handlers: loaded.handlers()?,
        counts: loaded.counts()?,
    })
}

fn find(path: &Path, dir: &Path) -> Result<Loaded, Failure> {
    let connection = mount(path)?.connection();
    let found = extfuse::list(dir).map_err(|error| at(dir, error))?;
    found.into_iter().find(|it| it.connection == connection).ok_or_else(|| none(path, dir))
}

fn mount(path: &Path) -> Result<Entry, Failure> {
    mounts::entry(path).map_err(|why| Failure { exit: Exit::Usage, ..at(path, why) })
}

fn none(path: &Path, dir: &Path) -> Failure {
    let message = format!(
        "{}: nothing is loaded, by the pins in {}: see 'fusex bpf-load --list'",
        path.display(),
        dir.display()
    );
    Failure { exit: Exit::System, message }
}

fn at(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure { exit: Exit::System, message: format!("{}: {error}", path.display()) }
}

fn failed(error: anyhow::Error) -> Failure {
    Failure { exit: Exit::System, message: format!("{error:#}") }
}

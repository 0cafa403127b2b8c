//! `fusex supervise list`, `status`, `restart`, `upgrade`, `stop`.

use std::io::{ErrorKind, Write};
use std::path::Path;

use crate::cli::supervise::Action;
use crate::supervise::client;
use crate::supervise::protocol::{Request, Status};

/// Talks to the supervisor of a mount and prints what it says.
///
/// # Errors
/// There is none, it does not answer, or refuses.
pub fn run(action: &Action) -> anyhow::Result<()> {
    let text = match action {
        Action::List { json } => list(*json)?,
        Action::Status { mountpoint, json } => {
            let status = ask(mountpoint, Request::Status)?;
            if *json { format!("{}\n", serde_json::to_string(&status)?) } else { lines(&status) }
        }
        Action::Restart { mountpoint } => ask(mountpoint, Request::Restart).map(quiet)?,
        Action::Upgrade { mountpoint } => ask(mountpoint, Request::Upgrade).map(quiet)?,
        Action::Stop { mountpoint } => ask(mountpoint, Request::Stop).map(quiet)?,
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // A closed pipe ("| head") is no failure.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// Nothing to say but that it went well, which the exit code does.
fn quiet(_: Status) -> String {
    String::new()
}

fn ask(mountpoint: &Path, request: Request) -> anyhow::Result<Status> {
    Ok(client::ask(&client::find(mountpoint)?, request)?)
}

fn list(json: bool) -> anyhow::Result<String> {
    let all = client::list();
    if json {
        return Ok(format!("{}\n", serde_json::to_string(&all)?));
    }
    let mut text = String::new();
    for status in all {
        let connection = status.connection.map_or("-".to_string(), |id| id.to_string());
        let mount_point = status.mount_point.unwrap_or("-".into());
        text.push_str(&format!(
            "{connection:>5}  worker {:>7}  generation {:>5}  deaths {:>5}  {}\n",
            status.worker_pid,
            status.generation,
            status.worker_deaths,
            mount_point.escape_debug()
        ));
    }
    Ok(text)
}

/// `name: value`, the values one below the other.
fn lines(status: &Status) -> String {
    let lines = status.lines();
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 1;
    let line = |(name, value): (String, String)| format!("{:width$} {value}\n", name + ":");
    lines.into_iter().map(line).collect()
}

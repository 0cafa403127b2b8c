//! `fusex supervise list`, `status`, `restart`, `upgrade`, `stop`.

use std::path::Path;

use super::print;
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
    print(&text)?;
    Ok(())
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

/// What `status` shows to people: a line for each thing to look at.
fn lines(status: &Status) -> String {
    let connection = status.connection.map_or("unknown".to_string(), |id| id.to_string());
    let mount_point = status.mount_point.as_deref().unwrap_or("mounted by another program");
    let process = |pid: u64| if pid == 0 { "none".to_string() } else { pid.to_string() };
    let Status { generation, worker_deaths, supervisor_deaths, restarts, .. } = status;
    let Status { deaths_killed, deaths_signal, deaths_exit, deaths_timeout, .. } = status;
    let Status { recovered_from_slots, recovered_from_journal, .. } = status;
    let Status { recovered_probed, recovered_resent, .. } = status;
    let Status { splice_fallbacks_short, splice_fallbacks_full, .. } = status;
    let Status { splice_fallbacks_refused, splice_fallbacks_examined, .. } = status;
    let Status { poisoned, leaked_lookups, damaged_records, inodes, open_files, .. } = status;
    let rows = [
        ("mount point", mount_point.escape_debug().to_string()),
        ("connection", connection),
        ("worker", format!("{}, generation {generation}", process(status.worker_pid))),
        ("supervisor", process(status.supervisor_pid)),
        ("spare", process(status.spare_pid)),
        ("standby, reserve", [status.standby_pid, status.reserve_pid].map(process).join(", ")),
        (
            "worker deaths",
            format!(
                "{worker_deaths}: {deaths_killed} killed, {deaths_signal} by other signals, \
                 {deaths_exit} exited, {deaths_timeout} timed out"
            ),
        ),
        ("replaced as asked", restarts.to_string()),
        ("supervisor deaths", supervisor_deaths.to_string()),
        ("last takeover", format!("{:.3} ms", status.last_takeover_ns as f64 / 1e6)),
        (
            "recovered",
            format!(
                "{recovered_from_slots} from slots ({recovered_probed} had happened), \
                 {recovered_from_journal} from the journal, {recovered_resent} resent"
            ),
        ),
        ("answered EIO", format!("{poisoned} that workers died of")),
        ("leaked lookups", leaked_lookups.to_string()),
        ("damaged records", damaged_records.to_string()),
        (
            "spliced replies",
            format!(
                "{}; copied instead: {splice_fallbacks_short} short, {splice_fallbacks_full} \
                 pipe full, {splice_fallbacks_refused} refused, {splice_fallbacks_examined} \
                 checksums",
                status.spliced
            ),
        ),
        ("inodes", inodes.to_string()),
        ("open files", open_files.to_string()),
    ];
    rows.map(|(name, value)| format!("{:<19}{value}\n", format!("{name}:"))).concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_for_people() {
        let status = Status {
            mount_point: Some("/mnt/a\nb".into()),
            connection: Some(41),
            worker_pid: 7,
            deaths_killed: 2,
            worker_deaths: 2,
            last_takeover_ns: 1_234_567,
            ..Status::default()
        };
        let text = lines(&status);
        for line in [
            "mount point:       /mnt/a\\nb",
            "worker:            7, generation 0",
            "standby, reserve:  none, none",
            "worker deaths:     2: 2 killed, 0 by other signals, 0 exited, 0 timed out",
            "last takeover:     1.235 ms",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        }
    }
}

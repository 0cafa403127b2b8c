//! The other end of the control socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::control;
use super::protocol::{Answer, Request, Status, line};
use crate::exit::{Exit, Failure};
use crate::mount::{mountinfo, without_last};

/// A restart waits for the next worker, a stop for the unmount.
const PATIENCE: Duration = Duration::from_secs(60);
/// An answer is longer than a request at most by a mount point.
const LONGEST: u64 = 1 << 16;

/// The supervisor of the mount at `mountpoint`: the path of its socket. The mount itself is not
/// touched.
///
/// # Errors
/// Nothing of fusex is mounted there.
pub fn find(mountpoint: &Path) -> Result<PathBuf, Failure> {
    let none = |exit| Failure {
        exit,
        message: format!(
            "{}: not a supervised fusex mount: see 'fusex supervise list'",
            mountpoint.display()
        ),
    };
    let table = mountinfo::read().map_err(|error| Failure {
        exit: Exit::System,
        message: format!("/proc/self/mountinfo: {error}: mount /proc"),
    })?;
    let resolved = without_last(mountpoint).ok();
    let entry = resolved.and_then(|path| mountinfo::find(&table, &path).cloned());
    let entry = entry.filter(mountinfo::Entry::is_fuse).ok_or_else(|| none(Exit::Mount))?;
    let sockets = [control::path(entry.minor), control::path_of_user(&entry)];
    let socket = sockets.into_iter().flatten().find(|path| path.exists());
    socket.ok_or_else(|| none(Exit::Mount))
}

/// Asks the supervisor at `socket`.
///
/// # Errors
/// It cannot be reached, does not answer, or refuses: one line.
pub fn ask(socket: &Path, request: Request) -> Result<Status, Failure> {
    let failed = |exit, message| Failure { exit, message };
    let answer = exchange(socket, request).map_err(|error| {
        let (exit, cure) = match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                (Exit::Usage, "run it as the user who mounted, or as root")
            }
            std::io::ErrorKind::ConnectionRefused => {
                (Exit::System, "its supervisor is dead: unmount")
            }
            _ => (Exit::System, "its supervisor was replaced or is busy: ask again"),
        };
        failed(exit, format!("{}: {error}: {cure}", socket.display()))
    })?;
    match answer {
        Answer::Ok(status) => Ok(*status),
        Answer::Error(error) => Err(failed(Exit::Usage, error)),
    }
}

fn exchange(socket: &Path, request: Request) -> std::io::Result<Answer> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    match stream.write_all(&line(&request)) {
        // Refused before it was asked: the answer says why.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        result => result?,
    }
    let mut answer = String::new();
    BufReader::new(stream.take(LONGEST)).read_line(&mut answer)?;
    Ok(serde_json::from_str(&answer)?)
}

/// The status of each supervised mount of this user, by connection; what does not answer is left
/// out.
pub fn list() -> Vec<Status> {
    let Some(directory) = control::directory() else { return Vec::new() };
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let sockets =
        entries.map(|entry| entry.path()).filter(|path| path.extension() == Some("sock".as_ref()));
    let mut all: Vec<Status> =
        sockets.filter_map(|path| ask(&path, Request::Status).ok()).collect();
    all.sort_by_key(|status| status.connection);
    all
}

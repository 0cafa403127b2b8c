//! `fusex mount` whose workers cannot serve, as they get no memory.

use std::process::Command;

use fusex::exit::Exit;
use nix::errno::Errno;

use crate::callers::read;
use crate::common::{Place, SOON, errno, wait_until};
use crate::server::Server;
use crate::{need_mounts, skip};

/// Address space for the workers to come, also for the one that is ready, as a soft limit;
/// `unlimited` ends it.
fn limit_memory(server: &Server, limit: &str) -> bool {
    let status = server.status();
    let mut pids = [status.supervisor_pid, status.spare_pid].into_iter().filter(|pid| *pid != 0);
    pids.all(|pid| {
        let mut command = Command::new("prlimit");
        command.args(["--pid", &pid.to_string()]).arg(format!("--as={limit}:"));
        command.status().is_ok_and(|status| status.success())
    })
}

/// A mount of a file, given up after so many deaths; none of its later workers can serve.
fn broken(limit: &str) -> Option<Server> {
    let place = Place::new();
    std::fs::write(place.path("source/file"), "here").unwrap();
    let server = Server::program(place, &["mount", "-f", "--restart-limit", limit]);
    let broken = limit_memory(&server, "1000000");
    broken.then(|| {
        server.end_worker();
        server
    })
}

#[test]
fn a_mount_without_workers_is_given_up() {
    need_mounts!();
    let Some(mut server) = broken("9") else { skip!("prlimit is missing") };
    let error = read(&server, "file").end(&server).unwrap_err();
    // The last: it came when all was over, on a slow machine.
    let expected = [Errno::ECONNABORTED, Errno::ENOTCONN, Errno::ENOENT];
    assert!(expected.contains(&errno(error)));
    assert_eq!(server.exit().code(), Some(Exit::Internal.code().into()), "{}", server.log());
    assert_eq!(Exit::Internal.code(), 4, "as README.md and --help say");
    assert!(server.log().contains("workers in a row died without finishing a request"));
    assert!(server.place().mounts().is_empty(), "the mount is gone");
}

#[test]
fn a_mount_without_callers_waits_for_better_times() {
    need_mounts!();
    let Some(server) = broken("5") else { skip!("prlimit is missing") };
    let many = || server.log().matches("died: ").count() > 6;
    assert!(wait_until(SOON, many), "{}", server.log());
    assert!(limit_memory(&server, "unlimited"));
    assert_eq!(read(&server, "file").end(&server).unwrap(), "here");
}

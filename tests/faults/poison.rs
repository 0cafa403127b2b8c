//! Requests that bring down every worker: they alone get an error.

use std::process::{Command, Stdio};

use nix::errno::Errno;

use crate::callers::{Call, Others, Slow, read};
use crate::common::errno;
use crate::fault::{CAUSES, Cause, Fault};
use crate::hangs::LIMIT;
use crate::need_mounts;
use crate::server::{Server, Setup};
use crate::traps::{At, Trap};

/// The call that the trap is in, by a process of its own: its number, and what it wrote.
fn call(server: &Server, trap: Trap) -> (u32, String) {
    let script = match trap.at {
        At::Read => "exec cat \"$0\"",
        _ => "printf x 1<>\"$0\"",
    };
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(server.file(trap.name())).env("LC_ALL", "C");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let pid = child.id();
    let output = Call::new(move || child.wait_with_output()).end(server).unwrap();
    assert!(!output.status.success(), "{trap:?}: {output:?}");
    (pid, String::from_utf8(output.stderr).unwrap())
}

/// The call gets EIO, and the log says why.
fn is_poisoned(server: &Server, trap: Trap) {
    let before = server.log().len();
    let poisoned = server.status().poisoned;
    let (pid, error) = call(server, trap);
    assert!(error.contains("Input/output error") || error.contains("I/O error"), "{error}");
    assert_eq!(server.status().poisoned, poisoned + 1, "{trap:?}");
    let opcode = if trap.at == At::Read { "READ" } else { "WRITE" };
    let expected = format!(
        "died again and again of {opcode} on node {} by process {pid}: answered EIO",
        trap.node()
    );
    let log = server.log()[before..].to_string();
    assert_eq!(log.matches("answered EIO").count(), 1, "{log}");
    assert!(log.contains(&expected), "{expected}: {log}");
}

/// Each of these is answered EIO after so many deaths, while others see nothing.
fn each_is_poisoned(setup: Setup, faults: &[Fault], places: &[At]) {
    let server = Server::start(setup.clone());
    let slow = (!setup.single).then(|| Slow::start(&server));
    let others = Others::start(&server);
    let mut deaths = [0; 4];
    for (fault, at) in faults.iter().flat_map(|fault| places.iter().map(move |at| (*fault, *at))) {
        is_poisoned(&server, Trap::always(fault, at));
        deaths[fault.cause().index()] += setup.poison_after;
        server.wait_for_deaths(deaths);
        others.go_on();
    }
    if let Some(slow) = slow {
        slow.end(&server);
    }
    others.end(&server);
    assert_eq!(server.status().poisoned as usize, faults.len() * places.len());
}

/// Those that are known to be a request's own doing.
const OWN: [Fault; 4] = [Fault::Segv, Fault::Panic, Fault::Overflow, Fault::Exit];

#[test]
fn a_request_that_kills_three_workers_is_answered_eio() {
    need_mounts!();
    let setup = Setup::default();
    assert_eq!(setup.poison_after, 3, "the default");
    each_is_poisoned(setup, &OWN, &[At::Read, At::Write]);
}

#[test]
fn a_request_that_kills_the_only_thread_is_answered_eio() {
    need_mounts!();
    let setup = Setup { single: true, ..Setup::default() };
    each_is_poisoned(setup, &OWN, &[At::Read, At::Write]);
}

#[test]
fn the_number_of_deaths_can_be_chosen() {
    need_mounts!();
    for poison_after in [1, 5] {
        let setup = Setup { poison_after, ..Setup::default() };
        each_is_poisoned(setup, &[Fault::Abort], &[At::Read, At::Write]);
    }
}

/// Nobody can tell who called for SIGKILL: each request under way is charged a fifth.
#[test]
fn a_request_that_has_its_workers_killed_is_answered_eio_later() {
    need_mounts!();
    for single in [false, true] {
        let server = Server::start(Setup { single, ..Setup::default() });
        let others = Others::start(&server);
        let trap = Trap::always(Fault::Kill, At::Read);
        is_poisoned(&server, trap);
        let deaths = server.deaths();
        assert!(deaths[Cause::Killed.index()] >= 3, "{CAUSES:?}: {deaths:?}");
        others.end(&server);
    }
}

#[test]
fn a_request_that_hangs_each_time_is_answered_eio() {
    need_mounts!();
    for (single, at) in [(false, At::Read), (true, At::Write)] {
        let setup = Setup { single, request_timeout: Some(LIMIT), ..Setup::default() };
        let server = Server::start(setup);
        let others = Others::start(&server);
        is_poisoned(&server, Trap::always(Fault::Sleep, at));
        let deaths = server.deaths();
        // Three, or few more where the machine stands still; a fifth each would make it fifteen.
        let timeouts = deaths[Cause::Timeout.index()];
        assert!((3..10).contains(&timeouts), "{CAUSES:?}: {deaths:?}");
        others.end(&server);
    }
}

#[test]
fn a_poisoned_request_leaves_its_file_alone() {
    need_mounts!();
    let server = Server::start(Setup::default());
    let trap = Trap::always(Fault::Segv, At::Write);
    for count in 1..=3 {
        is_poisoned(&server, trap);
        // It has not happened, and reading is none of it.
        let text = read(&server, &trap.name()).end(&server).unwrap();
        assert_eq!(text, crate::traps::content(&trap.name(), 0));
        server.wait_for_deaths([3 * count, 0, 0, 0]);
    }
    let reading = read(&server, &Trap::always(Fault::Segv, At::Read).name());
    assert_eq!(errno(reading.end(&server).unwrap_err()), Errno::EIO);
}

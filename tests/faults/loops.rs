//! Workers that die again and again without serving anything: callers get an error in the end,
//! or, where there are none, time.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use fusex::exit::Exit;
use nix::errno::Errno;

use crate::callers::{Call, Others, Slow, read, write};
use crate::common::{Place, SOON, errno, wait_until};
use crate::fault::Fault;
use crate::need_mounts;
use crate::server::{Server, Setup};
use crate::traps::{At, PLAIN, STILLBORN, Trap, UNBORN, content};

/// The pauses before this many deaths are 10, 20, 40, 80, 160 and 320 ms.
const LIMIT: u32 = 10;
const PAUSES: Duration = Duration::from_millis(630);

fn setup(single: bool) -> Setup {
    Setup { single, restart_limit: LIMIT, ..Setup::default() }
}

/// A call that asked a mount which was given up.
fn is_refused<T: Send + 'static>(server: &Server, call: &Call<T>) {
    let error = call.end(server).err().expect("an error");
    let expected = [Errno::ECONNABORTED, Errno::ENOTCONN];
    assert!(expected.contains(&errno(error)), "ends as the connection does");
}

/// The mount is given up: it says so and is gone.
fn is_given_up(server: &mut Server, deaths: u32) {
    let status: ExitStatus = server.exit();
    assert_eq!(status.code(), Some(Exit::Internal.code().into()), "{}", server.log());
    let point = server.place().point();
    let line = format!(
        "mount point {}: {deaths} workers in a row died without finishing a request: the connection \
         is aborted: the log has the reasons",
        point.display()
    );
    assert_eq!(server.log().matches(&line).count(), 1, "{line}: {}", server.log());
    assert!(server.place().mounts().is_empty(), "the mount is gone");
    assert_eq!(std::fs::read_dir(point).unwrap().count(), 0);
}

/// A caller waits while workers die of what `sign` stands for.
fn gives_up(single: bool, sign: &str) {
    let mut server = Server::start(setup(single));
    let waits = Slow::start(&server);
    let start = Instant::now();
    server.sign(sign, true);
    server.end_worker();
    let another = read(&server, PLAIN);
    is_refused(&server, waits.call());
    // It may have come when all was over, on a slow machine.
    assert!(another.end(&server).is_err());
    assert!(start.elapsed() >= PAUSES, "no pauses: {:?}", start.elapsed());
    is_given_up(&mut server, LIMIT);
}

#[test]
fn workers_that_die_before_they_serve_are_given_up() {
    need_mounts!();
    gives_up(false, UNBORN);
}

#[test]
fn workers_that_die_as_soon_as_they_serve_are_given_up() {
    need_mounts!();
    gives_up(false, STILLBORN);
}

#[test]
fn workers_with_one_thread_are_given_up_as_well() {
    need_mounts!();
    gives_up(true, UNBORN);
}

#[test]
fn what_never_served_is_given_up_at_once() {
    need_mounts!();
    let place = Place::new();
    std::fs::write(place.path(UNBORN), "").unwrap();
    let mut server = Server::begin_in(place, &setup(false));
    is_given_up(&mut server, 3);
    assert!(!server.path("ready").exists());
}

/// The workers serve, and each dies of the same request.
#[test]
fn a_request_that_is_never_poisoned_ends_the_mount() {
    need_mounts!();
    for at in [At::Read, At::Write] {
        let mut server = Server::start(Setup { poison_after: 0, ..setup(false) });
        let name = Trap::always(Fault::Abort, at).name();
        match at {
            At::Read => is_refused(&server, &read(&server, &name)),
            _ => is_refused(&server, &write(&server, &name)),
        }
        is_given_up(&mut server, LIMIT);
        assert!(!server.log().contains("answered EIO"), "{}", server.log());
    }
}

/// Nobody waits for an answer, and what is broken may be repaired.
fn goes_on(sign: &str) {
    let server = Server::start(setup(false));
    // Nothing was asked before: a close that is still to be served counts as somebody who waits.
    server.sign(sign, true);
    server.end_worker();
    let many = || server.log().matches("died: ").count() as u32 > LIMIT + 1;
    assert!(wait_until(SOON, many), "{}", server.log());
    server.sign(sign, false);
    assert_eq!(read(&server, PLAIN).end(&server).unwrap(), content(PLAIN, 0));
    Others::start(&server).end(&server);
}

#[test]
fn nobody_waits_for_workers_that_die_before_they_serve() {
    need_mounts!();
    goes_on(UNBORN);
}

#[test]
fn nobody_waits_for_workers_that_die_as_soon_as_they_serve() {
    need_mounts!();
    goes_on(STILLBORN);
}

//! Requests that hang: the worker is replaced, and the next one answers.

use std::time::Duration;

use fusex::cli::supervise::REQUEST_TIMEOUT;

use crate::callers::{Others, spring};
use crate::fault::{Cause, Fault};
use crate::need_mounts;
use crate::server::{Server, Setup};
use crate::traps::{At, Trap};

/// Milliseconds. A request of others may take that long only on a machine that stands still.
pub(crate) const LIMIT: u64 = 700;

/// Springs these traps in turn. A slow machine may lose a worker more, by timeout.
fn each_is_answered(single: bool, traps: &[(Fault, At)]) {
    let setup = Setup { single, request_timeout: Some(LIMIT), ..Setup::default() };
    let server = Server::start(setup);
    let others = Others::start(&server);
    for (count, (fault, at)) in traps.iter().enumerate() {
        spring(&server, Trap::once(*fault, *at)).unwrap();
        // What nobody waits for is noticed later.
        let deaths = server.wait_for(|deaths| deaths[Cause::Timeout.index()] > count as u64);
        let others_of = |cause: Cause| cause != Cause::Timeout && deaths[cause.index()] > 0;
        assert!(!crate::fault::CAUSES.into_iter().any(others_of), "{fault:?}, {at:?}: {deaths:?}");
        others.go_on();
    }
    others.end(&server);
    let hung = server.log().matches(Fault::Sleep.logged()[0]).count();
    assert!(hung >= traps.len(), "logged: {}", server.log());
    assert_eq!(server.status().poisoned, 0);
}

#[test]
fn a_read_that_hangs_once_is_answered_by_the_next_worker() {
    need_mounts!();
    each_is_answered(false, &[(Fault::Spin, At::Read), (Fault::Sleep, At::Read)]);
}

#[test]
fn a_write_that_hangs_once_happens_once() {
    need_mounts!();
    each_is_answered(false, &[(Fault::Sleep, At::Write), (Fault::Sleep, At::Written)]);
}

#[test]
fn a_close_that_hangs_is_given_to_the_next_worker() {
    need_mounts!();
    each_is_answered(false, &[(Fault::Sleep, At::Release)]);
}

#[test]
fn the_only_thread_that_hangs_is_replaced() {
    need_mounts!();
    each_is_answered(true, &[(Fault::Spin, At::Read), (Fault::Sleep, At::Write)]);
}

#[test]
fn without_a_limit_a_request_may_take_its_time() {
    need_mounts!();
    let server = Server::start(Setup::default());
    let slow = crate::callers::Slow::start(&server);
    // Far longer than the limit of the other tests.
    std::thread::sleep(2 * Duration::from_millis(LIMIT));
    assert_eq!(server.deaths(), [0; 4]);
    slow.end(&server);
}

#[test]
fn the_limit_is_a_minute_under_supervise_and_none_under_mount() {
    assert_eq!(REQUEST_TIMEOUT, Duration::from_secs(60));
    for command in ["mount", "supervise"] {
        let output = assert_cmd::Command::cargo_bin("fusex").unwrap();
        let help = { output }.args([command, "--help"]).output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        let words: Vec<&str> = help.split_whitespace().collect();
        let (told, text) = ("--request-timeout <SECONDS>", words.join(" "));
        let told = text.split_once(told).unwrap_or_else(|| panic!("{text}")).1;
        let default = "[default: 0; 60 with 'fusex supervise']";
        assert!(told.split(" --").next().unwrap().contains(default), "{command}: {told}");
    }
}

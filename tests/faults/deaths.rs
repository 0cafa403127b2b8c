//! Workers that die of a request, once: the next one answers it.

use crate::callers::{Others, Slow, spring};
use crate::fault::Fault;
use crate::need_mounts;
use crate::server::{Server, Setup};
use crate::traps::{At, Trap};

/// Springs one trap of each kind in turn; each death is counted under its cause, and logged.
fn all_at(single: bool, places: &[At], faults: &[Fault]) {
    let server = Server::start(Setup { single, ..Setup::default() });
    // With one thread this alone would be served.
    let slow = (!single).then(|| Slow::start(&server));
    let others = Others::start(&server);
    let mut deaths = [0; 4];
    for (fault, at) in faults.iter().flat_map(|fault| places.iter().map(move |at| (*fault, *at))) {
        let before = server.log().len();
        spring(&server, Trap::once(fault, at)).unwrap();
        deaths[fault.cause().index()] += 1;
        server.wait_for_deaths(deaths);
        let log = server.log()[before..].to_string();
        let says = |text: &str| log.lines().any(|it| it.contains("died: ") && it.ends_with(text));
        assert!(fault.logged().iter().any(|text| says(text)), "{fault:?}, {at:?}: {log}");
        others.go_on();
    }
    if let Some(slow) = slow {
        slow.end(&server);
    }
    others.end(&server);
    let status = server.status();
    assert_eq!((status.poisoned, status.restarts, status.damaged_records), (0, 0, 0));
    assert_eq!(status.worker_deaths, deaths.iter().sum::<u64>());
}

#[test]
fn a_read_that_killed_its_worker_is_answered_by_the_next() {
    need_mounts!();
    all_at(false, &[At::Read], &Fault::DEADLY);
}

#[test]
fn a_write_that_killed_its_worker_happens_once() {
    need_mounts!();
    all_at(false, &[At::Write, At::Written], &Fault::DEADLY);
}

#[test]
fn a_close_that_killed_its_worker_harms_nobody() {
    need_mounts!();
    all_at(false, &[At::Release], &Fault::DEADLY);
}

#[test]
fn one_thread_that_dies_is_replaced_as_well() {
    need_mounts!();
    all_at(true, &[At::Read, At::Write, At::Written, At::Release], &Fault::DEADLY);
}

//! Queue and service time.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::caller::Caller;
use crate::served::Served;
use crate::servers::{Mounted, TRUSTED, bindfs, mergerfs, passthrough_ll, sshfs};
use crate::watch::{OFTEN, Watch, find};
use crate::{SAMPLE, is_sampled, need, need_counts, skip, why_no_split};

/// Sums over reports of one operation, in ns.
#[derive(Debug, Default)]
struct Sums {
    count: u64,
    /// Of how many the other two are known.
    split: u64,
    queue: u64,
    service: u64,
    total: u64,
}

fn sums(reports: &[Value], connection: u64, opcode: &str) -> Sums {
    let mut sums = Sums::default();
    let connections = reports.iter().filter_map(|it| find(it, connection));
    let operations = connections.flat_map(|it| it["operations"].as_array().unwrap());
    for operation in operations.filter(|it| it["opcode"] == opcode) {
        let number = |key: &str| operation[key].as_u64().unwrap_or_else(|| panic!("{operation}"));
        sums.count += number("count");
        sums.split += number("split_count");
        if number("split_count") > 0 {
            sums.queue += number("queue_sum_ns");
            sums.service += number("service_sum_ns");
        }
        sums.total += number("total_sum_ns");
        let ranks = ["total_p50_ns", "total_p90_ns", "total_p99_ns", "total_max_ns"].map(number);
        assert!(ranks.is_sorted(), "{operation}");
    }
    sums
}

/// Looks up `absent` names one after the other, in this process; how long that took.
fn look_up(served: &Served, absent: u64) -> Duration {
    let start = Instant::now();
    for number in 0..absent {
        assert!(!served.point().join(format!("absent-{number}")).exists());
    }
    start.elapsed()
}

/// Whether all of them have both times; where it is a sample, they need not.
fn is_whole(sums: &Sums) -> Result<(), String> {
    if sums.split < sums.count && is_sampled() {
        return Err(SAMPLE.into());
    }
    assert_eq!(sums.split, sums.count, "{sums:?}");
    Ok(())
}

fn sums_agree(served: &Served) -> Result<(), String> {
    let (connection, mut watch) = (served.connection(), Watch::start(OFTEN));
    let took = look_up(served, 50);
    let counted = |reports: &[Value]| sums(reports, connection, "LOOKUP");
    for _ in 0..20 {
        watch.report();
        if counted(&watch.reports).count == 50 {
            break;
        }
    }
    let all = counted(&watch.reports);
    assert_eq!(all.count, 50, "{all:?}");
    assert!(all.total <= took.as_nanos() as u64, "{all:?} in {took:?}");
    is_whole(&all)?;
    // Each request has both, and they are all of it.
    assert_eq!(all.queue + all.service, all.total, "{all:?}");
    assert!(all.queue > 0 && all.service > 0, "{all:?}");
    Ok(())
}

/// A server that is stopped does not read: all of the wait is queue time.
fn a_stop_is_queue_time(served: &Served) -> Result<(), String> {
    const STOP: Duration = Duration::from_millis(400);
    let (connection, mut watch) = (served.connection(), Watch::start(OFTEN));
    let first = watch.reports.len();
    served.pause();
    let mut caller = Caller::stat([served.point().join("absent")]);
    std::thread::sleep(STOP);
    served.signal(Signal::SIGCONT);
    caller.wait();
    watch.until("answered", |it| sums(std::slice::from_ref(it), connection, "LOOKUP").count == 1);
    let one = sums(&watch.reports[first..], connection, "LOOKUP");
    assert!(one.total >= STOP.as_nanos() as u64 / 2, "{one:?}");
    is_whole(&one)?;
    assert_eq!(one.queue + one.service, one.total, "{one:?}");
    assert!(one.queue >= one.total / 2, "{one:?}");
    Ok(())
}

fn of(mounted: Mounted) -> Result<(), String> {
    let served = mounted?;
    sums_agree(&served)?;
    a_stop_is_queue_time(&served)
}

#[test]
fn queue_and_service_are_all_of_the_time() {
    need_counts!();
    if let Some(reason) = why_no_split() {
        skip!(reason);
    }
    // Each reads its requests in another way: read(2), splice(2), its own libfuse.
    need!(of(bindfs(TRUSTED)));
    need!(of(passthrough_ll()));
    need!(of(mergerfs()));
    need!(of(sshfs()));
}

//! Reports for people, as they look.

use super::*;
use crate::output::stats::testing;

const PLAIN: Look = Look { width: 80, color: false };
const FIRST: View = View { histogram: false, top: 10, first: true };
const AT: Local =
    Local { year: 2026, month: 11, day: 21, hour: 18, minute: 3, second: 9, millisecond: 45 };

#[test]
fn a_report() {
    let expected = r#"18:03:09, the last 2.00 s
Counted by tracepoints; queue and service time by fuse_request_sent; kernel
  memory 1.20 MiB.
More is possible on other machines: see 'fusex bpf-stats --probe'.

/mnt/data
  type:       fuse.sshfs of me@host:/srv
  connection: 42, also at /home/x
  server:     pid 1234, 3 threads: sshfs me@host:/srv
  waiting:    2 with those being served, background at most 12, congested from 9
  in flight:  1, oldest 1.20 s (with the server): LOOKUP of a\n"b" by 77 cat
  split:      fuse_request_sent
  unanswered: 3 (their callers were killed before the server read them)
                           ------- total --------   queue  service
  operation  count  per s     p50     p99     max     p99      p99  errors
  READ           2    1.0  2.10ms  3.01ms  3.01ms  6.00us   3.00ms
  LOOKUP         4    2.0   229us   803us   803us  3.00us    800us  3: ENOENT 2…

  pid  count    time  caller
   77      6  6.32ms  cat

  node  count    time  path
    12      4  1.31ms  a/b
    13      2  5.01ms  -

connection 43
  connection: 43, not mounted in this namespace
  server:     not found
  waiting:    0 with those being served
  in flight:  0
  no request was answered
"#;
    assert_eq!(report(&testing::snapshot(), &testing::tier(), &FIRST, PLAIN, AT), expected);
}

#[test]
fn what_is_not_asked_for_is_not_said() {
    let short = View { first: false, top: 1, histogram: false };
    let text = report(&testing::snapshot(), &testing::tier(), &short, PLAIN, AT);
    assert!(text.starts_with("18:03:09, the last 2.00 s\n\n/mnt/data\n"), "{text}");
    assert!(text.contains("  path\n    12      4  1.31ms  a/b\n\n"), "{text}");
    let text = report(&testing::snapshot(), &testing::tier(), &View::default(), PLAIN, AT);
    assert!(!text.contains("caller\n") && !text.contains("path\n"), "{text}");
}

#[test]
fn only_the_total_is_called_so() {
    let mut snapshot = testing::snapshot();
    snapshot.connections.truncate(1);
    snapshot.connections[0].split = Split::None;
    let tier = Tier { split: Split::None, ..testing::tier() };
    let text = report(&snapshot, &tier, &View { top: 0, ..FIRST }, PLAIN, AT);
    let head = "Counted by tracepoints; queue and service time not told apart; kernel memory";
    assert!(text.contains(&format!("\n{head}\n  1.20 MiB.\n")), "{text}");
    let table = "  split:      none: only the total is known
  unanswered: 3 (their callers were killed before the server read them)
                                    ----------- total ------------
  operation  count  per s  bytes/s     p50     p90     p99     max  errors
  READ           2    1.0  1.50MiB  2.10ms  3.01ms  3.01ms  3.01ms
  LOOKUP         4    2.0        -   229us   803us   803us   803us  3: ENOENT 2…
";
    assert!(text.ends_with(table), "{text}");
}

#[test]
fn without_counts_it_says_so_each_time() {
    let (snapshot, tier) = testing::uncounted();
    let expected = "\
18:03:09
Nothing is counted: this is only what sysfs, mountinfo and /proc tell.
not there: counts and times: bpf(2): EPERM: run as root

/mnt/data
  type:       fuse.sshfs of me@host:/srv
  connection: 42, also at /home/x
  server:     pid 1234, 3 threads: sshfs me@host:/srv
  waiting:    2 with those being served, background at most 12, congested from 9

connection 43
  connection: 43, not mounted in this namespace
  server:     not found
  waiting:    0 with those being served
";
    assert_eq!(report(&snapshot, &tier, &FIRST, PLAIN, AT), expected);
    let later = report(&snapshot, &tier, &View::default(), PLAIN, AT);
    assert!(later.starts_with("18:03:09\nNothing is counted: "), "{later}");
    assert!(!later.contains("not there"), "{later}");
    let none = Snapshot { connections: vec![], ..snapshot };
    let text = report(&none, &tier, &View::default(), PLAIN, AT);
    assert!(text.ends_with("\nno FUSE mount\n"), "{text}");
}

#[test]
fn what_was_lost() {
    let mut snapshot = testing::snapshot();
    let whole = report(&snapshot, &testing::tier(), &FIRST, PLAIN, AT);
    snapshot.lost = Lost { operations: 1, requests: 2, earlier: 5, events: 7 };
    let text = report(&snapshot, &testing::tier(), &FIRST, PLAIN, AT);
    let expected = "
1 request was answered and not counted: no room for the connection and operation
2 requests were counted without a time: no room among those in flight
5 requests were sent before the measurement began and answered since: not
  counted
7 requests were slow and not reported: there were more than could be read in
  time
";
    assert_eq!(text.strip_prefix(&whole), Some(expected));
}

#[test]
fn long_facts_are_cut() {
    let mut snapshot = testing::snapshot();
    snapshot.connections[0].source = "x".repeat(100);
    let text = report(&snapshot, &testing::tier(), &View::default(), PLAIN, AT);
    let line = format!("  type:       fuse.sshfs of {}…\n", "x".repeat(51));
    assert!(text.contains(&line), "{text}");
    assert_eq!(console::measure_text_width(line.trim_end()), 80);
}

#[test]
fn histograms_are_below_the_table() {
    let view = View { histogram: true, ..View::default() };
    let text = report(&testing::snapshot(), &testing::tier(), &view, PLAIN, AT);
    let places = ["  LOOKUP   ", "\n\n  READ   ", "\n\n  LOOKUP   ", "\n\nconnection 43\n"];
    let places = places.map(|part| text.find(part).unwrap_or_else(|| panic!("{part}: {text}")));
    assert!(places.is_sorted(), "{places:?}: {text}");
}

#[test]
fn colours() {
    let plain = report(&testing::snapshot(), &testing::tier(), &FIRST, PLAIN, AT);
    let look = Look { color: true, ..PLAIN };
    let painted = report(&testing::snapshot(), &testing::tier(), &FIRST, look, AT);
    assert!(painted.contains("\n\x1b[1m/mnt/data\x1b[0m\n"), "{painted:?}");
    assert!(painted.contains("  \x1b[31m3: ENOENT 2…\x1b[0m\n"), "{painted:?}");
    assert_eq!(console::strip_ansi_codes(&painted), plain);
    assert!(!plain.contains('\x1b'));
}

#[test]
fn tiers() {
    let expected = "\
tier:      trace
counts:    tracepoints
split:     fuse_request_sent
not there: callers: the kernel has no task storage: Linux 5.11 has it
";
    assert_eq!(tier_text(&testing::tier()), expected);
    let (_, mut tier) = testing::uncounted();
    tier.missing[0].cure.clear();
    let expected = "\
tier:      none
counts:    none
split:     none
not there: counts and times: bpf(2): EPERM
";
    assert_eq!(tier_text(&tier), expected);
}

//! A line for each request that was slow, or that is stuck, as it happens.

use std::time::{Duration, SystemTime};

use console::Style;
use serde::Serialize;

use super::{errno_name, json, place, request, title};
use crate::output::{Look, time};
use crate::stats::{Connection, Request, Slow, Snapshot};
use crate::sys::clock::{self, Local};

/// A request that took long: when it was answered, where, what, by whom, its times, its error.
pub fn slow(slow: &Slow, now: &Snapshot, look: Look) -> String {
    slow_at(slow, now, look, clock::local(wall(slow, now)))
}

fn slow_at(slow: &Slow, now: &Snapshot, look: Look, at: Local) -> String {
    let place = of(slow, now).map_or_else(|| format!("connection {}", slow.connection), title);
    let queue = slow.request.queue_ns.map_or(String::new(), |queue_ns| {
        let service_ns = slow.request.age_ns.saturating_sub(queue_ns);
        format!(" (queue {}, service {})", time(queue_ns), time(service_ns))
    });
    let error = match slow.errno {
        0 => String::new(),
        errno => format!(", {}", look.paint(Style::new().red(), &errno_name(errno))),
    };
    let (total, request) = (age(&slow.request, look), request(&slow.request));
    format!("{} {place} {request}: {total}{queue}{error}\n", of_day(at))
}

/// A request that is in flight for long, `of` a connection: also whether its server has it.
pub fn stuck(request: &Request, of: &Connection, now: &Snapshot, look: Look) -> String {
    stuck_at(request, of, look, clock::local(now.wall))
}

fn stuck_at(seen: &Request, of: &Connection, look: Look, at: Local) -> String {
    let title = title(of);
    let place = place(seen).map_or(String::new(), |place| format!(", {place}"));
    let queue = seen.queue_ns.map_or(String::new(), |ns| format!(", queue {}", time(ns)));
    let (age, request) = (age(seen, look), request(seen));
    format!("{} {title} {request}: stuck for {age}{place}{queue}\n", of_day(at))
}

/// The same as [`slow`] for programs: `{"schema":1,"slow":{..}}`.
pub fn slow_json(slow: &Slow, now: &Snapshot) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        schema: u32,
        slow: Body<'a>,
    }
    #[derive(Serialize)]
    struct Body<'a> {
        time_unix_s: f64,
        connection: u32,
        mount_point: Option<String>,
        #[serde(flatten)]
        request: json::Request<'a>,
        errno: i32,
        error: Option<String>,
    }
    let body = Body {
        time_unix_s: json::unix_s(wall(slow, now)),
        connection: slow.connection,
        mount_point: of(slow, now).and_then(mount_point),
        request: json::Request::of(&slow.request),
        errno: slow.errno,
        error: (slow.errno != 0).then(|| errno_name(slow.errno)),
    };
    json::line(&Line { schema: json::SCHEMA, slow: body })
}

/// The same as [`stuck`] for programs: `{"schema":1,"stuck":{..}}`.
pub fn stuck_json(request: &Request, of: &Connection, now: &Snapshot) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        schema: u32,
        stuck: Body<'a>,
    }
    #[derive(Serialize)]
    struct Body<'a> {
        time_unix_s: f64,
        connection: u32,
        mount_point: Option<String>,
        #[serde(flatten)]
        request: json::InFlight<'a>,
    }
    let body = Body {
        time_unix_s: json::unix_s(now.wall),
        connection: of.id,
        mount_point: mount_point(of),
        request: json::InFlight::of(request),
    };
    json::line(&Line { schema: json::SCHEMA, stuck: body })
}

fn mount_point(of: &Connection) -> Option<String> {
    of.mount_point.as_deref().map(json::lossy)
}

/// The connection that it was on, unless that has gone.
fn of<'a>(slow: &Slow, now: &'a Snapshot) -> Option<&'a Connection> {
    now.connections.iter().find(|connection| connection.id == slow.connection)
}

/// When it was answered, by the wall clock.
fn wall(slow: &Slow, now: &Snapshot) -> SystemTime {
    let before = |from: u64, to: u64| Duration::from_nanos(to.saturating_sub(from));
    // It may be newer than the snapshot.
    let earlier = now.wall.checked_sub(before(slow.at_ns, now.taken_ns));
    let moment = earlier.and_then(|at| at.checked_add(before(now.taken_ns, slow.at_ns)));
    moment.unwrap_or(now.wall)
}

fn of_day(at: Local) -> String {
    format!("{:02}:{:02}:{:02}.{:03}", at.hour, at.minute, at.second, at.millisecond)
}

fn age(request: &Request, look: Look) -> String {
    let least = if request.older { "at least " } else { "" };
    look.paint(Style::new().bold(), &format!("{least}{}", time(request.age_ns)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::stats::testing;

    const PLAIN: Look = Look { width: 80, color: false };
    const AT: Local =
        Local { year: 2026, month: 11, day: 21, hour: 18, minute: 3, second: 9, millisecond: 45 };

    #[test]
    fn slow_requests() {
        let (mut seen, mut now) = (testing::slow(), testing::snapshot());
        let expected = "18:03:09.045 /mnt/data LOOKUP of a\\n\"b\" by 77 cat: 1.20 s \
                        (queue 3.00 us, service 1.20 s), ENOENT\n";
        assert_eq!(slow_at(&seen, &now, PLAIN, AT), expected);
        (seen.errno, seen.request.queue_ns) = (0, None);
        now.connections.clear();
        let expected = "18:03:09.045 connection 42 LOOKUP of a\\n\"b\" by 77 cat: 1.20 s\n";
        assert_eq!(slow_at(&seen, &now, PLAIN, AT), expected);
        let coloured = slow_at(&testing::slow(), &now, Look { color: true, ..PLAIN }, AT);
        assert!(coloured.contains("\x1b[1m1.20 s\x1b[0m"), "{coloured:?}");
        assert!(coloured.ends_with(", \x1b[31mENOENT\x1b[0m\n"), "{coloured:?}");
    }

    #[test]
    fn stuck_requests() {
        let of = testing::snapshot().connections.remove(0);
        let mut seen = testing::pending();
        let start = "18:03:09.045 /mnt/data LOOKUP of a\\n\"b\" by 77 cat: stuck for";
        let line = |seen: &Request| stuck_at(seen, &of, PLAIN, AT);
        assert_eq!(line(&seen), format!("{start} 1.20 s, with the server, queue 3.00 us\n"));
        (seen.queue_ns, seen.read, seen.older) = (None, Some(false), true);
        assert_eq!(line(&seen), format!("{start} at least 1.20 s, queued\n"));
        seen.read = None;
        assert_eq!(line(&seen), format!("{start} at least 1.20 s\n"));
    }

    #[test]
    fn they_have_a_time_of_their_own() {
        let now = testing::snapshot();
        let at = |at_ns| json::unix_s(wall(&Slow { at_ns, ..testing::slow() }, &now));
        assert_eq!(at(now.taken_ns), 1_795_262_400.25);
        assert_eq!(at(now.taken_ns - 1_500_000_000), 1_795_262_398.75);
        assert_eq!(at(now.taken_ns + 250_000_000), 1_795_262_400.5);
    }

    #[test]
    fn for_programs() {
        let (now, of) = (testing::snapshot(), testing::snapshot().connections.remove(0));
        let line = slow_json(&testing::slow(), &now);
        assert_eq!(line.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        let expected = serde_json::json!({ "schema": 1, "slow": {
            "time_unix_s": 1_795_262_399.75, "connection": 42, "mount_point": "/mnt/data",
            "unique": 8, "opcode": "LOOKUP", "opcode_number": 1, "node": 12, "path": "a\n\"b\"",
            "caller_pid": 77, "caller_tid": 78, "caller_command": "cat",
            "total_ns": 1_200_000_000, "older": false, "queue_ns": 3000,
            "service_ns": 1_199_997_000, "errno": 2, "error": "ENOENT",
        }});
        assert_eq!(value, expected);
        let value: serde_json::Value =
            serde_json::from_str(&stuck_json(&testing::pending(), &of, &now)).unwrap();
        assert_eq!(value["stuck"]["read_by_server"], true);
        assert_eq!(value["stuck"]["total_ns"], 1_200_000_000);
        assert_eq!(value["stuck"]["errno"], serde_json::Value::Null);
    }
}

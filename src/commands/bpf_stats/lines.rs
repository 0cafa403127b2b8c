//! A line for each request that was slow (`--slow`) or does not end (`--stuck`), as it happens.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::{End, PIECE, print};
use crate::cli::bpf_stats::{Config, Form};
use crate::exit::Exit;
use crate::output::Look;
use crate::output::stats::line;
use crate::stats::collect::Collector;
use crate::stats::{Connection, Request, Slow, Snapshot};

/// From one look at the requests in flight to the next.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Prints lines alone, until the end. With `--once`, those of the requests that are stuck now.
///
/// # Errors
/// The kernel cannot be asked, or nothing can be written.
pub(super) fn run(config: &Config, collector: &mut Collector, end: &End) -> anyhow::Result<Exit> {
    let mut lines = Lines::new(config);
    if config.count.is_some() {
        return lines.once(collector, end);
    }
    while lines.print_until(Instant::now() + LOOK_EVERY, collector, end)? {}
    Ok(Exit::Success)
}

/// What of a request stays the same: its connection, that one's generation, and its number; where
/// it has none yet, its thread, operation and node.
type Key = (u32, u32, u64, Option<(u32, u32, u64)>);

/// Which lines are wanted, and what was said already.
pub(super) struct Lines {
    slow: bool,
    limit: Option<Duration>,
    json: bool,
    told: HashSet<Key>,
    next_look: Instant,
    /// Where mounts are, for events.
    recent: Option<Snapshot>,
}

impl Lines {
    pub(super) fn new(config: &Config) -> Lines {
        Lines {
            slow: config.slow.is_some(),
            limit: config.stuck,
            json: config.form == Form::Json,
            told: HashSet::new(),
            next_look: Instant::now(),
            recent: None,
        }
    }

    /// Waits until `then` and prints what comes meanwhile; false when it is the end.
    pub(super) fn print_until(
        &mut self,
        then: Instant,
        collector: &mut Collector,
        end: &End,
    ) -> anyhow::Result<bool> {
        loop {
            if end.is_now() {
                return Ok(false);
            }
            let mut next = then;
            if let Some(limit) = self.limit {
                if self.next_look <= Instant::now() {
                    let snapshot = collector.in_flight()?;
                    if !print(&self.stuck(&snapshot, limit)).context("stdout")? {
                        return Ok(false);
                    }
                    self.next_look = Instant::now() + LOOK_EVERY.min(limit);
                }
                next = next.min(self.next_look);
            }
            let left = next.saturating_duration_since(Instant::now());
            if !self.slow {
                end.sleep_until(next);
            } else if !self.print_slow(left.min(PIECE), collector)? {
                return Ok(false);
            }
            if then <= Instant::now() {
                return Ok(!end.is_now());
            }
        }
    }

    /// Looks once; a request of unknown age only when it has been there for as long as the limit.
    fn once(&mut self, collector: &mut Collector, end: &End) -> anyhow::Result<Exit> {
        let limit = self.limit.unwrap_or_default();
        let mut snapshot = collector.in_flight()?;
        let pending = snapshot.connections.iter().flat_map(|connection| &connection.pending);
        let unsure = |request: &&Request| request.older && !has_waited(request, limit);
        if let Some(youngest) = pending.filter(unsure).map(|request| request.age_ns).min() {
            let then = Instant::now() + limit - Duration::from_nanos(youngest);
            while Instant::now() < then && !end.is_now() {
                end.sleep_until(then);
            }
            snapshot = collector.in_flight()?;
        }
        let text = self.stuck(&snapshot, limit);
        print(&text).context("stdout")?;
        Ok(if text.is_empty() { Exit::Success } else { Exit::Anomaly })
    }

    /// The lines of the requests that are stuck and were not told.
    fn stuck(&mut self, now: &Snapshot, limit: Duration) -> String {
        let mut told = HashSet::new();
        let mut text = String::new();
        for connection in &now.connections {
            for request in connection.pending.iter().filter(|it| has_waited(it, limit)) {
                let key = key(connection, request);
                if !self.told.contains(&key) && told.insert(key) {
                    text += &match self.json {
                        true => line::stuck_json(request, connection, now),
                        false => line::stuck(request, connection, now, Look::of_stdout()),
                    };
                }
                told.insert(key);
            }
        }
        // Those that are answered are forgotten.
        self.told = told;
        text
    }

    fn print_slow(&mut self, wait: Duration, collector: &mut Collector) -> anyhow::Result<bool> {
        let mut seen: Vec<Slow> = Vec::new();
        collector.events(wait, &mut |slow| seen.push(slow))?;
        for slow in &seen {
            let knows = |snapshot: &&Snapshot| {
                snapshot.connections.iter().any(|connection| connection.id == slow.connection)
            };
            let now = match self.recent.as_ref().filter(knows) {
                Some(known) => known,
                None => self.recent.insert(collector.in_flight()?),
            };
            let line = match self.json {
                true => line::slow_json(slow, now),
                false => line::slow(slow, now, Look::of_stdout()),
            };
            if !print(&line).context("stdout")? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn has_waited(request: &Request, limit: Duration) -> bool {
    u128::from(request.age_ns) >= limit.as_nanos()
}

fn key(connection: &Connection, request: &Request) -> Key {
    let unnumbered =
        (request.unique == 0).then_some((request.caller.tid, request.opcode, request.node));
    (connection.id, connection.generation, request.unique, unnumbered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    use crate::cli::bpf_stats::Config;
    use crate::stats::Lost;

    fn lines(json: bool) -> Lines {
        Lines::new(&Config {
            mount_points: vec![],
            interval: LOOK_EVERY,
            count: None,
            form: if json { Form::Json } else { Form::Text },
            histogram: false,
            slow: None,
            stuck: Some(LOOK_EVERY),
            reports: false,
            top: 0,
        })
    }

    fn snapshot(requests: &[(u64, u64)]) -> Snapshot {
        let pending = |&(unique, age_ns): &(u64, u64)| Request {
            unique,
            age_ns,
            opcode: 1,
            ..Request::default()
        };
        let pending = requests.iter().map(pending).collect();
        let connection = Connection { id: 7, pending, ..Connection::default() };
        Snapshot {
            taken_ns: 0,
            wall: SystemTime::UNIX_EPOCH,
            covers_ns: 0,
            connections: vec![connection],
            lost: Lost::default(),
            memory_bytes: 0,
        }
    }

    #[test]
    fn a_stuck_request_is_told_once() {
        let mut lines = lines(true);
        let mut told =
            |requests: &[(u64, u64)]| lines.stuck(&snapshot(requests), LOOK_EVERY).lines().count();
        assert_eq!(told(&[(1, 999_999_999), (2, 1_000_000_000), (3, u64::MAX)]), 2);
        assert_eq!(told(&[(1, 1_500_000_000), (2, 1_500_000_000)]), 1);
        assert_eq!(told(&[(1, 2_000_000_000)]), 0);
        assert_eq!(told(&[]), 0);
        assert_eq!(told(&[(1, 2_000_000_000)]), 1, "another one with the same number");
    }

    #[test]
    fn requests_without_a_number_are_told_apart_by_their_caller() {
        let mut lines = lines(false);
        let mut now = snapshot(&[(0, u64::MAX), (0, u64::MAX)]);
        now.connections[0].pending[1].caller.tid = 9;
        assert_eq!(lines.stuck(&now, LOOK_EVERY).lines().count(), 2);
        assert_eq!(lines.stuck(&now, LOOK_EVERY), "");
    }
}

//! What the last intervals were like: what the heat map draws.
//!
//! Bounded in time ([`COLUMNS`]) and in memory ([`ENTRIES`]); the oldest go first.

use std::collections::VecDeque;

use crate::stats::histogram::FLOOR_NS;
use crate::stats::{Connection, Histogram, Snapshot};

/// How many intervals are kept.
pub(super) const COLUMNS: usize = 300;
/// How many operations of all intervals together: 15 MB at the most.
const ENTRIES: usize = 40_000;
/// Powers of two that are told apart; the first one begins at 0.
pub(super) const OCTAVES: usize = 31;

/// Which part of a request's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// From sent to answered.
    #[default]
    Total,
    /// From sent to read by the server.
    Queue,
    /// From read by the server to answered.
    Service,
}

impl Part {
    pub(super) fn name(self) -> &'static str {
        match self {
            Part::Total => "total",
            Part::Queue => "queue",
            Part::Service => "service",
        }
    }

    pub(super) fn next(self) -> Part {
        match self {
            Part::Total => Part::Queue,
            Part::Queue => Part::Service,
            Part::Service => Part::Total,
        }
    }
}

/// A connection's id and generation.
pub(super) type Id = (u32, u32);

pub(super) fn id(connection: &Connection) -> Id {
    (connection.id, connection.generation)
}

/// Whose times: those of all where nothing is named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Whose {
    pub(super) connection: Option<Id>,
    pub(super) opcode: Option<u32>,
}

/// One interval.
#[derive(Debug)]
pub(super) struct Interval {
    /// When it ended, in ns of `CLOCK_MONOTONIC`.
    pub(super) ended_ns: u64,
    /// How long it was, in ns.
    pub(super) covers_ns: u64,
    entries: Vec<Entry>,
}

/// One operation of one connection.
#[derive(Debug)]
struct Entry {
    connection: Id,
    opcode: u32,
    total: Times,
    queue: Times,
    service: Times,
}

/// Counts by octave, without the empty ends.
#[derive(Debug)]
struct Times {
    first: usize,
    counts: Box<[u32]>,
}

impl Times {
    fn of(histogram: &Histogram) -> Times {
        let octaves = histogram.octaves();
        let first = octaves.first().map_or(0, |(start_ns, _)| octave_of(*start_ns));
        let small = |count: &(u64, u64)| u32::try_from(count.1).unwrap_or(u32::MAX);
        Times { first, counts: octaves.iter().map(small).collect() }
    }
}

/// The octave that begins there.
fn octave_of(start_ns: u64) -> usize {
    match start_ns {
        0 => 0,
        start_ns => (start_ns.ilog2() - FLOOR_NS.ilog2() + 1) as usize,
    }
}

/// The first ns of an octave.
pub(super) fn start_of(octave: usize) -> u64 {
    match octave.checked_sub(1) {
        None => 0,
        Some(above) => FLOOR_NS << above,
    }
}

/// The last intervals.
#[derive(Debug, Default)]
pub(super) struct History {
    intervals: VecDeque<Interval>,
    entries: usize,
}

impl History {
    /// Adds an interval, and drops the oldest where there are too many.
    pub(super) fn push(&mut self, interval: &Snapshot) {
        let mut entries = Vec::new();
        for connection in &interval.connections {
            entries.extend(connection.operations.iter().map(|operation| Entry {
                connection: id(connection),
                opcode: operation.opcode,
                total: Times::of(&operation.total),
                queue: Times::of(&operation.queue),
                service: Times::of(&operation.service),
            }));
        }
        entries.truncate(ENTRIES);
        self.entries += entries.len();
        self.intervals.push_back(Interval {
            ended_ns: interval.taken_ns,
            covers_ns: interval.covers_ns,
            entries,
        });
        while self.intervals.len() > COLUMNS || self.entries > ENTRIES {
            let oldest = self.intervals.pop_front();
            self.entries -= oldest.map_or(0, |oldest| oldest.entries.len());
        }
    }

    pub(super) fn len(&self) -> usize {
        self.intervals.len()
    }

    /// The newest `count` of those before the `skip` newest, oldest first.
    pub(super) fn last(&self, count: usize, skip: usize) -> impl Iterator<Item = &Interval> {
        let end = self.len().saturating_sub(skip);
        self.intervals.range(end.saturating_sub(count)..end)
    }
}

impl Interval {
    /// How many requests took how long, by octave.
    pub(super) fn counts(&self, whose: Whose, part: Part) -> [u64; OCTAVES] {
        let mut sum = [0; OCTAVES];
        let of_whom = |entry: &&Entry| {
            whose.connection.is_none_or(|connection| connection == entry.connection)
                && whose.opcode.is_none_or(|opcode| opcode == entry.opcode)
        };
        for entry in self.entries.iter().filter(of_whom) {
            let times = match part {
                Part::Total => &entry.total,
                Part::Queue => &entry.queue,
                Part::Service => &entry.service,
            };
            for (sum, count) in sum.iter_mut().skip(times.first).zip(&times.counts) {
                *sum += u64::from(*count);
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::live::testing::{connection, operation, snapshot};

    #[test]
    fn octaves() {
        for octave in 0..OCTAVES {
            assert_eq!(octave_of(start_of(octave)), octave);
        }
        let mut times = Histogram::default();
        times.add(u64::MAX);
        assert_eq!(Times::of(&times).first, OCTAVES - 1);
    }

    #[test]
    fn whose_times() {
        let mut history = History::default();
        let operations = vec![operation(1, 3, 1000), operation(15, 2, 70_000)];
        let other = connection(9, "/b", vec![operation(1, 4, 1000)]);
        history.push(&snapshot(5, vec![connection(7, "/a", operations), other]));
        let sum = |connection: Option<u32>, opcode, part| -> u64 {
            let whose = Whose { connection: connection.map(|id| (id, 0)), opcode };
            history.last(9, 0).next().unwrap().counts(whose, part).iter().sum()
        };
        assert_eq!(sum(None, None, Part::Total), 9);
        assert_eq!(sum(Some(7), None, Part::Total), 5);
        assert_eq!(sum(None, Some(1), Part::Service), 7);
        assert_eq!(sum(Some(7), Some(1), Part::Queue), 3);
        let total = history.last(9, 0).next().unwrap().counts(Whose::default(), Part::Total);
        assert_eq!((total[octave_of(512)], total[octave_of(65536)]), (7, 2));
    }

    #[test]
    fn the_oldest_go() {
        let mut history = History::default();
        for second in 0..COLUMNS as u64 + 20 {
            history.push(&snapshot(second, vec![connection(7, "/a", vec![operation(1, 1, 9)])]));
        }
        assert_eq!((history.len(), history.entries), (COLUMNS, COLUMNS));
        let ended: Vec<u64> = history.last(2, 1).map(|i| i.ended_ns / 1_000_000_000).collect();
        assert_eq!(ended, [COLUMNS as u64 + 17, COLUMNS as u64 + 18]);
        assert_eq!(history.last(5, 1000).count(), 0);
    }

    #[test]
    fn memory_is_bounded() {
        let mut history = History::default();
        let operations = |opcodes: u32| (0..opcodes).map(|op| operation(op, 1, 9)).collect();
        for second in 0..60 {
            history.push(&snapshot(second, vec![connection(7, "/a", operations(1000))]));
        }
        assert_eq!((history.len(), history.entries), (40, ENTRIES));
    }
}

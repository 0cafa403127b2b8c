//! The heat map: how long requests took, over the last intervals.
//!
//! A column for each interval, the newest on the right; a line for each power of two of latency,
//! the longest on top; the more requests a second, the brighter. Densities are by the square root
//! of the rate, so that the few slow ones can be seen beside the many.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::colors::{Colors, LEVELS, Tone};
use super::history::{History, Interval, OCTAVES, Part, Whose, start_of};
use super::rows::short;
use super::table::put;
use crate::output::stats::rate;

/// Room for the latencies on the left.
const LABELS: usize = 7;
/// Columns from one time below the map to the next.
const TICKS: usize = 12;

/// What the heat map shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Map {
    pub(super) whose: Whose,
    pub(super) part: Part,
    /// How many of the newest intervals are not shown.
    pub(super) behind: usize,
}

/// Rates by interval and octave, in requests a second.
type Rates = Vec<[f64; OCTAVES]>;

/// Draws it with its axes; returns the highest rate of a cell, none where nothing was counted.
pub(super) fn draw(
    map: Map,
    history: &History,
    area: Rect,
    buffer: &mut Buffer,
    colors: Colors,
) -> Option<f64> {
    let lines = usize::from(area.height).saturating_sub(1);
    let room = usize::from(area.width).saturating_sub(LABELS + 1);
    let shown: Vec<&Interval> = history.last(room, map.behind).collect();
    let rates: Rates = shown.iter().map(|interval| rates(interval, map)).collect();
    let most = rates.iter().flatten().fold(0.0, |most: f64, rate| most.max(*rate));
    if lines == 0 || room == 0 || most == 0.0 {
        return None;
    }
    let scale = Scale::of(&rates, lines);
    let left = LABELS + 1 + room - shown.len();
    for line in 0..lines {
        let octaves = scale.octaves(lines - 1 - line);
        // With many lines each second one is enough.
        if (lines <= 6 || line % 2 == (lines - 1) % 2) && octaves.start < OCTAVES {
            let label = format!("{:>LABELS$}", short(start_of(octaves.start)));
            put(buffer, area, 0, line as u16, &label, colors.style(Tone::Faint));
        }
        for (column, rates) in rates.iter().enumerate() {
            let rate: f64 = octaves.clone().filter_map(|octave| rates.get(octave)).sum();
            let (mark, style) = colors.heat(level(rate, most));
            put(buffer, area, left + column, line as u16, &mark.to_string(), style);
        }
    }
    ticks(&shown, left, area, buffer, colors);
    Some(most)
}

fn rates(interval: &Interval, map: Map) -> [f64; OCTAVES] {
    let counts = interval.counts(map.whose, map.part);
    counts.map(|count| rate(count, interval.covers_ns).unwrap_or(0.0))
}

/// How bright a cell is: 0 for nothing.
fn level(rate: f64, most: f64) -> usize {
    let share = (rate / most).clamp(0.0, 1.0);
    (share.sqrt() * LEVELS as f64).ceil() as usize
}

/// Which octaves a line stands for.
#[derive(Debug, PartialEq)]
struct Scale {
    lowest: usize,
    each: usize,
}

impl Scale {
    /// All that hold any fit in; where there is more room, more of the longer ones than shorter.
    fn of(rates: &Rates, lines: usize) -> Scale {
        let held = |octave: &usize| rates.iter().any(|rates| rates[*octave] > 0.0);
        let lowest = (0..OCTAVES).find(held).unwrap_or(0);
        let highest = (0..OCTAVES).rfind(held).unwrap_or(0);
        let count = highest - lowest + 1;
        let spare = lines.saturating_sub(count);
        Scale { lowest: lowest.saturating_sub(spare / 3), each: count.div_ceil(lines) }
    }

    /// Those of a line, counted from below.
    fn octaves(&self, line: usize) -> std::ops::Range<usize> {
        let start = self.lowest + line * self.each;
        start..start + self.each
    }
}

/// The times below the map: how long ago, each under the interval that it is about.
fn ticks(shown: &[&Interval], left: usize, area: Rect, buffer: &mut Buffer, colors: Colors) {
    let Some(newest) = shown.last() else {
        return;
    };
    let style = colors.style(Tone::Faint);
    let y = area.height - 1;
    for (column, interval) in shown.iter().enumerate().rev().step_by(TICKS) {
        let label = match newest.ended_ns.saturating_sub(interval.ended_ns) {
            0 => "now".to_string(),
            ago => format!("-{}", ago_text(ago)),
        };
        // It ends under its column.
        if let Some(at) = (left + column + 1).checked_sub(label.len()) {
            put(buffer, area, at, y, &label, style);
        }
    }
}

fn ago_text(ns: u64) -> String {
    match ns / 1_000_000_000 {
        0..10 => format!("{:.1}s", ns as f64 / 1e9),
        seconds @ 10..600 => format!("{seconds}s"),
        seconds @ 600..36_000 => format!("{}min", seconds / 60),
        seconds => format!("{}h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::live::testing::{connection, operation, snapshot};
    use crate::stats::{Operation, Snapshot};

    fn lines(history: &History, map: Map, width: u16, height: u16) -> Vec<String> {
        let area = Rect::new(0, 0, width, height);
        let mut buffer = Buffer::empty(area);
        draw(map, history, area, &mut buffer, Colors::None);
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..height).map(|y| line(y).trim_end().to_string()).collect()
    }

    const TOTAL: Map =
        Map { whose: Whose { connection: None, opcode: None }, part: Part::Total, behind: 0 };

    fn history(intervals: impl Iterator<Item = Vec<Operation>>) -> History {
        let mut history = History::default();
        for (second, operations) in intervals.enumerate() {
            let interval = snapshot(second as u64, vec![connection(7, "/a", operations)]);
            history.push(&Snapshot { covers_ns: 1_000_000_000, ..interval });
        }
        history
    }

    #[test]
    fn a_small_map() {
        let busy = |n: u64| vec![operation(1, 100 * n, 20_000), operation(15, 1, 300_000)];
        let quiet = history([busy(4), vec![], busy(1), busy(4)].into_iter());
        let drawn = lines(&quiet, TOTAL, 23, 7);
        assert_eq!(drawn[5], " 16.4us            @ +@");
        assert_eq!(drawn[1], "  262us            . ..");
        assert_eq!(drawn[6], "                    now");
        let queue = Map { part: Part::Queue, ..TOTAL };
        assert_eq!(lines(&quiet, queue, 23, 7)[5], " 4.10us            @ +@");
        let reads = Map { whose: Whose { connection: None, opcode: Some(15) }, ..TOTAL };
        assert_eq!(lines(&quiet, reads, 23, 7)[4], "  262us            @ @@");
    }

    #[test]
    fn times_stand_under_their_intervals() {
        let history = history((0..30).map(|_| vec![operation(1, 1, 1000)]));
        let drawn = lines(&history, TOTAL, 40, 3);
        assert_eq!(drawn[2], "            -24s        -12s         now");
        // The oldest ones have no room, the newest are not wanted.
        let behind = Map { behind: 25, ..TOTAL };
        assert_eq!(lines(&history, behind, 12, 3)[1].trim_start(), "512ns @@@@");
    }

    #[test]
    fn few_lines_hold_all_octaves() {
        let history = history([vec![operation(1, 4, 300), operation(2, 4, 1 << 33)]].into_iter());
        let drawn = lines(&history, TOTAL, 12, 4);
        assert!(drawn[0].ends_with('@') && drawn[2].ends_with('@'), "{drawn:?}");
        let rates: Rates = vec![[1.0; OCTAVES]];
        assert_eq!(Scale::of(&rates, 4), Scale { lowest: 0, each: 8 });
    }

    #[test]
    fn nothing_counted_nothing_drawn() {
        let empty = history([vec![], vec![]].into_iter());
        assert!(lines(&empty, TOTAL, 30, 5).iter().all(String::is_empty));
    }

    #[test]
    fn brightness() {
        assert_eq!([0.0, 1e-9, 0.25, 1.0].map(|rate| level(rate, 1.0)), [0, 1, 5, 9]);
    }
}

//! Times by powers of two, as the tools of bcc show them: queue, service and total beside each
//! other.

use crate::output::bar::bar;
use crate::output::{Look, time};
use crate::stats::histogram::{BUCKETS, FLOOR_NS, start_of};
use crate::stats::{Histogram, Operation};

/// How wide the longest [`span`] is.
const LABEL: usize = 17;
/// Before each histogram.
const GAP: usize = 2;

/// One histogram's counts by where their power of two begins, in ns.
type Octaves = Vec<(u64, u64)>;

/// The histograms of one operation: a row for each power of two that any of them has. Where there
/// is no room for all three the queue is left out, then the service.
pub(super) fn histogram(operation: &Operation, split: bool, look: Look) -> String {
    let Operation { queue, service, total, .. } = operation;
    let kinds: &[(&str, &Histogram)] = match split {
        true => &[("queue", queue), ("service", service), ("total", total)],
        false => &[("total", total)],
    };
    let kinds: Vec<(&str, Octaves)> =
        kinds.iter().map(|(name, times)| (*name, times.octaves())).collect();
    let starts = || kinds.iter().flat_map(|(_, octaves)| octaves).map(|(start, _)| *start);
    let (Some(first), Some(last)) = (starts().min(), starts().max()) else {
        return String::new();
    };
    let room = look.width.saturating_sub(2 + LABEL);
    let least = kinds.iter().map(|(_, octaves)| GAP + digits(octaves)).max().unwrap_or(0);
    let shown = &kinds[kinds.len() - (room / least).clamp(1, kinds.len())..];
    let each = room / shown.len();
    let heads = shown.iter().map(|(name, octaves)| head(name, octaves, each));
    let mut text = line(format!("  {:<LABEL$}", operation.name()), heads);
    for start in powers(first, last) {
        let cells = shown.iter().map(|(_, octaves)| cell(octaves, start, each));
        text += &line(format!("  {:>LABEL$}", span(start)), cells);
    }
    text
}

fn line(start: String, cells: impl Iterator<Item = String>) -> String {
    let line = start + &cells.collect::<String>();
    line.trim_end().to_string() + "\n"
}

/// Where powers of two begin, from `first` to `last`.
fn powers(first: u64, last: u64) -> impl Iterator<Item = u64> {
    let next = |start: &u64| Some(if *start == 0 { FLOOR_NS } else { start * 2 });
    std::iter::successors(Some(first), next).take_while(move |start| *start <= last)
}

/// `1.02us -> 2.05us`; the last one has all that is above.
fn span(start: u64) -> String {
    let short = |ns| time(ns).replace(' ', "");
    let end = if start == 0 { FLOOR_NS } else { start * 2 };
    // The last bucket has no end, so the power of two that it is in has none either.
    let endless = end > start_of(BUCKETS - 1);
    if endless {
        format!("{} and more", short(start))
    } else {
        format!("{} -> {}", short(start), short(end))
    }
}

/// How many digits the greatest count of a column has.
fn digits(octaves: &Octaves) -> usize {
    octaves.iter().map(|(_, count)| count).max().map_or(1, |most| most.to_string().len()).max(7)
}

/// The name of a column, over its numbers.
fn head(name: &str, octaves: &Octaves, room: usize) -> String {
    let digits = digits(octaves);
    format!("{:<room$}", format!("{:GAP$}{name:>digits$}", ""))
}

/// A number and, where there is room, its bar.
fn cell(octaves: &Octaves, start: u64, room: usize) -> String {
    let count = octaves.iter().find(|(at, _)| *at == start).map_or(0, |(_, count)| *count);
    let most = octaves.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let digits = digits(octaves);
    let bar = match room.saturating_sub(GAP + digits + 1) {
        0 => String::new(),
        room => format!(" {}", bar(count, most, room)),
    };
    format!("{:<room$}", format!("{:GAP$}{count:>digits$}{bar}", ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::stats::testing;

    const PLAIN: Look = Look { width: 80, color: false };

    fn operation(us: &[u64]) -> Operation {
        Operation {
            opcode: 3,
            count: us.len() as u64,
            total: testing::times(us),
            ..Default::default()
        }
    }

    #[test]
    fn beside_each_other() {
        let lookup = &testing::snapshot().connections[0].operations[0];
        let expected = "
  LOOKUP               queue             service               total
    512ns -> 1.02us        2 ██████████        0                   0
   1.02us -> 2.05us        1 █████             0                   0
   2.05us -> 4.10us        1 █████             0                   0
   4.10us -> 8.19us        0                   0                   0
   8.19us -> 16.4us        0                   0                   0
   16.4us -> 32.8us        0                   0                   0
   32.8us -> 65.5us        0                   0                   0
    65.5us -> 131us        0                   1 █████             1 █████
     131us -> 262us        0                   2 ██████████        2 ██████████
     262us -> 524us        0                   0                   0
    524us -> 1.05ms        0                   1 █████             1 █████
";
        assert_eq!(histogram(lookup, true, PLAIN), expected[1..]);
    }

    #[test]
    fn the_total_alone_has_all_the_room() {
        let text = histogram(&operation(&[100, 100, 300]), false, Look { width: 40, color: false });
        let expected = "
  GETATTR              total
    65.5us -> 131us        2 ███████████
     131us -> 262us        0
     262us -> 524us        1 █████▌
";
        assert_eq!(text, expected[1..]);
        assert_eq!(histogram(&operation(&[]), false, PLAIN), "");
    }

    #[test]
    fn with_little_room_the_queue_goes_first() {
        let lookup = &testing::snapshot().connections[0].operations[0];
        for (width, heads) in [
            (50, "LOOKUP queue service total"),
            (46, "LOOKUP queue service total"),
            (45, "LOOKUP service total"),
            (36, "LOOKUP total"),
        ] {
            let text = histogram(lookup, true, Look { width, color: false });
            let head = text.lines().next().unwrap_or_default();
            assert_eq!(head.split_whitespace().collect::<Vec<_>>().join(" "), heads, "{width}");
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}: {text}");
        }
    }

    #[test]
    fn both_ends() {
        let text = histogram(&operation(&[0, u64::MAX / 1000]), false, PLAIN);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with("       0ns -> 256ns        1 ██"), "{text}");
        assert!(lines[lines.len() - 1].starts_with("      137s and more        1 ██"), "{text}");
        assert_eq!(lines.len(), 1 + 1 + 30, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}

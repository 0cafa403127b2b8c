//! Pauses as bars.

use crate::crash::report::StormReport;
use crate::output::bar::bar;
use crate::output::{Look, time};

/// More rows than that are put together.
const ROWS: usize = 20;

/// Pauses of about a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bin {
    /// They were longer than this.
    pub above_ns: u64,
    /// And not longer than this.
    pub up_to_ns: u64,
    /// How many.
    pub count: u64,
}

impl Bin {
    /// What stands beside the bar.
    pub fn label(&self) -> String {
        format!("up to {}", time(self.up_to_ns))
    }
}

/// The bins of a report from the first to the last that is not empty, at most `ROWS` of them.
pub fn bins(storm: &StormReport) -> Vec<Bin> {
    let mut above_ns = 0;
    let all: Vec<Bin> = storm
        .pause_histogram
        .iter()
        .map(|(up_to_ns, count)| {
            let bin = Bin { above_ns, up_to_ns: *up_to_ns, count: *count };
            above_ns = *up_to_ns;
            bin
        })
        .collect();
    let used = |bin: &Bin| bin.count > 0;
    let (Some(first), Some(last)) = (all.iter().position(used), all.iter().rposition(used)) else {
        return Vec::new();
    };
    let all = &all[first..=last];
    let together = all.len().div_ceil(ROWS);
    let joined = all.chunks(together).filter_map(|part| {
        let count = part.iter().map(|bin| bin.count).sum();
        Some(Bin { count, up_to_ns: part.last()?.up_to_ns, ..*part.first()? })
    });
    joined.collect()
}

/// A line for each bin: up to how long, how many, and a bar.
pub fn histogram(storm: &StormReport, look: Look) -> String {
    let bins = bins(storm);
    let most = bins.iter().map(|bin| bin.count).max().unwrap_or(0);
    let digits = most.to_string().len();
    bins.iter()
        .map(|bin| {
            let start = format!("  {:>13} {:>digits$} ", bin.label(), bin.count);
            let room = look.width.saturating_sub(start.chars().count()).max(8);
            format!("{start}{}\n", bar(bin.count, most, room)).replace(" \n", "\n")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::crash::testing;

    #[test]
    fn bars_fill_the_terminal() {
        let expected = "  up to 1.00 ms 100 ████████████████████
  up to 2.00 ms  10 ██
  up to 4.00 ms   1 ▎
";
        assert_eq!(histogram(&testing::storm(), Look { width: 40, color: false }), expected);
        let wide = histogram(&testing::storm(), Look { width: 100, color: true });
        assert_eq!(wide.lines().next().unwrap().chars().count(), 100);
        assert!(!wide.contains('\x1b'));
    }

    #[test]
    fn no_pauses_no_bars() {
        assert_eq!(histogram(&StormReport::default(), Look { width: 80, color: false }), "");
    }

    #[test]
    fn empty_ends_are_left_out_and_many_bins_put_together() {
        let counts = (1..=100).map(|n| (n * 1000, u64::from((11..=60).contains(&n))));
        let storm = StormReport { pause_histogram: counts.collect(), ..StormReport::default() };
        let bins = bins(&storm);
        assert_eq!(bins.len(), 17);
        assert_eq!(bins[0], Bin { above_ns: 10_000, up_to_ns: 13_000, count: 3 });
        assert_eq!(bins[16], Bin { above_ns: 58_000, up_to_ns: 60_000, count: 2 });
    }
}

//! What to use on this machine: for each source which way takes the server's CPU the least, and
//! from which size on.

use serde::Serialize;

use super::report::Row;
use super::{Mode, Sink, Source, name};

/// A way has to take so much less than another to be taken for better: figures have a spread.
const MARGIN: f64 = 0.97;
/// The size whose figures are named, where it was measured.
const USUAL: usize = 128 << 10;
/// The sink that is judged by: the first of these that has the figures.
const SINKS: [Sink; 5] = [Sink::MountDirect, Sink::Pipe, Sink::MountCached, Sink::File, Sink::Null];

/// The verdict on one source.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// From where.
    pub source: Source,
    /// By the figures of this sink.
    pub sink: Sink,
    /// The better of the ways by memory.
    pub memory: Mode,
    /// Splice from this size on; `None`: at no size.
    pub splice_from_bytes: Option<usize>,
    /// What a splice then takes of the server's CPU, against the way by memory: -28 is less.
    pub server_cpu_change_percent: Option<f64>,
    /// At this size.
    pub at_bytes: Option<usize>,
    /// All of it as a line.
    pub text: String,
}

/// One for each source of the rows.
pub fn verdicts(rows: &[Row]) -> Vec<Verdict> {
    let mut sources: Vec<Source> = rows.iter().map(|row| row.source).collect();
    sources.dedup();
    sources.into_iter().filter_map(|source| verdict(rows, source)).collect()
}

/// The rows of a way, as sizes and the server's CPU against the plain copy.
fn ratios(rows: &[Row], source: Source, sink: Sink, mode: Mode) -> Vec<(usize, f64)> {
    let of = |row: &&Row| (row.source, row.sink, row.mode) == (source, sink, mode);
    let ratio = |row: &Row| Some((row.size_bytes, row.ratio_to_copy.server_cpu?));
    rows.iter().filter(of).filter_map(ratio).collect()
}

fn verdict(rows: &[Row], source: Source) -> Option<Verdict> {
    let has = |sink: &&Sink, mode| !ratios(rows, source, **sink, mode).is_empty();
    let both = SINKS.iter().find(|sink| has(sink, Mode::Copy) && has(sink, Mode::Splice));
    let sink = *both.or(SINKS.iter().find(|sink| has(sink, Mode::Copy)))?;
    let iovec = ratios(rows, source, sink, Mode::Iovec);
    let mean = iovec.iter().map(|(_, ratio)| ratio).sum::<f64>() / iovec.len().max(1) as f64;
    let by_iovec = !iovec.is_empty() && mean < MARGIN;
    let memory = if by_iovec { Mode::Iovec } else { Mode::Copy };
    let against_memory = |(size, ratio): (usize, f64)| {
        let base = if by_iovec { iovec.iter().find(|it| it.0 == size)?.1 } else { 1.0 };
        Some((size, ratio / base))
    };
    let splice: Vec<(usize, f64)> =
        ratios(rows, source, sink, Mode::Splice).into_iter().filter_map(against_memory).collect();
    let losing = splice.iter().rposition(|(_, ratio)| *ratio >= MARGIN);
    let winning = &splice[losing.map_or(0, |last| last + 1)..];
    let from = winning.first().map(|(size, _)| *size);
    let shown = at_usual(if winning.is_empty() { &splice } else { winning });
    let change = shown.map(|(size, ratio)| (size, (ratio - 1.0) * 100.0));
    let lead = by_memory(memory, &splice, from, change);
    let more = others(rows, source, sink);
    Some(Verdict {
        source,
        sink,
        memory,
        splice_from_bytes: from,
        server_cpu_change_percent: change.map(|(_, percent)| percent),
        at_bytes: change.map(|(size, _)| size),
        text: format!("{} (to {}): {lead}{more}", name(source), name(sink)),
    })
}

fn by_memory(
    memory: Mode,
    splice: &[(usize, f64)],
    from: Option<usize>,
    change: Option<(usize, f64)>,
) -> String {
    let memory = name(memory);
    let cost = change.map_or(String::new(), |(size, percent)| {
        format!("{percent:+.0} % server CPU at {}", kib(size))
    });
    match (from, splice.first()) {
        (_, None) => format!("{memory}; splice was not measured"),
        (None, _) => format!("{memory} at every size (splice: {cost})"),
        (Some(from), Some((least, _))) if from == *least => {
            format!("splice at every size ({cost})")
        }
        (Some(from), _) => {
            let from = kib(from);
            format!("{memory} below {from}, splice from {from} ({cost})")
        }
    }
}

/// What else there is: each against the plain copy.
fn others(rows: &[Row], source: Source, sink: Sink) -> String {
    let mut text = String::new();
    for (mode, what) in [
        (Mode::Passthrough, "passthrough where the kernel can have the file"),
        (Mode::Uring, "io_uring without recovery"),
    ] {
        let sinks = [sink, Sink::MountDirect, Sink::MountCached];
        let figures = sinks.iter().map(|sink| ratios(rows, source, *sink, mode));
        let figure = figures.filter_map(|ratios| at_usual(&ratios)).next();
        if let Some((size, ratio)) = figure {
            let percent = (ratio - 1.0) * 100.0;
            text += &format!("; {what} ({percent:+.0} % at {})", kib(size));
        }
    }
    text
}

/// The figure of the usual size, else of the largest.
fn at_usual(ratios: &[(usize, f64)]) -> Option<(usize, f64)> {
    ratios.iter().find(|(size, _)| *size == USUAL).or(ratios.last()).copied()
}

fn kib(bytes: usize) -> String {
    match bytes {
        0x10_0000.. if bytes.is_multiple_of(0x10_0000) => format!("{} MiB", bytes >> 20),
        _ => format!("{} KiB", bytes >> 10),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Cell;
    use super::super::report::Sample;
    use super::*;
    use std::time::Duration;

    /// Rows of one source and sink: each mode with its CPU time against a copy's, by size.
    fn rows(source: Source, sink: Sink, figures: &[(Mode, &[(usize, f64)])]) -> Vec<Row> {
        let sample = |ratio: f64| Sample {
            bytes: 1 << 20,
            requests: 1,
            wall: Duration::from_millis(1),
            server: Some(Duration::from_micros((ratio * 1000.0) as u64)),
            ..Sample::default()
        };
        let each = figures.iter().flat_map(|(mode, sizes)| {
            sizes.iter().map(move |(kib, ratio)| {
                let cell = Cell { source, sink, size: kib << 10, mode: *mode };
                Row::new(cell, &[sample(*ratio)], &[sample(1.0)], None).unwrap()
            })
        });
        each.collect()
    }

    const COPY: (Mode, &[(usize, f64)]) = (Mode::Copy, &[(4, 1.0), (64, 1.0), (128, 1.0)]);

    fn text(rows: &[Row]) -> String {
        let verdicts = verdicts(rows);
        let [verdict] = &verdicts[..] else { panic!("{verdicts:?}") };
        verdict.text.clone()
    }

    #[test]
    fn from_where_on_a_splice_pays() {
        let splice = (Mode::Splice, &[(4, 2.0), (64, 0.9), (128, 0.72)][..]);
        let rows = rows(Source::Unix, Sink::Pipe, &[COPY, splice]);
        let expected = "unix (to pipe): copy below 64 KiB, splice from 64 KiB (-28 % server CPU at \
                        128 KiB)";
        assert_eq!(text(&rows), expected);
        let verdict = &verdicts(&rows)[0];
        assert_eq!((verdict.splice_from_bytes, verdict.at_bytes), (Some(65_536), Some(131_072)));
        assert!((verdict.server_cpu_change_percent.unwrap() + 28.0).abs() < 0.01);
    }

    #[test]
    fn a_win_below_a_loss_is_chance() {
        let splice = (Mode::Splice, &[(4, 0.8), (64, 0.99), (128, 1.1)][..]);
        let rows = rows(Source::Tcp, Sink::Pipe, &[COPY, splice]);
        let expected = "tcp (to pipe): copy at every size (splice: +10 % server CPU at 128 KiB)";
        assert_eq!(text(&rows), expected);
        assert_eq!(verdicts(&rows)[0].splice_from_bytes, None);
    }

    #[test]
    fn at_every_size_and_at_none() {
        let splice = (Mode::Splice, &[(4, 0.5), (1024, 0.5)][..]);
        let always = rows(Source::File, Sink::Null, &[COPY, splice]);
        let expected = "file (to null): splice at every size (-50 % server CPU at 1 MiB)";
        assert_eq!(text(&always), expected);
        let alone = rows(Source::File, Sink::Null, &[COPY]);
        assert_eq!(text(&alone), "file (to null): copy; splice was not measured");
    }

    #[test]
    fn the_better_way_by_memory_is_what_a_splice_is_held_against() {
        let iovec = (Mode::Iovec, &[(4, 0.5), (64, 0.8), (128, 0.8)][..]);
        let splice = (Mode::Splice, &[(4, 0.9), (64, 0.9), (128, 0.72)][..]);
        let rows = rows(Source::Unix, Sink::Pipe, &[COPY, iovec, splice]);
        let expected = "unix (to pipe): iovec below 128 KiB, splice from 128 KiB (-10 % server CPU \
                        at 128 KiB)";
        assert_eq!(text(&rows), expected);
    }

    #[test]
    fn a_mount_says_more_than_a_pipe() {
        let splice = (Mode::Splice, &[(128, 0.9)][..]);
        let through = (Mode::Passthrough, &[(128, 0.01)][..]);
        let mut all = rows(Source::File, Sink::Pipe, &[COPY, (Mode::Splice, &[(128, 0.1)])]);
        all.extend(rows(Source::File, Sink::MountDirect, &[COPY, splice, through]));
        let expected = "file (to mount-direct): splice at every size (-10 % server CPU at 128 KiB); \
                        passthrough where the kernel can have the file (-99 % at 128 KiB)";
        assert_eq!(text(&all), expected);
    }

    #[test]
    fn no_rows_no_verdict() {
        assert_eq!(verdicts(&[]), []);
    }
}

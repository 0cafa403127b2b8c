//! Pictures for the page: the matrix and the pauses, as SVG inside of HTML.
//!
//! What a colour says a sign says too. The colours are those of Okabe and Ito, which people tell
//! apart who see colours differently.

use std::fmt::Write;

use super::grid::{Grid, Tally};
use super::histogram::Bin;
use super::html::escape;
use super::word;
use crate::crash::report::Verdict;

/// Side of a square of the matrix, pixels.
const SIDE: usize = 16;
/// Width of a letter, about.
const LETTER: usize = 7;
/// Width of the longest bar.
const BAR: usize = 480;
/// Height of a bar.
const ROW: usize = 18;

/// The matrix: a square a crossing.
pub(super) fn grid(grid: &Grid) -> String {
    let longest = |names: &[String]| {
        names.iter().map(|name| name.chars().count()).max().unwrap_or(0) * LETTER + 8
    };
    let (left, top) = (longest(&grid.rows), longest(&grid.columns));
    let (width, height) = (left + grid.columns.len() * SIDE + 8, top + grid.rows.len() * SIDE + 4);
    let mut svg = open(width, height, grid.title);
    for (column, name) in grid.columns.iter().enumerate() {
        let (x, y) = (left + column * SIDE + SIDE / 2 + 4, top - 4);
        let name = escape(name);
        put(
            &mut svg,
            format_args!("<text transform=\"translate({x} {y}) rotate(-90)\">{name}</text>\n"),
        );
    }
    for (row, name) in grid.rows.iter().enumerate() {
        let y = top + row * SIDE;
        let (x, base, name) = (left - 6, y + SIDE - 4, escape(name));
        put(
            &mut svg,
            format_args!("<text x=\"{x}\" y=\"{base}\" text-anchor=\"end\">{name}</text>\n"),
        );
        for column in 0..grid.columns.len() {
            if let Some(tally) = grid.at(row, column) {
                let title =
                    format!("{} at {}: {}", grid.rows[row], grid.columns[column], says(tally));
                square(&mut svg, left + column * SIDE, y, tally.verdict(), &title);
            }
        }
    }
    svg + "</svg>\n"
}

/// What the signs of [`grid`] mean.
pub(super) fn key() -> String {
    let verdicts = [Verdict::Ok, Verdict::Wrong, Verdict::Unreached];
    let mut svg = open(420, SIDE + 4, "signs");
    for (index, verdict) in verdicts.into_iter().enumerate() {
        let x = index * 110;
        square(&mut svg, x, 1, verdict, word(verdict));
        let (x, y, word) = (x + SIDE + 6, SIDE - 2, word(verdict));
        put(&mut svg, format_args!("<text x=\"{x}\" y=\"{y}\">{word}</text>\n"));
    }
    svg + "</svg>\n"
}

/// The pauses: a bar a bin.
pub(super) fn histogram(bins: &[Bin]) -> String {
    let most = bins.iter().map(|bin| bin.count).max().unwrap_or(0).max(1);
    let left = 110;
    let mut svg = open(left + BAR + 80, bins.len() * ROW + 4, "pauses");
    for (index, bin) in bins.iter().enumerate() {
        let (y, text) = (index * ROW, index * ROW + ROW - 5);
        let length = (bin.count as f64 / most as f64 * BAR as f64).ceil() as usize;
        let (end, label, count, height) = (left - 8, escape(&bin.label()), bin.count, ROW - 3);
        put(
            &mut svg,
            format_args!("<text x=\"{end}\" y=\"{text}\" text-anchor=\"end\">{label}</text>\n"),
        );
        put(
            &mut svg,
            format_args!(
                "<rect class=\"bar\" x=\"{left}\" y=\"{y}\" width=\"{length}\" height=\"{height}\"/>\n"
            ),
        );
        let x = left + length + 6;
        put(&mut svg, format_args!("<text x=\"{x}\" y=\"{text}\">{count}</text>\n"));
    }
    svg + "</svg>\n"
}

fn open(width: usize, height: usize, title: &str) -> String {
    format!(
        "<svg width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-label=\"{}\">\n",
        escape(title)
    )
}

fn square(svg: &mut String, x: usize, y: usize, verdict: Verdict, title: &str) {
    let (class, sign) = match verdict {
        Verdict::Ok => ("ok", "·"),
        Verdict::Wrong => ("wrong", "×"),
        Verdict::Unreached => ("unreached", "?"),
    };
    let (side, middle, base, title) = (SIDE - 1, x + SIDE / 2, y + SIDE - 4, escape(title));
    put(
        svg,
        format_args!(
            "<g class=\"{class}\"><title>{title}</title><rect x=\"{x}\" y=\"{y}\" \
             width=\"{side}\" height=\"{side}\"/><text x=\"{middle}\" y=\"{base}\" \
             text-anchor=\"middle\">{sign}</text></g>\n"
        ),
    );
}

fn says(tally: Tally) -> String {
    let Tally { ok, wrong, unreached } = tally;
    format!("{ok} ok, {wrong} wrong, {unreached} not reached")
}

fn put(svg: &mut String, text: std::fmt::Arguments<'_>) {
    // To a String it does not fail.
    let _ = svg.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::crash::{histogram::bins, testing};

    #[test]
    fn a_square_a_crossing() {
        let svg = grid(&Grid::of(&testing::matrix())[0]);
        for (class, squares) in [("ok", 2), ("wrong", 1), ("unreached", 1)] {
            assert_eq!(svg.matches(&format!("<g class=\"{class}\">")).count(), squares, "{class}");
        }
        assert!(
            svg.contains("<title>mkdir at read: 1 ok, 1 wrong, 0 not reached</title>"),
            "{svg}"
        );
        assert!(svg.contains(">after-done</text>"), "{svg}");
    }

    #[test]
    fn a_bar_a_bin() {
        let svg = histogram(&bins(&testing::storm()));
        let bars: Vec<&str> = svg.lines().filter(|line| line.contains("<rect")).collect();
        assert_eq!(bars.len(), 3);
        assert!(bars[0].contains("width=\"480\"") && bars[1].contains("width=\"48\""), "{svg}");
        assert!(bars[2].contains("width=\"5\""), "{svg}");
        assert!(svg.contains("up to 1.00 ms") && svg.contains(">100</text>"), "{svg}");
    }
}

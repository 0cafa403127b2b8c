//! For people: a table for each source and sink.
//!
//! In a narrow terminal the columns that say the least are left out, and named.

use super::words::{ending, groups, heading, size, style};
use crate::output::{Look, bytes};
use crate::splicing::name;
use crate::splicing::report::{Report, Row};
use crate::splicing::spread::Spread;

/// A column: its heading, how soon it is left out (0 never), and what is in it.
struct Column {
    heading: &'static str,
    rank: usize,
    cell: fn(&Row) -> String,
}

const COLUMNS: &[Column] = &[
    Column { heading: "size", rank: 0, cell: |row| size(row.size_bytes) },
    Column { heading: "mode", rank: 0, cell: |row| name(row.mode) },
    Column { heading: "GiB/s", rank: 0, cell: |row| format!("{:.2}", row.gib_per_s.median) },
    Column {
        heading: "min-max",
        rank: 6,
        cell: |row| format!("{:.2}-{:.2}", row.gib_per_s.min, row.gib_per_s.max),
    },
    Column { heading: "x speed", rank: 2, cell: |row| ratio(row.ratio_to_copy.gib_per_s) },
    Column { heading: "us", rank: 1, cell: |row| format!("{:.1}", row.request_us.median) },
    Column { heading: "server", rank: 0, cell: |row| ms(row.server_cpu_s_per_gib) },
    Column { heading: "x CPU", rank: 0, cell: |row| ratio(row.ratio_to_copy.server_cpu) },
    Column { heading: "client", rank: 1, cell: |row| ms(row.client_cpu_s_per_gib) },
    Column { heading: "peer", rank: 1, cell: |row| ms(row.peer_cpu_s_per_gib) },
    Column {
        heading: "splices",
        rank: 3,
        cell: |row| row.splices_per_request.map_or(String::new(), |it| format!("{it:.1}")),
    },
    Column { heading: "slots", rank: 4, cell: slots },
    Column {
        heading: "pipe",
        rank: 7,
        cell: |row| row.pipe_bytes.map_or(String::new(), |it| bytes(it as f64)),
    },
    Column { heading: "fallbacks", rank: 5, cell: fallbacks },
];

/// The whole of it.
pub fn table(report: &Report, look: Look) -> String {
    let rows: Vec<Vec<String>> =
        report.rows.iter().map(|row| COLUMNS.iter().map(|it| (it.cell)(row)).collect()).collect();
    let widths: Vec<usize> = (0..COLUMNS.len()).map(|column| width(column, &rows)).collect();
    let shown = shown(&widths, look.width);
    let line = |cells: &dyn Fn(usize) -> String| {
        let cells = shown.iter().map(|column| {
            let (cell, width) = (cells(*column), widths[*column]);
            // Words to the left, numbers to the right.
            if COLUMNS[*column].heading == "mode" {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        line.trim_end().to_string()
    };
    let mut text = heading(report);
    text += "CPU time in ms for each GiB; x: against the plain copy\n";
    text += &left_out(&shown);
    let mut rows = rows.iter();
    for (title, group) in groups(&report.rows) {
        text += &format!("\n{title}\n{}\n", line(&|column| COLUMNS[column].heading.into()));
        for (row, cells) in group.iter().zip(&mut rows) {
            text += &look.paint(style(row), &line(&|column| cells[column].clone()));
            text.push('\n');
        }
    }
    text + "\n" + &ending(report, look)
}

fn width(column: usize, rows: &[Vec<String>]) -> usize {
    let cells = rows.iter().map(|row| row[column].chars().count());
    cells.chain([COLUMNS[column].heading.len()]).max().unwrap_or(0)
}

/// The columns that there is room for, those with something to say first.
fn shown(widths: &[usize], room: usize) -> Vec<usize> {
    let mut shown: Vec<usize> = (0..COLUMNS.len()).collect();
    let wide = |shown: &[usize]| shown.iter().map(|it| widths[*it] + 2).sum::<usize>() > room + 2;
    while wide(&shown)
        && let Some(last) = shown.iter().copied().max_by_key(|it| COLUMNS[*it].rank)
        && COLUMNS[last].rank > 0
    {
        shown.retain(|column| *column != last);
    }
    shown
}

fn left_out(shown: &[usize]) -> String {
    let missing = (0..COLUMNS.len()).filter(|column| !shown.contains(column));
    let names: Vec<&str> = missing.map(|column| COLUMNS[column].heading).collect();
    match names.as_slice() {
        [] => String::new(),
        names => format!("no room for: {}; --json and --csv have them\n", names.join(", ")),
    }
}

fn ms(seconds: Option<Spread>) -> String {
    seconds.map_or(String::new(), |it| format!("{:.1}", it.median * 1e3))
}

fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or(String::new(), |it| format!("{it:.2}"))
}

fn slots(row: &Row) -> String {
    row.pipe_slots.map_or(String::new(), |it| format!("{}/{:.1}/{}", it.min, it.avg, it.max))
}

/// How many of all blocks, and why.
fn fallbacks(row: &Row) -> String {
    let share = |blocks: u64| blocks as f64 * 100.0 / row.requests.max(1) as f64;
    let one = |(reason, blocks): (&str, u64)| format!("{:.0} %: {reason}", share(blocks));
    let Some(fallbacks) = &row.fallbacks else { return String::new() };
    match fallbacks.as_slice() {
        [] => "none".into(),
        some => {
            let all = some.iter().map(|it| one((it.reason.as_str(), it.blocks)));
            all.collect::<Vec<_>>().join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::report;
    use super::*;

    #[test]
    fn a_wide_terminal_has_room_for_all() {
        let expected = "\
Linux 6.18.44; 2 x Some CPU
CAP_SYS_ADMIN yes, CAP_SYS_RESOURCE no; pipes up to 1.00 MiB; FUSE over io_uring off
wake-up round trip 4.5 us on one CPU, 52.2 us across two; pinned: cross; 3 rounds of 4.00 MiB
CPU time in ms for each GiB; x: against the plain copy

unix to pipe
   size  mode    GiB/s    min-max  x speed    us  server  x CPU  client  peer  splices    slots     pipe               fallbacks
128 KiB  copy     1.60  1.50-1.75     1.00  76.2   347.5   1.00   125.0
128 KiB  splice   2.00  1.50-2.50     1.25  61.0   250.0   0.72   125.0            3.0  4/4.5/6  256 KiB  25 %: the pipe is full

not measured:
  passthrough, unix to null, pipe, file: only a mount has it

by the server's CPU:
  unix (to pipe): splice at every size (-28 % server CPU at 128 KiB)
";
        assert_eq!(table(&report(), Look { width: 140, color: false }), expected);
    }

    #[test]
    fn a_narrow_one_has_what_matters() {
        for (width, left_out) in [
            (100, "min-max, pipe, fallbacks"),
            (80, "min-max, slots, pipe, fallbacks"),
            (60, "min-max, x speed, splices, slots, pipe, fallbacks"),
        ] {
            let text = table(&report(), Look { width, color: false });
            let rows = text.lines().filter(|line| line.contains(" KiB  "));
            let widest = rows.map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= width, "{widest}: {text}");
            assert!(text.contains(&format!("no room for: {left_out};")), "{text}");
            assert!(text.contains("  250.0   0.72"), "{text}");
        }
    }

    #[test]
    fn colours_where_they_are_wanted() {
        assert!(!table(&report(), Look { width: 80, color: false }).contains('\x1b'));
        let text = table(&report(), Look { width: 80, color: true });
        assert!(text.contains("\x1b[32m128 KiB  splice"), "{text:?}");
    }
}

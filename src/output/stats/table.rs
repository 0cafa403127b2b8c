//! Tables for a terminal. A row is never wrapped: columns that have no room are left out, the
//! least important first, and what stands in the last one is cut.

use console::{Style, measure_text_width, truncate_str};

use super::{errno_name, per_s, rate};
use crate::output::{Look, bytes, plain, time};
use crate::stats::{Caller, Histogram, Node, Operation};

/// Between two columns.
const GAP: usize = 2;
/// The last column may be cut to this.
const LEAST: usize = 8;

/// One column, from its head down.
struct Column {
    head: &'static str,
    /// What stands above this head and its neighbours of the same group; empty for nothing.
    group: &'static str,
    /// Columns are left out from the highest on; those with 0 stay.
    rank: u8,
    left: bool,
    style: Style,
    cells: Vec<String>,
}

impl Column {
    fn right(head: &'static str, rank: u8, cells: impl Iterator<Item = String>) -> Column {
        let (group, style) = ("", Style::new());
        Column { head, group, rank, left: false, style, cells: cells.collect() }
    }

    fn left(head: &'static str, cells: impl Iterator<Item = String>) -> Column {
        Column { left: true, ..Column::right(head, 0, cells) }
    }

    fn width(&self) -> usize {
        let texts = self.cells.iter().map(String::as_str).chain([self.head, self.group]);
        texts.map(measure_text_width).max().unwrap_or(0)
    }

    /// `text` as wide as the column is, painted.
    fn cell(&self, text: &str, width: usize, style: &Style, look: Look) -> String {
        let text = truncate_str(text, width, "…");
        let pad = " ".repeat(width.saturating_sub(measure_text_width(&text)));
        let text = if text.is_empty() { String::new() } else { look.paint(style.clone(), &text) };
        if self.left { text + &pad } else { pad + &text }
    }
}

/// What was done, by operation: those that took most of the time first.
pub(super) fn operations(sorted: &[&Operation], covers_ns: u64, split: bool, look: Look) -> String {
    let all = || sorted.iter().copied();
    let times = |rank, head, group, times: fn(&Operation) -> &Histogram, fraction: f64| Column {
        group,
        ..Column::right(head, rank, all().map(|operation| quantile(times(operation), fraction)))
    };
    let mut columns = vec![
        Column::left("operation", all().map(Operation::name)),
        Column::right("count", 0, all().map(|operation| operation.count.to_string())),
        Column::right("per s", 2, all().map(|operation| a_second(operation.count, covers_ns))),
    ];
    if all().any(|operation| operation.bytes > 0) {
        let speeds = all().map(|operation| speed(operation.bytes, covers_ns));
        columns.push(Column::right("bytes/s", 7, speeds));
    }
    columns.extend([
        times(6, "p50", "total", |operation| &operation.total, 0.5),
        times(10, "p90", "total", |operation| &operation.total, 0.9),
        times(0, "p99", "total", |operation| &operation.total, 0.99),
        times(5, "max", "total", |operation| &operation.total, 1.0),
    ]);
    if split {
        columns.extend([
            times(9, "p50", "queue", |operation| &operation.queue, 0.5),
            times(4, "p99", "queue", |operation| &operation.queue, 0.99),
            times(8, "p50", "service", |operation| &operation.service, 0.5),
            times(3, "p99", "service", |operation| &operation.service, 0.99),
        ]);
    }
    if all().any(|operation| !operation.errors.is_empty()) {
        let errors = Column::left("errors", all().map(errors));
        columns.push(Column { style: Style::new().red(), ..errors });
    }
    draw(columns, look)
}

/// Who asked.
pub(super) fn callers(callers: &[Caller], look: Look) -> String {
    let all = || callers.iter();
    let columns = vec![
        Column::right("pid", 0, all().map(|caller| caller.pid.to_string())),
        Column::right("count", 0, all().map(|caller| caller.count.to_string())),
        Column::right("time", 1, all().map(|caller| compact(time(caller.total_ns)))),
        Column::left("caller", all().map(|caller| plain(&caller.command))),
    ];
    draw(columns, look)
}

/// About what.
pub(super) fn nodes(nodes: &[Node], look: Look) -> String {
    let all = || nodes.iter();
    let path = |node: &Node| node.path.as_deref().map_or("-".into(), plain);
    let columns = vec![
        Column::right("node", 0, all().map(|node| node.id.to_string())),
        Column::right("count", 0, all().map(|node| node.count.to_string())),
        Column::right("time", 1, all().map(|node| compact(time(node.total_ns)))),
        Column::left("path", all().map(path)),
    ];
    draw(columns, look)
}

fn compact(text: String) -> String {
    text.replace(' ', "")
}

fn quantile(times: &Histogram, fraction: f64) -> String {
    if times.count() == 0 { "-".into() } else { compact(time(times.quantile(fraction))) }
}

fn a_second(count: u64, covers_ns: u64) -> String {
    rate(count, covers_ns).map_or("-".into(), per_s)
}

fn speed(number: u64, covers_ns: u64) -> String {
    let speed = rate(number, covers_ns).filter(|_| number > 0);
    speed.map_or("-".into(), |speed| compact(bytes(speed)))
}

/// `ENOENT 3`; of several the sum first, the most frequent next.
fn errors(operation: &Operation) -> String {
    let mut errors: Vec<(i32, u64)> = operation.errors.iter().map(|(e, n)| (*e, *n)).collect();
    errors.sort_by_key(|(errno, count)| (std::cmp::Reverse(*count), *errno));
    let named: Vec<String> =
        errors.iter().map(|(errno, count)| format!("{} {count}", errno_name(*errno))).collect();
    let sum = if errors.len() > 1 { format!("{}: ", operation.error_count()) } else { "".into() };
    sum + &named.join(", ")
}

/// Head and rows, indented.
fn draw(mut columns: Vec<Column>, look: Look) -> String {
    let room = look.width.saturating_sub(GAP);
    let mut widths = fit(&mut columns, room);
    let used = |widths: &[usize]| widths.iter().sum::<usize>() + GAP * widths.len() - GAP;
    let over = used(&widths).saturating_sub(room);
    if let Some(last) = widths.last_mut() {
        *last = last.saturating_sub(over).max(1);
    }
    let mut text = groups(&columns, &widths);
    let bold = Style::new().bold();
    text += &row(&columns, &widths, |column| (column.head, &bold), look);
    let rows = columns.first().map_or(0, |column| column.cells.len());
    for index in 0..rows {
        text += &row(&columns, &widths, |column| (&column.cells[index], &column.style), look);
    }
    text
}

/// Leaves out columns until the rest has room; returns how wide they are.
fn fit(columns: &mut Vec<Column>, room: usize) -> Vec<usize> {
    loop {
        let widths: Vec<usize> = columns.iter().map(Column::width).collect();
        let spare = match columns.last() {
            Some(last) if last.left => last.width().saturating_sub(LEAST),
            _ => 0,
        };
        let least = widths.iter().sum::<usize>() + GAP * columns.len() - GAP - spare;
        let worst = columns.iter().map(|column| column.rank).max().unwrap_or(0);
        if least <= room || worst == 0 {
            return widths;
        }
        columns.retain(|column| column.rank != worst);
    }
}

fn row<'a>(
    columns: &'a [Column],
    widths: &[usize],
    text: impl Fn(&'a Column) -> (&'a str, &'a Style),
    look: Look,
) -> String {
    let mut line = String::new();
    for (column, width) in columns.iter().zip(widths) {
        let (text, style) = text(column);
        line += &" ".repeat(GAP);
        line += &column.cell(text, *width, style, look);
    }
    line.trim_end().to_string() + "\n"
}

/// The line above the head: a name over the columns of each group.
fn groups(columns: &[Column], widths: &[usize]) -> String {
    let mut line = String::new();
    let pairs: Vec<(&str, usize)> =
        columns.iter().map(|column| column.group).zip(widths.iter().copied()).collect();
    for run in pairs.chunk_by(|one, next| one.0 == next.0 && !one.0.is_empty()) {
        let width = run.iter().map(|(_, width)| width).sum::<usize>() + GAP * (run.len() - 1);
        let name = run[0].0;
        let name = if width >= name.len() + 4 { format!(" {name} ") } else { name.to_string() };
        line += &" ".repeat(GAP);
        line += &match run[0].0 {
            "" => " ".repeat(width),
            _ if width >= name.len() + 2 => format!("{name:-^width$}"),
            _ => format!("{name:>width$}"),
        };
    }
    match line.trim_end() {
        "" => String::new(),
        line => format!("{line}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::stats::testing;

    fn table(width: usize) -> String {
        let snapshot = testing::snapshot();
        let sorted: Vec<&Operation> = snapshot.connections[0].operations.iter().collect();
        operations(&sorted, snapshot.covers_ns, true, Look { width, color: false })
    }

    #[test]
    fn with_room_for_all() {
        let expected = "
                                    ----------- total ------------  --- queue ----  --- service ----
  operation  count  per s  bytes/s     p50     p90     p99     max     p50     p99      p50      p99  errors
  LOOKUP         4    2.0        -   229us   803us   803us   803us  1.02us  3.00us    229us    800us  3: ENOENT 2, EACCES 1
  READ           2    1.0  1.50MiB  2.10ms  3.01ms  3.01ms  3.01ms  5.12us  6.00us   2.10ms   3.00ms
";
        assert_eq!(table(200), expected[1..]);
    }

    #[test]
    fn the_least_important_goes_first() {
        let heads = |width| {
            let table = table(width);
            let head = table.lines().nth(1).unwrap_or_default();
            head.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let expected = [
            (110, "operation count per s bytes/s p50 p90 p99 max p50 p99 p50 p99 errors"),
            (109, "operation count per s bytes/s p50 p99 max p50 p99 p50 p99 errors"),
            (101, "operation count per s bytes/s p50 p99 max p99 p50 p99 errors"),
            (92, "operation count per s bytes/s p50 p99 max p99 p99 errors"),
            (80, "operation count per s p50 p99 max p99 p99 errors"),
            (75, "operation count per s p99 max p99 p99 errors"),
            (67, "operation count per s p99 p99 p99 errors"),
            (59, "operation count per s p99 p99 errors"),
            (51, "operation count per s p99 errors"),
            (42, "operation count p99 errors"),
            (32, "operation count p99 err…"),
        ];
        for (width, columns) in expected {
            assert_eq!(heads(width), columns, "{width}");
        }
    }

    #[test]
    fn rows_fit() {
        for width in 34..200 {
            for line in table(width).lines() {
                assert!(measure_text_width(line) <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn empty_columns_are_left_out() {
        let quiet = Operation { opcode: 3, count: 1, ..Operation::default() };
        let text = operations(&[&quiet], 0, false, Look { width: 80, color: false });
        let expected = "
                           --------- total ----------
  operation  count  per s    p50    p90    p99    max
  GETATTR        1      -      -      -      -      -
";
        assert_eq!(text, expected[1..]);
    }

    #[test]
    fn wide_letters_keep_columns_in_line() {
        let caller =
            |pid, command: &str| Caller { pid, command: command.into(), count: 1, total_ns: 1000 };
        let text = callers(
            &[caller(1, "猫猫猫猫猫猫猫猫"), caller(12_345, "a\x1b[2J")],
            Look { width: 39, color: false },
        );
        let expected = "
    pid  count    time  caller
      1      1  1.00us  猫猫猫猫猫猫猫…
  12345      1  1.00us  a\\u{1b}[2J
";
        assert_eq!(text, expected[1..]);
    }
}

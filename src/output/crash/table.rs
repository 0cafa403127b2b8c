//! The matrix for a terminal: a mark a crossing, points by number, and why for what is not ok.

use console::Style;

use super::grid::{Grid, Tally};
use super::{not_ok, place, word};
use crate::crash::report::{MatrixReport, Verdict};
use crate::output::{Look, plain, time};

/// The whole of it.
pub fn table(matrix: &MatrixReport, look: Look) -> String {
    let mut text = String::new();
    for grid in Grid::of(matrix) {
        text += &format!("{}:\n", grid.title);
        text += &blocks(&grid, look);
        text.push('\n');
    }
    text += &format!(
        "{}  ok   {}  wrong   {}  not reached   blank: not on the way, or not asked for\n",
        paint(Verdict::Ok, look),
        paint(Verdict::Wrong, look),
        paint(Verdict::Unreached, look)
    );
    for cell in not_ok(matrix) {
        let why = cell.why.as_deref().unwrap_or("no reason given");
        let verdict = look.paint(style(cell.verdict), &format!("{:<11}", word(cell.verdict)));
        let [operation, place, mount, why] =
            [&cell.operation, &place(cell), &cell.mount, why].map(|part: &str| plain(part));
        text += &format!("{verdict} {operation} at {place} ({mount}): {why}\n");
    }
    let MatrixReport { cells, ok, wrong, unreached, worker_deaths, supervisor_deaths, .. } = matrix;
    text + &format!(
        "{cells} cells: {ok} ok, {wrong} wrong, {unreached} not reached; {worker_deaths} workers \
         and {supervisor_deaths} supervisors killed in {}\n",
        time(matrix.duration_ns)
    )
}

/// As many columns beside each other as there is room for.
fn blocks(grid: &Grid, look: Look) -> String {
    let names: Vec<String> = grid.rows.iter().map(|row| plain(row)).collect();
    let widest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let room = look.width.saturating_sub(widest + 2).max(10);
    let columns: Vec<usize> = (0..grid.columns.len()).collect();
    let mut text = String::new();
    for block in columns.chunks(room) {
        if columns.len() > 9 {
            text += &digits(widest, block.iter().map(|column| tens(column + 1)));
        }
        text += &digits(widest, block.iter().map(|column| ((column + 1) % 10).to_string()));
        for (row, name) in names.iter().enumerate() {
            let marks: String =
                block.iter().map(|column| mark(grid.at(row, *column), look)).collect();
            text += &format!("{name:<widest$}  {}\n", marks.trim_end());
        }
    }
    text + &legend(grid, look)
}

fn digits(indent: usize, digits: impl Iterator<Item = String>) -> String {
    format!("{:indent$}  {}\n", "", digits.collect::<String>())
}

/// The digit of tens, over each tenth column only.
fn tens(number: usize) -> String {
    if number.is_multiple_of(10) { (number / 10 % 10).to_string() } else { " ".to_string() }
}

/// What the numbers stand for, in as many columns as there is room for.
fn legend(grid: &Grid, look: Look) -> String {
    let entries: Vec<String> = (grid.columns.iter().enumerate())
        .map(|(index, name)| format!("{:>2} {}", index + 1, plain(name)))
        .collect();
    let widest = entries.iter().map(|entry| entry.chars().count()).max().unwrap_or(0) + 2;
    let lines = entries.chunks((look.width / widest).max(1));
    lines
        .map(|line| {
            let line: String = line.iter().map(|entry| format!("{entry:<widest$}")).collect();
            format!("{}\n", line.trim_end())
        })
        .collect()
}

fn mark(tally: Option<Tally>, look: Look) -> String {
    tally.map_or(" ".to_string(), |tally| paint(tally.verdict(), look))
}

fn paint(verdict: Verdict, look: Look) -> String {
    let mark = match verdict {
        Verdict::Ok => "·",
        Verdict::Wrong => "X",
        Verdict::Unreached => "?",
    };
    look.paint(style(verdict), mark)
}

fn style(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Ok => Style::new().green(),
        Verdict::Wrong => Style::new().red().bold(),
        Verdict::Unreached => Style::new().yellow().bold(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::crash::testing;

    const PLAIN: Look = Look { width: 80, color: false };

    #[test]
    fn a_small_matrix() {
        let expected = "\
operation by point:
        123
mkdir   X·
rename  · ?
 1 read         2 after-call   3 after-done

first by second crash:
      1
read  ·
 1 settled

·  ok   X  wrong   ?  not reached   blank: not on the way, or not asked for
wrong       mkdir at read (passthrough one-thread resend): expected <0>, got EIO
not reached rename at after-done (passthrough one-thread resend): expected <0>, got EIO
6 cells: 4 ok, 1 wrong, 1 not reached; 7 workers and 0 supervisors killed in 12.3 s
";
        let text: String = table(&testing::matrix(), PLAIN)
            .lines()
            .map(|line| format!("{}\n", line.trim_end()))
            .collect();
        assert_eq!(text, expected);
    }

    #[test]
    fn many_points_take_two_lines_of_digits_and_fold() {
        let points = crate::recovery::points::Point::ALL.iter().take(24);
        let cells = points.map(|point| testing::cell("mkdir", point.name(), None, Verdict::Ok));
        let matrix = MatrixReport { cell_list: cells.collect(), ..MatrixReport::default() };
        let text = table(&matrix, Look { width: 27, color: false });
        let head: Vec<&str> = text.lines().skip(1).take(6).map(str::trim_end).collect();
        let expected = [
            "                1         2",
            "       12345678901234567890",
            "mkdir  ····················",
            "",
            "       1234",
            "mkdir  ····",
        ];
        assert_eq!(head, expected);
    }

    #[test]
    fn colours_mark_what_is_wrong() {
        let text = table(&testing::matrix(), Look { width: 80, color: true });
        assert!(text.contains("mkdir   \x1b[31m\x1b[1mX\x1b[0m\x1b[32m·\x1b[0m"), "{text:?}");
        assert!(!table(&testing::matrix(), PLAIN).contains('\x1b'));
    }
}

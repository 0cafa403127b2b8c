//! A list with columns: sorted, scrolled, and drawn in whatever room there is.
//!
//! Columns that do not fit are left out, the least important first; the one that it is sorted by
//! stays. Numbers are never cut, names are.

use std::cmp::Ordering;

use console::measure_text_width;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::colors::{Colors, Tone};
use crate::output::plain;

/// A column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) kind: Kind,
    /// 0: always there; otherwise the greatest go first.
    pub(super) weight: u8,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Values of mostly so many characters, on the right.
    Number(usize),
    /// Words, cut at the end to so many characters where room is short.
    Name(usize),
    /// Paths, cut at the front.
    Path(usize),
}

/// What a row is about, so that it stays selected wherever it moves.
pub(super) type Key = (u64, u64);
/// The row of all others together. It is always the first.
pub(super) const ALL: Key = (u64::MAX, u64::MAX);

#[derive(Debug)]
pub(super) struct Row {
    pub(super) key: Key,
    pub(super) cells: Vec<Cell>,
}

#[derive(Debug)]
pub(super) struct Cell {
    text: String,
    order: Order,
    tone: Tone,
}

#[derive(Debug)]
enum Order {
    Number(f64),
    Text,
}

#[derive(Debug)]
pub(super) struct Table {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Row>,
}

/// How the user looks at a list.
#[derive(Debug)]
pub(super) struct View {
    sorted: usize,
    reverse: bool,
    selected: Option<Key>,
    /// Where the selected row was last, and how far the list was scrolled.
    index: usize,
    offset: usize,
    /// How many rows were shown last.
    height: usize,
}

impl Cell {
    /// A value as `text`, sorted by `value`; what is unknown comes last.
    pub(super) fn number(text: String, value: Option<f64>) -> Cell {
        Cell { text, order: Order::Number(value.unwrap_or(f64::NEG_INFINITY)), tone: Tone::Plain }
    }

    /// A name, made fit for a terminal.
    pub(super) fn name(text: &str) -> Cell {
        Cell { text: plain(text), order: Order::Text, tone: Tone::Plain }
    }

    pub(super) fn toned(self, tone: Tone) -> Cell {
        Cell { tone, ..self }
    }

    fn compare(&self, other: &Cell) -> Ordering {
        match (&self.order, &other.order) {
            // The greatest number first.
            (Order::Number(mine), Order::Number(others)) => others.total_cmp(mine),
            _ => self.text.cmp(&other.text),
        }
    }
}

impl View {
    pub(super) fn sorted_by(sorted: usize) -> View {
        View { sorted, reverse: false, selected: None, index: 0, offset: 0, height: 1 }
    }

    pub(super) fn reverse(&mut self) {
        self.reverse = !self.reverse;
    }

    /// Sorts by another column, so many further right.
    pub(super) fn sort(&mut self, by: i32, columns: usize) {
        let columns = columns.max(1) as i64;
        self.sorted = (self.sorted as i64 + i64::from(by)).rem_euclid(columns) as usize;
        self.reverse = false;
    }

    /// Puts the rows in order, and finds the selected one: where it went, or who is there now.
    pub(super) fn arrange(&mut self, table: &mut Table) {
        self.sorted = self.sorted.min(table.columns.len().saturating_sub(1));
        let (by, reverse) = (self.sorted, self.reverse);
        table.rows.sort_by(|a, b| {
            let order = a.cells[by].compare(&b.cells[by]);
            let order = if reverse { order.reverse() } else { order };
            (b.key == ALL).cmp(&(a.key == ALL)).then(order)
        });
        let found = table.rows.iter().position(|row| Some(row.key) == self.selected);
        self.index = found.unwrap_or(self.index.min(table.rows.len().saturating_sub(1)));
        self.selected = table.rows.get(self.index).map(|row| row.key);
    }

    pub(super) fn selected(&self) -> Option<Key> {
        self.selected
    }

    /// Selects the row that is so many further down; of an arranged table.
    pub(super) fn go(&mut self, table: &Table, by: i64) {
        let last = table.rows.len().saturating_sub(1) as i64;
        self.index = (self.index as i64).saturating_add(by).clamp(0, last) as usize;
        self.selected = table.rows.get(self.index).map(|row| row.key);
    }

    /// Rows of a page.
    pub(super) fn page(&self) -> i64 {
        self.height.max(1) as i64
    }

    /// Which row is selected of how many: "3/17".
    pub(super) fn place(&self, table: &Table) -> String {
        match table.rows.len() {
            0 => String::new(),
            rows => format!("{}/{rows}", self.index + 1),
        }
    }

    /// Draws an arranged table: the names of the columns, and the rows around the selected one.
    pub(super) fn draw(
        &mut self,
        table: &Table,
        focused: bool,
        area: Rect,
        buffer: &mut Buffer,
        colors: Colors,
    ) {
        self.height = usize::from(area.height.saturating_sub(1));
        if area.height == 0 || area.width == 0 {
            return;
        }
        let shown = fit(table, self.sorted, usize::from(area.width));
        let head = colors.style(if focused { Tone::Head } else { Tone::OtherHead });
        fill(buffer, Rect { height: 1, ..area }, head);
        let arrow = if self.reverse { "▲" } else { "▼" };
        for span in &shown {
            let Column { title, kind, .. } = table.columns[span.column];
            put(buffer, area, span.at, 0, &aligned(title, kind, span.width), head);
            if span.column != self.sorted {
                continue;
            }
            // Beside the title, where the gap between two columns is if there is no room.
            let length = measure_text_width(title);
            let beside = match kind {
                Kind::Number(_) => (span.at + span.width).checked_sub(length + 1),
                Kind::Name(_) | Kind::Path(_) => Some(span.at + length.min(span.width)),
            };
            if let Some(at) = beside {
                put(buffer, area, at, 0, arrow, head);
            }
        }
        let most = table.rows.len().saturating_sub(self.height);
        let above = (self.index + 1).saturating_sub(self.height);
        self.offset = self.offset.clamp(above, self.index.max(above)).min(most);
        let rows = table.rows.iter().enumerate().skip(self.offset).take(self.height);
        for (line, (index, row)) in rows.enumerate() {
            let y = line as u16 + 1;
            let selected = (index == self.index)
                .then(|| colors.style(if focused { Tone::Selected } else { Tone::OtherSelected }));
            if let Some(style) = selected {
                fill(buffer, Rect { y: area.y + y, height: 1, ..area }, style);
            }
            for span in &shown {
                let cell = &row.cells[span.column];
                let style = selected.unwrap_or(colors.style(cell.tone));
                let text = aligned(&cell.text, table.columns[span.column].kind, span.width);
                put(buffer, area, span.at, y, &text, style);
            }
        }
    }
}

/// Where a column is drawn.
struct Span {
    column: usize,
    at: usize,
    width: usize,
}

/// The columns that fit, each as wide as it has to be, names as wide as they can be.
fn fit(table: &Table, sorted: usize, room: usize) -> Vec<Span> {
    let wanted: Vec<usize> = (0..table.columns.len()).map(|column| wanted(table, column)).collect();
    let least = |column: usize| match table.columns[column].kind {
        Kind::Number(_) => wanted[column],
        Kind::Name(least) | Kind::Path(least) => least.min(wanted[column]),
    };
    let mut by_weight: Vec<usize> = (0..table.columns.len()).collect();
    by_weight.sort_by_key(|column| match table.columns[*column].weight {
        weight if *column == sorted => (weight.min(1), 0),
        weight => (weight, 1),
    });
    let mut taken = 0;
    let fits = |column: &usize| {
        taken += least(*column) + usize::from(taken > 0);
        taken <= room
    };
    let mut kept: Vec<usize> = by_weight.iter().copied().take_while(fits).collect();
    if kept.is_empty() {
        kept.push(by_weight[0]);
    }
    kept.sort_unstable();
    let taken: usize = kept.iter().map(|column| least(*column)).sum::<usize>() + kept.len() - 1;
    let mut left = room.saturating_sub(taken);
    let mut spans = Vec::new();
    for column in kept {
        let more = (wanted[column] - least(column)).min(left);
        left -= more;
        spans.push(Span { column, at: 0, width: least(column) + more });
    }
    let gap = if left >= spans.len() { 2 } else { 1 };
    let mut at = 0;
    for span in &mut spans {
        span.at = at;
        at += span.width + gap;
    }
    spans
}

/// The width at which nothing of a column is cut.
fn wanted(table: &Table, column: usize) -> usize {
    let Column { title, kind, .. } = table.columns[column];
    let usual = match kind {
        Kind::Number(usual) => usual,
        Kind::Name(_) | Kind::Path(_) => 0,
    };
    let cells = table.rows.iter().map(|row| measure_text_width(&row.cells[column].text));
    cells.max().unwrap_or(0).max(measure_text_width(title)).max(usual)
}

/// A text in a column: on its side, and cut where it has to be.
fn aligned(text: &str, kind: Kind, width: usize) -> String {
    let cut = match kind {
        Kind::Path(_) => cut_front(text, width),
        Kind::Number(_) | Kind::Name(_) => cut_end(text, width),
    };
    let blanks = " ".repeat(width.saturating_sub(measure_text_width(&cut)));
    match kind {
        Kind::Number(_) => blanks + &cut,
        Kind::Name(_) | Kind::Path(_) => cut + &blanks,
    }
}

/// The beginning of a text that has more than `width` columns.
pub(super) fn cut_end(text: &str, width: usize) -> String {
    console::truncate_str(text, width, "…").into_owned()
}

/// Its end.
fn cut_front(text: &str, width: usize) -> String {
    if measure_text_width(text) <= width {
        return text.to_string();
    }
    let too_long = |end: &str| measure_text_width(end) >= width.max(1);
    let mut ends = text.char_indices().map(|(at, _)| &text[at..]);
    format!("…{}", ends.find(|end| !too_long(end)).unwrap_or(""))
}

/// Writes a text into an area, as much of it as there is room for.
pub(super) fn put(buffer: &mut Buffer, area: Rect, x: usize, y: u16, text: &str, style: Style) {
    let area = area.intersection(buffer.area);
    if x < usize::from(area.width) && y < area.height {
        let room = usize::from(area.width) - x;
        buffer.set_stringn(area.x + x as u16, area.y + y, text, room, style);
    }
}

/// Gives an area a style.
fn fill(buffer: &mut Buffer, area: Rect, style: Style) {
    buffer.set_style(area.intersection(buffer.area), style);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(u64, &str, f64)]) -> Table {
        let row = |(key, name, value): &(u64, &str, f64)| Row {
            key: (*key, 0),
            cells: vec![
                Cell::name(name),
                Cell::number(value.to_string(), Some(*value)),
                Cell::number("-".into(), None),
            ],
        };
        let column = |title, kind, weight| Column { title, kind, weight };
        Table {
            columns: vec![
                column("path", Kind::Path(4), 0),
                column("value", Kind::Number(7), 1),
                column("more", Kind::Number(7), 2),
            ],
            rows: rows.iter().map(row).collect(),
        }
    }

    fn names(table: &Table) -> Vec<&str> {
        table.rows.iter().map(|row| row.cells[0].text.as_str()).collect()
    }

    const ROWS: [(u64, &str, f64); 3] = [(1, "b", 10.0), (2, "a", 9.0), (3, "c", 20.0)];

    #[test]
    fn sorted_both_ways() {
        let mut list = table(&ROWS);
        let mut view = View::sorted_by(0);
        view.arrange(&mut list);
        assert_eq!(names(&list), ["a", "b", "c"]);
        view.sort(1, 3);
        view.arrange(&mut list);
        assert_eq!(names(&list), ["c", "b", "a"]);
        view.reverse();
        view.arrange(&mut list);
        assert_eq!(names(&list), ["a", "b", "c"]);
        view.sort(-2, 3);
        assert_eq!((view.sorted, view.reverse), (2, false));
    }

    #[test]
    fn all_of_them_stay_on_top() {
        let mut list = table(&ROWS);
        list.rows.push(Row { key: ALL, cells: table(&[(9, "z", 1.0)]).rows.remove(0).cells });
        let mut view = View::sorted_by(1);
        view.arrange(&mut list);
        assert_eq!(names(&list), ["z", "c", "b", "a"]);
        view.reverse();
        view.arrange(&mut list);
        assert_eq!(names(&list), ["z", "a", "b", "c"]);
    }

    #[test]
    fn the_selected_row_stays_selected() {
        let mut view = View::sorted_by(1);
        let mut list = table(&ROWS);
        view.arrange(&mut list);
        view.go(&list, 1);
        assert_eq!(view.selected(), Some((1, 0)));
        // It comes first now.
        let mut list = table(&[(1, "b", 100.0), (2, "a", 9.0), (3, "c", 20.0)]);
        view.arrange(&mut list);
        assert_eq!((view.selected(), view.index), (Some((1, 0)), 0));
        view.go(&list, i64::MAX);
        assert_eq!(view.selected(), Some((2, 0)));
        // It is gone: who is in its place, or the last.
        let mut list = table(&[(1, "b", 100.0), (3, "c", 20.0)]);
        view.arrange(&mut list);
        assert_eq!(view.selected(), Some((3, 0)));
        view.arrange(&mut table(&[]));
        assert_eq!(view.selected(), None);
    }

    fn drawn(view: &mut View, list: &mut Table, width: u16, height: u16) -> Vec<String> {
        view.arrange(list);
        let area = Rect::new(0, 0, width, height);
        let mut buffer = Buffer::empty(area);
        view.draw(list, true, area, &mut buffer, Colors::None);
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol().to_string()).collect::<String>();
        (0..height).map(|y| line(y).trim_end().to_string()).collect()
    }

    #[test]
    fn narrow_tables_have_fewer_columns() {
        let mut list = table(&[(1, "/a/long/path", 10.0)]);
        let mut view = View::sorted_by(0);
        let lines = drawn(&mut view, &mut list, 40, 2);
        assert_eq!(lines, ["path▼           value     more", "/a/long/path       10        -"]);
        assert_eq!(drawn(&mut view, &mut list, 16, 2), ["path▼      value", "…ng/path      10"]);
        assert_eq!(drawn(&mut view, &mut list, 8, 2), ["path▼", "…ng/path"]);
        view.sort(2, 3);
        assert_eq!(drawn(&mut view, &mut list, 16, 2), ["path       ▼more", "…ng/path       -"]);
    }

    #[test]
    fn the_list_follows_the_selection() {
        let rows: Vec<(u64, String, f64)> =
            (0..9u64).map(|n| (n, format!("row{n}"), 0.0)).collect();
        let rows: Vec<(u64, &str, f64)> =
            rows.iter().map(|(n, s, v)| (*n, s.as_str(), *v)).collect();
        let mut list = table(&rows);
        let mut view = View::sorted_by(0);
        assert_eq!(drawn(&mut view, &mut list, 4, 4)[1..], ["row0", "row1", "row2"]);
        view.go(&list, view.page());
        assert_eq!(drawn(&mut view, &mut list, 4, 4)[1..], ["row1", "row2", "row3"]);
        view.go(&list, -1);
        assert_eq!(drawn(&mut view, &mut list, 4, 4)[1..], ["row1", "row2", "row3"]);
        view.go(&list, 100);
        assert_eq!(drawn(&mut view, &mut list, 4, 4)[1..], ["row6", "row7", "row8"]);
        view.go(&list, -8);
        assert_eq!(drawn(&mut view, &mut list, 4, 4)[1..], ["row0", "row1", "row2"]);
        // More room than before: no empty lines as long as there are rows.
        view.go(&list, 100);
        drawn(&mut view, &mut list, 4, 4);
        assert_eq!(drawn(&mut view, &mut list, 4, 8)[1..], names(&list)[2..]);
    }

    #[test]
    fn cuts() {
        assert_eq!((cut_end("abcdef", 4), cut_front("abcdef", 4)), ("abc…".into(), "…def".into()));
        assert_eq!((cut_end("ab", 4), cut_front("ab", 4)), ("ab".into(), "ab".into()));
        assert_eq!(cut_front("日本語", 4), "…語");
        assert_eq!((cut_front("ab", 0), cut_front("", 0)), ("…".into(), String::new()));
    }
}

//! The matrix as rows and columns: how many cells of each verdict lie at each crossing.

use std::collections::BTreeMap;

use crate::crash::report::{Cell, MatrixReport, Verdict};
use crate::recovery::points::Point;

/// The cells at one crossing, from all the mounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// As without a crash.
    pub ok: u64,
    /// Not.
    pub wrong: u64,
    /// The point was not passed.
    pub unreached: u64,
}

impl Tally {
    /// The worst of them.
    pub fn verdict(self) -> Verdict {
        match self {
            Tally { wrong: 1.., .. } => Verdict::Wrong,
            Tally { unreached: 1.., .. } => Verdict::Unreached,
            _ => Verdict::Ok,
        }
    }

    fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Ok => self.ok += 1,
            Verdict::Wrong => self.wrong += 1,
            Verdict::Unreached => self.unreached += 1,
        }
    }
}

/// Rows and columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grid {
    /// What it shows, for a heading.
    pub title: &'static str,
    /// The names of the rows, in the order in which they were tried.
    pub rows: Vec<String>,
    /// The names of the columns, in the order in which the points are passed.
    pub columns: Vec<String>,
    cells: BTreeMap<(usize, usize), Tally>,
}

impl Grid {
    /// The grids of a matrix, without empty ones: operation by point for single crashes, first by
    /// second point for pairs.
    pub fn of(matrix: &MatrixReport) -> Vec<Grid> {
        let (pairs, singles): (Vec<&Cell>, Vec<&Cell>) =
            matrix.cell_list.iter().partition(|cell| cell.second.is_some());
        let mut operations: Vec<String> = Vec::new();
        for cell in &singles {
            if !operations.contains(&cell.operation) {
                operations.push(cell.operation.clone());
            }
        }
        let points = in_order(singles.iter().map(|cell| cell.point.as_str()));
        let single = Grid::new("operation by point", operations, points, &singles, |cell| {
            (&cell.operation, &cell.point)
        });
        let second = |cell: &&Cell| cell.second.clone().unwrap_or_default();
        let firsts = in_order(pairs.iter().map(|cell| cell.point.as_str()));
        let seconds: Vec<String> = pairs.iter().map(second).collect();
        let seconds = in_order(seconds.iter().map(String::as_str));
        let pair = Grid::new("first by second crash", firsts, seconds, &pairs, |cell| {
            (&cell.point, cell.second.as_deref().unwrap_or_default())
        });
        [single, pair].into_iter().filter(|grid| !grid.rows.is_empty()).collect()
    }

    fn new<'a>(
        title: &'static str,
        rows: Vec<String>,
        columns: Vec<String>,
        from: &[&'a Cell],
        names: impl Fn(&'a Cell) -> (&'a str, &'a str),
    ) -> Grid {
        let mut cells: BTreeMap<(usize, usize), Tally> = BTreeMap::new();
        for cell in from {
            let (row, column) = names(cell);
            let row = rows.iter().position(|name| name == row);
            let column = columns.iter().position(|name| name == column);
            if let (Some(row), Some(column)) = (row, column) {
                cells.entry((row, column)).or_default().add(cell.verdict);
            }
        }
        Grid { title, rows, columns, cells }
    }

    /// What lies at a crossing; `None`: that point is not on the way.
    pub fn at(&self, row: usize, column: usize) -> Option<Tally> {
        self.cells.get(&(row, column)).copied()
    }
}

/// Each name once, in the order in which the points are passed.
fn in_order<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let rank = |name: &str| Point::named(name).map_or(usize::MAX, |point| point as usize);
    let ordered: BTreeMap<(usize, &str), ()> = names.map(|name| ((rank(name), name), ())).collect();
    ordered.into_keys().map(|(_, name)| name.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::crash::testing;

    #[test]
    fn cells_lie_where_they_belong() {
        let grids = Grid::of(&testing::matrix());
        let [single, pair] = &grids[..] else { panic!("{grids:?}") };
        assert_eq!(single.rows, ["mkdir", "rename"]);
        assert_eq!(single.columns, ["read", "after-call", "after-done"], "as they are passed");
        let tally = single.at(0, 0).unwrap();
        assert_eq!(tally, Tally { ok: 1, wrong: 1, unreached: 0 });
        assert_eq!(tally.verdict(), Verdict::Wrong);
        assert_eq!(single.at(0, 1).unwrap().verdict(), Verdict::Ok);
        assert_eq!(single.at(0, 2), None);
        assert_eq!(single.at(1, 2).unwrap().verdict(), Verdict::Unreached);
        assert_eq!(
            (&pair.rows[..], &pair.columns[..]),
            (&["read".into()][..], &["settled".into()][..])
        );
        assert_eq!(pair.at(0, 0), Some(Tally { ok: 1, wrong: 0, unreached: 0 }));
        assert_eq!(Grid::of(&MatrixReport::default()), []);
    }
}

//! The findings of crash tests, in every form in which they are given out.
//!
//! | file | what |
//! | --- | --- |
//! | `text` | the summary for a terminal |
//! | `table` | the matrix for a terminal |
//! | `histogram` | pauses, as bars for a terminal |
//! | `json` | for programs |
//! | `html`, `svg` | a page to attach to a bug report |
//! | `points` | the list of kill points |
//! | `progress` | what is shown while it runs |
//! | `grid` | the matrix, counted: what `table` and `svg` draw |

pub mod grid;
pub mod histogram;
pub mod html;
pub mod json;
pub mod points;
pub mod progress;
mod svg;
pub mod table;
#[cfg(test)]
mod testing;
pub mod text;

use crate::crash::report::{Cell, FaultReport, MatrixReport, StormReport, Verdict};

/// What the tests of one call of the command came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// Of `--matrix`.
    pub matrix: Option<MatrixReport>,
    /// Of a storm, or its replay.
    pub storm: Option<StormReport>,
    /// Of `--hang` and the like.
    pub faults: Vec<FaultReport>,
}

impl Findings {
    /// How much went wrong. A cell that is not reached has proved nothing: it counts.
    pub fn anomalies(&self) -> u64 {
        let matrix = self.matrix.as_ref().map_or(0, |matrix| matrix.wrong + matrix.unreached);
        let storm = self.storm.as_ref().map_or(0, |storm| storm.anomalies);
        matrix + storm + self.faults.iter().map(|fault| fault.anomalies).sum::<u64>()
    }

    /// Why nothing at all could be tested, if so.
    pub fn why_nothing(&self) -> Option<String> {
        let skipped =
            |fault: &FaultReport| Some(format!("{}: {}", fault.fault, fault.skipped.clone()?));
        if self.matrix.is_some() || self.storm.is_some() {
            return None;
        }
        let why: Option<Vec<String>> = self.faults.iter().map(skipped).collect();
        why.filter(|why| !why.is_empty()).map(|why| why.join("; "))
    }
}

/// The verdict as it is printed.
fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Wrong => "wrong",
        Verdict::Unreached => "not reached",
    }
}

/// Where a cell's crashes were.
fn place(cell: &Cell) -> String {
    match &cell.second {
        None => cell.point.clone(),
        Some(second) => format!("{}, then {second}", cell.point),
    }
}

/// Those that have to be explained.
fn not_ok(matrix: &MatrixReport) -> impl Iterator<Item = &Cell> {
    matrix.cell_list.iter().filter(|cell| cell.verdict != Verdict::Ok)
}

/// "1 anomaly", "2 anomalies".
fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_reached_is_a_failure() {
        let findings = testing::findings();
        assert_eq!(findings.anomalies(), 1 + 1 + 1 + 1, "wrong, unreached, storm, fault");
        assert_eq!(findings.why_nothing(), None);
        assert_eq!(Findings::default().anomalies(), 0);
        assert_eq!(Findings::default().why_nothing(), None);
    }

    #[test]
    fn only_what_was_skipped_is_no_success() {
        let mut findings = Findings { faults: testing::findings().faults, ..Findings::default() };
        assert_eq!(findings.why_nothing(), None, "one of them was tried");
        findings.faults.retain(|fault| fault.skipped.is_some());
        assert_eq!(findings.why_nothing().as_deref(), Some("oom: no memory cgroup"));
    }
}

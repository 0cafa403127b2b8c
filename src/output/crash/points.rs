//! The list of kill points.

use serde::Serialize;

use crate::crash::report::SCHEMA;
use crate::output::{Look, plain};
use crate::recovery::points::{Part, Point};

#[derive(Serialize)]
struct Points {
    schema: u32,
    points: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    part: &'static str,
    what: &'static str,
}

fn rows() -> Vec<Row> {
    let row = |point: &Point| {
        let part = match point.part() {
            Part::Request => "request",
            Part::Takeover => "takeover",
            Part::Replacement => "replacement",
            Part::Promotion => "promotion",
            Part::Upgrade => "upgrade",
        };
        Row { name: point.name(), part, what: point.what() }
    };
    Point::ALL.iter().map(row).collect()
}

/// A line each: name, part, what was done last.
pub fn list(look: Look) -> String {
    let line = |row: Row| {
        let name = look.paint(console::Style::new().bold(), &format!("{:<15}", row.name));
        format!("{name} {:<12} {}\n", row.part, plain(row.what))
    };
    rows().into_iter().map(line).collect()
}

/// The same as one object.
///
/// # Errors
/// As [`json`](super::json::json).
pub fn json() -> serde_json::Result<String> {
    Ok(serde_json::to_string(&Points { schema: SCHEMA, points: rows() })? + "\n")
}

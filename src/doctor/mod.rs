//! What this machine can and cannot do for a mount.
//!
//! Each check looks at one thing, changes nothing, and says what it found and what helps. `fail`
//! means that a mount does not work here; `warn`, that it works with less.

mod kernel;
mod stats;
mod system;

use std::fmt;

use crate::stats::collect;

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Ok,
    /// A mount works, with less.
    Warn,
    /// A mount does not work.
    Fail,
}

impl Level {
    /// As it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name.
    pub what: &'static str,
    /// How it went.
    pub level: Level,
    /// What was found, in a line.
    pub detail: String,
    /// What helps; empty where nothing is wrong.
    pub cure: String,
}

impl Check {
    fn ok(what: &'static str, detail: impl Into<String>) -> Check {
        Check { what, level: Level::Ok, detail: detail.into(), cure: String::new() }
    }

    fn warn(what: &'static str, detail: impl Into<String>, cure: impl Into<String>) -> Check {
        Check { what, level: Level::Warn, detail: detail.into(), cure: cure.into() }
    }

    fn fail(what: &'static str, detail: impl Into<String>, cure: impl Into<String>) -> Check {
        Check { level: Level::Fail, ..Check::warn(what, detail, cure) }
    }
}

/// `ok    what: detail`, or `warn  what: detail: cure`.
impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<5} {}: {}", self.level.name(), self.what, self.detail)?;
        if self.cure.is_empty() { Ok(()) } else { write!(f, ": {}", self.cure) }
    }
}

/// Looks at everything.
pub fn examine() -> Vec<Check> {
    let mut checks = kernel::checks();
    checks.extend(system::checks());
    checks.extend(stats::checks(&collect::probe()));
    checks
}

/// The checks as JSON: `{"schema": 1, "checks": [{"level", "what", "detail", "cure"}, ...]}`, all
/// strings, `level` one of `ok`, `warn` and `fail`.
pub fn json(checks: &[Check]) -> String {
    let rows: Vec<String> = checks
        .iter()
        .map(|check| {
            let fields = [
                ("level", check.level.name()),
                ("what", check.what),
                ("detail", &check.detail),
                ("cure", &check.cure),
            ];
            let fields = fields.map(|(key, value)| format!("\"{key}\": {}", quoted(value)));
            format!("    {{{}}}", fields.join(", "))
        })
        .collect();
    format!("{{\n  \"schema\": 1,\n  \"checks\": [\n{}\n  ]\n}}\n", rows.join(",\n"))
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out += &format!("\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_says_what_the_lines_say() {
        let checks = [
            Check::ok("a", "b \"c\" \\ \n \u{7f} ä"),
            Check::warn("d", "e", "f"),
            Check::fail("g", "h", "i"),
        ];
        let value: serde_json::Value = serde_json::from_str(&json(&checks)).unwrap();
        let row = |level: &str, what: &str, detail: &str, cure: &str| serde_json::json!({"level": level, "what": what, "detail": detail, "cure": cure});
        let rows = [
            row("ok", "a", "b \"c\" \\ \n \u{7f} ä", ""),
            row("warn", "d", "e", "f"),
            row("fail", "g", "h", "i"),
        ];
        assert_eq!(value, serde_json::json!({"schema": 1, "checks": rows}));
        assert_eq!(checks[1].to_string(), "warn  d: e: f");
        assert_eq!(Check::ok("x", "y").to_string(), "ok    x: y");
    }
}

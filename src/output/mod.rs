//! What is printed, and how it looks: an exporter for each form.
//!
//! Exporters are pure: a report and a [`Look`] in, text out. Who calls them writes it.

mod bar;
pub mod bpf_load;
pub mod crash;
pub mod live;
pub mod progress;
pub mod splice_bench;
pub mod stats;

use std::fmt::Write;
use std::io::IsTerminal;

use console::{Style, Term};

/// How much room there is, and whether colours are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Columns.
    pub width: usize,
    /// Escape sequences may be used.
    pub color: bool,
}

impl Look {
    /// That of stdout: its terminal's width, and colours unless `NO_COLOR` is set.
    pub fn of_stdout() -> Look {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let columns = Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
        Look {
            width: columns.filter(|columns| *columns >= 20).unwrap_or(80),
            color: std::io::stdout().is_terminal() && !no_color,
        }
    }

    /// `text` in a style, where colours are wanted.
    fn paint(self, style: Style, text: &str) -> String {
        style.force_styling(self.color).apply_to(text).to_string()
    }
}

/// What comes from file names and other programs, on one line and without what a terminal would
/// take for a command.
pub fn plain(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut line, c| {
        match c {
            c if is_command(c) => {
                // To a String it does not fail.
                let _ = write!(line, "{}", c.escape_default());
            }
            c => line.push(c),
        }
        line
    })
}

/// Whether a terminal does something else with it than show it.
fn is_command(c: char) -> bool {
    // Those that turn the direction of writing around make a line say what it does not.
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A time with three digits that say something.
pub fn time(ns: u64) -> String {
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..999_500 => (ns as f64 / 1e3, "us"),
        999_500..999_500_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    three_digits(value, unit)
}

/// A number of bytes with three digits that say something.
pub fn bytes(bytes: f64) -> String {
    let mut value = bytes;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if value < 999.5 {
            return if unit == "B" { format!("{value:.0} B") } else { three_digits(value, unit) };
        }
        value /= 1024.0;
    }
    three_digits(value, "PiB")
}

fn three_digits(value: f64, unit: &str) -> String {
    let decimals = match value {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let expected = [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 us"),
            (12_345, "12.3 us"),
            (999_499, "999 us"),
            (999_500, "1.00 ms"),
            (9_994_000, "9.99 ms"),
            (9_996_000, "10.0 ms"),
            (123_456_789, "123 ms"),
            (999_600_000, "1.00 s"),
            (61_000_000_000, "61.0 s"),
            (3_600_000_000_000, "3600 s"),
        ];
        for (ns, text) in expected {
            assert_eq!(time(ns), text);
        }
    }

    #[test]
    fn sizes() {
        let expected = [
            (0.0, "0 B"),
            (999.4, "999 B"),
            (999.5, "0.98 KiB"),
            (1536.0, "1.50 KiB"),
            (10_240.0, "10.0 KiB"),
            (1_048_576.0 * 999.0, "999 MiB"),
            (1e30, "888178419700125 PiB"),
        ];
        for (number, text) in expected {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn nothing_reaches_the_terminal() {
        assert_eq!(plain("a\x1b[31mb\nc\u{202e}d"), "a\\u{1b}[31mb\\nc\\u{202e}d");
        assert_eq!(plain("a\u{9b}1m\u{2066}b"), "a\\u{9b}1m\\u{2066}b");
        assert_eq!(plain("ä \"b\" 'c'"), "ä \"b\" 'c'");
    }

    #[test]
    fn colours_only_where_they_are_wanted() {
        let red = || Style::new().red();
        assert_eq!(Look { width: 80, color: false }.paint(red(), "x"), "x");
        assert_eq!(Look { width: 80, color: true }.paint(red(), "x"), "\x1b[31mx\x1b[0m");
    }
}

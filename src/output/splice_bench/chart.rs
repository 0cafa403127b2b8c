//! For people: bytes a second as bars, longer ones for more, green for less of the server's CPU.

use super::words::{ending, groups, heading, size, style};
use crate::output::Look;
use crate::output::bar::bar;
use crate::splicing::name;
use crate::splicing::report::{Report, Row};

/// A bar is not shorter than this, however narrow the terminal is.
const LEAST: usize = 8;

/// A chart for each source and sink, with the longest bar of it as long as there is room.
pub fn chart(report: &Report, look: Look) -> String {
    let mut text = heading(report);
    text += "GiB/s, and the server's CPU time against the plain copy\n";
    for (title, group) in groups(&report.rows) {
        text += &format!("\n{title}\n");
        let most = group.iter().map(length).max().unwrap_or(0);
        for row in group {
            let cpu = row.ratio_to_copy.server_cpu;
            let cpu = cpu.map_or(String::new(), |ratio| format!("{ratio:.2}"));
            let speed = row.gib_per_s.median;
            let size = size(row.size_bytes);
            let start = format!("{size:>8}  {:<11} {speed:>6.2} {cpu:>5} ", name(row.mode));
            let room = look.width.saturating_sub(start.chars().count()).max(LEAST);
            let bar = look.paint(style(row), &bar(length(row), most, room));
            text += format!("{start}{bar}").trim_end();
            text.push('\n');
        }
    }
    text + "\n" + &ending(report, look)
}

/// In KiB a second.
fn length(row: &Row) -> u64 {
    (row.gib_per_s.median * f64::from(1 << 20)) as u64
}

#[cfg(test)]
mod tests {
    use super::super::testing::report;
    use super::*;

    #[test]
    fn bars_fill_the_terminal() {
        let text = chart(&report(), Look { width: 55, color: false });
        let expected = "
unix to pipe
 128 KiB  copy          1.60  1.00 ████████████████
 128 KiB  splice        2.00  0.72 ████████████████████

not measured:
";
        assert!(text.contains(expected), "{text}");
        assert!(text.starts_with("Linux 6.18.44; 2 x Some CPU\n") && !text.contains('\x1b'));
        let wide = chart(&report(), Look { width: 120, color: true });
        let splice = wide.lines().find(|line| line.contains("splice  ")).unwrap();
        assert!(splice.contains("\x1b[32m█"), "{splice:?}");
        assert_eq!(console::strip_ansi_codes(splice).chars().count(), 120);
    }
}

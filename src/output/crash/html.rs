//! Findings as one page without anything outside of it, to attach to a bug report.

use std::time::SystemTime;

use super::grid::Grid;
use super::histogram::bins;
use super::{Findings, counted, not_ok, place, svg, text, word};
use crate::crash::report::{Anomaly, FaultReport, MatrixReport, StormReport, Verdict};
use crate::output::time;

/// What the page says beside the findings.
#[derive(Clone, Debug)]
pub struct Occasion {
    /// The command line.
    pub command: String,
    /// What chance began with, where it had a part.
    pub seed: Option<u64>,
    /// When it ended.
    pub date: SystemTime,
    /// The kernel's release.
    pub kernel: String,
}

const STYLE: &str = include_str!("report.css");

/// The page.
pub fn html(findings: &Findings, occasion: &Occasion) -> String {
    let number = findings.anomalies();
    let outcome = match number {
        0 => "no anomaly".to_string(),
        _ => counted(number, "anomaly", "anomalies"),
    };
    let class = if number == 0 { "good" } else { "bad" };
    let mut body = format!("<h1>fusex crash-test: <span class=\"{class}\">{outcome}</span></h1>\n");
    body += &facts(occasion);
    body += &findings.storm.as_ref().map_or(String::new(), storm);
    body += &findings.matrix.as_ref().map_or(String::new(), matrix);
    body.extend(findings.faults.iter().map(fault));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <title>fusex crash-test: {outcome}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
}

/// Text as it may stand anywhere in the page.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
    }
    out
}

/// What comes from elsewhere: on one line, and escaped.
fn foreign(text: &str) -> String {
    escape(&crate::output::plain(text))
}

fn facts(occasion: &Occasion) -> String {
    let date = humantime::format_rfc3339_seconds(occasion.date);
    let rows = [
        ("command", Some(format!("<code>{}</code>", foreign(&occasion.command)))),
        ("seed", occasion.seed.map(|seed| seed.to_string())),
        ("fusex", Some(env!("CARGO_PKG_VERSION").to_string())),
        ("kernel", Some(foreign(&occasion.kernel))),
        ("date", Some(date.to_string())),
    ];
    let rows = rows.into_iter().filter_map(|(name, value)| Some((name, value?)));
    pairs(rows)
}

/// A table of names and values; values are HTML.
fn pairs<'a>(rows: impl Iterator<Item = (&'a str, String)>) -> String {
    let rows = rows.map(|(name, value)| format!("<tr><th>{name}</th><td>{value}</td></tr>\n"));
    format!("<table class=\"facts\">\n{}</table>\n", rows.collect::<String>())
}

/// A table with a heading; cells are text.
fn table<const N: usize>(heads: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let line = |tag: &str, cells: [String; N]| {
        let cells = cells.map(|cell| format!("<{tag}>{}</{tag}>", foreign(&cell)));
        format!("<tr>{}</tr>\n", cells.concat())
    };
    let head = line("th", heads.map(String::from));
    let rows: String = rows.map(|row| line("td", row)).collect();
    format!("<table>\n<thead>{head}</thead>\n<tbody>\n{rows}</tbody>\n</table>\n")
}

fn storm(storm: &StormReport) -> String {
    let recovered = &storm.recovered;
    let values: [(&str, u64); 6] = [
        ("operations", storm.operations),
        ("recovered from slots", recovered.recovered_from_slots),
        ("of which had happened", recovered.recovered_probed),
        ("recovered from the journal", recovered.recovered_from_journal),
        ("sent again by the kernel", recovered.recovered_resent),
        ("lookups kept longer than needed", storm.leaked_lookups),
    ];
    let mut rows = vec![("mount", foreign(&storm.mount)), ("ran for", time(storm.duration_ns))];
    rows.extend(values.map(|(name, value)| (name, value.to_string())));
    rows.push(("deaths", foreign(&text::deaths(storm))));
    rows.extend(storm.trace.iter().map(|trace| ("trace", foreign(trace))));
    let mut html = format!("<h2>Storm</h2>\n{}", pairs(rows.into_iter()));
    if !storm.unchecked.is_empty() {
        let items = storm.unchecked.iter().map(|what| format!("<li>{}</li>\n", foreign(what)));
        html += &format!("<h3>Not checked</h3>\n<ul>\n{}</ul>\n", items.collect::<String>());
    }
    if storm.pauses.pauses > 0 {
        html += "<h3>Pauses of callers</h3>\n";
        html += &format!("<p>{}</p>\n", text::pauses(&storm.pauses));
        html += &svg::histogram(&bins(storm));
    }
    if !storm.anomaly_list.is_empty() {
        html += "<h3>Anomalies</h3>\n";
        html.extend(storm.anomaly_list.iter().map(anomaly));
    }
    html
}

fn anomaly(anomaly: &Anomaly) -> String {
    let generation = anomaly.generation.map(|generation| generation.to_string());
    let rows = [
        ("operation", Some(anomaly.operation.clone())),
        ("path", Some(anomaly.path.clone()).filter(|path| !path.is_empty())),
        ("expected", Some(anomaly.expected.clone())),
        ("got", Some(anomaly.got.clone())),
        ("generation", generation),
    ];
    let code = |value: String| format!("<code>{}</code>", foreign(&value));
    let mut html = pairs(rows.into_iter().filter_map(|(name, value)| Some((name, code(value?)))));
    if !anomaly.before.is_empty() {
        let steps = anomaly.before.iter().map(|step| format!("<li>{}</li>\n", code(step.clone())));
        let steps: String = steps.collect();
        html += &format!("<details><summary>before</summary><ol>\n{steps}</ol></details>\n");
    }
    html
}

fn matrix(matrix: &MatrixReport) -> String {
    let MatrixReport { cells, ok, wrong, unreached, .. } = matrix;
    let mut html = format!(
        "<h2>Matrix</h2>\n<p>{cells} cells: {ok} ok, {wrong} wrong, {unreached} not reached; \
         {} workers and {} supervisors killed in {}.</p>\n{}",
        matrix.worker_deaths,
        matrix.supervisor_deaths,
        time(matrix.duration_ns),
        svg::key()
    );
    for grid in Grid::of(matrix) {
        html +=
            &format!("<h3>{}</h3>\n<div class=\"wide\">{}</div>\n", grid.title, svg::grid(&grid));
    }
    if matrix.cell_list.iter().any(|cell| cell.verdict != Verdict::Ok) {
        html += "<h3>Cells that are not ok</h3>\n";
        let rows = not_ok(matrix).map(|cell| {
            let why = cell.why.clone().unwrap_or_default();
            [
                word(cell.verdict).into(),
                cell.operation.clone(),
                place(cell),
                cell.mount.clone(),
                why,
            ]
        });
        html += &table(["verdict", "operation", "point", "mount", "why"], rows);
    }
    html
}

fn fault(fault: &FaultReport) -> String {
    let mut html = format!("<h2>Fault: {}</h2>\n", foreign(&fault.fault));
    if let Some(why) = &fault.skipped {
        html += &format!("<p>Skipped: {}</p>\n", foreign(why));
    }
    if !fault.steps.is_empty() {
        let rows = fault.steps.iter().map(|(expected, seen, right)| {
            let verdict = if *right { Verdict::Ok } else { Verdict::Wrong };
            [word(verdict).into(), expected.clone(), seen.clone()]
        });
        html += &table(["verdict", "expected", "seen"], rows);
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::crash::testing;
    use std::time::Duration;

    fn page(findings: &Findings) -> String {
        let occasion = Occasion {
            command: "fusex crash-test '<script>'".into(),
            seed: Some(42),
            date: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            kernel: "6.18.0".into(),
        };
        html(findings, &occasion)
    }

    #[test]
    fn everything_is_on_the_page() {
        let page = page(&testing::findings());
        let version = env!("CARGO_PKG_VERSION");
        for part in [
            "<title>fusex crash-test: 4 anomalies</title>",
            "<code>fusex crash-test &#39;&lt;script&gt;&#39;</code>",
            "<th>seed</th><td>42</td>",
            &format!("<th>fusex</th><td>{version}</td>"),
            "<th>kernel</th><td>6.18.0</td>",
            "<th>date</th><td>2023-11-14T22:13:20Z</td>",
            "<th>path</th><td><code>a/&lt;b&gt;\\n&amp;</code></td>",
            "<p>111: p50 820 us, p90 1.10 ms, p99 1.84 ms, max 3.00 ms</p>",
            "<p>6 cells: 4 ok, 1 wrong, 1 not reached;",
            "<td>wrong</td><td>mkdir</td><td>read</td><td>passthrough one-thread resend</td>\
             <td>expected &lt;0&gt;, got EIO</td>",
            "<h3>first by second crash</h3>",
            "<p>Skipped: no memory cgroup</p>",
            "<td>wrong</td><td>the call returns 0</td><td>EIO</td>",
            "<li>leaks: the server is not ours</li>",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
    }

    #[test]
    fn nothing_comes_from_elsewhere() {
        let page = page(&testing::findings());
        for part in ["http", "src=", "href", "@import", "url(", "<script", "<b>"] {
            assert!(!page.contains(part), "{part}");
        }
    }

    #[test]
    fn a_page_of_nothing_but_a_good_end() {
        let page = page(&Findings { storm: Some(StormReport::default()), ..Findings::default() });
        assert!(page.contains("<span class=\"good\">no anomaly</span>"), "{page}");
        assert!(!page.contains("<svg") && !page.contains("Matrix"), "{page}");
    }
}

//! Findings for people: what was done, what was seen, and what was wrong.

use console::Style;

use super::histogram::histogram;
use super::table::table;
use super::{Findings, counted};
use crate::crash::report::{Anomaly, FaultReport, Pauses, Recovered, StormReport};
use crate::output::{Look, plain, time};

/// A part for each test, the outcome last.
pub fn text(findings: &Findings, look: Look) -> String {
    let mut parts = Vec::new();
    parts.extend(findings.matrix.as_ref().map(|matrix| table(matrix, look)));
    parts.extend(findings.storm.as_ref().map(|storm| self::storm(storm, look)));
    parts.extend(findings.faults.iter().map(|fault| self::fault(fault, look)));
    parts.push(outcome(findings, look));
    parts.join("\n")
}

fn outcome(findings: &Findings, look: Look) -> String {
    let number = findings.anomalies();
    let (style, text) = match number {
        0 => (Style::new().green().bold(), "no anomaly".to_string()),
        _ => (Style::new().red().bold(), counted(number, "anomaly", "anomalies")),
    };
    look.paint(style, &text) + "\n"
}

fn storm(storm: &StormReport, look: Look) -> String {
    let rate = storm.operations as f64 / (storm.duration_ns as f64 / 1e9).max(1e-9);
    let mut text = row("mount", &plain(&storm.mount));
    text += &row("seed", &storm.seed.to_string());
    let duration = time(storm.duration_ns);
    text += &row("operations", &format!("{} in {duration} ({rate:.0}/s)", storm.operations));
    text += &row("deaths", &deaths(storm));
    let recovered = &storm.recovered;
    if *recovered != Recovered::default() {
        let value = format!(
            "{} from slots ({} had happened), {} from the journal, {} resent",
            recovered.recovered_from_slots,
            recovered.recovered_probed,
            recovered.recovered_from_journal,
            recovered.recovered_resent
        );
        text += &row("recovered", &value);
    }
    if storm.leaked_lookups > 0 {
        text += &row("lookups", &format!("{} kept longer than needed", storm.leaked_lookups));
    }
    if storm.pauses.pauses > 0 {
        text += &row("pauses", &pauses(&storm.pauses));
        text += &histogram(storm, look);
    }
    storm.unchecked.iter().for_each(|what| text += &row("not checked", &plain(what)));
    storm.anomaly_list.iter().for_each(|anomaly| text += &self::anomaly(anomaly, look));
    if let Some(trace) = &storm.trace {
        let trace = plain(trace);
        text += &row("trace", &format!("{trace}: try 'fusex crash-test --replay {trace}'"));
    }
    text
}

/// By what was killed and how, where that is known.
pub(super) fn deaths(storm: &StormReport) -> String {
    let kinds = storm.deaths.iter().map(|(kind, count)| format!("{count} {}", plain(kind)));
    match storm.deaths.values().sum::<u64>() {
        0 => (storm.worker_deaths + storm.supervisor_deaths).to_string(),
        sum => format!("{sum}: {}", kinds.collect::<Vec<_>>().join(", ")),
    }
}

/// How long callers waited.
pub(super) fn pauses(pauses: &Pauses) -> String {
    let Pauses { pauses: count, pause_p50_ns, pause_p90_ns, pause_p99_ns, pause_max_ns } = *pauses;
    let times = [pause_p50_ns, pause_p90_ns, pause_p99_ns, pause_max_ns].map(time);
    let [p50, p90, p99, max] = times;
    format!("{count}: p50 {p50}, p90 {p90}, p99 {p99}, max {max}")
}

fn row(name: &str, value: &str) -> String {
    format!("{:<13}{value}\n", format!("{name}:"))
}

fn anomaly(anomaly: &Anomaly, look: Look) -> String {
    let Anomaly { operation, path, expected, got, generation, before } = anomaly;
    let place = if path.is_empty() { String::new() } else { format!(" on {}", plain(path)) };
    let generation = generation.map_or(String::new(), |it| format!(" (generation {it})"));
    let word = look.paint(Style::new().red().bold(), "anomaly:");
    let mut text = format!("{word}     {}{place}{generation}\n", plain(operation));
    text += &format!("    expected {}\n    got      {}\n", plain(expected), plain(got));
    before.iter().for_each(|step| text += &format!("    before   {}\n", plain(step)));
    text
}

fn fault(fault: &FaultReport, look: Look) -> String {
    let mut text = format!("{}:\n", plain(&fault.fault));
    for (expected, seen, right) in &fault.steps {
        let (style, word) = match right {
            true => (Style::new().green(), "ok   "),
            false => (Style::new().red().bold(), "wrong"),
        };
        let word = look.paint(style, word);
        text += &format!("  {word}  {}: {}\n", plain(expected), plain(seen));
    }
    if let Some(why) = &fault.skipped {
        text += &format!("  {}  {}\n", look.paint(Style::new().yellow(), "skipped"), plain(why));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::crash::testing;

    const PLAIN: Look = Look { width: 40, color: false };

    #[test]
    fn a_storm() {
        let findings = Findings { storm: Some(testing::storm()), ..Findings::default() };
        let expected = "\
mount:       passthrough
seed:        42
operations:  1234567 in 60.0 s (20576/s)
deaths:      103: 3 supervisor SIGKILL, 100 worker SIGKILL
recovered:   90 from slots (3 had happened), 7 from the journal, 5 resent
lookups:     2 kept longer than needed
pauses:      111: p50 820 us, p90 1.10 ms, p99 1.84 ms, max 3.00 ms
  up to 1.00 ms 100 ████████████████████
  up to 2.00 ms  10 ██
  up to 4.00 ms   1 ▎
not checked: leaks: the server is not ours
anomaly:     open(O_CREAT|O_EXCL) on a/<b>\\n& (generation 41)
    expected EEXIST
    got      0
    before   mkdir a
trace:       fusex-crash-42.json: try 'fusex crash-test --replay fusex-crash-42.json'

1 anomaly
";
        assert_eq!(text(&findings, PLAIN), expected);
    }

    #[test]
    fn nothing_is_said_of_what_was_not_measured() {
        let storm = StormReport { mount: "mem".into(), ..StormReport::default() };
        let findings = Findings { storm: Some(storm), ..Findings::default() };
        let expected = "\
mount:       mem
seed:        0
operations:  0 in 0 ns (0/s)
deaths:      0

no anomaly
";
        assert_eq!(text(&findings, PLAIN), expected);
    }

    #[test]
    fn faults() {
        let findings = Findings { faults: testing::findings().faults, ..Findings::default() };
        let expected = "\
hang:
  ok     the worker is replaced: after 0.6 s
  wrong  the call returns 0: EIO

oom:
  skipped  no memory cgroup

1 anomaly
";
        assert_eq!(text(&findings, PLAIN), expected);
    }

    #[test]
    fn all_of_it_and_colours() {
        let all = text(&testing::findings(), PLAIN);
        assert!(all.starts_with("operation by point:\n"), "{all}");
        assert!(all.ends_with("\n4 anomalies\n") && !all.contains('\x1b'), "{all}");
        let colored = text(&testing::findings(), Look { color: true, ..PLAIN });
        assert!(colored.ends_with("\x1b[31m\x1b[1m4 anomalies\x1b[0m\n"), "{colored:?}");
        assert_eq!(console::strip_ansi_codes(&colored), all);
    }
}

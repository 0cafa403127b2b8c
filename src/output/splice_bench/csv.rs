//! For spreadsheets (RFC 4180): a line of names, then one for each combination. What is not known
//! is empty.

use crate::splicing::name;
use crate::splicing::report::{Fallback, Report, Row};
use crate::splicing::spread::Spread;

const COLUMNS: &str = "source,sink,size_bytes,mode,\
    gib_per_s,gib_per_s_min,gib_per_s_max,\
    request_us,request_us_min,request_us_max,\
    server_cpu_s_per_gib,server_cpu_s_per_gib_min,server_cpu_s_per_gib_max,\
    client_cpu_s_per_gib,client_cpu_s_per_gib_min,client_cpu_s_per_gib_max,\
    peer_cpu_s_per_gib,peer_cpu_s_per_gib_min,peer_cpu_s_per_gib_max,\
    splices_per_request,pipe_slots_min,pipe_slots_avg,pipe_slots_max,pipe_bytes,\
    fallback_blocks,fallback_reasons,\
    ratio_to_copy_gib_per_s,ratio_to_copy_request_us,ratio_to_copy_server_cpu,\
    ratio_to_copy_client_cpu,ratio_to_copy_peer_cpu,requests";

/// All rows.
pub fn csv(report: &Report) -> String {
    let lines = report.rows.iter().map(|row| fields(row).join(","));
    [COLUMNS.to_string()].into_iter().chain(lines).map(|line| line + "\n").collect()
}

fn fields(row: &Row) -> Vec<String> {
    let mut fields =
        vec![name(row.source), name(row.sink), row.size_bytes.to_string(), name(row.mode)];
    for spread in [
        Some(row.gib_per_s),
        Some(row.request_us),
        row.server_cpu_s_per_gib,
        row.client_cpu_s_per_gib,
        row.peer_cpu_s_per_gib,
    ] {
        let parts = |it: Spread| [it.median, it.min, it.max].map(Some);
        fields.extend(spread.map_or([None; 3], parts).map(number));
    }
    let (slots, ratios) = (row.pipe_slots, row.ratio_to_copy);
    fields.push(number(row.splices_per_request));
    fields.push(number(slots.map(|it| it.min as f64)));
    fields.push(number(slots.map(|it| it.avg)));
    fields.push(number(slots.map(|it| it.max as f64)));
    fields.push(row.pipe_bytes.map_or(String::new(), |it| it.to_string()));
    let fallbacks = row.fallbacks.as_deref();
    let blocks = |it: &[Fallback]| it.iter().map(|it| it.blocks).sum::<u64>().to_string();
    fields.push(fallbacks.map_or(String::new(), blocks));
    let reasons = fallbacks.unwrap_or_default().iter().map(|it| it.reason.as_str());
    fields.push(quoted(&reasons.collect::<Vec<_>>().join("; ")));
    for ratio in
        [ratios.gib_per_s, ratios.request_us, ratios.server_cpu, ratios.client_cpu, ratios.peer_cpu]
    {
        fields.push(number(ratio));
    }
    fields.push(row.requests.to_string());
    fields
}

fn number(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

/// In quotes where it would otherwise be taken for several fields.
fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::report;
    use super::*;

    #[test]
    fn a_line_for_each_row() {
        let text = csv(&report());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], COLUMNS);
        assert_eq!(
            lines[1],
            "unix,pipe,131072,copy,1.6,1.5,1.75,76.25,70,81,0.3475,0.3,0.4,0.125,0.125,0.125,,,,,\
             ,,,,,,1,1,1,1,,96"
        );
        assert_eq!(
            lines[2],
            "unix,pipe,131072,splice,2,1.5,2.5,61,50,80,0.25,0.2,0.3,0.125,0.125,0.125,,,,3,4,4.5,\
             6,262144,24,the pipe is full,1.25,0.8,0.72,1,,96"
        );
        let columns = COLUMNS.split(',').count();
        assert!(lines.iter().all(|line| line.split(',').count() == columns), "{text}");
        assert!(!COLUMNS.contains(' '));
    }

    #[test]
    fn what_has_a_comma_is_quoted() {
        assert_eq!(quoted("a"), "a");
        assert_eq!(quoted("a, \"b\""), "\"a, \"\"b\"\"\"");
    }
}

//! Findings for programs: one object.

use serde::Serialize;

use super::Findings;
use crate::crash::report::{FaultReport, MatrixReport, SCHEMA, StormReport};

/// Of several tests; of one alone it is what that one has.
#[derive(Serialize)]
struct All<'a> {
    schema: u32,
    anomalies: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    matrix: Option<&'a MatrixReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    storm: Option<&'a StormReport>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    faults: &'a [FaultReport],
}

/// One object and a newline.
///
/// # Errors
/// There is no number or text that JSON cannot have; the type says so all the same.
pub fn json(findings: &Findings) -> serde_json::Result<String> {
    let Findings { matrix, storm, faults } = findings;
    let text = match (matrix, storm, &faults[..]) {
        (Some(matrix), None, []) => serde_json::to_string(matrix),
        (None, Some(storm), []) => serde_json::to_string(storm),
        _ => serde_json::to_string(&All {
            schema: SCHEMA,
            anomalies: findings.anomalies(),
            matrix: matrix.as_ref(),
            storm: storm.as_ref(),
            faults,
        }),
    };
    Ok(text? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::crash::testing;
    use serde_json::Value;

    fn value(findings: &Findings) -> Value {
        let text = json(findings).unwrap();
        assert!(text.ends_with("}\n") && text.lines().count() == 1, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_storm() {
        let value = value(&Findings { storm: Some(testing::storm()), ..Findings::default() });
        let expected = [
            ("schema", 1),
            ("operations", 1_234_567),
            ("worker_deaths", 100),
            ("supervisor_deaths", 3),
            ("anomalies", 1),
            ("pauses", 111),
            ("pause_p50_ns", 820_000),
            ("pause_p90_ns", 1_100_000),
            ("pause_p99_ns", 1_840_000),
            ("pause_max_ns", 3_000_000),
            ("recovered_from_slots", 90),
            ("seed", 42),
            ("duration_ns", 60_000_000_000_u64),
        ];
        for (key, number) in expected {
            assert_eq!(value[key], number, "{key}");
        }
        let anomaly = serde_json::json!({
            "operation": "open(O_CREAT|O_EXCL)", "path": "a/<b>\n&", "expected": "EEXIST",
            "got": "0", "generation": 41, "before": ["mkdir a"],
        });
        assert_eq!(value["anomaly_list"], serde_json::json!([anomaly]));
    }

    #[test]
    fn a_matrix() {
        let value = value(&Findings { matrix: Some(testing::matrix()), ..Findings::default() });
        for (key, number) in
            [("schema", 1), ("cells", 6), ("ok", 4), ("wrong", 1), ("unreached", 1)]
        {
            assert_eq!(value[key], number, "{key}");
        }
        assert_eq!(value["cell_list"].as_array().unwrap().len(), 6);
        assert_eq!(value["cell_list"][4]["verdict"], "unreached");
    }

    #[test]
    fn several_tests_have_an_object_each() {
        let value = value(&testing::findings());
        assert_eq!((&value["schema"], &value["anomalies"]), (&1.into(), &4.into()));
        assert_eq!(value["matrix"]["cells"], 6);
        assert_eq!(value["storm"]["seed"], 42);
        assert_eq!(value["faults"][0]["fault"], "hang");
        let faults = Findings { faults: testing::findings().faults, ..Findings::default() };
        let keys: Vec<String> = self::value(&faults).as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["anomalies", "faults", "schema"]);
    }
}

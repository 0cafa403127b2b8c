//! For programs: one object. Units are in the keys.

use crate::splicing::report::Report;

/// One object and a newline.
///
/// # Errors
/// There is no number or text that JSON cannot have; the type says so all the same.
pub fn json(report: &Report) -> serde_json::Result<String> {
    Ok(serde_json::to_string(report)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use serde_json::{Value, json};

    #[test]
    fn one_object_with_units_in_its_keys() {
        let text = super::json(&testing::report()).unwrap();
        assert!(text.ends_with("}\n") && text.lines().count() == 1, "{text}");
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&value["schema"], &value["rounds"], &value["pin"]),
            (&json!(1), &json!(3), &json!("cross"))
        );
        assert_eq!(value["machine"]["wakeup_cross_cpu_us"], 52.25);
        assert_eq!(value["machine"]["fuse_uring"], false);
        let expected = json!({
            "source": "unix", "sink": "pipe", "size_bytes": 131_072, "mode": "splice",
            "gib_per_s": { "median": 2.0, "min": 1.5, "max": 2.5 },
            "request_us": { "median": 61.0, "min": 50.0, "max": 80.0 },
            "server_cpu_s_per_gib": { "median": 0.25, "min": 0.2, "max": 0.3 },
            "client_cpu_s_per_gib": { "median": 0.125, "min": 0.125, "max": 0.125 },
            "peer_cpu_s_per_gib": null,
            "splices_per_request": 3.0,
            "pipe_slots": { "min": 4, "avg": 4.5, "max": 6 },
            "pipe_bytes": 262_144,
            "fallbacks": [{ "reason": "the pipe is full", "blocks": 24 }],
            "ratio_to_copy": {
                "gib_per_s": 1.25, "request_us": 0.8, "server_cpu": 0.72, "client_cpu": 1.0,
                "peer_cpu": null,
            },
            "requests": 96,
        });
        assert_eq!(value["rows"][1], expected);
        assert_eq!(value["left_out"][0]["sinks"], json!(["null", "pipe", "file"]));
        assert_eq!(value["verdicts"][0]["splice_from_bytes"], 131_072);
    }
}

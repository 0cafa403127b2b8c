//! The results as JSON: every sample, with the unit in each key.

use serde_json::{Value, json};

use crate::contestants::Contestant;
use crate::environment::Environment;
use crate::results::Results;
use crate::rows::{Row, Sample};

/// Changes when a key changes its meaning or goes away.
const SCHEMA: u32 = 1;

pub(crate) fn document(
    environment: &Environment,
    contestants: &[Contestant],
    rows: &[Row],
    results: &Results,
) -> Value {
    let entries = rows
        .iter()
        .flat_map(|row| contestants.iter().map(|contestant| entry(*row, contestant.name, results)));
    json!({
        "schema": SCHEMA,
        "environment": {
            "kernel": environment.machine.kernel,
            "cpus": environment.machine.cpus,
            "cpu_model": environment.machine.cpu_model,
            "rounds": environment.rounds,
            "date": environment.machine.date,
            "lower_type": environment.machine.lower_type,
            "versions": environment.versions,
            "files": environment.files,
            "pin": environment.pin.name(),
            "wakeup_same_cpu_us": environment.machine.wakeup_same_cpu_us,
            "wakeup_cross_cpu_us": environment.machine.wakeup_cross_cpu_us,
        },
        "results": entries.collect::<Vec<Value>>(),
    })
}

fn entry(row: Row, contestant: &'static str, results: &Results) -> Value {
    let samples = results.of(row, contestant);
    json!({
        "row": row.name(),
        "contestant": contestant,
        // Of a contestant that failed in any round there are no samples.
        "failed": samples.is_empty(),
        "bytes_per_op": row.block(),
        "samples": samples.iter().map(|(round, s)| sample(*round, s)).collect::<Vec<Value>>(),
    })
}

fn sample(round: u32, sample: &Sample) -> Value {
    json!({
        "round": round,
        "ops": sample.ops,
        "wall_s": sample.wall.as_secs_f64(),
        "ops_per_s": sample.rate(),
        "server_cpu_s": sample.server_cpu.map(|cpu| cpu.as_secs_f64()),
        "server_cpu_us_per_op": sample.server_us_per_op(),
    })
}

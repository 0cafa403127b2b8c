//! The results as JSON: every sample, with the unit in each key.

use serde_json::{Value, json};

use crate::contestants::{Contestant, Contestants};
use crate::environment::Environment;
use crate::goals;
use crate::results::Results;
use crate::rows::{Row, Sample};
use crate::scenes::Scene;

/// Changes when a key changes its meaning or goes away.
const SCHEMA: u32 = 2;

pub(crate) fn document(
    environment: &Environment,
    contestants: &Contestants,
    measured: &[(Scene, Results)],
) -> Value {
    let of_scene = |(scene, results): &(Scene, Results)| {
        let names = contestants.of(scene);
        let of_row = |row: &Row| -> Vec<Value> {
            names.iter().map(|contestant| entry(scene, *row, contestant, results)).collect()
        };
        scene.rows.iter().flat_map(of_row).collect::<Vec<Value>>()
    };
    let machine = &environment.machine;
    json!({
        "schema": SCHEMA,
        "environment": {
            "kernel": machine.kernel,
            "cpus": machine.cpus,
            "cpu_model": machine.cpu_model,
            "rounds": environment.rounds,
            "date": machine.date,
            "versions": environment.versions,
            "files": environment.size.files,
            "sequential_bytes": environment.size.sequential,
            "random_bytes": environment.size.random,
            "random_ops": environment.size.random_ops,
            "wakeup_same_cpu_us": machine.wakeup_same_cpu_us,
            "wakeup_cross_cpu_us": machine.wakeup_cross_cpu_us,
        },
        "scenes": measured.iter().map(|(scene, _)| json!({
            "scene": scene.title(),
            "lower": scene.lower,
            "lower_type": scene.lower_type,
            "clients": scene.clients,
            "pin": scene.pin.name(),
        })).collect::<Vec<Value>>(),
        "results": measured.iter().flat_map(of_scene).collect::<Vec<Value>>(),
        "goals": goals::document(measured),
    })
}

fn entry(scene: &Scene, row: Row, contestant: &Contestant, results: &Results) -> Value {
    let samples = results.of(row, contestant.name);
    json!({
        "scene": scene.title(),
        "row": row.name(),
        "contestant": contestant.name,
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

//! What a crash test found is found again from its file, and becomes small.

#[path = "common/mod.rs"]
mod common;

use std::path::Path;
use std::time::Duration;

use fusex::crash::CrashError;
use fusex::crash::replay::{Bound, Death, SCHEMA, Trace, Victim, replay, replay_until, shrink};
use fusex::crash::target::{FsKind, Target};
use fusex::crash::workload::{Script, kinds};

const WRITE: u32 = 16;
const REMOVEXATTR: u32 = 24;

fn target(trace: &Trace) -> Result<Target, CrashError> {
    let program = Path::new(env!("CARGO_BIN_EXE_fusex"));
    let arguments: Vec<&str> = trace.arguments.iter().map(String::as_str).collect();
    trace.prepare(Target::start_program(program, trace.fs, &arguments)?)
}

/// Workers die, and nothing was noted of what they had done.
fn without_journal(script: Vec<Vec<(u64, u64)>>, deaths: Vec<Death>) -> Trace {
    Trace {
        schema: SCHEMA,
        program: env!("CARGO_PKG_VERSION").into(),
        seed: common::seed(21),
        threads: script.len(),
        inodes: 0,
        ops: kinds().into_iter().map(String::from).collect(),
        fs: FsKind::Passthrough,
        arguments: Vec::new(),
        off: vec!["journal".into()],
        script: Script(script),
        steps: Vec::new(),
        deaths,
        anomalies: Vec::new(),
    }
}

/// The next worker that has made a system call for a request with this opcode dies.
fn behind_call(number: u64, opcode: u32) -> Death {
    Death {
        after: vec![number * 10; 2],
        victims: vec![Victim::Worker],
        signal: "SIGKILL".into(),
        point: Some("after-call".into()),
        opcode: Some(opcode),
    }
}

/// Saved and loaded, what was found is found again.
fn saved(trace: Trace) -> Trace {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace.json");
    trace.save(&path).unwrap();
    Trace::load(&path).unwrap()
}

#[test]
fn a_death_behind_one_system_call() {
    need_mounts!();
    // Many do no harm: there is nothing to be removed the first time.
    let deaths = (1..40).map(|number| behind_call(number, REMOVEXATTR)).collect();
    let trace = without_journal(vec![vec![(1, 400)], vec![(1, 400)]], deaths);
    let found = replay(&trace, target).unwrap();
    eprintln!("{} operations, {} deaths", found.operations, found.deaths);
    let found = found.anomalies;
    assert!(!found.is_empty(), "nobody saw a removexattr done twice");
    assert!(
        found[0].operation.contains("removexattr") && found[0].got.contains("ENODATA"),
        "{found:?}"
    );
    let trace = saved(Trace { anomalies: found, ..trace });

    let bound = Bound { runs: 100, time: Duration::from_secs(100) };
    let shrunk =
        shrink(&trace, bound, |trace| !replay(trace, target).unwrap().anomalies.is_empty());
    let left = (shrunk.trace.operations(), shrunk.trace.deaths.len());
    eprintln!("{left:?} left after {} runs: {:?}", shrunk.runs, shrunk.trace.script);
    // A file or directory, its attribute, and the removal.
    assert!(left.0 <= 8 && left.1 == 1, "{left:?}");
    let small = saved(shrunk.trace);
    let last = small.steps.iter().max_by_key(|step| step.1).unwrap();
    assert_eq!(last.2, "removexattr", "{:?}", small.steps);
    let (runs, again) = replay_until(&small, 3, target).unwrap();
    assert_eq!((runs, again.deaths, again.anomalies.len()), (1, 1, 1), "{again:?}");

    let mended = Trace { off: Vec::new(), ..small };
    let fine = replay(&mended, target).unwrap();
    assert_eq!((fine.deaths, fine.anomalies), (1, Vec::new()), "with the journal");
}

#[test]
fn deaths_at_random_moments() {
    need_mounts!();
    let death = |number: u64| Death {
        after: vec![number * 20; 3],
        victims: vec![Victim::Worker],
        signal: if number.is_multiple_of(2) { "SIGKILL" } else { "SIGSEGV" }.into(),
        point: None,
        opcode: None,
    };
    let script = vec![vec![(1, 3000)]; 3];
    let trace = without_journal(script, (1..150).map(death).collect());
    let (runs, found) = replay_until(&trace, 10, target).unwrap();
    eprintln!("{runs} runs, {} operations, {} deaths", found.operations, found.deaths);
    assert!(!found.anomalies.is_empty(), "nobody saw that the journal is off");
    assert!(found.deaths > 0);

    let trace = saved(Trace { anomalies: found.anomalies, ..trace });
    let (_, again) = replay_until(&trace, 10, target).unwrap();
    assert!(!again.anomalies.is_empty(), "not found again");

    let mended = Trace { off: Vec::new(), ..trace };
    let fine = replay(&mended, target).unwrap();
    assert_eq!(fine.anomalies, [], "with the journal");
    assert!(fine.deaths > 100, "{} deaths", fine.deaths);
}

#[test]
fn what_is_appended_twice() {
    need_mounts!();
    let deaths: Vec<_> = (1..100).map(|number| behind_call(number, WRITE)).collect();
    let trace = without_journal(vec![vec![(1, 1000)]; 2], deaths);
    let arguments = ["-o", "nopassthrough"].map(String::from).to_vec();
    let trace = Trace { arguments, off: vec!["append".into()], ..trace };
    let (_, found) = replay_until(&trace, 3, target).unwrap();
    assert!(!found.anomalies.is_empty(), "nobody saw what was appended twice");
    let mended = replay(&Trace { off: Vec::new(), ..trace }, target).unwrap();
    assert_eq!(mended.anomalies, [], "with the lower files open without O_APPEND");
}

//! A storm that found something, in a file: to do it again, and to make it small.
//!
//! | file | what |
//! | --- | --- |
//! | `mod` | what is in the file |
//! | `check` | what a file has to keep to, whoever wrote it |
//! | `again` | doing it again |
//! | `shrink` | leaving out what is not needed |
//!
//! What the threads of a storm do depends on the seed alone; when they are interrupted does not.
//! So what a trace has of a death is how many operations each thread had begun by then, and a
//! replay may have to be repeated until it shows the same.

mod again;
mod check;
mod shrink;

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use again::{Replayed, replay, replay_until};
pub use shrink::{Bound, Shrunk, shrink};

use super::CrashError;
use super::report::Anomaly;
use super::target::{FsKind, Target};
use super::workload::{Kinds, Script};
use crate::recovery::points::Protection;

/// Counts changes of the form of the file.
pub const SCHEMA: u32 = 1;
/// The longest file that is read.
const LONGEST: u64 = 32 << 20;
/// So many operations are told by name.
const TOLD: usize = 200;

/// A storm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The version of the program that wrote it.
    pub program: String,
    /// Where the workload's numbers begin.
    pub seed: u64,
    /// Threads of the workload.
    pub threads: usize,
    /// Files made beforehand.
    pub inodes: usize,
    /// The kinds of operations that the threads chose from.
    pub ops: Vec<String>,
    /// What was mounted.
    pub fs: FsKind,
    /// With these arguments beside those that every target has.
    pub arguments: Vec<String>,
    /// The protections that were switched off.
    pub off: Vec<String>,
    /// Which operations each thread did.
    pub script: Script,
    /// The first of them by name, for who reads it: thread, number, kind.
    #[serde(default)]
    pub steps: Vec<(usize, u64, String)>,
    /// Who was killed.
    pub deaths: Vec<Death>,
    /// What was found.
    pub anomalies: Vec<Anomaly>,
}

/// Some processes of a mount that died together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Death {
    /// How many operations each thread had begun by then, of those in the script.
    pub after: Vec<u64>,
    /// Who.
    pub victims: Vec<Victim>,
    /// Of what: `SIGKILL`.
    pub signal: String,
    /// The point that was armed then, in place of sending the signal.
    pub point: Option<String>,
    /// For requests with this opcode.
    pub opcode: Option<u32>,
}

/// A process of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Victim {
    /// Serves.
    Worker,
    /// Starts workers.
    Supervisor,
    /// Waits to be the supervisor.
    Standby,
}

impl Trace {
    /// How many operations it has.
    pub fn operations(&self) -> u64 {
        self.script.operations()
    }

    fn kinds(&self) -> Result<Kinds, CrashError> {
        Kinds::named(&self.ops)
    }

    /// The first operations by name.
    fn first_steps(&self) -> Result<Vec<(usize, u64, String)>, CrashError> {
        let kinds = self.kinds()?;
        let steps = self.script.steps(self.seed, &kinds)?.take(TOLD);
        Ok(steps.map(|(thread, number, kind)| (thread, number, kind.to_string())).collect())
    }

    /// Writes it to a file, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), CrashError> {
        let named = || path.display().to_string();
        let whole = Trace { steps: self.first_steps()?, ..self.clone() };
        let mut text = serde_json::to_vec_pretty(&whole)
            .map_err(|error| CrashError::Failed(format!("{}: {error}", named())))?;
        text.push(b'\n');
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let file = tempfile::NamedTempFile::new_in(dir.unwrap_or(Path::new(".")));
        let mut file = file.map_err(CrashError::io(named()))?;
        file.write_all(&text).map_err(CrashError::io(named()))?;
        file.persist(path).map_err(|error| CrashError::io(named())(error.error))?;
        Ok(())
    }

    /// Reads what [`Trace::save`] wrote, or somebody else did.
    pub fn load(path: &Path) -> Result<Trace, CrashError> {
        let named = path.display().to_string();
        let file = File::open(path).map_err(CrashError::io(named.clone()))?;
        let mut text = Vec::new();
        let read = file.take(LONGEST + 1).read_to_end(&mut text);
        read.map_err(CrashError::io(named.clone()))?;
        if text.len() as u64 > LONGEST {
            let limit = LONGEST >> 20;
            return Err(CrashError::Failed(format!("{named}: longer than {limit} MiB: no trace")));
        }
        Trace::parse(&text).map_err(|why| CrashError::Failed(format!("{named}: {why}")))
    }

    fn parse(text: &[u8]) -> Result<Trace, String> {
        #[derive(Deserialize)]
        struct Version {
            schema: u32,
        }
        let version: Version = serde_json::from_slice(text)
            .map_err(|error| format!("not a trace of a crash test: {error}"))?;
        if version.schema != SCHEMA {
            let found = version.schema;
            return Err(format!(
                "schema {found}, and this program knows {SCHEMA}: use the one that wrote it"
            ));
        }
        let trace: Trace = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        check::check(&trace)?;
        Ok(trace)
    }

    /// Mounts what it was found on.
    pub fn target(&self) -> Result<Target, CrashError> {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        self.prepare(Target::start(self.fs, &arguments)?)
    }

    /// Switches off what was off.
    pub fn prepare(&self, target: Target) -> Result<Target, CrashError> {
        for name in &self.off {
            target.points().switch_off(check::protection(name).map_err(CrashError::Failed)?);
        }
        Ok(target)
    }
}

fn protection_names() -> String {
    Protection::ALL.iter().map(|it| it.name()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crash::workload::kinds;

    fn trace() -> Trace {
        Trace {
            schema: SCHEMA,
            program: "0.1.0".into(),
            seed: 7,
            threads: 2,
            inodes: 5,
            ops: kinds().into_iter().map(String::from).collect(),
            fs: FsKind::Passthrough,
            arguments: vec!["-o".into(), "nopassthrough,cache=never".into()],
            off: vec!["journal".into()],
            script: Script(vec![vec![(1, 1000)], vec![(3, 4), (9, 20)]]),
            steps: Vec::new(),
            deaths: vec![Death {
                after: vec![10, 3],
                victims: vec![Victim::Worker, Victim::Supervisor],
                signal: "SIGSEGV".into(),
                point: None,
                opcode: None,
            }],
            anomalies: Vec::new(),
        }
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace.json");
        trace().save(&path).unwrap();
        let loaded = Trace::load(&path).unwrap();
        assert_eq!(loaded.steps.len(), TOLD);
        assert_eq!(Trace { steps: Vec::new(), ..loaded }, trace());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
        let error = trace().save(&dir.path().join("no/such")).unwrap_err().to_string();
        assert!(error.contains("no/such") && error.contains("No such file"), "{error}");
    }

    fn refused(change: impl FnOnce(&mut serde_json::Value)) -> String {
        let mut whole = Trace { steps: trace().first_steps().unwrap(), ..trace() };
        whole.steps.truncate(3);
        let mut value = serde_json::to_value(whole).unwrap();
        change(&mut value);
        Trace::parse(value.to_string().as_bytes()).unwrap_err()
    }

    #[test]
    fn what_is_no_trace_is_refused_with_the_reason() {
        use serde_json::json;
        assert!(Trace::parse(b"\xff\x00").unwrap_err().starts_with("not a trace"));
        assert!(Trace::parse(b"[]").unwrap_err().starts_with("not a trace"));
        let deep = "[".repeat(100_000);
        assert!(Trace::parse(deep.as_bytes()).is_err());
        let wrong: [(&str, serde_json::Value, &str); 13] = [
            ("/schema", json!(2), "schema 2"),
            ("/threads", json!(1025), "1025 threads"),
            ("/threads", json!(3), "3 threads, and operations for 2"),
            ("/inodes", json!(u64::MAX), "inodes"),
            ("/ops/0", json!("format"), "no operation 'format'"),
            ("/off/0", json!("all"), "no protection 'all'"),
            ("/arguments/1", json!("subdir=/etc"), "names a file"),
            ("/script/0", json!([[5, 5]]), "not in order"),
            ("/script/1", json!([[9, 20], [3, 4]]), "not in order"),
            ("/deaths/0/after", json!([1]), "of 1 threads"),
            ("/deaths/0/signal", json!("SIGSTOP"), "ends nobody"),
            ("/deaths/0/point", json!("nowhere"), "no kill point"),
            ("/steps/1/2", json!("other"), "replay it with fusex 0.1.0"),
        ];
        for (place, value, why) in wrong {
            let error = refused(|trace| *trace.pointer_mut(place).unwrap() = value);
            assert!(error.contains(why) && error.lines().count() == 1, "{place}: {error}");
        }
    }

    #[test]
    fn a_long_file_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("long");
        File::create(&path).unwrap().set_len(LONGEST + 1).unwrap();
        let error = Trace::load(&path).unwrap_err().to_string();
        assert!(error.ends_with("longer than 32 MiB: no trace"), "{error}");
    }
}

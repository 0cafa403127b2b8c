//! A mount on which steps are run, as long as it is of use.

use std::path::PathBuf;
use std::time::Duration;

use super::Cells;
use super::attempt::{self, Crash, Outcome};
use super::flavour::{Flavour, Threads};
use super::neighbours::Neighbours;
use super::steps::Step;
use crate::crash::CrashError;
use crate::crash::report::{Cell, Verdict};
use crate::crash::target::{SOON, Target, wait_until};
use crate::recovery::board::Cell as Number;
use crate::recovery::points::Protection;
use crate::supervise::client;
use crate::supervise::protocol::{Request, Status};
use crate::wire::Opcode;

/// How long counts may take to come back: what the kernel lets go comes late.
const COMES_BACK: Duration = Duration::from_secs(3);
/// So many calls may hang before the rest is left out: each takes long.
const HANGS: u64 = 3;

/// The mount, its neighbours, and what has happened to it.
pub(super) struct Bench {
    pub(super) flavour: Flavour,
    without: Option<Protection>,
    mounted: Option<Mounted>,
    /// Of workers and supervisors.
    pub(super) deaths: [u64; 2],
    hangs: u64,
    scenes: u64,
}

struct Mounted {
    target: Target,
    socket: PathBuf,
    neighbours: Option<Neighbours>,
}

impl Mounted {
    fn new(flavour: Flavour, without: Option<Protection>) -> Result<Mounted, CrashError> {
        let target = flavour.start()?;
        if let Some(protection) = without {
            target.points().switch_off(protection);
        }
        let failed = |failure: crate::exit::Failure| CrashError::Failed(failure.message);
        let socket = client::find(&target.point()).map_err(failed)?;
        let neighbours = match flavour.threads {
            Threads::One => None,
            Threads::Many => Some(Neighbours::start(&target)?),
        };
        Ok(Mounted { target, socket, neighbours })
    }

    fn deaths(&self) -> [u64; 2] {
        use Number::{DeathsExit, DeathsKilled, DeathsSignal, DeathsTimeout};
        let board = self.target.board();
        let workers = [DeathsKilled, DeathsSignal, DeathsExit, DeathsTimeout];
        [workers.map(|cell| board.get(cell)).iter().sum(), board.get(Number::SupervisorDeaths)]
    }

    /// What the mount says of itself, once it says something.
    fn status(&self) -> Option<Status> {
        let mut status = None;
        wait_until(SOON, || {
            status = client::ask(&self.socket, Request::Status).ok();
            status.is_some()
        });
        status
    }

    /// All callers get an error.
    fn abort(&self) {
        let connection = self.target.board().get(Number::Connection).wrapping_sub(1);
        // Where that is not mounted, the end of the servers does the same, later.
        let _ = std::fs::write(format!("/sys/fs/fuse/connections/{connection}/abort"), "1");
    }

    fn end(self) -> Result<(), CrashError> {
        if let Some(neighbours) = &self.neighbours {
            neighbours.tell_to_stop();
        }
        let ended = self.target.stop();
        self.neighbours.into_iter().for_each(Neighbours::join);
        ended
    }
}

impl Bench {
    pub(super) fn new(flavour: Flavour, without: Option<Protection>) -> Result<Bench, CrashError> {
        let mounted = Some(Mounted::new(flavour, without)?);
        Ok(Bench { flavour, without, mounted, deaths: [0; 2], hangs: 0, scenes: 0 })
    }

    /// Whether so many calls hung that the rest is left out.
    pub(super) fn gave_up(&self) -> bool {
        self.hangs >= HANGS
    }

    /// Runs a step. Where it makes the mount useless there is another one for the next.
    pub(super) fn attempt(
        &mut self,
        step: &Step,
        crash: Option<Crash<'_>>,
    ) -> Result<Outcome, CrashError> {
        let mounted = match self.mounted.take() {
            Some(mounted) => mounted,
            None => Mounted::new(self.flavour, self.without)?,
        };
        self.scenes += 1;
        let name = format!("scene-{}", self.scenes);
        let before = mounted.status();
        let settle = |files| wait_for_releases(&mounted, step, before.as_ref(), files);
        let mut outcome = attempt::play(&mounted.target, step, &name, settle, crash);
        if outcome.seen.is_ok() {
            let leak = before.and_then(|before| leaks(&mounted, &before));
            let fault = mounted.neighbours.as_ref().and_then(Neighbours::take_fault);
            if let Some(why) = fault.or(leak) {
                outcome.seen = Err(why);
            }
        }
        if outcome.hangs {
            self.hangs += 1;
            mounted.abort();
        }
        if outcome.seen.is_err() {
            // What is behind it must not be blamed for it.
            self.end(mounted).ok();
        } else {
            self.mounted = Some(mounted);
        }
        Ok(outcome)
    }

    fn end(&mut self, mounted: Mounted) -> Result<(), CrashError> {
        let deaths = mounted.deaths();
        self.deaths = [0, 1].map(|which| self.deaths[which] + deaths[which]);
        mounted.end()
    }

    /// Takes the mount away; what does not end as it should is a cell of its own.
    pub(super) fn finish(&mut self, cells: &mut Cells<'_>) -> Result<(), CrashError> {
        let ended = self.mounted.take().map_or(Ok(()), |mounted| self.end(mounted));
        if let Err(error) = ended {
            cells.add(Cell {
                mount: self.flavour.name(),
                operation: "unmount".into(),
                point: "at the end".into(),
                second: None,
                verdict: Verdict::Wrong,
                why: Some(error.to_string()),
            });
        }
        Ok(())
    }

    /// Waits until supervisor, standby, reserve and worker are all there again.
    pub(super) fn wait_for_all(&self) {
        use Number::{ReservePid, StandbyPid, SupervisorPid, WorkerPid};
        let Some(mounted) = &self.mounted else { return };
        let target = &mounted.target;
        let parts = [SupervisorPid, StandbyPid, ReservePid, WorkerPid];
        // One that does not come back is noticed by the next crash.
        wait_until(SOON, || target.serves() && parts.iter().all(|part| target.stands(*part)));
    }
}

/// What was closed while the scene was set is released before a RELEASE is waited for.
fn wait_for_releases(mounted: &Mounted, step: &Step, before: Option<&Status>, files: usize) {
    let releases = matches!(step.opcode, Opcode::FUSE_RELEASE | Opcode::FUSE_RELEASEDIR);
    let Some(before) = before.filter(|_| releases) else { return };
    let most = before.open_files + files as u64;
    let few = || mounted.status().is_some_and(|now| now.open_files <= most);
    wait_until(COMES_BACK, few);
}

/// What is still known of a scene that is gone.
fn leaks(mounted: &Mounted, before: &Status) -> Option<String> {
    let mut now = Status::default();
    let at_rest = wait_until(COMES_BACK, || {
        let Some(status) = mounted.status() else { return false };
        now = status;
        let leaked = now.leaked_lookups.saturating_sub(before.leaked_lookups);
        now.inodes <= before.inodes + leaked && now.open_files <= before.open_files
    });
    (!at_rest).then(|| {
        let (inodes, files) = (now.inodes as i64, now.open_files as i64);
        format!(
            "leaks {} inodes and {} open files; {} lookups are accounted for",
            inodes - before.inodes as i64,
            files - before.open_files as i64,
            now.leaked_lookups.saturating_sub(before.leaked_lookups)
        )
    })
}

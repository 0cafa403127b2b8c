//! Any FUSE mount and its server, known by a process id alone.
//!
//! Nothing is done outside of a directory that is made for it. Whether the process that is named
//! serves that mount nobody can check; it is opened first (pidfd) and looked at then, and never
//! this process or init.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpid};
use tempfile::TempDir;

use super::course::{Course, Stopped};
use super::{Kills, Server, StormConfig};
use crate::crash::CrashError;
use crate::crash::replay::{Death, Victim};
use crate::crash::target::{Process, wait_until};
use crate::crash::workload::Random;
use crate::mount::mountinfo;

/// How long the command may take that names the server.
const COMMAND: Duration = Duration::from_secs(10);
/// How long the next server may take to come.
const SUCCESSOR: Duration = Duration::from_secs(30);
/// Between two runs of the command.
const AGAIN: Duration = Duration::from_millis(20);

/// A mount and its server.
pub(super) struct Other {
    mount: PathBuf,
    server: Server,
}

impl Other {
    /// The mount at `mount`, if one is there and its server lives.
    pub(super) fn new(
        mount: &Path,
        server: &Server,
        config: &StormConfig,
    ) -> Result<Other, CrashError> {
        let failed = |why: &str| CrashError::Failed(format!("{}: {why}", mount.display()));
        if config.kill_supervisor != Kills::Never || !config.without.is_empty() {
            return Err(failed("its server alone can be killed: leave the other options out"));
        }
        // Its parent is looked up, not the mount itself, which may be dead.
        let point = crate::mount::without_last(mount).map_err(CrashError::io("the mount point"))?;
        let table = mountinfo::read().map_err(CrashError::io("/proc/self/mountinfo"))?;
        if !mountinfo::find(&table, &point).is_some_and(mountinfo::Entry::is_fuse) {
            return Err(failed("no FUSE mount: give its mount point"));
        }
        let other = Other { mount: point, server: server.clone() };
        other.find().map_err(|why| failed(&format!("its server: {why}")))?;
        Ok(other)
    }

    pub(super) fn mount(&self) -> &Path {
        &self.mount
    }

    /// A new directory in it.
    pub(super) fn make_dir(&self) -> Result<TempDir, CrashError> {
        let what = self.mount.display().to_string();
        let mut builder = tempfile::Builder::new();
        builder.prefix("fusex-crash-").tempdir_in(&self.mount).map_err(CrashError::io(what))
    }

    /// The server, which lives.
    fn find(&self) -> Result<Process, String> {
        let pid = match &self.server {
            Server::Pid(pid) => *pid,
            Server::Command(command) => ask(command)?,
        };
        if pid <= 1 || pid == getpid().as_raw() {
            return Err(format!("process {pid} is not one to kill: name the server"));
        }
        let lives = |process: &Process| !process.wait(Duration::ZERO);
        let process = Process::open(Pid::from_raw(pid)).filter(lives);
        process.ok_or_else(|| format!("process {pid} is dead: name one that lives"))
    }

    /// Kills the server as often as was asked for; says when.
    pub(super) fn kill(&self, config: &StormConfig, course: &Course) -> Vec<Death> {
        let (mut random, mut deaths) = (Random::new(!config.seed), Vec::new());
        while self.may_go_on(config, course) {
            match self.kill_once(config, course, &mut random, deaths.len()) {
                Ok(Some(death)) => deaths.push(death),
                Ok(None) => {}
                Err(Stopped) => break,
            }
            super::end_if_counted(config, course);
        }
        if self.is_done(course) {
            // What comes of its death is seen by the workload, as long as that goes on.
            while !course.is_ending() && config.limit().is_some() {
                course.sleep(AGAIN);
            }
        }
        deaths
    }

    fn may_go_on(&self, config: &StormConfig, course: &Course) -> bool {
        let done = course.worker_deaths.load(Ordering::Acquire);
        let left = config.kill_worker.left(done, course.is_ending());
        left > 0 && !course.is_over() && !self.is_done(course)
    }

    /// Whether the only process that is known is dead.
    fn is_done(&self, course: &Course) -> bool {
        let died = course.worker_deaths.load(Ordering::Acquire) > 0;
        died && matches!(self.server, Server::Pid(_))
    }

    fn kill_once(
        &self,
        config: &StormConfig,
        course: &Course,
        random: &mut Random,
        before: usize,
    ) -> Result<Option<Death>, Stopped> {
        let mut found = Err(String::new());
        let mut look = || {
            found = self.find();
            if found.is_err() {
                course.sleep(AGAIN);
            }
            found.is_ok()
        };
        let after = if before == 0 { "the start" } else { "the server's death" };
        let log = || "no process that lives is named".to_string();
        course.wait(after, "a new server", SUCCESSOR, log, &mut look)?;
        let Ok(process) = found else { return Err(Stopped) };
        // It has to answer first: nobody knows how many early deaths in a row it forgives.
        let enough = course.operations() + config.threads as u64;
        let answers = || course.operations() >= enough || course.is_ending();
        course.wait(after, "an answer", SUCCESSOR.max(config.patience), String::new, answers)?;
        course.sleep(super::some_age(random, config.every));
        if course.is_over() {
            return Err(Stopped);
        }
        let signal = match config.signals.is_empty() {
            true => Signal::SIGKILL,
            false => random.pick(&config.signals),
        };
        let after = course.by_thread();
        if !process.signal(signal) {
            return Ok(None);
        }
        course.note_death();
        course.wait_for_death("server", &process, signal)?;
        let (victims, signal) = (vec![Victim::Worker], signal.as_str().to_string());
        Ok(Some(Death { after, victims, signal, point: None, opcode: None }))
    }

    /// What cannot be checked from outside.
    pub(super) fn unchecked(&self, config: &StormConfig) -> Vec<String> {
        let mut all = vec![
            "generations, and how requests were recovered: the mount does not tell".to_string(),
            "leaks in the server: its tables and descriptors are its own".to_string(),
            "what lies below the mount: not known".to_string(),
            "deaths while a new server takes over: it is killed when it has answered".to_string(),
        ];
        if matches!(self.server, Server::Pid(_)) && config.kill_worker != Kills::Times(1) {
            all.push("more than one death: a process dies once, --pid-command names more".into());
        }
        all
    }
}

/// Removes the directory; says why it cannot be removed.
pub(super) fn remove(dir: TempDir) -> Option<String> {
    let path = dir.path().display().to_string();
    let error = dir.close().err()?;
    Some(format!("{path} is left behind: {error}: remove it once the mount answers"))
}

/// The process that a shell command names.
fn ask(command: &str) -> Result<i32, String> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
    let mut child = shell.spawn().map_err(|error| format!("sh: {error}"))?;
    let ended = wait_until(COMMAND, || !matches!(child.try_wait(), Ok(None)));
    // What it has started, too: it may wait for the dead mount.
    let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
    let output = child.wait_with_output().map_err(|error| format!("{command}: {error}"))?;
    if !ended {
        return Err(format!("'{command}' takes longer than {} s", COMMAND.as_secs()));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let first = text.split_whitespace().next().unwrap_or_default();
    first.parse().map_err(|_| format!("'{command}' names no process: it printed '{first}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(server: Server) -> Result<Pid, String> {
        let other = Other { mount: "/".into(), server };
        other.find().map(|process| process.pid)
    }

    #[test]
    fn only_others_that_live_are_killed() {
        assert!(find(Server::Pid(1)).unwrap_err().contains("not one to kill"));
        assert!(find(Server::Pid(0)).is_err());
        assert!(find(Server::Pid(-1)).is_err());
        assert!(find(Server::Pid(getpid().as_raw())).is_err());
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id() as i32;
        assert_eq!(find(Server::Pid(pid)), Ok(Pid::from_raw(pid)));
        child.kill().unwrap();
        wait_until(COMMAND, || find(Server::Pid(pid)).is_err());
        assert!(find(Server::Pid(pid)).unwrap_err().contains("is dead"), "a zombie, too");
        child.wait().unwrap();
        assert!(find(Server::Pid(pid)).unwrap_err().contains("is dead"));
    }

    #[test]
    fn a_command_names_the_server() {
        let parent = nix::unistd::getppid();
        let named = find(Server::Command(format!("echo {parent}")));
        assert!(named == Ok(parent) || parent.as_raw() <= 1, "{named:?}");
        assert!(find(Server::Command("true".into())).unwrap_err().contains("names no process"));
        assert!(find(Server::Command("echo x".into())).unwrap_err().contains("printed 'x'"));
    }
}

//! Ends the servers of one mount, again and again.
//!
//! Nothing else is ever ended: a process is opened first and then looked at, and only what has
//! the mount's directory in its arguments and the right name gets the signal.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use fusex::crash::workload::Random;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::Signal;

use crate::common::{Mount, SOON, sys, wait_until};

/// How long the next one may take to come.
const SUCCESSOR: Duration = Duration::from_secs(10);
/// How often a signal is sent to one process: Rust's own handlers leave the first SEGV and BUS
/// that do not come from a bad access without effect.
const TRIES: usize = 5;

/// One in so many workers gets as far as to serve, however slow the machine is: a mount whose
/// workers all die in their takeover is given up.
const AT_WORK: u64 = 10;

/// The processes of a mount that are ended together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Victims {
    Worker,
    Supervisor,
    SupervisorAndWorker,
    SupervisorAndStandby,
}

/// The part of a process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Part {
    Worker,
    Supervisor,
    Standby,
}

impl Victims {
    fn parts(self) -> &'static [Part] {
        match self {
            Victims::Worker => &[Part::Worker],
            Victims::Supervisor => &[Part::Supervisor],
            Victims::SupervisorAndWorker => &[Part::Supervisor, Part::Worker],
            Victims::SupervisorAndStandby => &[Part::Supervisor, Part::Standby],
        }
    }
}

/// What `fusex supervise status --json` says.
pub(crate) fn status(mount: &Mount) -> Result<serde_json::Value, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fusex"));
    command.args(["supervise", "status", "--json"]).arg(mount.point()).env_remove("RUST_LOG");
    let output = command.output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let told = || format!("{}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&text).map_err(|error| format!("supervise status: {error}: {}", told()))
}

/// A number that it says.
pub(crate) fn number(mount: &Mount, key: &str) -> u64 {
    let status = status(mount).unwrap_or_else(|error| panic!("{error}"));
    status[key].as_u64().unwrap_or_else(|| panic!("no number {key}: {status}"))
}

/// Who ends the servers of a mount.
pub(crate) struct Killer<'a> {
    mount: &'a Mount,
    victims: Victims,
    signals: &'static [Signal],
    random: Random,
    root: PathBuf,
    /// The ones ended last, which may be seen dying for a moment.
    last: Vec<i32>,
    /// How often somebody was ended.
    pub(crate) count: u64,
}

impl<'a> Killer<'a> {
    pub(crate) fn new(mount: &'a Mount, victims: Victims, signals: &'static [Signal]) -> Self {
        let (random, root) = (Random::new(1), mount.place().path(""));
        Killer { mount, victims, signals, random, root, last: Vec::new(), count: 0 }
    }

    /// Ends them once, and waits until they are gone.
    ///
    /// # Errors
    /// There is no successor of those that were ended before, or they do not end.
    pub(crate) fn kill(&mut self) -> Result<(), String> {
        self.kill_at(Duration::ZERO)
    }

    /// The same, when they have lived for `age` at least.
    fn kill_at(&mut self, age: Duration) -> Result<(), String> {
        let signal = self.random.pick(self.signals);
        let mut found = Vec::new();
        for part in self.victims.parts() {
            let mut one = None;
            if !wait_until(SUCCESSOR, || {
                one = self.find(*part);
                one.is_some()
            }) {
                let log = self.mount.log();
                return Err(format!("no new {part:?} after {} kills; the log: {log}", self.count));
            }
            found.extend(one);
        }
        self.last = found.iter().map(|(pid, _)| *pid).collect();
        std::thread::sleep(age);
        // The first signal to all before anybody is waited for: they are to die together.
        found.iter().for_each(|(_, process)| send(process, signal));
        for (pid, process) in &found {
            let ended = (0..TRIES).any(|_| {
                let ended = has_ended(process);
                if !ended {
                    send(process, signal);
                }
                ended
            });
            if !ended && !has_ended(process) {
                return Err(format!("process {pid} does not die of {signal:?}"));
            }
        }
        self.count += 1;
        Ok(())
    }

    /// Ends them until `stop`, given the count, is true, each at an age of up to `pause` ms. The
    /// age is counted from where it is seen, so that on a slow machine too some come to serve.
    pub(crate) fn kill_until(
        &mut self,
        pause: usize,
        stop: impl Fn(u64) -> bool,
    ) -> Result<(), String> {
        while !stop(self.count) {
            if self.count.is_multiple_of(AT_WORK) {
                // If not, what it is killed in is seen all the same.
                wait_until(SUCCESSOR, || self.is_served());
            }
            let age = Duration::from_micros(self.random.below(pause * 1000) as u64);
            self.kill_at(age)?;
        }
        Ok(())
    }

    /// The process that has this part now, other than those that had it last.
    fn find(&self, part: Part) -> Option<(i32, OwnedFd)> {
        let pid = match part {
            Part::Worker => self.worker()?,
            Part::Supervisor => self.told("supervisor_pid")?,
            Part::Standby => self.told("standby_pid")?,
        };
        if self.last.contains(&pid) {
            return None;
        }
        let process = sys::pidfd(pid).ok()?;
        // Looked at after it was opened: it is still the one that has this number.
        (self.is_ours(pid) && (part != Part::Worker || is_worker(pid))).then_some((pid, process))
    }

    /// Whether the log has no death behind the last worker that served.
    fn is_served(&self) -> bool {
        let log = self.mount.log();
        log.rfind(" serves\n") > log.rfind(" died: ")
    }

    fn told(&self, key: &str) -> Option<i32> {
        let pid = status(self.mount).ok()?[key].as_i64()?;
        (pid > 0).then_some(pid as i32)
    }

    /// The youngest worker, from /proc: far quicker than to ask.
    fn worker(&self) -> Option<i32> {
        let processes = std::fs::read_dir("/proc").ok()?.flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| !self.last.contains(pid))
            .filter(|pid| is_worker(*pid) && self.is_ours(*pid))
            .max()
    }

    /// Whether a path of the mount's place is among its arguments.
    fn is_ours(&self, pid: i32) -> bool {
        let needle = self.root.as_os_str().as_encoded_bytes();
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.windows(needle.len()).any(|part| part == needle)
    }
}

fn is_worker(pid: i32) -> bool {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim_end() == "fusex-worker"
}

fn send(process: &OwnedFd, signal: Signal) {
    // Dead already, of an earlier one.
    let _ = sys::signal_pidfd(process, signal);
}

/// Whether it is dead, looked for a moment.
fn has_ended(process: &OwnedFd) -> bool {
    let mut wait = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    poll(&mut wait, 200u8).is_ok_and(|ready| ready > 0)
}

/// The pid that serves now, by the supervisor's own account.
pub(crate) fn supervisor(mount: &Mount) -> i32 {
    number(mount, "supervisor_pid") as i32
}

/// How many descriptors the processes of a mount share.
pub(crate) fn descriptors(mount: &Mount) -> usize {
    let path = format!("/proc/{}/fd", supervisor(mount));
    std::fs::read_dir(&path).unwrap_or_else(|error| panic!("{path}: {error}")).count()
}

/// Resident memory of a process in KiB.
pub(crate) fn resident(pid: i32) -> u64 {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let value = line.and_then(|line| line.split_whitespace().next());
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no VmRSS: {text}"))
}

/// Waits until the mount knows no more than `inodes` inodes and no open files: what the kernel
/// lets go reaches the server a moment later.
pub(crate) fn wait_for_rest(mount: &Mount, inodes: u64) {
    let leaked = number(mount, "leaked_lookups");
    let at_rest = || {
        let status = status(mount).unwrap_or_default();
        let few = status["inodes"].as_u64().is_some_and(|now| now <= inodes + leaked);
        few && status["open_files"].as_u64() == Some(0)
    };
    let done = wait_until(SOON, at_rest);
    assert!(done, "not more than {inodes} inodes, no files: {:?}", status(mount));
}

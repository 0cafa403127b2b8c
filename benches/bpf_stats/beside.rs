//! A program with BPF programs of its own that runs beside a storm.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long it may take to attach, and to end once asked.
const PATIENCE: Duration = Duration::from_secs(20);
/// All of its programs are attached when no further one comes for so long.
const SETTLED: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(10);

pub(crate) struct Beside {
    child: Child,
    log: PathBuf,
}

impl Beside {
    /// Starts the command and waits until its BPF programs are attached; what it prints goes to
    /// files in `dir`.
    pub(crate) fn start(command: &[String], dir: &Path) -> anyhow::Result<Beside> {
        let log = dir.join("beside.log");
        let mut start = Command::new(&command[0]);
        start.args(&command[1..]).stdin(Stdio::null()).env_remove("RUST_LOG");
        start.stdout(File::create(dir.join("beside.out"))?).stderr(File::create(&log)?);
        let mut beside = Beside { child: start.spawn()?, log };
        beside.wait_until_attached()?;
        Ok(beside)
    }

    fn wait_until_attached(&mut self) -> anyhow::Result<()> {
        let start = Instant::now();
        let (mut links, mut since) = (0, start);
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended: {status}: {}", self.last_words());
            }
            let now = self.fdinfo()?.iter().filter(|text| text.contains("link_type:")).count();
            if now != links {
                (links, since) = (now, Instant::now());
            }
            if links > 0 && since.elapsed() >= SETTLED {
                return Ok(());
            }
            sleep(PAUSE);
        }
        bail!("no BPF program of it is attached after {} s", PATIENCE.as_secs())
    }

    /// The kernel's memory for its maps and programs, in bytes, as the kernel counts it.
    pub(crate) fn memory(&self) -> anyhow::Result<u64> {
        let mut sizes = BTreeMap::new();
        for text in self.fdinfo()? {
            let field = |name: &str| -> Option<u64> {
                let line = text.lines().find_map(|line| line.strip_prefix(name))?;
                line.strip_prefix(':')?.trim().parse().ok()
            };
            let id = field("map_id")
                .map(|id| ("map", id))
                .or(field("prog_id").map(|id| ("program", id)));
            // A link names its program too.
            if let Some((id, size)) = id.zip(field("memlock")) {
                sizes.insert(id, size);
            }
        }
        Ok(sizes.values().sum())
    }

    /// What the kernel says of each of its descriptors.
    fn fdinfo(&self) -> anyhow::Result<Vec<String>> {
        let dir = format!("/proc/{}/fdinfo", self.child.id());
        let entries = std::fs::read_dir(&dir).context(dir)?.flatten();
        // One that is closed meanwhile is none.
        Ok(entries.filter_map(|entry| std::fs::read_to_string(entry.path()).ok()).collect())
    }

    /// Ends it as a user would; an error when it does not end well.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGINT)?;
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                use std::os::unix::process::ExitStatusExt;
                let by_signal = status.signal() == Some(Signal::SIGINT as i32);
                ensure!(status.success() || by_signal, "{status}: {}", self.last_words());
                return Ok(());
            }
            sleep(PAUSE);
        }
        bail!("it goes on {} s after SIGINT", PATIENCE.as_secs())
    }

    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.trim().lines().last().unwrap_or("silent").to_string()
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // Ended already, on the usual way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

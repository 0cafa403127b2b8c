//! Other processes, as `/proc` shows them.
//!
//! A process may be stuck in a dead mount, and then reading its command line can wait as long as
//! it does: the kernel wants the lock of its memory for that. All else that is read here
//! (`stat`, `comm`, `fd`, `fdinfo`, `wchan`) takes no such lock.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::Server;

/// As long as a command line may take to be read.
const PATIENCE: Duration = Duration::from_millis(200);
/// What of a command line is kept, in bytes.
const LONGEST: u64 = 4096;
/// Names are remembered for so many processes.
const REMEMBERED: usize = 4096;

/// What `/proc/PID/stat` says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stat {
    /// The name of its first thread.
    pub(super) name: String,
    /// `R`, `S`, `D`, … as proc(5) has them; `Z` and `X` for one that has ended.
    pub(super) state: char,
    /// When it began, in clock ticks since the machine started: with the process id, which
    /// process it is.
    pub(super) start: u64,
    /// How many threads it has.
    pub(super) threads: u64,
    /// The time it has had of the CPUs, in clock ticks.
    pub(super) cpu: u64,
}

/// Reads `/proc/PID/stat`; none when the process is gone.
pub(super) fn stat(process: &Path) -> Option<Stat> {
    parse(&fs::read(process.join("stat")).ok()?)
}

/// `PID (NAME) STATE PPID …`, where NAME may hold anything.
fn parse(line: &[u8]) -> Option<Stat> {
    let line = String::from_utf8_lossy(line);
    let (begin, rest) = line.rsplit_once(')')?;
    let (_, name) = begin.split_once('(')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // proc(5) counts from 1 and from the process id: the state is its field 3.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let cpu = field(14)? + field(15)?;
    let state = fields.first()?.chars().next()?;
    Some(Stat { name: name.into(), state, start: field(22)?, threads: field(20)?, cpu })
}

/// Command lines that were read already.
#[derive(Debug, Default)]
pub(super) struct Commands {
    known: HashMap<(u32, u64, String), String>,
}

impl Commands {
    /// A process as the server of something; `stat` is its own.
    pub(super) fn server(&mut self, proc: &Path, pid: u32, stat: &Stat) -> Server {
        // The name changes with exec, which the start does not.
        let key = (pid, stat.start, stat.name.clone());
        if self.known.len() >= REMEMBERED && !self.known.contains_key(&key) {
            self.known.clear();
        }
        let read = || {
            let line = command_line(proc.join(format!("{pid}/cmdline")));
            line.unwrap_or_else(|| format!("[{}]", stat.name))
        };
        let command = self.known.entry(key).or_insert_with(read).clone();
        Server { pid, command, threads: Some(stat.threads) }
    }
}

/// The words of a command line with spaces between them; none when it has none or cannot be
/// read, or not in time. Then a thread stays behind that waits: it ends with this process.
fn command_line(path: PathBuf) -> Option<String> {
    let (sender, receiver) = mpsc::channel();
    let read = move || {
        let mut line = Vec::new();
        let whole = File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut line));
        // Nobody listens any more when it took too long.
        let _ = sender.send(whole.map(|_| line));
    };
    thread::Builder::new().name("command line".into()).spawn(read).ok()?;
    let line = receiver.recv_timeout(PATIENCE).ok()?.ok()?;
    let words = String::from_utf8_lossy(&line).replace('\0', " ");
    let words = words.trim();
    (!words.is_empty()).then(|| words.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use std::time::Instant;

    #[test]
    fn a_name_may_hold_anything() {
        let line = b"12 (a) S (b) D 1 12 12 0 -1 4194560 1 2 3 4 50 7 5 0 20 0 9 0 12345 18046976";
        let expected =
            Stat { name: "a) S (b".into(), state: 'D', start: 12345, threads: 9, cpu: 57 };
        assert_eq!(parse(line), Some(expected));
        assert_eq!(parse(b"12 (a) S 1 2"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn this_process() {
        let process = Path::new("/proc/self");
        let stat = stat(process).unwrap();
        assert!(stat.threads >= 1 && stat.start > 0, "{stat:?}");
        let server = Commands::default().server(Path::new("/proc"), std::process::id(), &stat);
        let own = std::env::args().next().unwrap();
        assert!(server.command.starts_with(&own), "{server:?}");
    }

    #[test]
    fn a_command_line_that_does_not_come() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("7")).unwrap();
        // Opened for reading, it waits for a writer.
        nix::unistd::mkfifo(&dir.path().join("7/cmdline"), Mode::S_IRWXU).unwrap();
        let stat = Stat { name: "stuck".into(), state: 'D', start: 1, threads: 1, cpu: 0 };
        let mut commands = Commands::default();
        let begun = Instant::now();
        for _ in 0..50 {
            assert_eq!(commands.server(dir.path(), 7, &stat).command, "[stuck]");
        }
        assert!(begun.elapsed() < PATIENCE * 20, "asked once only: {:?}", begun.elapsed());
    }
}

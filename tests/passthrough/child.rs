//! A process of its own, that locks files and waits as it is told.
//!
//! It is the test binary again, running [`child_process`] alone; the two talk over its
//! standard input, a socket: a line asks, a line answers (`ok ...` or the error's name).
//!
//! | line | what it does |
//! | --- | --- |
//! | `open N PATH` | opens PATH for reading and writing, as N |
//! | `read-only N PATH` | opens PATH for reading, as N |
//! | `close N` | closes N |
//! | `posix N r\|w\|u START LENGTH` | F_SETLK; `posixw`: F_SETLKW; `ofd`, `ofdw`: OFD locks |
//! | `test N r\|w START LENGTH` | F_GETLK: `ok KIND START LENGTH PID` |
//! | `flock N sh\|ex\|un` | without waiting; `flockw`: waiting |
//! | `churn DIRECTORY` | makes, uses and removes files there until it is killed |

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::Signal;

use crate::common::{SOON, errno, sys};

const MARK: &str = "FUSEX_TEST_CHILD";

/// The process, from the test's side. Ends with it.
pub(crate) struct Child {
    process: std::process::Child,
    thread: i32,
    lines: BufReader<UnixStream>,
}

impl Child {
    pub(crate) fn start() -> Child {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child::child_process", "--ignored", "--nocapture"])
            .env(MARK, "1")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        ours.set_read_timeout(Some(SOON)).unwrap();
        let mut child = Child { process, thread: 0, lines: BufReader::new(ours) };
        child.thread = child.answer().strip_prefix("ok ").unwrap().parse().unwrap();
        child
    }

    /// A process that has opened these files, as 0, 1 and so on.
    pub(crate) fn with(files: &[&Path]) -> Child {
        let mut child = Child::start();
        for (number, file) in files.iter().enumerate() {
            assert_eq!(child.ask(&format!("open {number} {}", file.display())), "ok");
        }
        child
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Tells it something and waits for the answer.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        self.answer()
    }

    /// Tells it something whose answer comes later.
    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.lines.get_mut(), "{line}").unwrap();
    }

    /// Waits for the answer; panics when it does not come.
    pub(crate) fn answer(&mut self) -> String {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line);
        read.unwrap_or_else(|error| panic!("no answer from the other process: {error}"));
        line.trim_end().to_string()
    }

    /// Whether its answer is there already, looked for a moment.
    pub(crate) fn has_answer(&mut self) -> bool {
        let mut wait = [PollFd::new(self.lines.get_ref().as_fd(), PollFlags::POLLIN)];
        poll(&mut wait, 10u8).unwrap() > 0
    }

    /// Tells it to do something that has to wait, and sees that it waits.
    pub(crate) fn blocks(&mut self, line: &str) {
        self.tell(line);
        std::thread::sleep(Duration::from_millis(50));
        assert!(!self.has_answer(), "{line} was to wait: {}", self.answer());
    }

    /// Interrupts the system call that it is in.
    pub(crate) fn interrupt(&self) {
        sys::signal_thread(self.pid() as i32, self.thread, Signal::SIGUSR1).unwrap();
    }

    /// SIGKILL; does not wait.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Ended already, or waits for a lock in a mount that is going to be taken away.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
#[ignore = "the other process of other tests, which start it"]
fn child_process() {
    if std::env::var_os(MARK).is_none() {
        return;
    }
    sys::let_interrupt(Signal::SIGUSR1);
    let stdin = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let mut stream = UnixStream::from(stdin);
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    let mut files = HashMap::new();
    writeln!(stream, "ok {}", nix::unistd::gettid()).unwrap();
    let mut line = String::new();
    while lines.read_line(&mut line).unwrap() > 0 {
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match obey(&mut files, &words) {
            Ok(answer) => answer,
            Err(error) => format!("{error:?}"),
        };
        writeln!(stream, "{answer}").unwrap();
        line.clear();
    }
}

fn obey(files: &mut HashMap<String, File>, words: &[&str]) -> Result<String, Errno> {
    match words {
        ["open", name, path] => {
            let file = OpenOptions::new().read(true).write(true).open(path).map_err(errno)?;
            files.insert(name.to_string(), file);
        }
        ["read-only", name, path] => {
            files.insert(name.to_string(), File::open(path).map_err(errno)?);
        }
        ["close", name] => drop(files.remove(*name).unwrap()),
        ["flock", name, how] => sys::flock(&files[*name], flock_kind(how) | libc::LOCK_NB)?,
        ["flockw", name, how] => sys::flock(&files[*name], flock_kind(how))?,
        ["test", name, rest @ ..] => {
            let mut lock = range(rest);
            fcntl(&files[*name], FcntlArg::F_GETLK(&mut lock))?;
            let libc::flock { l_start, l_len, l_pid, .. } = lock;
            return Ok(format!("ok {} {l_start} {l_len} {l_pid}", kind_name(lock.l_type)));
        }
        ["churn", directory] => churn(Path::new(directory)),
        [what, name, rest @ ..] => {
            let (file, lock) = (&files[*name], range(rest));
            let argument = match *what {
                "posix" => FcntlArg::F_SETLK(&lock),
                "posixw" => FcntlArg::F_SETLKW(&lock),
                "ofd" => FcntlArg::F_OFD_SETLK(&lock),
                "ofdw" => FcntlArg::F_OFD_SETLKW(&lock),
                _ => panic!("unknown: {what}"),
            };
            fcntl(file, argument)?;
        }
        _ => panic!("unknown: {words:?}"),
    }
    Ok("ok".to_string())
}

fn flock_kind(word: &str) -> i32 {
    match word {
        "sh" => libc::LOCK_SH,
        "ex" => libc::LOCK_EX,
        "un" => libc::LOCK_UN,
        _ => panic!("unknown: {word}"),
    }
}

fn range(words: &[&str]) -> libc::flock {
    let [kind, start, length] = words else { panic!("a range has three words: {words:?}") };
    let l_type = match *kind {
        "r" => libc::F_RDLCK,
        "w" => libc::F_WRLCK,
        "u" => libc::F_UNLCK,
        _ => panic!("unknown: {kind}"),
    };
    libc::flock {
        l_type: l_type as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: start.parse().unwrap(),
        l_len: length.parse().unwrap(),
        l_pid: 0,
    }
}

fn kind_name(kind: i16) -> &'static str {
    match i32::from(kind) {
        libc::F_RDLCK => "r",
        libc::F_WRLCK => "w",
        _ => "u",
    }
}

fn churn(directory: &Path) {
    let own = directory.join(std::process::id().to_string());
    for round in 0u64.. {
        let (a, b) = (own.with_extension("a"), own.with_extension("b"));
        let mut file = File::create(&a).unwrap();
        file.write_all(&vec![round as u8; 70_000]).unwrap();
        std::fs::rename(&a, &b).unwrap();
        assert_eq!(std::fs::read(&b).unwrap().len(), 70_000);
        assert!(std::fs::read_dir(directory).unwrap().count() > 0);
        std::fs::remove_file(&b).unwrap();
    }
}

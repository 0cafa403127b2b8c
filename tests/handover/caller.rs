//! A process of its own that uses the mount as it is told.
//!
//! While nobody serves, whoever has a file of the mount open may hang, the test must not: it
//! holds none, and tells this process what to do. It is the test binary again, running
//! [`caller_process`] alone; the two talk over its standard input, a socket: a line asks, a line
//! answers (`ok ...`, or the error's name). A test that fails leaves a process that does not die
//! behind, and the mount is aborted after it.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, poll};

use crate::common::{SOON, wait_until};
use crate::deeds::Deeds;

const MARK: &str = "FUSEX_HANDOVER_CALLER";
/// How long a process may take to die that has been killed.
const DYING: Duration = Duration::from_secs(2);

/// The process, from the test's side. Ends with it.
pub(crate) struct Caller {
    process: Child,
    lines: BufReader<UnixStream>,
}

impl Caller {
    /// A process whose relative paths begin at `directory`, which it does not keep open.
    pub(crate) fn new(directory: &Path) -> Caller {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "caller::caller_process", "--ignored", "--nocapture"])
            .env(MARK, directory)
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        ours.set_read_timeout(Some(SOON)).unwrap();
        Caller { process, lines: BufReader::new(ours) }
    }

    /// Tells it something and waits for the answer.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        self.answer()
    }

    /// Tells it several things, each of which has to be answered with `ok`.
    pub(crate) fn all(&mut self, lines: &[&str]) {
        for line in lines {
            assert_eq!(self.ask(line), "ok", "{line}");
        }
    }

    /// Tells it something whose answer comes later.
    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.lines.get_mut(), "{line}").unwrap();
    }

    /// Waits for the answer; panics when it does not come.
    pub(crate) fn answer(&mut self) -> String {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line);
        read.unwrap_or_else(|error| panic!("no answer from the caller: {error}"));
        line.trim_end().to_string()
    }

    /// Whether its answer is there already, looked for a moment.
    pub(crate) fn has_answer(&mut self) -> bool {
        let mut wait = [PollFd::new(self.lines.get_ref().as_fd(), PollFlags::POLLIN)];
        poll(&mut wait, 20u8).unwrap() > 0
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        // It ends by itself when it is told nothing more, and its files are closed in order.
        let _ = self.lines.get_ref().shutdown(std::net::Shutdown::Both);
        let mut ended = |limit| wait_until(limit, || !matches!(self.process.try_wait(), Ok(None)));
        let patience = if std::thread::panicking() { Duration::ZERO } else { SOON };
        if !ended(patience) {
            let _ = self.process.kill();
            // It may wait for a server; the end of the mount frees it.
            wait_until(DYING, || !matches!(self.process.try_wait(), Ok(None)));
        }
    }
}

#[test]
#[ignore = "the caller of other tests, which start it"]
fn caller_process() {
    let Some(directory) = std::env::var_os(MARK) else { return };
    let stdin = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let mut stream = UnixStream::from(stdin);
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    let mut deeds = Deeds::new(directory.into());
    let mut line = String::new();
    while lines.read_line(&mut line).unwrap_or(0) > 0 {
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match deeds.obey(&words) {
            Ok(answer) => format!("ok {answer}"),
            Err(error) => format!("{error:?}"),
        };
        if writeln!(stream, "{}", answer.trim_end()).is_err() {
            return;
        }
        line.clear();
    }
}

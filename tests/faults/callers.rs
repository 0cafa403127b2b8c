//! Callers of a mount whose servers die: none of them is to see it.

use std::fs::File;
use std::io::{Read, Result, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use crate::common::{SOON, wait_until};
use crate::server::Server;
use crate::traps::{At, BEGUN, GATE, PLAIN, SLOW, Trap, content};

/// A call in a thread of its own: if it hangs, the test does not.
pub(crate) struct Call<T>(Receiver<Result<T>>);

impl<T: Send + 'static> Call<T> {
    pub(crate) fn new(call: impl FnOnce() -> Result<T> + Send + 'static) -> Call<T> {
        let (tell, result) = channel();
        std::thread::spawn(move || {
            // Nobody listens any more where the test has failed.
            let _ = tell.send(call());
        });
        Call(result)
    }

    /// What it came to.
    pub(crate) fn end(&self, server: &Server) -> Result<T> {
        let result = self.0.recv_timeout(SOON);
        result.unwrap_or_else(|_| panic!("the call hangs; the log: {}", server.log()))
    }
}

/// Reads a file of the mount.
pub(crate) fn read(server: &Server, name: &str) -> Call<String> {
    let path = server.file(name);
    Call::new(move || std::fs::read_to_string(path))
}

/// Writes to a file of the mount, by one WRITE.
pub(crate) fn write(server: &Server, name: &str) -> Call<()> {
    let path = server.file(name);
    Call::new(move || File::options().write(true).open(path)?.write_all(b"x"))
}

/// Does to a trap what makes it spring; afterwards its file says what it has to say.
pub(crate) fn spring(server: &Server, trap: Trap) -> Result<()> {
    let name = trap.name();
    let (mut writes, calls) = (0, [At::Write, At::Written]);
    if calls.contains(&trap.at) {
        write(server, &name).end(server)?;
        writes = 1;
    }
    let text = read(server, &name).end(server)?;
    assert_eq!(text, content(&name, writes), "{name}");
    Ok(())
}

/// A read that is under way until it is let go.
pub(crate) struct Slow(Call<String>);

impl Slow {
    pub(crate) fn start(server: &Server) -> Slow {
        let slow = Slow(read(server, SLOW));
        assert!(wait_until(SOON, || server.path(BEGUN).exists()), "no slow read");
        slow
    }

    /// The call itself.
    pub(crate) fn call(&self) -> &Call<String> {
        &self.0
    }

    /// Lets it go: it has to come to what it would have come to.
    pub(crate) fn end(self, server: &Server) {
        server.sign(GATE, true);
        assert_eq!(self.0.end(server).unwrap(), content(SLOW, 0));
    }
}

/// Two threads that read and write [`PLAIN`] all the time.
pub(crate) struct Others {
    over: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
    threads: Vec<JoinHandle<u64>>,
}

impl Others {
    pub(crate) fn start(server: &Server) -> Others {
        let (over, calls) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let path = server.file(PLAIN);
        let threads = [reader, writer].map(|work: fn(&PathBuf)| {
            let (path, over) = (path.clone(), over.clone());
            let calls: Arc<AtomicU64> = Arc::clone(&calls);
            std::thread::spawn(move || {
                let mut count = 0;
                while !over.load(Ordering::Relaxed) {
                    work(&path);
                    count += 1;
                    calls.fetch_add(1, Ordering::Relaxed);
                }
                count
            })
        });
        Others { over, calls, threads: threads.into() }
    }

    /// Waits until there were some more calls from now on.
    pub(crate) fn go_on(&self) {
        let before = self.calls.load(Ordering::Relaxed);
        let more = || self.calls.load(Ordering::Relaxed) > before + 4;
        assert!(wait_until(SOON, more), "other callers stand still");
    }

    /// They have seen nothing, and each write has happened once.
    pub(crate) fn end(mut self, server: &Server) {
        self.go_on();
        self.over.store(true, Ordering::Relaxed);
        let done = || self.threads.iter().all(JoinHandle::is_finished);
        assert!(wait_until(SOON, done), "other callers hang");
        let results = self.threads.drain(..).map(|thread| thread.join());
        let counts: Vec<u64> = results.map(|result| result.expect("another caller")).collect();
        let text = read(server, PLAIN).end(server).unwrap();
        assert_eq!(text, content(PLAIN, counts[1]));
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn reader(path: &PathBuf) {
    let mut text = String::new();
    File::open(path).and_then(|mut file| file.read_to_string(&mut text)).expect("reading");
    let number = text.strip_prefix("plain, written ").and_then(|it| it.split(' ').next());
    let number: u64 = number.and_then(|it| it.parse().ok()).unwrap_or_else(|| panic!("{text}"));
    assert!(text == content(PLAIN, number), "{text}");
}

fn writer(path: &PathBuf) {
    let written = File::options().write(true).open(path).and_then(|mut file| file.write(b"x"));
    assert_eq!(written.expect("writing"), 1);
}

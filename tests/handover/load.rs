//! A load that checks every result: what fails, what happens twice and what is lost shows in it.
//!
//! Each thread works in a directory of its own. Only one that has a name is open: a file without
//! one is the only thing that may be lost when all servers die.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Threads of one load.
const THREADS: usize = 3;

/// Threads at work.
pub(crate) struct Load {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<u64, String>>>,
}

/// What a thread finds wrong is told, not panicked about: it has to reach the test.
fn check<T: Debug, E: Debug>(
    what: &str,
    result: Result<T, E>,
    right: impl Fn(&T) -> bool,
) -> Result<T, String> {
    match result {
        Ok(value) if right(&value) => Ok(value),
        wrong => Err(format!("{what}: {wrong:?}")),
    }
}

fn fine<T: Debug, E: Debug>(what: &str, result: Result<T, E>) -> Result<T, String> {
    check(what, result, |_| true)
}

impl Load {
    /// Begins in `directory`, an empty one.
    pub(crate) fn start(directory: &Path) -> Load {
        let over = Arc::new(AtomicBool::new(false));
        let one = |number: usize| {
            let (over, own) = (over.clone(), directory.join(number.to_string()));
            std::thread::spawn(move || work(&own, &over))
        };
        let threads = (0..THREADS).map(one).collect();
        Load { over, threads }
    }

    /// How many rounds there were, or what was wrong, without line breaks.
    pub(crate) fn end(self) -> String {
        self.over.store(true, Ordering::Relaxed);
        let ends: Vec<_> = self.threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        match ends.into_iter().sum::<Result<u64, String>>() {
            Ok(rounds) => rounds.to_string(),
            Err(error) => error.replace('\n', " "),
        }
    }
}

fn work(own: &Path, over: &AtomicBool) -> Result<u64, String> {
    fine("mkdir", fs::create_dir(own))?;
    let mut log = OpenOptions::new();
    let mut log = fine("log", log.read(true).append(true).create_new(true).open(own.join("log")))?;
    let mut rounds = 0;
    while !over.load(Ordering::Relaxed) {
        round(own, rounds).map_err(|error| format!("round {rounds}: {error}"))?;
        // Twice, or not at all, would show in its length for ever.
        check("append", log.write(b"0123456789"), |done| *done == 10)?;
        rounds += 1;
        check("length", log.metadata(), |it| it.len() == rounds * 10)?;
    }
    let mut text = String::new();
    check(
        "log",
        File::open(own.join("log")).and_then(|mut log| log.read_to_string(&mut text)),
        |_| true,
    )?;
    match text == "0123456789".repeat(rounds as usize) {
        true => Ok(rounds),
        false => Err(format!("the log of {rounds} rounds has {} bytes", text.len())),
    }
}

fn round(own: &Path, number: u64) -> Result<(), String> {
    let [one, other, link, dir] =
        ["one", "other", "link", "dir"].map(|name| -> PathBuf { own.join(name) });
    let text = format!("round {number}").repeat(50);
    let mut file = fine("create", File::create_new(&one))?;
    check("write", file.write(text.as_bytes()), |done| *done == text.len())?;
    fine("mkdir", fs::create_dir(&dir))?;
    fine("rename", fs::rename(&one, &other))?;
    fine("link", fs::hard_link(&other, &link))?;
    check("size", file.metadata(), |it| it.len() == text.len() as u64)?;
    drop(file);
    check("read", fs::read_to_string(&link), |seen| *seen == text)?;
    check(
        "gone",
        fs::metadata(&one).map_or_else(|error| Ok(error.kind()), |_| Err("there")),
        |it| *it == std::io::ErrorKind::NotFound,
    )?;
    check("list", fs::read_dir(own).map(Iterator::count), |count| *count == 4)?;
    fine("rmdir", fs::remove_dir(&dir))?;
    fine("unlink", fs::remove_file(&link))?;
    fine("unlink", fs::remove_file(&other))
}

//! Lines appended by all threads to one file, each through an open of its own: each line is there
//! once, whole, and behind the one that its thread wrote before.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::actor::{Actor, open};
use super::check::{Checked, fine, same, wrong};
use super::common::{COMMON, Common};
use super::random::Random;

/// So many lines of a thread, then it goes on to the next file.
const LINES: u64 = 500;

/// What one thread has written.
#[derive(Default)]
pub(crate) struct Lines {
    /// The file's number.
    index: u64,
    file: Option<File>,
    /// Lines in it.
    count: u64,
}

fn path_of(index: u64) -> PathBuf {
    Path::new(COMMON).join(format!("lines.{index}"))
}

/// Short ones for the most part, and some that are longer than a page.
fn line(seed: u64, thread: usize, number: u64) -> String {
    let mut random = Random::new(seed ^ (thread as u64) << 40 ^ number);
    let length = if random.once_in(16) { random.below(9000) } else { random.below(60) };
    format!("t{thread} {number} {}\n", "=".repeat(length))
}

/// Appends a line; the last thread that leaves a file compares and removes it.
pub(crate) fn append(actor: &mut Actor) -> Checked {
    let path = actor.dir.join(path_of(actor.lines.index));
    let (number, common) = (actor.lines.count, actor.common.clone());
    let text = line(common.seed, actor.thread, number);
    actor.begin(&path, format!("append line {number} ({} bytes) to {path:?}", text.len()));
    let lines = &mut actor.lines;
    let file = match &lines.file {
        Some(file) => file,
        None => {
            let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND;
            lines.file.insert(fine(open(&path, flags, 0o600))?)
        }
    };
    same(nix::unistd::write(file, text.as_bytes()), Ok(text.len()))?;
    lines.count += 1;
    if lines.count < LINES {
        return Ok(());
    }
    let index = lines.index;
    *lines = Lines { index: index + 1, file: None, count: 0 };
    let Some(counts) = leave(&common, index, actor.thread) else { return Ok(()) };
    compare(&common, &path, &counts)?;
    fine(nix::unistd::unlink(&path))
}

/// Notes that a thread has left a file; what all have in it when that was the last one.
fn leave(common: &Common, index: u64, thread: usize) -> Option<Vec<u64>> {
    let mut left = common.left.lock().unwrap();
    let counts = left.entry(index).or_insert_with(|| vec![None; common.threads]);
    counts[thread] = Some(LINES);
    let all: Option<Vec<u64>> = counts.iter().copied().collect();
    if all.is_some() {
        left.remove(&index);
    }
    all
}

fn compare(common: &Common, path: &Path, counts: &[u64]) -> Checked {
    let text = fine(std::fs::read(path))?;
    let mut next = vec![0; counts.len()];
    for (at, got) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let got = String::from_utf8_lossy(got);
        let thread = got.strip_prefix('t').and_then(|rest| rest.split(' ').next()?.parse().ok());
        let Some(thread) = thread.filter(|thread: &usize| *thread < next.len()) else {
            return wrong((at, &got[..got.len().min(40)]), "a line of one of the threads");
        };
        let expected = line(common.seed, thread, next[thread]);
        if *got != *expected {
            let shown = |text: &str| format!("line {at}, {} bytes: {:.40}", text.len(), text);
            return wrong(shown(&got), shown(&expected));
        }
        next[thread] += 1;
    }
    same(("lines by thread", next.as_slice()), ("lines by thread", counts))
}

/// The files that are there at the end; each compared.
pub(super) fn at_end(actors: &[Actor], dir: &Path) -> Checked<Vec<String>> {
    let Some(common) = actors.first().map(|actor| actor.common.clone()) else {
        return Ok(Vec::new());
    };
    let mut all: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (index, counts) in common.left.lock().unwrap().iter() {
        all.insert(*index, counts.iter().map(|count| count.unwrap_or(0)).collect());
    }
    for actor in actors.iter().filter(|actor| actor.lines.file.is_some()) {
        let counts = all.entry(actor.lines.index).or_insert_with(|| vec![0; common.threads]);
        counts[actor.thread] = actor.lines.count;
    }
    for (index, counts) in &all {
        compare(&common, &dir.join(path_of(*index)), counts)?;
    }
    Ok(all.keys().map(|index| format!("lines.{index}")).collect())
}

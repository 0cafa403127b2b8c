//! Callers at work while something happens to the servers: each of their calls has to succeed.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::common::{SOON, wait_until};
use fusex::crash::workload::Random;

const CALLERS: u64 = 2;
/// Rounds that each of them makes before it begins and after it is over.
const SOME: u64 = 3;

/// Ends the callers, also when the test panics: they are waited for.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `body` while callers work in `dir`, which they have to do before, meanwhile and after.
pub(crate) fn under_load<T>(dir: &Path, body: impl FnOnce() -> T) -> T {
    let (over, rounds) = (AtomicBool::new(false), [const { AtomicU64::new(0) }; CALLERS as usize]);
    std::thread::scope(|scope| {
        let ends = Over(&over);
        let callers: Vec<_> = rounds
            .iter()
            .enumerate()
            .map(|(number, count)| {
                let (over, own) = (&over, dir.join(format!("load-{number}")));
                scope.spawn(move || work(&own, count, over))
            })
            .collect();
        let go_on = || {
            let before: Vec<u64> = rounds.iter().map(|it| it.load(Ordering::Relaxed)).collect();
            let more = |(count, before): (&AtomicU64, &u64)| {
                count.load(Ordering::Relaxed) >= before + SOME
            };
            let all = wait_until(SOON, || {
                rounds.iter().zip(&before).all(more) || callers.iter().any(|it| it.is_finished())
            });
            assert!(all, "the callers wait");
        };
        go_on();
        let result = body();
        go_on();
        drop(ends);
        callers.into_iter().for_each(|caller| caller.join().expect("a caller"));
        result
    })
}

/// Makes, writes, reads, renames, lists and removes.
fn work(dir: &Path, rounds: &AtomicU64, over: &AtomicBool) {
    let mut random = Random::new(7);
    while !over.load(Ordering::Relaxed) {
        fs::create_dir(dir).unwrap();
        let (one, other) = (dir.join("one"), dir.join("other"));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&one).unwrap();
        let data = random.bytes(20_000);
        assert_eq!(file.write_at(&data, 0).unwrap(), data.len());
        fs::rename(&one, &other).unwrap();
        assert!(fs::read(&other).unwrap() == data, "what was written is read");
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["other"]);
        fs::remove_file(&other).unwrap();
        assert_eq!(file.metadata().unwrap().len(), data.len() as u64);
        fs::remove_dir(dir).unwrap();
        rounds.fetch_add(1, Ordering::Relaxed);
    }
}

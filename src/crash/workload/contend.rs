//! A file made with O_EXCL that is a lock: the threads compete for it, and one has it at a time.

use std::sync::atomic::Ordering;

use nix::errno::Errno;
use nix::sys::uio::pread;

use super::actor::{Actor, open};
use super::check::{Checked, fine, same, wrong};
use super::common::COMMON;

/// One more at the lock, and one more that came.
const ENTER: u64 = 1 << 32 | 1;
const INSIDE: u64 = 0xffff_ffff;

/// Takes the lock, writes into it who has it, and gives it back.
pub(crate) fn lock_file(actor: &mut Actor) -> Checked {
    let tries = 1 + actor.random.below(20);
    let path = actor.dir.join(COMMON).join("lock");
    actor.begin(&path, format!("open {path:?} O_CREAT|O_EXCL, {tries} times at most"));
    let common = actor.common.clone();
    for _ in 0..tries {
        let before = common.at_lock.fetch_add(ENTER, Ordering::SeqCst);
        match open(&path, libc::O_CREAT | libc::O_EXCL | libc::O_RDWR, 0o600) {
            Ok(file) => {
                let me = actor.thread as u64 + 1;
                let holder = common.holder.swap(me, Ordering::SeqCst);
                if holder != 0 {
                    return wrong("the lock", format!("EEXIST: thread t{} has it", holder - 1));
                }
                let text = format!("{} {}", actor.tag, actor.number);
                same(nix::unistd::write(&file, text.as_bytes()), Ok(text.len()))?;
                let (other, mut seen) = (fine(open(&path, libc::O_RDONLY, 0))?, [0; 64]);
                let length = fine(pread(&other, &mut seen, 0))?;
                same(String::from_utf8_lossy(&seen[..length]).into_owned(), text)?;
                same(common.holder.swap(0, Ordering::SeqCst), me)?;
                drop((file, other));
                fine(nix::unistd::unlink(&path))?;
                common.at_lock.fetch_sub(1, Ordering::SeqCst);
                return Ok(());
            }
            Err(Errno::EEXIST) => {
                let after = common.at_lock.fetch_sub(1, Ordering::SeqCst);
                // Nobody was there when this thread came, and nobody has come since.
                if before & INSIDE == 0 && after >> 32 == (before >> 32) + 1 {
                    return wrong(Errno::EEXIST, "the lock: nobody has it");
                }
                std::thread::yield_now();
            }
            Err(error) => return wrong(error, "the lock, or EEXIST"),
        }
    }
    Ok(())
}

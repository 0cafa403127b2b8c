//! What all threads of the program have together.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use nix::sys::stat::Mode;

use super::check::{Checked, fine};
use super::random::Random;

/// The directory of it.
pub(crate) const COMMON: &str = "common";
/// The directory of the files that are made beforehand.
pub(crate) const INODES: &str = "inodes";
/// So many of those in one directory.
const IN_ONE: usize = 1000;

/// What is in no model of a thread.
pub(crate) struct Common {
    pub(crate) threads: usize,
    pub(crate) seed: u64,
    pub(crate) inodes: usize,
    /// Threads at the lock file (lower half), and how often one came to it (upper half).
    pub(crate) at_lock: AtomicU64,
    /// The thread that has made the lock file, plus 1.
    pub(crate) holder: AtomicU64,
    /// By number of a file with lines: how many each thread has in it that has left it.
    pub(crate) left: Mutex<BTreeMap<u64, Vec<Option<u64>>>>,
}

impl Common {
    /// Makes the directories and what is in them.
    pub(super) fn start(dir: &Path, seed: u64, threads: usize, inodes: usize) -> Checked<Common> {
        let common = Common {
            threads,
            seed,
            inodes,
            at_lock: AtomicU64::new(0),
            holder: AtomicU64::new(0),
            left: Mutex::default(),
        };
        let rwx = Mode::from_bits_retain(0o755);
        fine(nix::unistd::mkdir(&dir.join(COMMON), rwx))?;
        if inodes > 0 {
            fine(nix::unistd::mkdir(&dir.join(INODES), rwx))?;
        }
        for number in 0..inodes {
            let path = dir.join(common.inode(number));
            if number % IN_ONE == 0
                && let Some(parent) = path.parent()
            {
                fine(nix::unistd::mkdir(parent, rwx))?;
            }
            let file: File =
                fine(super::actor::open(&path, libc::O_CREAT | libc::O_WRONLY, 0o644))?;
            let bytes = common.inode_bytes(number);
            super::check::same(nix::unistd::write(&file, &bytes), Ok(bytes.len()))?;
        }
        Ok(common)
    }

    /// Where one of the files made beforehand is, in the program's directory.
    pub(crate) fn inode(&self, number: usize) -> PathBuf {
        format!("{INODES}/d{}/f{number}", number / IN_ONE).into()
    }

    /// What is in it.
    pub(crate) fn inode_bytes(&self, number: usize) -> Vec<u8> {
        Random::new(self.seed ^ number as u64).bytes(1 + number % 97)
    }
}

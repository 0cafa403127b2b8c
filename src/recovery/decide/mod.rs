//! Done or not done? What becomes of a request that a dead worker had read and not answered.
//!
//! Pure functions, one an operation, named as the operation is: from the state before (the
//! *intent*, see [`journal`](super::journal)), what was asked, and what is seen now. A file
//! system over another one asks them in [`Filesystem::recover`](crate::fs::Filesystem::recover);
//! one that keeps all of its state in the arena need not ask anybody.
//!
//! | operation | noted before | it has happened if |
//! | --- | --- | --- |
//! | MKDIR, MKNOD, SYMLINK, CREATE | | the name is there, is what was asked for, and is not older than the request |
//! | UNLINK, RMDIR | | the name is gone |
//! | RENAME, RENAME_NOREPLACE | | the old name is gone and the new one is there |
//! | RENAME_EXCHANGE | inode of the old name | the old name is another inode |
//! | RENAME_WHITEOUT | inode of the old name | the old name is another inode, and a whiteout |
//! | LINK | | the new name is the inode |
//! | SETXATTR with XATTR_CREATE | whether it existed | it did not, and has the value now |
//! | REMOVEXATTR | whether it existed | it did, and is gone |
//! | WRITE to a file that appends | its size | what it has grown by is there, the rest is written |
//! | SETATTR with times "now" | that it began | done again, with the time of its beginning |
//! | WRITE, SETATTR, SETXATTR, FALLOCATE, COPY_FILE_RANGE, IOCTL | | done again: places and values are absolute |
//! | OPEN, TMPFILE, locks, FSYNC, and what only reads | | done again: nobody knows of the first time |
//!
//! What this rests on:
//!
//! * *Locks of the kernel.* Over the whole request it holds the lock of the directory (of both for a
//!   rename) or, for data and attributes, of the inode, and it does not let go before the answer,
//!   whoever kills the caller. So what changes a name between the worker's death and the takeover
//!   is this request, or somebody who does not come through the mount. That is why
//!   most names need not be looked at before the change.
//! * *Time.* A request's beginning is taken from the clock by which the kernel stamps files
//!   (CLOCK_REALTIME_COARSE; the finer stamps of Linux 6.13 are never behind it). So what a request
//!   makes is not older than the request. See [`Asked::began`] for stamps that are coarser.
//! * *The kernel's checks.* It refuses overlapping ranges of one file to COPY_FILE_RANGE, and asks
//!   FALLOCATE for no mode that moves data (up to Linux 6.18).
//!
//! Where something else changes the lower tree too, the answer is one that the file system could
//! have given. Two things can still mislead a decision about a new name, and both ways the answer
//! is "exists already": the clock was set back while the request was under way, or the lower file
//! system has its stamps from another machine, whose clock is behind.

mod attributes;
mod data;
mod names;
mod xattrs;

use std::time::Duration;

use super::journal::INTENT;

pub use attributes::setattr;
pub use data::write;
pub use names::{create, link, mkdir, mknod, rename, rmdir, symlink, unlink};
pub use xattrs::{removexattr, setxattr};

/// What to do with the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has not happened, or the second time changes nothing more: do it.
    Again,
    /// It has happened: answer it.
    Done,
}

impl Verdict {
    fn done_if(done: bool) -> Verdict {
        if done { Verdict::Done } else { Verdict::Again }
    }
}

/// Which inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its device: major in the upper 32 bits, minor in the lower.
    pub device: u64,
    /// Its number there.
    pub ino: u64,
}

impl Identity {
    /// For [`journal::intend`](super::journal::intend).
    pub fn to_words(self) -> [u64; 2] {
        [self.device, self.ino]
    }

    /// Out of an intent.
    pub fn from_words([device, ino, ..]: [u64; INTENT]) -> Identity {
        Identity { device, ino }
    }
}

/// What a name stands for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which inode.
    pub identity: Identity,
    /// Type and permissions, as `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Device number, in FUSE's encoding.
    pub rdev: u32,
    /// Birth time since 1970; where the file system keeps none, the time of the last change.
    pub born: Duration,
}

impl Found {
    fn kind(&self) -> u32 {
        self.mode & libc::S_IFMT
    }

    /// What RENAME_WHITEOUT leaves behind.
    fn is_whiteout(&self) -> bool {
        self.kind() == libc::S_IFCHR && self.rdev == 0
    }
}

/// Who asked for a new name, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// When the request began: CLOCK_REALTIME, to the kernel's tick.
    ///
    /// Some file systems keep coarser stamps than that, rounded down. A stamp's own zeroes tell:
    /// without a fraction it may be two seconds early (FAT), with five zeroes at the end of its
    /// nanoseconds 100 us, and so on.
    pub began: Duration,
    /// Who may own what was made: the caller, and the directory's owner, whom file systems
    /// without owners show for everything. `None`: it is not made as the caller.
    pub owners: Option<[u32; 2]>,
}

impl Asked {
    /// Whether this may have been made by the request.
    fn made(&self, found: &Found) -> bool {
        let owned = self.owners.is_none_or(|owners| owners.contains(&found.uid));
        owned && found.born + grain(found.born) > self.began
    }
}

/// How coarse a stamp may be.
fn grain(stamp: Duration) -> Duration {
    let nanos = stamp.subsec_nanos();
    if nanos == 0 {
        return Duration::from_secs(2);
    }
    let mut grain = 1;
    while nanos.is_multiple_of(grain * 10) {
        grain *= 10;
    }
    Duration::from_nanos(grain.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_as_coarse_as_they_look() {
        let stamp = |nanos| grain(Duration::new(1_700_000_000, nanos));
        assert_eq!(stamp(123_456_789), Duration::from_nanos(1));
        assert_eq!(stamp(123_456_700), Duration::from_nanos(100));
        assert_eq!(stamp(230_000_000), Duration::from_millis(10));
        assert_eq!(stamp(0), Duration::from_secs(2));
    }

    #[test]
    fn what_was_made_is_not_older_than_the_request() {
        let began = Duration::new(1_700_000_001, 400_000_001);
        let asked = Asked { began, owners: None };
        let made = |secs, nanos| {
            let identity = Identity { device: 1, ino: 2 };
            let born = Duration::new(secs, nanos);
            asked.made(&Found { identity, mode: 0, uid: 0, rdev: 0, born })
        };
        assert!(made(1_700_000_001, 400_000_001), "in the same tick");
        assert!(made(1_700_000_001, 404_000_001));
        assert!(!made(1_700_000_001, 399_999_999), "a tick before");
        // Stamps rounded down: to 10 ms, to 100 ns, to two seconds.
        assert!(made(1_700_000_001, 400_000_000));
        assert!(!made(1_700_000_001, 380_000_000));
        assert!(made(1_700_000_000, 0));
        assert!(!made(1_699_999_998, 0));
    }

    #[test]
    fn the_owner_is_the_caller_or_that_of_everything() {
        let identity = Identity { device: 1, ino: 2 };
        let born = Duration::new(1_700_000_000, 1);
        let found = |uid| Found { identity, mode: 0, uid, rdev: 0, born };
        let asked = Asked { began: born, owners: Some([1000, 7]) };
        assert!(asked.made(&found(1000)) && asked.made(&found(7)) && !asked.made(&found(0)));
        let as_the_server = Asked { owners: None, ..asked };
        assert!(as_the_server.made(&found(0)));
    }

    #[test]
    fn an_identity_goes_through_an_intent() {
        let identity = Identity { device: 8 << 32 | 1, ino: u64::MAX };
        let mut words = [0; INTENT];
        words[..2].copy_from_slice(&identity.to_words());
        assert_eq!(Identity::from_words(words), identity);
    }
}

//! What a file system can do, of what the program would do with it.

use std::time::Duration;

macro_rules! abilities {
    ($($ability:ident $text:literal;)*) => {
        /// Something that not every file system can do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Ability { $(#[doc = $text] $ability),* }

        impl Ability {
            /// Its name in a report.
            pub fn name(self) -> &'static str {
                match self { $(Ability::$ability => $text),* }
            }
        }
    };
}

abilities! {
    Xattrs "extended attributes";
    Tmpfile "O_TMPFILE";
    Exchange "RENAME_EXCHANGE";
    NoReplace "RENAME_NOREPLACE";
    Allocate "fallocate";
    Punch "fallocate punching holes";
    Fifos "fifos";
    Mknod "mknod of regular files";
    Symlinks "symbolic links";
    Links "hard links";
    Chown "chown";
    Owners "owners of new files";
    Modes "permission bits";
    DirLinks "link counts of directories";
    Inodes "inode numbers";
    Locks "locks";
    Positions "positions in directories";
    Mapped "shared writable memory";
    OddNames "names with spaces and line ends";
    LongNames "names of 220 bytes";
    Unlinked "open files without a name";
    Copy "copy_file_range";
    Sync "fsync";
    Times "utimens";
    Clock "times of change";
    Resize "truncate";
    Holes "SEEK_DATA";
    Statfs "statfs";
}

/// What a file system can do.
#[derive(Clone, Debug)]
pub struct Abilities {
    missing: Vec<(Ability, String)>,
    /// Time stamps are multiples of this.
    pub(crate) grain: Duration,
}

impl Abilities {
    /// All of it, as this program's own mounts over a local file system can.
    pub fn all() -> Abilities {
        Abilities { missing: Vec::new(), grain: Duration::from_nanos(1) }
    }

    /// What it cannot do, and why it is thought so.
    pub fn missing(&self) -> Vec<(&'static str, String)> {
        self.missing.iter().map(|(ability, why)| (ability.name(), why.clone())).collect()
    }

    pub(crate) fn has(&self, ability: Ability) -> bool {
        self.missing.iter().all(|(missing, _)| *missing != ability)
    }

    pub(crate) fn lacks(&mut self, ability: Ability, why: String) {
        self.missing.push((ability, why));
    }

    /// A time stamp in seconds and nanoseconds, as the file system keeps it.
    pub(crate) fn as_kept(&self, (seconds, nanoseconds): (i64, i64)) -> (i64, i64) {
        let all = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        let kept = all - all.rem_euclid(self.grain.as_nanos().max(1) as i128);
        ((kept / 1_000_000_000) as i64, (kept % 1_000_000_000) as i64)
    }
}

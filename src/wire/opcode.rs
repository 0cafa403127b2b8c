//! The opcodes, one row each.
//!
//! *Changes* says whether the operation may change the lower tree, that is, whether it has to go
//! through the journal. *Repeat* says how a takeover finishes an operation that a dead worker had
//! begun ([`Repeat`]); the decisions themselves are in [`decide`](crate::recovery::decide).
//!
//! | opcode | number | reply | changes | repeat |
//! | --- | --- | --- | --- | --- |
//! | LOOKUP | 1 | yes | no | Again |
//! | FORGET | 2 | no | no | Progress |
//! | GETATTR | 3 | yes | no | Again |
//! | SETATTR | 4 | yes | yes | Absolute |
//! | READLINK | 5 | yes | no | Again |
//! | SYMLINK | 6 | yes | yes | ProbeName |
//! | MKNOD | 8 | yes | yes | ProbeName |
//! | MKDIR | 9 | yes | yes | ProbeName |
//! | UNLINK | 10 | yes | yes | ProbeGone |
//! | RMDIR | 11 | yes | yes | ProbeGone |
//! | RENAME | 12 | yes | yes | ProbeRename |
//! | LINK | 13 | yes | yes | ProbeLink |
//! | OPEN | 14 | yes | yes | Absolute |
//! | READ | 15 | yes | no | Again |
//! | WRITE | 16 | yes | yes | Absolute |
//! | STATFS | 17 | yes | no | Again |
//! | RELEASE | 18 | yes | no | Progress |
//! | FSYNC | 20 | yes | no | Again |
//! | SETXATTR | 21 | yes | yes | CompareXattr |
//! | GETXATTR | 22 | yes | no | Again |
//! | LISTXATTR | 23 | yes | no | Again |
//! | REMOVEXATTR | 24 | yes | yes | CompareXattr |
//! | FLUSH | 25 | yes | no | Again |
//! | INIT | 26 | yes | no | Never |
//! | OPENDIR | 27 | yes | no | Again |
//! | READDIR | 28 | yes | no | Again |
//! | RELEASEDIR | 29 | yes | no | Progress |
//! | FSYNCDIR | 30 | yes | no | Again |
//! | GETLK | 31 | yes | no | Again |
//! | SETLK | 32 | yes | no | Again |
//! | SETLKW | 33 | yes | no | Again |
//! | ACCESS | 34 | yes | no | Again |
//! | CREATE | 35 | yes | yes | ProbeName |
//! | INTERRUPT | 36 | no | no | Drop |
//! | BMAP | 37 | yes | no | Again |
//! | DESTROY | 38 | yes | no | Never |
//! | IOCTL | 39 | yes | yes | Absolute |
//! | POLL | 40 | yes | no | Again |
//! | NOTIFY_REPLY | 41 | no | no | Drop |
//! | BATCH_FORGET | 42 | no | no | Progress |
//! | FALLOCATE | 43 | yes | yes | Absolute |
//! | READDIRPLUS | 44 | yes | no | Again |
//! | RENAME2 | 45 | yes | yes | ProbeRename |
//! | LSEEK | 46 | yes | no | Again |
//! | COPY_FILE_RANGE | 47 | yes | yes | Absolute |
//! | SETUPMAPPING | 48 | yes | no | Again |
//! | REMOVEMAPPING | 49 | yes | no | Again |
//! | SYNCFS | 50 | yes | no | Again |
//! | TMPFILE | 51 | yes | yes | Nameless |
//! | STATX | 52 | yes | no | Again |
//! | COPY_FILE_RANGE_64 | 53 | yes | yes | Absolute |
//! | CUSE_INIT | 4096 | yes | no | Never |
//!
//! INTERRUPT has no reply of its own: the interrupted request is answered EINTR (or INTERRUPT
//! with EAGAIN, to get it again). DESTROY has a reply only where the kernel waits for it
//! (fuseblk, virtiofs).

use std::fmt;

/// How a takeover finishes an operation whose result the dead worker has not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Do it again: nothing changes by it, or the second time changes nothing more.
    Again,
    /// Do it again: positions and values are absolute, O_TRUNC included. FALLOCATE does not move
    /// data: the kernel asks for no such mode. Where the lower file appends, its recorded size
    /// says how much of a WRITE is left. IOCTLs set flags and the like; a file system that serves
    /// others has to tell them apart itself.
    Absolute,
    /// The name is there, with matching type and owner, and not older than the request: done.
    ProbeName,
    /// The name is gone: done.
    ProbeGone,
    /// The source gone and the target there means done. RENAME_EXCHANGE and RENAME_WHITEOUT leave
    /// a source behind: another inode than the recorded one means done.
    ProbeRename,
    /// The new name naming the source inode means done.
    ProbeLink,
    /// Compare with whether it was there: an attribute created or removed means done.
    CompareXattr,
    /// Make another nameless file: the first one, if it was made, vanishes with its descriptor.
    Nameless,
    /// Counted down in the slot: what is left is applied.
    Progress,
    /// Dropped: it was about something that ended with the worker, and nobody waits for a reply.
    Drop,
    /// Does not reach a worker: the supervisor handles it.
    Never,
}

/// What the crate knows of an opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpcodeInfo {
    /// The opcode.
    pub opcode: Opcode,
    /// Its name for people, such as `LOOKUP`.
    pub name: &'static str,
    /// Whether the kernel waits for a reply.
    pub reply: bool,
    /// Whether it may change the lower tree.
    pub changes: bool,
    /// How a takeover finishes it.
    pub repeat: Repeat,
}

macro_rules! opcodes {
    ($($opcode:ident = $number:literal, $name:literal, $reply:literal, $changes:literal,
       $repeat:ident;)*) => {
        /// The kernel's `enum fuse_opcode`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        #[allow(non_camel_case_types)]
        pub enum Opcode {
            $(#[doc = concat!("`", $name, "`")] $opcode = $number,)*
        }

        impl Opcode {
            /// The opcode with this number.
            pub const fn from_u32(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$opcode),)*
                    _ => None,
                }
            }

            /// Its row in [`TABLE`].
            pub const fn info(self) -> &'static OpcodeInfo {
                match self {
                    $(Self::$opcode => &OpcodeInfo {
                        opcode: Self::$opcode,
                        name: $name,
                        reply: $reply,
                        changes: $changes,
                        repeat: Repeat::$repeat,
                    },)*
                }
            }
        }

        /// All opcodes, by number.
        pub const TABLE: &[OpcodeInfo] = &[$(*Opcode::$opcode.info()),*];
    };
}

// Number, name, reply, changes, repeat.
opcodes! {
    FUSE_LOOKUP = 1, "LOOKUP", true, false, Again;
    FUSE_FORGET = 2, "FORGET", false, false, Progress;
    FUSE_GETATTR = 3, "GETATTR", true, false, Again;
    FUSE_SETATTR = 4, "SETATTR", true, true, Absolute;
    FUSE_READLINK = 5, "READLINK", true, false, Again;
    FUSE_SYMLINK = 6, "SYMLINK", true, true, ProbeName;
    FUSE_MKNOD = 8, "MKNOD", true, true, ProbeName;
    FUSE_MKDIR = 9, "MKDIR", true, true, ProbeName;
    FUSE_UNLINK = 10, "UNLINK", true, true, ProbeGone;
    FUSE_RMDIR = 11, "RMDIR", true, true, ProbeGone;
    FUSE_RENAME = 12, "RENAME", true, true, ProbeRename;
    FUSE_LINK = 13, "LINK", true, true, ProbeLink;
    FUSE_OPEN = 14, "OPEN", true, true, Absolute;
    FUSE_READ = 15, "READ", true, false, Again;
    FUSE_WRITE = 16, "WRITE", true, true, Absolute;
    FUSE_STATFS = 17, "STATFS", true, false, Again;
    FUSE_RELEASE = 18, "RELEASE", true, false, Progress;
    FUSE_FSYNC = 20, "FSYNC", true, false, Again;
    FUSE_SETXATTR = 21, "SETXATTR", true, true, CompareXattr;
    FUSE_GETXATTR = 22, "GETXATTR", true, false, Again;
    FUSE_LISTXATTR = 23, "LISTXATTR", true, false, Again;
    FUSE_REMOVEXATTR = 24, "REMOVEXATTR", true, true, CompareXattr;
    FUSE_FLUSH = 25, "FLUSH", true, false, Again;
    FUSE_INIT = 26, "INIT", true, false, Never;
    FUSE_OPENDIR = 27, "OPENDIR", true, false, Again;
    FUSE_READDIR = 28, "READDIR", true, false, Again;
    FUSE_RELEASEDIR = 29, "RELEASEDIR", true, false, Progress;
    FUSE_FSYNCDIR = 30, "FSYNCDIR", true, false, Again;
    FUSE_GETLK = 31, "GETLK", true, false, Again;
    FUSE_SETLK = 32, "SETLK", true, false, Again;
    FUSE_SETLKW = 33, "SETLKW", true, false, Again;
    FUSE_ACCESS = 34, "ACCESS", true, false, Again;
    FUSE_CREATE = 35, "CREATE", true, true, ProbeName;
    FUSE_INTERRUPT = 36, "INTERRUPT", false, false, Drop;
    FUSE_BMAP = 37, "BMAP", true, false, Again;
    FUSE_DESTROY = 38, "DESTROY", true, false, Never;
    FUSE_IOCTL = 39, "IOCTL", true, true, Absolute;
    FUSE_POLL = 40, "POLL", true, false, Again;
    FUSE_NOTIFY_REPLY = 41, "NOTIFY_REPLY", false, false, Drop;
    FUSE_BATCH_FORGET = 42, "BATCH_FORGET", false, false, Progress;
    FUSE_FALLOCATE = 43, "FALLOCATE", true, true, Absolute;
    FUSE_READDIRPLUS = 44, "READDIRPLUS", true, false, Again;
    FUSE_RENAME2 = 45, "RENAME2", true, true, ProbeRename;
    FUSE_LSEEK = 46, "LSEEK", true, false, Again;
    FUSE_COPY_FILE_RANGE = 47, "COPY_FILE_RANGE", true, true, Absolute;
    FUSE_SETUPMAPPING = 48, "SETUPMAPPING", true, false, Again;
    FUSE_REMOVEMAPPING = 49, "REMOVEMAPPING", true, false, Again;
    FUSE_SYNCFS = 50, "SYNCFS", true, false, Again;
    FUSE_TMPFILE = 51, "TMPFILE", true, true, Nameless;
    FUSE_STATX = 52, "STATX", true, false, Again;
    FUSE_COPY_FILE_RANGE_64 = 53, "COPY_FILE_RANGE_64", true, true, Absolute;
    CUSE_INIT = 4096, "CUSE_INIT", true, false, Never;
}

impl fmt::Display for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.info().name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_find_their_rows() {
        for row in TABLE {
            assert_eq!(Opcode::from_u32(row.opcode as u32), Some(row.opcode));
            assert_eq!(row.opcode.info(), row);
        }
        assert!(TABLE.is_sorted_by_key(|row| row.opcode));
        for hole in [0, 7, 19, 54, 4095, 4097, u32::MAX] {
            assert_eq!(Opcode::from_u32(hole), None);
        }
    }

    #[test]
    fn the_docs_have_the_same_rows() {
        let yes = |flag| if flag { "yes" } else { "no" };
        let expected: Vec<String> = TABLE
            .iter()
            .map(|row| {
                let (reply, changes) = (yes(row.reply), yes(row.changes));
                let number = row.opcode as u32;
                format!("//! | {} | {number} | {reply} | {changes} | {:?} |", row.name, row.repeat)
            })
            .collect();
        let found: Vec<&str> = include_str!("opcode.rs")
            .lines()
            .filter(|line| line.starts_with("//! |"))
            .skip(2)
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn only_what_changes_needs_a_probe() {
        for row in TABLE {
            let harmless = matches!(
                row.repeat,
                Repeat::Again | Repeat::Progress | Repeat::Drop | Repeat::Never
            );
            assert_eq!(row.changes, !harmless, "{}", row.name);
        }
    }
}

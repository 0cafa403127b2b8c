//! Opening and releasing.

use super::flag_word;

flag_word! {
    /// What the reply to OPEN, OPENDIR and CREATE asks of the kernel.
    OpenOutFlags: u32 {
        /// Past the page cache.
        FOPEN_DIRECT_IO = 1 << 0;
        /// Keep the cached pages of an earlier open.
        FOPEN_KEEP_CACHE = 1 << 1;
        /// No lseek(2).
        FOPEN_NONSEEKABLE = 1 << 2;
        /// Cache the directory.
        FOPEN_CACHE_DIR = 1 << 3;
        /// No file position at all.
        FOPEN_STREAM = 1 << 4;
        /// No FLUSH at close (7.35).
        FOPEN_NOFLUSH = 1 << 5;
        /// Direct writes to one inode in flight together (7.38).
        FOPEN_PARALLEL_DIRECT_WRITES = 1 << 6;
        /// Data goes straight to the backing file (7.40).
        FOPEN_PASSTHROUGH = 1 << 7;
    }
}

flag_word! {
    /// `open_flags` of OPEN, OPENDIR and CREATE (7.33).
    OpenInFlags: u32 {
        /// Clear suid, and sgid of an executable.
        FUSE_OPEN_KILL_SUIDGID = 1 << 0;
    }
}

flag_word! {
    /// `release_flags` of RELEASE and RELEASEDIR.
    ReleaseFlags: u32 {
        /// Flush too; not sent by today's kernels.
        FUSE_RELEASE_FLUSH = 1 << 0;
        /// Drop the flock of `lock_owner`.
        FUSE_RELEASE_FLOCK_UNLOCK = 1 << 1;
    }
}

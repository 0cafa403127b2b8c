//! Data, locks, ioctl and poll.

use super::flag_word;

flag_word! {
    /// `read_flags` of READ.
    ReadFlags: u32 {
        /// `lock_owner` is valid.
        FUSE_READ_LOCKOWNER = 1 << 1;
    }
}

flag_word! {
    /// `write_flags` of WRITE.
    WriteFlags: u32 {
        /// From the page cache: caller and file handle are guesses.
        FUSE_WRITE_CACHE = 1 << 0;
        /// `lock_owner` is valid.
        FUSE_WRITE_LOCKOWNER = 1 << 1;
        /// Clear suid and sgid (named FUSE_WRITE_KILL_PRIV before 7.33).
        FUSE_WRITE_KILL_SUIDGID = 1 << 2;
    }
}

flag_word! {
    /// `fsync_flags` of FSYNC and FSYNCDIR.
    FsyncFlags: u32 {
        /// Data only.
        FUSE_FSYNC_FDATASYNC = 1 << 0;
    }
}

flag_word! {
    /// `lk_flags` of GETLK, SETLK and SETLKW.
    LockFlags: u32 {
        /// A flock(2) lock, not a POSIX one.
        FUSE_LK_FLOCK = 1 << 0;
    }
}

flag_word! {
    /// `flags` of IOCTL and of its reply.
    IoctlFlags: u32 {
        /// A 32-bit caller on a 64-bit machine.
        FUSE_IOCTL_COMPAT = 1 << 0;
        /// Any memory may be asked for.
        FUSE_IOCTL_UNRESTRICTED = 1 << 1;
        /// In the reply: ask again with these iovecs.
        FUSE_IOCTL_RETRY = 1 << 2;
        /// A 32-bit ioctl.
        FUSE_IOCTL_32BIT = 1 << 3;
        /// On a directory.
        FUSE_IOCTL_DIR = 1 << 4;
        /// An x32 caller.
        FUSE_IOCTL_COMPAT_X32 = 1 << 5;
    }
}

flag_word! {
    /// `flags` of POLL.
    PollFlags: u32 {
        /// Send the notification POLL when something becomes ready.
        FUSE_POLL_SCHEDULE_NOTIFY = 1 << 0;
    }
}

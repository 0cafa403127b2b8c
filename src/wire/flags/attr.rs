//! Attributes, entries and extended attributes.

use super::flag_word;

flag_word! {
    /// `getattr_flags` of GETATTR and STATX.
    GetattrFlags: u32 {
        /// `fh` is valid.
        FUSE_GETATTR_FH = 1 << 0;
    }
}

flag_word! {
    /// `valid` of SETATTR: which fields to change.
    SetattrValid: u32 {
        /// `mode`.
        FATTR_MODE = 1 << 0;
        /// `uid`.
        FATTR_UID = 1 << 1;
        /// `gid`.
        FATTR_GID = 1 << 2;
        /// `size`.
        FATTR_SIZE = 1 << 3;
        /// `atime`.
        FATTR_ATIME = 1 << 4;
        /// `mtime`.
        FATTR_MTIME = 1 << 5;
        /// `fh` is valid.
        FATTR_FH = 1 << 6;
        /// Access time is now.
        FATTR_ATIME_NOW = 1 << 7;
        /// Modification time is now.
        FATTR_MTIME_NOW = 1 << 8;
        /// `lock_owner` is valid.
        FATTR_LOCKOWNER = 1 << 9;
        /// `ctime`.
        FATTR_CTIME = 1 << 10;
        /// Clear suid, and sgid of an executable (7.33).
        FATTR_KILL_SUIDGID = 1 << 11;
    }
}

flag_word! {
    /// `flags` of `fuse_attr` (7.32).
    AttrFlags: u32 {
        /// A mount point of its own.
        FUSE_ATTR_SUBMOUNT = 1 << 0;
        /// DAX for this file (7.36).
        FUSE_ATTR_DAX = 1 << 1;
    }
}

flag_word! {
    /// `setxattr_flags` of SETXATTR (7.33).
    SetxattrFlags: u32 {
        /// Clear sgid: an access ACL is being set.
        FUSE_SETXATTR_ACL_KILL_SGID = 1 << 0;
    }
}

flag_word! {
    /// `flags` of the notification INVAL_ENTRY (7.38).
    ExpireFlags: u32 {
        /// Look the entry up again at its next use, but do not drop it.
        FUSE_EXPIRE_ONLY = 1 << 0;
    }
}

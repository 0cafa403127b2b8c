//! What INIT negotiates.

use super::flag_word;

flag_word! {
    /// `flags` and `flags2` of INIT as one word; the kernel offers, the reply chooses.
    InitFlags: u64 {
        /// Reads may be in flight together.
        FUSE_ASYNC_READ = 1 << 0;
        /// POSIX locks are the file system's (GETLK, SETLK, SETLKW).
        FUSE_POSIX_LOCKS = 1 << 1;
        /// Unused by the kernel.
        FUSE_FILE_OPS = 1 << 2;
        /// O_TRUNC comes with OPEN instead of a SETATTR before it.
        FUSE_ATOMIC_O_TRUNC = 1 << 3;
        /// LOOKUP of `.` and `..`, for NFS.
        FUSE_EXPORT_SUPPORT = 1 << 4;
        /// Writes larger than a page.
        FUSE_BIG_WRITES = 1 << 5;
        /// The file system applies the umask.
        FUSE_DONT_MASK = 1 << 6;
        /// splice(2) to the device works.
        FUSE_SPLICE_WRITE = 1 << 7;
        /// Pages may be moved by splice.
        FUSE_SPLICE_MOVE = 1 << 8;
        /// splice(2) from the device works.
        FUSE_SPLICE_READ = 1 << 9;
        /// flock(2) locks are the file system's.
        FUSE_FLOCK_LOCKS = 1 << 10;
        /// IOCTL on directories.
        FUSE_HAS_IOCTL_DIR = 1 << 11;
        /// Cached pages are dropped when the attributes show a change.
        FUSE_AUTO_INVAL_DATA = 1 << 12;
        /// READDIRPLUS is served.
        FUSE_DO_READDIRPLUS = 1 << 13;
        /// The kernel decides between READDIR and READDIRPLUS.
        FUSE_READDIRPLUS_AUTO = 1 << 14;
        /// Direct I/O may be in flight together.
        FUSE_ASYNC_DIO = 1 << 15;
        /// The kernel caches writes.
        FUSE_WRITEBACK_CACHE = 1 << 16;
        /// OPEN may be answered ENOSYS, once and for all.
        FUSE_NO_OPEN_SUPPORT = 1 << 17;
        /// LOOKUP and READDIR of one directory in flight together.
        FUSE_PARALLEL_DIROPS = 1 << 18;
        /// The file system clears suid, sgid and capabilities.
        FUSE_HANDLE_KILLPRIV = 1 << 19;
        /// POSIX ACLs.
        FUSE_POSIX_ACL = 1 << 20;
        /// Reading an aborted connection gives ECONNABORTED.
        FUSE_ABORT_ERROR = 1 << 21;
        /// `max_pages` of the reply is valid.
        FUSE_MAX_PAGES = 1 << 22;
        /// READLINK is cached.
        FUSE_CACHE_SYMLINKS = 1 << 23;
        /// OPENDIR may be answered ENOSYS, once and for all.
        FUSE_NO_OPENDIR_SUPPORT = 1 << 24;
        /// Cached pages are dropped only when told.
        FUSE_EXPLICIT_INVAL_DATA = 1 << 25;
        /// `map_alignment` of the reply is valid.
        FUSE_MAP_ALIGNMENT = 1 << 26;
        /// FUSE_ATTR_SUBMOUNT makes a mount point.
        FUSE_SUBMOUNTS = 1 << 27;
        /// As FUSE_HANDLE_KILLPRIV, with the VFS' rules (7.33).
        FUSE_HANDLE_KILLPRIV_V2 = 1 << 28;
        /// The long `fuse_setxattr_in` (7.33).
        FUSE_SETXATTR_EXT = 1 << 29;
        /// `flags2` is valid (7.36).
        FUSE_INIT_EXT = 1 << 30;
        /// Reserved.
        FUSE_INIT_RESERVED = 1 << 31;
        /// Security contexts come with CREATE, MKDIR, SYMLINK, MKNOD (7.36).
        FUSE_SECURITY_CTX = 1 << 32;
        /// DAX for single files (7.36).
        FUSE_HAS_INODE_DAX = 1 << 33;
        /// The matching supplementary group comes with CREATE and its like (7.38).
        FUSE_CREATE_SUPP_GROUP = 1 << 34;
        /// FUSE_EXPIRE_ONLY works (7.38).
        FUSE_HAS_EXPIRE_ONLY = 1 << 35;
        /// Shared mmap with FOPEN_DIRECT_IO (7.39).
        FUSE_DIRECT_IO_ALLOW_MMAP = 1 << 36;
        /// FOPEN_PASSTHROUGH works (7.40).
        FUSE_PASSTHROUGH = 1 << 37;
        /// No NFS export (7.40).
        FUSE_NO_EXPORT_SUPPORT = 1 << 38;
        /// FUSE_NOTIFY_RESEND works (7.40).
        FUSE_HAS_RESEND = 1 << 39;
        /// Mounts may be idmapped (7.41).
        FUSE_ALLOW_IDMAP = 1 << 40;
        /// Requests over io_uring (7.42).
        FUSE_OVER_IO_URING = 1 << 41;
        /// `request_timeout` of the reply is valid (7.43).
        FUSE_REQUEST_TIMEOUT = 1 << 42;
    }
}

flag_word! {
    /// Flags of CUSE_INIT.
    CuseFlags: u32 {
        /// ioctls may ask for memory that their number does not name.
        CUSE_UNRESTRICTED_IOCTL = 1 << 0;
    }
}

//! A directory of this machine, served as it is.
//!
//! For several users the kernel checks permissions (`default_permissions` and POSIX ACLs) with
//! the mode, owner and ACL of the lower file, as the lower file system would. Where only the
//! user comes in as whom this process runs, the lower file system checks them itself, and the
//! kernel is spared asking for the directory's attributes before each change in it. What is
//! made is made with the caller's ids, groups and umask. Everything else is done as the serving process, on an
//! O_PATH descriptor or file handle of the very inode, never by a path: no request can
//! leave the source by a symbolic link or `..`. A mount below the source belongs to the
//! source and is entered.
//!
//! File data goes straight to the lower file where the kernel can do that
//! (FUSE_PASSTHROUGH, Linux 6.9, CAP_SYS_ADMIN); then nothing is cached twice, and mapped
//! memory is the lower file's.
//!
//! | file | what |
//! | --- | --- |
//! | `nodes`, `record`, `budget` | node ids: which inode, how it is reached, how often the kernel knows it |
//! | `mounts` | the mounts that the tree spans |
//! | `locals` | what a worker knows for itself of a record in the arena |
//! | `handles` | open files and directories, passthrough registrations |
//! | `names` | LOOKUP and what makes, moves and removes names |
//! | `files`, `dirs` | what is done with an open file, an open directory |
//! | `attrs`, `xattrs` | attributes |
//! | `covered` | a mount point below the source |
//! | `locks` | POSIX, OFD and flock locks |
//! | `recover` | whether a request of a dead worker has happened |
//! | `revive` | a tree whose processes were all gone |
//! | `filesystem` | the trait: one line an opcode |

mod attrs;
mod budget;
mod covered;
mod dirs;
mod files;
mod filesystem;
mod handles;
mod locals;
mod locks;
mod mounts;
mod names;
mod nodes;
mod record;
mod recover;
mod revive;
mod xattrs;

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::Errno;
use crate::channel::Connection;
use crate::mount::Cache;
use crate::recovery::arena::{Arena, ArenaError, Origin};
use crate::session::Negotiation;
use crate::sys::creds::Powers;
use crate::sys::{Fd, file};
use crate::wire::flags::InitFlags;

/// Settings of a [`Passthrough`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Which cache rules.
    pub cache: Cache,
    /// How long a name is trusted, instead of the cache's own.
    pub entry_timeout: Option<Duration>,
    /// How long attributes are trusted, instead of the cache's own.
    pub attr_timeout: Option<Duration>,
    /// How long a missing name is trusted, instead of the cache's own.
    pub negative_timeout: Option<Duration>,
    /// Writes are gathered in the kernel (FUSE_WRITEBACK_CACHE); excludes passthrough.
    pub writeback: bool,
    /// Data straight to the lower file where the kernel can.
    pub passthrough: bool,
    /// The kernel checks permissions; it must where others than this process's user come in.
    pub kernel_checks: bool,
    /// The preferred I/O size that every file shows, in bytes, instead of its own.
    pub blksize: Option<u32>,
    /// Every node keeps its file handle, so that it is found again when all processes were gone.
    pub durable: bool,
    /// Descriptors that are not for this file system, out of RLIMIT_NOFILE.
    pub reserved_fds: u64,
    /// Where this is going to be mounted; matters when that is below the source.
    pub mountpoint: Option<PathBuf>,
}

/// Why a directory cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It cannot be opened.
    #[error("{}: see that it is a directory that this user may read", .0.desc())]
    Source(#[from] Errno),
    /// No memory for its tables, or tables of another version.
    #[error(transparent)]
    Arena(#[from] ArenaError),
    /// What lies under a mount can only be opened before it is mounted.
    #[error(
        "the mount point is below the source: a mount like that cannot be picked up again: unmount it"
    )]
    Covered,
    /// Inodes are opened through /proc.
    #[error("/proc/self/fd: {}: mount /proc first", .0.desc())]
    Proc(Errno),
}

impl Default for Config {
    fn default() -> Self {
        Config {
            cache: Cache::Auto,
            entry_timeout: None,
            attr_timeout: None,
            negative_timeout: None,
            writeback: false,
            passthrough: true,
            kernel_checks: true,
            blksize: None,
            durable: false,
            reserved_fds: 0,
            mountpoint: None,
        }
    }
}

/// The file system.
pub struct Passthrough {
    nodes: nodes::Nodes,
    handles: handles::Handles,
    locks: locks::Locks,
    covered: Option<covered::Covered>,
    cache: Cache,
    entry_valid: Duration,
    attr_valid: Duration,
    negative_valid: Duration,
    writeback: bool,
    kernel_checks: bool,
    /// Wanted, and agreed on with the kernel.
    passthrough: AtomicBool,
    connection: OnceLock<Connection>,
    powers: Powers,
}

impl Passthrough {
    /// Serves `source`, a directory, with what must outlive a worker in `arena`. Raises the soft
    /// limit of open files.
    pub fn new(source: &Path, config: &Config, arena: &Arena) -> Result<Passthrough, StartError> {
        let path = CString::new(source.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        let root = file::openat(Fd::CWD, &path, flags, 0)?;
        file::reopen(root.get(), libc::O_PATH).map_err(StartError::Proc)?;
        let limit = crate::sys::process::raise_file_limit()?.saturating_sub(config.reserved_fds);
        crate::sys::process::ignore_file_size_limit()?;
        let powers = Powers::of_thread();
        let nodes = nodes::Nodes::new(arena, root.keep(), limit, powers.open_handles, config)?;
        let covered = match &config.mountpoint {
            Some(path) if path.starts_with(source) && path != source => {
                covered::Covered::of(path, arena)
            }
            _ => None,
        };
        if covered.is_some() && arena.origin() == Origin::Stored {
            return Err(StartError::Covered);
        }
        let (name, negative) = match config.cache {
            Cache::Never => (Duration::ZERO, Duration::ZERO),
            Cache::Auto => (Duration::from_secs(1), Duration::ZERO),
            Cache::Always => (Duration::from_secs(86_400), Duration::from_secs(86_400)),
        };
        let fs = Passthrough {
            nodes,
            handles: handles::Handles::new(arena)?,
            locks: locks::Locks::new(arena)?,
            covered,
            cache: config.cache,
            entry_valid: config.entry_timeout.unwrap_or(name),
            attr_valid: config.attr_timeout.unwrap_or(name),
            negative_valid: config.negative_timeout.unwrap_or(negative),
            writeback: config.writeback,
            kernel_checks: config.kernel_checks,
            passthrough: AtomicBool::new(config.passthrough && !config.writeback),
            connection: OnceLock::new(),
            powers,
        };
        if arena.origin() == Origin::Stored {
            fs.revive();
        }
        Ok(fs)
    }

    /// What is asked of the kernel.
    ///
    /// Not FUSE_ATOMIC_O_TRUNC: OPEN would truncate before the kernel finds that the file is
    /// being executed, and the program that runs from it would lose its text.
    fn negotiate(&self, negotiation: &mut Negotiation) {
        let mut wanted = InitFlags::FUSE_POSIX_LOCKS
            | InitFlags::FUSE_FLOCK_LOCKS
            | InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_READDIRPLUS_AUTO
            | InitFlags::FUSE_HANDLE_KILLPRIV_V2
            | InitFlags::FUSE_CACHE_SYMLINKS
            | InitFlags::FUSE_SETXATTR_EXT
            | InitFlags::FUSE_CREATE_SUPP_GROUP
            | InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP
            | InitFlags::FUSE_HAS_IOCTL_DIR;
        if self.powers.switch_user {
            // The lower directory's default ACL takes the place of the umask.
            wanted |= InitFlags::FUSE_DONT_MASK;
        }
        if self.kernel_checks && self.powers.switch_user {
            // With ACLs, which the kernel then handles, it checks permissions in any case.
            wanted |= InitFlags::FUSE_POSIX_ACL;
        }
        if self.writeback {
            wanted |= InitFlags::FUSE_WRITEBACK_CACHE;
        }
        let high = InitFlags::FUSE_PASSTHROUGH | InitFlags::FUSE_INIT_EXT;
        let can = self.powers.admin && negotiation.offered.contains(high);
        if self.passthrough.load(Ordering::Relaxed) && can {
            wanted |= InitFlags::FUSE_PASSTHROUGH;
            negotiation.max_stack_depth = 1;
        } else {
            self.passthrough.store(false, Ordering::Relaxed);
        }
        negotiation.wanted |= wanted;
        if self.cache == Cache::Always {
            negotiation.wanted -= InitFlags::FUSE_AUTO_INVAL_DATA;
            negotiation.wanted |= InitFlags::FUSE_EXPLICIT_INVAL_DATA;
        }
    }

    fn connection(&self) -> Result<Connection, Errno> {
        self.connection.get().copied().ok_or(Errno::ENOTCONN)
    }
}

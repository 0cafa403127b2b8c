//! What can go wrong while mounting and unmounting: one line each, object first, cure last.

use std::path::PathBuf;

use super::options::OptionError;
use crate::Errno;
use crate::channel::uring::Unavailable;
use crate::exit::Exit;

/// Why a mount or an unmount did not happen. Nothing is left mounted when one is returned.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// An option of `-o` is wrong.
    #[error(transparent)]
    Option(#[from] OptionError),

    /// What another program handed over makes no sense.
    #[error("{error}: start it without that variable")]
    Handover {
        /// What is wrong.
        error: String,
    },

    /// Neither SOURCE nor `-o source=` was given, and the file system needs one.
    #[error(
        "no source: give the directory to serve (with '-t merge' the manifest) before the mount point, or use '-t mem'"
    )]
    NoSource,

    /// A sandbox has no sockets to connect to.
    #[error("--sandbox: not with '-t merge', whose workers connect to servers: leave it out")]
    NoSandbox,
    /// io_uring under supervision.
    #[error(
        "--transport uring: a request in a ring is lost with its worker: add --no-supervise, or \
         use '--transport auto'"
    )]
    SupervisedRing,

    /// io_uring with one thread.
    #[error("--transport uring: each CPU has a ring and a thread: leave out -s")]
    SingleRing,

    /// io_uring cannot be had here.
    #[error(transparent)]
    NoRing(#[from] Unavailable),

    /// The directory to serve cannot be used.
    #[error("source {}: {}: {cure}", path.display(), errno.desc())]
    Source {
        /// As given.
        path: PathBuf,
        /// What opening it said.
        errno: Errno,
        /// What the user can do.
        cure: &'static str,
    },

    /// The mount point cannot be used.
    #[error("mount point {}: {}: {cure}", path.display(), errno.desc())]
    Mountpoint {
        /// As given.
        path: PathBuf,
        /// What looking at it said.
        errno: Errno,
        /// What the user can do.
        cure: &'static str,
    },

    /// A FUSE mount whose server has gone is in the way.
    #[error(
        "mount point {0}: a dead FUSE mount is there: remove it with 'fusex umount {0}'",
        path.display()
    )]
    DeadMount {
        /// Where.
        path: PathBuf,
    },

    /// The device cannot be opened.
    #[error("{device}: {}: {cure}", errno.desc())]
    Device {
        /// `/dev/fuse` or `/dev/fusebpf`.
        device: &'static str,
        /// What open(2) said.
        errno: Errno,
        /// What the user can do.
        cure: &'static str,
    },

    /// `/dev/fd/N` was given as mount point, but descriptor N is not `/dev/fuse`.
    #[error("mount point /dev/fd/{fd}: {what}: open /dev/fuse and mount before starting fusex")]
    Preopened {
        /// N.
        fd: i32,
        /// What it is instead.
        what: &'static str,
    },

    /// mount(2) refused.
    #[error("mount point {}: mount(2): {}: {cure}", path.display(), errno.desc())]
    Refused {
        /// Where.
        path: PathBuf,
        /// What mount(2) said.
        errno: Errno,
        /// What the user can do.
        cure: &'static str,
    },

    /// `fusermount3` knows no other FUSE than the kernel's own.
    #[error("kernel=fusebpf: fusermount3 cannot mount it: run as root")]
    NotByFusermount,

    /// `fusermount3` is not installed, and only root can do without it.
    #[error("fusermount3: not found: install the package fuse3, or run as root")]
    NoFusermount,

    /// `fusermount3` refused.
    #[error("{}: {message}", path.display())]
    Fusermount {
        /// The mount point.
        path: PathBuf,
        /// What it said, with the cure where there is one.
        message: String,
        /// True when it was a matter of permission.
        permission: bool,
    },

    /// The namespace of `-N` cannot be entered.
    #[error("namespace {name}: {}: give a process id or the path of a mount namespace", errno.desc())]
    Namespace {
        /// As given.
        name: String,
        /// What open(2) or setns(2) said.
        errno: Errno,
    },

    /// Nothing is mounted there.
    #[error("{}: not a mount point: 'findmnt' lists what is mounted", path.display())]
    NotMounted {
        /// Where.
        path: PathBuf,
    },

    /// Something is mounted there that is not FUSE.
    #[error("{}: {fs_type} is mounted there, not FUSE: use umount(8)", path.display())]
    NotFuse {
        /// Where.
        path: PathBuf,
        /// Its type.
        fs_type: String,
    },

    /// The mount is in use.
    #[error("{}: busy: {users}: stop them, or unmount with '--lazy'", path.display())]
    Busy {
        /// Where.
        path: PathBuf,
        /// The processes, or what can hold a mount.
        users: String,
    },

    /// umount(2) refused for another reason.
    #[error("{}: umount(2): {}: {cure}", path.display(), errno.desc())]
    Umount {
        /// Where.
        path: PathBuf,
        /// What umount(2) said.
        errno: Errno,
        /// What the user can do.
        cure: &'static str,
    },

    /// A system call failed that has nothing to do with the user's input.
    #[error("{what}: {}", errno.desc())]
    System {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
}

impl MountError {
    /// The program's exit code for this error.
    pub fn exit(&self) -> Exit {
        let no_permission = |errno: &Errno| matches!(errno, Errno::EPERM | Errno::EACCES);
        match self {
            MountError::Option(_)
            | MountError::NoSource
            | MountError::NoSandbox
            | MountError::SupervisedRing
            | MountError::SingleRing
            | MountError::NotByFusermount
            | MountError::Handover { .. }
            | MountError::Preopened { .. } => Exit::Usage,
            MountError::Fusermount { permission: true, .. } => Exit::Usage,
            MountError::System { .. } => Exit::System,
            MountError::Source { errno, .. }
            | MountError::Mountpoint { errno, .. }
            | MountError::Device { errno, .. }
            | MountError::Refused { errno, .. }
            | MountError::Namespace { errno, .. }
            | MountError::Umount { errno, .. }
                if no_permission(errno) =>
            {
                Exit::Usage
            }
            _ => Exit::Mount,
        }
    }
}

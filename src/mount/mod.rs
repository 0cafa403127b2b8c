//! Mounting and unmounting, without libfuse.
//!
//! Root calls mount(2) itself; everyone else goes through the set-user-id program
//! `fusermount3`; `/dev/fd/N` in place of a mount point says that somebody has mounted
//! already. mount(2) returns before the kernel's INIT request is answered: whoever holds
//! [`Mounted::device`] answers it, and until then a caller that touches the mount waits.
//!
//! Nothing here looks below a mount point (no stat of a mounted root), because a mount
//! whose server is stuck would hold the caller for ever: `/proc/self/mountinfo` is asked
//! instead.

mod auto_unmount;
pub mod check;
mod error;
mod fusermount;
mod kernel;
pub mod mountinfo;
pub mod options;
mod preopened;
mod unmount;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

pub use error::MountError;
pub use options::{Cache, Kernel, OptionError, Options};
pub use unmount::{find, unmount, without_last};

use crate::Errno;

/// Where to mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mountpoint {
    /// A directory, its path canonical.
    Path(PathBuf),
    /// `/dev/fd/N`: descriptor N is a `/dev/fuse` that is mounted already.
    Fd(i32),
}

/// Who did the mounting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// mount(2), called by this process.
    Kernel,
    /// `fusermount3`.
    Fusermount,
    /// Whoever started this process (`/dev/fd/N`).
    Preopened,
}

/// A mount that exists: INIT is not answered yet.
///
/// Dropping it closes the descriptors and leaves the mount in place, dead; [`unmount`] removes
/// it.
#[derive(Debug)]
pub struct Mounted {
    /// The `/dev/fuse` file of this connection (close-on-exec).
    pub device: OwnedFd,
    /// Where; unknown for [`Method::Preopened`].
    pub mountpoint: Option<PathBuf>,
    /// Who did it.
    pub method: Method,
    /// The connection's id: the minor number of the mount's `st_dev` and the name of its
    /// directory in `/sys/fs/fuse/connections`. `None` where the kernel does not tell.
    pub connection: Option<u32>,
    /// With `auto_unmount`: the mount is taken away when the last copy of this descriptor is
    /// closed. Keep it as long as the mount is served (close-on-exec).
    pub auto_unmount: Option<OwnedFd>,
}

/// Mounts.
///
/// `source_label` is what the mount table shows as source unless `fsname=` says otherwise:
/// the served directory. With `auto_unmount` a process is forked: call this before any
/// thread is started.
///
/// # Errors
/// See [`MountError`]; nothing is left mounted.
pub fn mount(
    mountpoint: &Mountpoint,
    source_label: &str,
    options: &Options,
) -> Result<Mounted, MountError> {
    let path = match mountpoint {
        Mountpoint::Fd(fd) => return preopened::adopt(*fd),
        Mountpoint::Path(path) => path,
    };
    let (device, method) = if nix::unistd::geteuid().is_root() {
        (kernel::mount(path, source_label, options)?, Method::Kernel)
    } else if options.kernel != Kernel::Fuse {
        return Err(MountError::NotByFusermount);
    } else {
        (fusermount::mount(path, source_label, options)?, Method::Fusermount)
    };
    let mounted = describe(device, method, path, options);
    if mounted.is_err() {
        // The mount on top is ours; an error here could only hide the first one.
        let _ = unmount(path, true);
    }
    mounted
}

/// Finds the new mount in the mount table, and has it watched if that was asked for.
fn describe(
    device: OwnedFd,
    method: Method,
    path: &Path,
    options: &Options,
) -> Result<Mounted, MountError> {
    let table = mountinfo::read().unwrap_or_default();
    let entry = mountinfo::find(&table, path).filter(|entry| entry.is_fuse());
    let auto_unmount = match (options.auto_unmount, entry) {
        (false, _) => None,
        (true, Some(entry)) => Some(auto_unmount::watch(entry)?),
        (true, None) => {
            let what = "auto_unmount: the new mount is not in /proc/self/mountinfo";
            return Err(MountError::System { what, errno: Errno::ENOENT });
        }
    };
    let mountpoint = Some(path.into());
    let connection = entry.map(|entry| entry.minor);
    Ok(Mounted { device, mountpoint, method, connection, auto_unmount })
}

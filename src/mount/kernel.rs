//! Mounting as root: mount(2).

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use super::check;
use super::options::KernelData;
use super::{MountError, Options};
use crate::Errno;

/// Opens `/dev/fuse` and mounts it at `path`.
pub(super) fn mount(path: &Path, label: &str, options: &Options) -> Result<OwnedFd, MountError> {
    let mode = check::directory_mode(path)?;
    let device = check::open_device(options.kernel)?;
    let data = options.kernel_data(KernelData {
        fd: device.as_raw_fd(),
        mode,
        uid: nix::unistd::getuid().as_raw(),
        gid: nix::unistd::getgid().as_raw(),
    });
    let source = options.kernel_source(label);
    nix::mount::mount(
        Some(source),
        path,
        Some(options.kernel_type().as_str()),
        options.flags,
        Some(data.as_str()),
    )
    .map_err(|errno| MountError::Refused { path: path.into(), errno, cure: cure(errno) })?;
    Ok(device)
}

/// What the user can do when mount(2) refuses.
fn cure(errno: Errno) -> &'static str {
    match errno {
        Errno::EPERM => "mounting needs CAP_SYS_ADMIN: run as root outside a container",
        Errno::EACCES => "check the permissions of the directories above it",
        Errno::ENODEV => "the kernel has no FUSE: load it with 'modprobe fuse'",
        Errno::EBUSY => "something is mounted there already: unmount it first",
        Errno::EINVAL => "the kernel does not know one of the options: leave them out one by one",
        Errno::ENOENT => "it is gone: create it again",
        Errno::ENOMEM => "the machine is out of memory",
        Errno::ENOSPC | Errno::EMFILE => "too many mounts: see /proc/sys/fs/mount-max",
        _ => "'dmesg' may tell more",
    }
}

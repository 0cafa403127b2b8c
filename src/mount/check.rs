//! Checks before anything is mounted, so that what is wrong is said in the user's words.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use super::options::Kernel;
use super::{MountError, Mountpoint, mountinfo};
use crate::Errno;

/// How long a file system that is already at the mount point may take to answer a stat.
const ANSWER: Duration = Duration::from_secs(5);

/// The mount point as the user gave it: `/dev/fd/N`, or a directory that exists.
///
/// # Errors
/// It is missing, cannot be reached, is no directory, or a dead FUSE mount is there.
pub fn mountpoint(path: &Path) -> Result<Mountpoint, MountError> {
    if let Some(fd) = descriptor(path) {
        return Ok(Mountpoint::Fd(fd));
    }
    let canonical = path.canonicalize().map_err(|error| at_mountpoint(path, error))?;
    directory_mode(&canonical)?;
    Ok(Mountpoint::Path(canonical))
}

/// The directory to serve, canonical.
///
/// # Errors
/// It is missing, cannot be reached, or is no directory.
pub fn source(path: &Path) -> Result<PathBuf, MountError> {
    let refuse = |errno: Errno| MountError::Source {
        path: path.into(),
        errno,
        cure: match errno {
            Errno::ENOENT => "create it, or correct the path",
            Errno::ENOTDIR => "a directory can be served, not a file",
            Errno::EACCES => "check the permissions of the directories above it",
            Errno::ENOTCONN => "a dead FUSE mount is there: remove it with 'fusex umount'",
            _ => "correct the path",
        },
    };
    let canonical = path.canonicalize().map_err(|error| refuse(errno_of(&error)))?;
    match canonical.metadata() {
        Ok(metadata) if metadata.is_dir() => Ok(canonical),
        Ok(_) => Err(refuse(Errno::ENOTDIR)),
        Err(error) => Err(refuse(errno_of(&error))),
    }
}

/// The manifest of files made of pieces, canonical.
///
/// # Errors
/// It is missing, cannot be reached, or is no regular file.
pub fn manifest(path: &Path) -> Result<PathBuf, MountError> {
    let refuse = |errno: Errno| MountError::Source {
        path: path.into(),
        errno,
        cure: match errno {
            Errno::EACCES => "check the permissions of the directories above it",
            Errno::EISDIR | Errno::EINVAL => "with '-t merge' give the manifest, a regular file",
            _ => "create it, or correct the path",
        },
    };
    let canonical = path.canonicalize().map_err(|error| refuse(errno_of(&error)))?;
    match canonical.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(canonical),
        Ok(metadata) if metadata.is_dir() => Err(refuse(Errno::EISDIR)),
        Ok(_) => Err(refuse(Errno::EINVAL)),
        Err(error) => Err(refuse(errno_of(&error))),
    }
}

/// `st_mode` of the mount point, a directory. If FUSE is mounted there already, the stat waits
/// for its server: that is given up after [`ANSWER`].
pub(super) fn directory_mode(path: &Path) -> Result<u32, MountError> {
    let table = mountinfo::read().unwrap_or_default();
    let over_fuse = mountinfo::find(&table, path).is_some_and(mountinfo::Entry::is_fuse);
    let metadata = if over_fuse { patient_stat(path) } else { path.metadata() };
    match metadata {
        Ok(metadata) if metadata.is_dir() => Ok(metadata.mode()),
        Ok(_) => Err(at_mountpoint(path, io::Error::from_raw_os_error(libc::ENOTDIR))),
        Err(error) => Err(at_mountpoint(path, error)),
    }
}

/// stat(2) in a thread of its own, which is left behind if it gets no answer: the program ends
/// then, and the kernel takes the request back.
fn patient_stat(path: &Path) -> io::Result<std::fs::Metadata> {
    let (sender, receiver) = mpsc::channel();
    let path = path.to_path_buf();
    let thread = std::thread::Builder::new().spawn(move || {
        // Nobody listens after the timeout.
        let _ = sender.send(path.metadata());
    })?;
    match receiver.recv_timeout(ANSWER) {
        Ok(answer) => {
            let _ = thread.join();
            answer
        }
        Err(_) => Err(io::Error::from_raw_os_error(libc::ETIMEDOUT)),
    }
}

/// Opens the device.
pub(super) fn open_device(kernel: Kernel) -> Result<OwnedFd, MountError> {
    let device: io::Result<File> = OpenOptions::new().read(true).write(true).open(kernel.device());
    device.map(OwnedFd::from).map_err(|error| device_error(kernel, errno_of(&error)))
}

/// That `/dev/fuse` exists: to be opened by `fusermount3`, which may have the permission.
pub(super) fn device_exists() -> Result<(), MountError> {
    match Path::new("/dev/fuse").symlink_metadata() {
        Ok(_) => Ok(()),
        Err(error) => Err(device_error(Kernel::Fuse, errno_of(&error))),
    }
}

fn device_error(kernel: Kernel, errno: Errno) -> MountError {
    let cure = match errno {
        Errno::ENOENT | Errno::ENODEV | Errno::ENXIO if kernel == Kernel::Fusebpf => {
            "load the module with 'modprobe fusebpf'; it is built from kernel/ of fusex"
        }
        Errno::ENOENT | Errno::ENODEV | Errno::ENXIO => "load FUSE with 'modprobe fuse'",
        Errno::EACCES if kernel == Kernel::Fusebpf => "run as root",
        Errno::EACCES => "run as root, or allow it with 'chmod 666 /dev/fuse'",
        Errno::EPERM => "the container must be allowed to use the device",
        Errno::EMFILE | Errno::ENFILE => "raise the limit of open files ('ulimit -n')",
        _ => "see whether it is the kernel's character device",
    };
    MountError::Device { device: kernel.device(), errno, cure }
}

fn at_mountpoint(path: &Path, error: io::Error) -> MountError {
    let errno = errno_of(&error);
    let cure = match errno {
        Errno::ENOTCONN => return MountError::DeadMount { path: path.into() },
        Errno::ENOENT => "create it with 'mkdir -p'",
        Errno::ENOTDIR => "a directory can only be mounted on a directory",
        Errno::EACCES => "check the permissions of the directories above it",
        Errno::ETIMEDOUT => {
            "the FUSE mount there does not answer: 'fusex umount --lazy' removes it"
        }
        _ => "give a directory that exists",
    };
    MountError::Mountpoint { path: path.into(), errno, cure }
}

/// N of `/dev/fd/N`.
fn descriptor(path: &Path) -> Option<i32> {
    let number = path.to_str()?.strip_prefix("/dev/fd/")?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse().ok())?
}

fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_paths_are_descriptors() {
        assert_eq!(descriptor(Path::new("/dev/fd/12")), Some(12));
        for path in ["/dev/fd/", "/dev/fd/+1", "/dev/fd/1/", "/dev/fd/99999999999", "/mnt/1"] {
            assert_eq!(descriptor(Path::new(path)), None, "{path}");
        }
    }

    #[test]
    fn paths_are_made_canonical() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        std::os::unix::fs::symlink(&real, dir.path().join("link")).unwrap();
        let link = dir.path().join("link");
        assert_eq!(source(&link).unwrap(), real);
        assert_eq!(mountpoint(&link).unwrap(), Mountpoint::Path(real));
    }
}

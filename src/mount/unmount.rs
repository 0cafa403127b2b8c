//! Unmounting, also of what is dead.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};

use super::{MountError, fusermount, mountinfo};
use crate::Errno;

/// As many processes are named in a message at most.
const NAMED: usize = 4;

/// Takes away the FUSE mount on top at `mountpoint`.
///
/// `lazy` takes it out of the tree at once, even if it is in use; it ends when the last use
/// does. A dead mount is never looked at, only the mount table is.
///
/// # Errors
/// Nothing is mounted there, or something that is not FUSE; it is busy; no permission.
pub fn unmount(mountpoint: &Path, lazy: bool) -> Result<(), MountError> {
    let path = find(mountpoint)?.mount_point;
    if !nix::unistd::geteuid().is_root() {
        return fusermount::unmount(&path, lazy);
    }
    let mut flags = MntFlags::UMOUNT_NOFOLLOW;
    flags.set(MntFlags::MNT_DETACH, lazy);
    umount2(&path, flags).map_err(|errno| match errno {
        Errno::EBUSY => MountError::Busy { users: users(&path), path },
        Errno::EPERM => refuse(path, errno, "it needs CAP_SYS_ADMIN: run as root"),
        Errno::EINVAL => refuse(path, errno, "it was unmounted meanwhile, or is locked"),
        _ => refuse(path, errno, "'dmesg' may tell more"),
    })
}

fn refuse(path: PathBuf, errno: Errno, cure: &'static str) -> MountError {
    MountError::Umount { path, errno, cure }
}

/// The FUSE mount that the user means. It is not touched, unless `given` is a path inside of it.
///
/// # Errors
/// Nothing is mounted there, or something that is not FUSE.
pub fn find(given: &Path) -> Result<mountinfo::Entry, MountError> {
    let table = mountinfo::read().map_err(|error| MountError::System {
        what: "/proc/self/mountinfo",
        errno: error.raw_os_error().map_or(Errno::EIO, Errno::from_raw),
    })?;
    let missing = |errno, cure| MountError::Mountpoint { path: given.into(), errno, cure };
    // First by name, without looking at the last component. Only what is no mount point by
    // name can be a symlink to one.
    let by_name = without_last(given).ok();
    if let Some(entry) = by_name.as_deref().and_then(|path| mountinfo::find(&table, path)) {
        return fuse_only(entry);
    }
    let canonical = given.canonicalize().map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT) => missing(Errno::ENOENT, "correct the path"),
        other => missing(other.map_or(Errno::EIO, Errno::from_raw), "give its mount point"),
    })?;
    match mountinfo::find(&table, &canonical) {
        Some(entry) => fuse_only(entry),
        None => Err(MountError::NotMounted { path: given.into() }),
    }
}

fn fuse_only(entry: &mountinfo::Entry) -> Result<mountinfo::Entry, MountError> {
    if entry.is_fuse() {
        Ok(entry.clone())
    } else {
        let (path, fs_type) = (entry.mount_point.clone(), entry.fs_type.clone());
        Err(MountError::NotFuse { path, fs_type })
    }
}

/// `path` with all but its last component resolved: to look at that would ask the mount.
pub fn without_last(path: &Path) -> io::Result<PathBuf> {
    let Some(name) = path.file_name() else {
        return path.canonicalize();
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok(parent.unwrap_or(Path::new(".")).canonicalize()?.join(name))
}

/// Who keeps the mount busy, in words: processes that have their directory, their root, or an
/// open file in it. Their links are read, not followed, so the mount itself is not touched.
pub(super) fn users(mountpoint: &Path) -> String {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut users: Vec<String> = processes
        .filter(|process| process.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit))
        .filter(|process| uses(&process.path(), mountpoint))
        .map(|process| {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            format!("{} ({})", name.trim(), process.file_name().to_string_lossy())
        })
        .collect();
    if users.is_empty() {
        return "a mount below it or a process that cannot be seen uses it".to_string();
    }
    if users.len() > NAMED {
        let more = users.len() - NAMED;
        users.truncate(NAMED);
        users.push(format!("{more} more"));
    }
    format!("in use by {}", users.join(", "))
}

/// Whether the process with this directory in `/proc` uses something below `mountpoint`.
fn uses(process: &Path, mountpoint: &Path) -> bool {
    let open = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    let links = [process.join("cwd"), process.join("root")];
    links
        .into_iter()
        .chain(open.map(|file| file.path()))
        .filter_map(|link| fs::read_link(link).ok())
        .any(|target| target.starts_with(mountpoint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_component_is_not_resolved() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        std::os::unix::fs::symlink("nowhere", real.join("link")).unwrap();
        assert_eq!(without_last(&dir.path().join("link/")).unwrap(), real.join("link"));
        assert_eq!(
            without_last(Path::new("x")).unwrap(),
            std::env::current_dir().unwrap().join("x")
        );
        assert_eq!(without_last(Path::new("/")).unwrap(), Path::new("/"));
        assert_eq!(without_last(&real.join("..")).unwrap(), real.parent().unwrap());
    }

    #[test]
    fn users_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        assert_eq!(users(&path), "a mount below it or a process that cannot be seen uses it");
        let _open = fs::File::create(path.join("file")).unwrap();
        let pid = std::process::id();
        let words = users(&path);
        assert!(words.starts_with("in use by ") && words.contains(&format!("({pid})")), "{words}");
    }
}

//! The mount points of the command line.

use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure};
use crate::mount::mountinfo::{self, Entry};
use crate::mount::{self, MountError};

/// The connections that are mounted there; none for none.
///
/// # Errors
/// One of them is no FUSE mount. No mount is touched: one whose server hangs is found too.
pub(super) fn connections(mount_points: &[PathBuf]) -> Result<Vec<u32>, Failure> {
    let failed = |path: &PathBuf, why| Failure {
        exit: Exit::Untested,
        message: format!("{}: {why}", path.display()),
    };
    let of = |path| entry(path).map(|entry| entry.connection());
    mount_points.iter().map(|path| of(path).map_err(|why| failed(path, why))).collect()
}

/// The FUSE mount at a mount point.
///
/// # Errors
/// There is none, in the user's words.
pub(super) fn entry(given: &Path) -> Result<Entry, String> {
    let table = mountinfo::read().map_err(|error| format!("/proc/self/mountinfo: {error}"))?;
    let path = std::path::absolute(given).map_err(|error| error.to_string())?;
    let fuse = |path: &Path| mountinfo::find(&table, path).filter(|entry| entry.is_fuse());
    if let Some(entry) = fuse(&path) {
        return Ok(entry.clone());
    }
    // To resolve what lies inside of a mount would ask it.
    if let Some(above) = path.ancestors().skip(1).find(|above| fuse(above).is_some()) {
        return Err(format!("not a mount point: give {}", above.display()));
    }
    match mount::find(given) {
        Ok(entry) => Ok(entry),
        Err(MountError::NotMounted { .. }) => Err("not a mount point: see findmnt(8)".into()),
        Err(MountError::NotFuse { fs_type, .. }) => {
            Err(format!("{fs_type} is mounted there, not FUSE: see findmnt(8)"))
        }
        Err(MountError::Mountpoint { errno, cure, .. }) => Err(format!("{}: {cure}", errno.desc())),
        Err(other) => Err(other.to_string()),
    }
}

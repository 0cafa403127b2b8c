//! A mount point below the source: what lies under the mount.
//!
//! A lookup of that name would lead into the mount itself, and a server that asks itself
//! waits for ever. So the directory is opened before it is mounted on, and stands for the
//! name: the mount shows what a bind mount would show.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use crate::Errno;
use crate::recovery::arena::Arena;
use crate::recovery::fds::Kind;
use crate::sys::{Fd, OpFd, file};

pub(super) struct Covered {
    fd: Fd,
    parent: (u32, u32, u64),
    name: CString,
}

impl Covered {
    /// The directory at `path`, canonical, which is not mounted on yet. `None`: it cannot be
    /// opened, and then it cannot be mounted on either.
    pub(super) fn of(path: &Path, arena: &Arena) -> Option<Covered> {
        let kept = &arena.words("covered", 1, 1).ok()?[0];
        let open = |path: &Path| {
            let path = CString::new(path.as_os_str().as_bytes()).ok()?;
            file::openat(Fd::CWD, &path, libc::O_PATH | libc::O_DIRECTORY, 0).ok()
        };
        let name = CString::new(path.file_name()?.as_bytes()).ok()?;
        let parent = identity(open(path.parent()?)?.get()).ok()?;
        // The path leads into the mount once it is there.
        if let Some(number) = kept.load(Ordering::Acquire).checked_sub(1) {
            return Some(Covered { fd: Fd::from_number(number as i32), parent, name });
        }
        let (fd, fds) = (open(path)?.keep(), arena.fds());
        fds.begin(fd, Kind::Own, 0).ok()?;
        fds.keep(fd, Kind::Own, 0);
        kept.store(fd.number() as u64 + 1, Ordering::Release);
        Some(Covered { fd, parent, name })
    }

    /// Whether `name` in `parent` is the mount point.
    pub(super) fn is(&self, parent: Fd, name: &CStr) -> bool {
        name == self.name.as_c_str() && identity(parent) == Ok(self.parent)
    }

    /// The directory under the mount.
    pub(super) fn open(&self) -> Result<OpFd, Errno> {
        file::openat(self.fd, c".", libc::O_PATH | libc::O_DIRECTORY, 0)
    }
}

fn identity(fd: Fd) -> Result<(u32, u32, u64), Errno> {
    let stat = file::fstatx(fd)?;
    Ok((stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino))
}

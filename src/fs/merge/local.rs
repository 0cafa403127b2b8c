//! The local files that pieces are in.
//!
//! All are opened when the mount is made, so that a reader never waits for a path to be found and
//! a file that is renamed or replaced meanwhile stays the one it was. Their numbers are in the
//! arena, for a new version of the program, which gets the descriptors handed down.

use std::os::fd::AsRawFd;
use std::path::Path;

use nix::fcntl::{FcntlArg, fcntl};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::MergeError;
use super::manifest::{Manifest, Wrong, wrong};
use crate::Errno;
use crate::recovery::arena::{Arena, Origin};
use crate::recovery::fds::FIRST;
use crate::recovery::table::Table;
use crate::sys::file::{self, Statx};
use crate::sys::{Fd, process};
use crate::wire::Timestamp;

/// Descriptors that a mount needs for itself: the supervisor's, a clone of /dev/fuse, pipes and
/// connections for each thread, and some to spare.
const RESERVED: u64 = 256;

/// A local file that is open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local {
    pub(super) fd: Fd,
    /// Bytes, when it was mounted.
    pub(super) size: u64,
    pub(super) mtime: Timestamp,
}

/// The same in the arena.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Record {
    device: u64,
    inode: u64,
    size: u64,
    secs: i64,
    nanos: u32,
    fd: i32,
}

impl Record {
    fn new(fd: Fd, stat: &Statx) -> Record {
        Record {
            device: u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor),
            inode: stat.stx_ino,
            size: stat.stx_size,
            secs: stat.stx_mtime.tv_sec,
            nanos: stat.stx_mtime.tv_nsec,
            fd: fd.number(),
        }
    }

    fn is_same(&self, other: &Record) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    fn local(&self) -> Local {
        let mtime = Timestamp { secs: self.secs, nanos: self.nanos };
        Local { fd: Fd::from_number(self.fd), size: self.size, mtime }
    }
}

impl Local {
    /// Bytes of a segment from `offset` on.
    pub(super) fn length_from(
        &self,
        offset: u64,
        asked: Option<u64>,
        at: &str,
    ) -> Result<u64, Wrong> {
        let there = self.size.saturating_sub(offset);
        match asked {
            None if there == 0 => {
                let what = format!("nothing: the file has {} bytes: remove it", self.size);
                wrong(at, what)
            }
            None => Ok(there),
            Some(asked) if asked <= there => Ok(asked),
            Some(_) => {
                let what = format!("ends behind the file's {} bytes: correct it", self.size);
                wrong(format!("{at}.length"), what)
            }
        }
    }
}

/// Opens all of them; those that an earlier version of the program has opened are gone on with.
pub(super) fn open_all(arena: &Arena, manifest: &Manifest) -> Result<Vec<Local>, MergeError> {
    let all = &manifest.locals.all;
    let limit = process::raise_file_limit().map_err(MergeError::Limit)?;
    if all.len() as u64 + RESERVED > limit {
        return Err(MergeError::Files { files: all.len() as u64, limit, reserved: RESERVED });
    }
    let capacity = u32::try_from(all.len().max(1)).map_err(|_| Errno::EMFILE);
    let table: Table<Record> =
        Table::new(arena, "merge files", capacity.map_err(MergeError::Limit)?, 1)?;
    let mut locals = Vec::with_capacity(all.len());
    for (index, (path, at)) in all.iter().enumerate() {
        let known = table.at(index as u32 + 1);
        let inherited = known.filter(|_| arena.origin() == Origin::Inherited);
        if let Some((_, record)) = inherited
            && file::fstatx(record.local().fd)
                .is_ok_and(|stat| record.is_same(&Record::new(Fd::NONE, &stat)))
        {
            locals.push(record.local());
            continue;
        }
        let record = open(path, at)?;
        match known {
            Some((_, before)) if !before.is_same(&record) => {
                let what = "replaced since it was mounted: mount anew";
                return wrong(at, format!("{}: {what}", path.display()))?;
            }
            Some((id, _)) => drop(table.put(id, &record)),
            None => drop(table.insert(&record)),
        }
        locals.push(record.local());
    }
    Ok(locals)
}

/// Above the supervisor's numbers, which are not handed down.
fn open(path: &Path, at: &str) -> Result<Record, Wrong> {
    let failed = |errno: Errno| Wrong {
        at: at.to_string(),
        what: format!(
            "{}: {}: {}",
            path.display(),
            errno.desc(),
            match errno {
                Errno::ENOENT => "create it, or correct the path",
                Errno::EACCES => "check its permissions, and those of the directories above it",
                Errno::EMFILE | Errno::ENFILE => "raise the limit of open files ('ulimit -n')",
                Errno::EISDIR | Errno::EINVAL => "give a regular file",
                _ => "correct the path",
            }
        ),
    };
    // Not blocking: it may be a FIFO.
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
    let path_bytes = std::ffi::CString::new(path.as_os_str().as_encoded_bytes());
    let opened = path_bytes
        .map_err(|_| Errno::EINVAL)
        .and_then(|path| file::openat(Fd::CWD, &path, flags, 0));
    let opened = opened.map_err(failed)?;
    let stat = file::fstatx(opened.get()).map_err(failed)?;
    match u32::from(stat.stx_mode) & libc::S_IFMT {
        libc::S_IFREG => {}
        libc::S_IFDIR => return Err(failed(Errno::EISDIR)),
        _ => return Err(failed(Errno::EINVAL)),
    }
    let above = FcntlArg::F_DUPFD_CLOEXEC(FIRST);
    let fd = fcntl(opened.get(), above).map_err(failed)?;
    Ok(Record::new(Fd::from_number(fd.as_raw_fd()), &stat))
}

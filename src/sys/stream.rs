//! Directory streams of libc, with their positions, as a program would read directories.

use std::ffi::{CStr, CString, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::ptr::NonNull;

use crate::Errno;

/// An open directory.
#[derive(Debug)]
pub struct Stream(NonNull<libc::DIR>);

// SAFETY: libc's streams belong to no thread; whoever has it uses it alone.
unsafe impl Send for Stream {}

impl Stream {
    /// opendir(3).
    pub fn open(path: &Path) -> Result<Stream, Errno> {
        let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
        // SAFETY: the string ends in NUL.
        let stream = unsafe { libc::opendir(path.as_ptr()) };
        NonNull::new(stream).map(Stream).ok_or_else(Errno::last)
    }

    /// The next name, with its inode number; without `.` and `..`.
    pub fn entry(&mut self) -> Result<Option<(OsString, u64)>, Errno> {
        loop {
            Errno::clear();
            // SAFETY: an open stream, used by one thread.
            let entry = unsafe { libc::readdir64(self.0.as_ptr()) };
            if entry.is_null() {
                return if Errno::last_raw() == 0 { Ok(None) } else { Err(Errno::last()) };
            }
            // SAFETY: the entry is valid until the next call, and its name ends in NUL.
            let (name, ino) = unsafe {
                let name = CStr::from_ptr((&raw const (*entry).d_name).cast());
                (name.to_bytes().to_vec(), (*entry).d_ino)
            };
            if name != b"." && name != b".." {
                return Ok(Some((OsString::from_vec(name), ino)));
            }
        }
    }

    /// All names that are left.
    pub fn rest(&mut self) -> Result<Vec<OsString>, Errno> {
        let mut names = Vec::new();
        while let Some((name, _)) = self.entry()? {
            names.push(name);
        }
        Ok(names)
    }

    /// telldir(3).
    pub fn tell(&self) -> i64 {
        // SAFETY: an open stream.
        unsafe { libc::telldir(self.0.as_ptr()) }
    }

    /// seekdir(3), to what `tell` gave.
    pub fn seek(&mut self, position: i64) {
        // SAFETY: an open stream.
        unsafe { libc::seekdir(self.0.as_ptr(), position) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: an open stream, not used any more.
        unsafe { libc::closedir(self.0.as_ptr()) };
    }
}

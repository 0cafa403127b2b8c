//! getdents64(2), entry by entry.

use std::os::fd::AsRawFd;

use super::{Fd, length};
use crate::Errno;

/// The longest entry: a 19-byte head, the kernel's FUSE_NAME_MAX of 1024 bytes (vfat has names
/// of 765), a NUL, rounded up to 8.
pub const LONGEST: usize = (19 + 1024 + 1_usize).next_multiple_of(8);

/// One entry.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Inode number.
    pub ino: u64,
    /// Where the entry behind this one starts: an offset for lseek(2).
    pub next: u64,
    /// DT_*.
    pub kind: u8,
    /// The name, without its NUL.
    pub name: &'a std::ffi::CStr,
}

/// Reads entries at the directory's position; returns how many bytes of `buf` are theirs.
pub fn getdents(fd: Fd, buf: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the pointer and length are those of `buf`.
    length(unsafe {
        libc::syscall(libc::SYS_getdents64, fd.as_raw_fd(), buf.as_mut_ptr(), buf.len()) as isize
    })
}

/// The entries in what [`getdents`] filled. Stops at the first that is cut short.
pub fn entries(mut bytes: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    std::iter::from_fn(move || {
        let head = bytes.get(..19)?;
        let ino = u64::from_ne_bytes(head[..8].try_into().ok()?);
        let next = u64::from_ne_bytes(head[8..16].try_into().ok()?);
        let length = usize::from(u16::from_ne_bytes(head[16..18].try_into().ok()?));
        let name = std::ffi::CStr::from_bytes_until_nul(bytes.get(19..length)?).ok()?;
        let entry = Entry { ino, next, kind: head[18], name };
        bytes = &bytes[length..];
        Some(entry)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file;

    #[test]
    fn a_directory_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..100 {
            std::fs::write(dir.path().join(format!("file-{n}")), b"").unwrap();
        }
        let path = std::ffi::CString::new(dir.path().to_str().unwrap()).unwrap();
        let fd = file::openat(Fd::CWD, &path, libc::O_RDONLY | libc::O_DIRECTORY, 0).unwrap();
        let (mut buf, mut seen) = ([0; LONGEST * 2], 0);
        loop {
            let n = getdents(fd.get(), &mut buf).unwrap();
            if n == 0 {
                break;
            }
            seen += entries(&buf[..n]).filter(|e| e.kind == libc::DT_REG).count();
        }
        assert_eq!(seen, 100);
    }

    #[test]
    fn cut_entries_are_not_read() {
        let mut bytes = vec![0; 24];
        bytes[16] = 200;
        assert_eq!(entries(&bytes).count(), 0);
        bytes[16] = 24;
        bytes[19..].fill(b'x');
        assert_eq!(entries(&bytes).count(), 0, "a name without its NUL");
    }
}

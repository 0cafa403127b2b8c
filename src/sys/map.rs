//! A file mapped into memory, as a program would have it.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, MsFlags, ProtFlags, mmap, msync, munmap};
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;

use crate::Errno;

/// Memory that maps a file from its beginning.
///
/// It is read and written by the kernel on this process's behalf: where the file system does not
/// give a page, that is an error, and no SIGBUS.
#[derive(Debug)]
pub struct Map {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: memory of the whole process, not of one thread.
unsafe impl Send for Map {}

impl Map {
    /// Maps `length` bytes; `shared` writes go to the file.
    pub fn new(file: &File, length: usize, write: bool, shared: bool) -> Result<Map, Errno> {
        let size = NonZeroUsize::new(length).ok_or(Errno::EINVAL)?;
        let writable = if write { ProtFlags::PROT_WRITE } else { ProtFlags::empty() };
        let flags = if shared { MapFlags::MAP_SHARED } else { MapFlags::MAP_PRIVATE };
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let start = unsafe { mmap(None, size, ProtFlags::PROT_READ | writable, flags, file, 0) }?;
        Ok(Map { start: start.cast(), length })
    }

    fn range(&self, at: usize, length: usize) -> Result<[RemoteIoVec; 1], Errno> {
        let end = at.checked_add(length).filter(|end| *end <= self.length);
        end.ok_or(Errno::EINVAL)?;
        Ok([RemoteIoVec { base: self.start.as_ptr() as usize + at, len: length }])
    }

    /// A copy of some of it; EFAULT where there is no page to be had.
    pub fn read(&self, at: usize, length: usize) -> Result<Vec<u8>, Errno> {
        let (range, mut bytes) = (self.range(at, length)?, vec![0; length]);
        let done = process_vm_readv(Pid::this(), &mut [IoSliceMut::new(&mut bytes)], &range)?;
        if done == length { Ok(bytes) } else { Err(Errno::EFAULT) }
    }

    /// Writes to the memory.
    pub fn write(&self, at: usize, bytes: &[u8]) -> Result<(), Errno> {
        let range = self.range(at, bytes.len())?;
        let done = process_vm_writev(Pid::this(), &[IoSlice::new(bytes)], &range)?;
        if done == bytes.len() { Ok(()) } else { Err(Errno::EFAULT) }
    }

    /// msync(2) of all of it, waiting for the data.
    pub fn sync(&self) -> Result<(), Errno> {
        // SAFETY: the mapping as it was made.
        unsafe { msync(self.start.cast(), self.length, MsFlags::MS_SYNC) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping as it was made; nothing refers to it any more.
        let _ = unsafe { munmap(self.start.cast(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn what_the_file_has_no_page_for_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"some bytes", 0).unwrap();
        let map = Map::new(&file, 3 * super::super::memory::PAGE, true, true).unwrap();
        assert_eq!(map.read(5, 5).unwrap(), b"bytes");
        map.write(0, b"more").unwrap();
        let mut seen = [0; 10];
        file.read_exact_at(&mut seen, 0).unwrap();
        assert_eq!(&seen, b"more bytes");
        assert_eq!(map.read(2 * super::super::memory::PAGE, 1), Err(Errno::EFAULT));
        assert_eq!(map.read(usize::MAX, 2), Err(Errno::EINVAL));
    }
}

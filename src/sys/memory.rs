//! Shared memory: one memfd, mapped once, handed out in pieces.

use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mlock, mmap, munmap};

use crate::Errno;

/// A piece of shared memory that belongs to one owner at a time.
///
/// It is mapped with MAP_SHARED from a memfd that is closed once mapped, kept out of core
/// dumps, touched and locked in memory: a page fault while the kernel copies a request
/// into it would cost that request.
#[derive(Debug)]
pub struct SharedBuffer {
    start: NonNull<u8>,
    length: NonZeroUsize,
}

// SAFETY: the mapping belongs to this value alone, as the heap does to a Box.
unsafe impl Send for SharedBuffer {}
// SAFETY: a shared reference only reads.
unsafe impl Sync for SharedBuffer {}

impl SharedBuffer {
    /// `length` bytes of zeroes, rounded up to whole pages.
    pub fn new(name: &std::ffi::CStr, length: usize) -> Result<SharedBuffer, Errno> {
        let length = NonZeroUsize::new(length.next_multiple_of(4096)).ok_or(Errno::EINVAL)?;
        let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC)?;
        nix::unistd::ftruncate(&fd, length.get() as i64)?;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_POPULATE;
        let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let start = unsafe { mmap(None, length, prot, flags, fd, 0) }?.cast::<u8>();
        // SAFETY: exactly the range just mapped. Neither call is needed for correctness: locked
        // memory may be limited, and then the pages are touched at least.
        unsafe {
            let _ = madvise(start.cast(), length.get(), MmapAdvise::MADV_DONTDUMP);
            let _ = mlock(start.cast(), length.get());
        }
        Ok(SharedBuffer { start, length })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the range is mapped for as long as `self` lives, initialised (zero or what was
        // written), and written only through `&mut self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length.get()) }
    }

    /// The bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; `&mut self` makes it the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length.get()) }
    }
}

impl Drop for SharedBuffer {
    fn drop(&mut self) {
        // SAFETY: exactly the range that `new` mapped, which nothing borrows any more.
        let _ = unsafe { munmap(self.start.cast(), self.length.get()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_zeroed_whole_pages_and_writable() {
        let mut buffer = SharedBuffer::new(c"test", 5000).unwrap();
        assert_eq!(buffer.bytes().len(), 8192);
        assert!(buffer.bytes().iter().all(|b| *b == 0));
        buffer.bytes_mut()[8191] = 7;
        assert_eq!(buffer.bytes()[8191], 7);
    }
}

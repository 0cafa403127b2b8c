//! Shared memory: one memfd, mapped once, handed out in pieces.

use std::ffi::CStr;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mlock, mmap};

use super::Fd;
use crate::Errno;

/// The kernel's page, or a multiple of it where pages are larger.
pub const PAGE: usize = 4096;

/// A memfd and its mapping, which stay as long as the process: every child made by clone(2)
/// has the same memory at the same address.
///
/// Address space is reserved once; the file grows below it. What is handed out lies below
/// the file's length, so that no access runs into SIGBUS.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    reserved: usize,
    length: AtomicUsize,
    fd: Fd,
}

// SAFETY: the mapping is never unmapped, and what is handed out of it are atomics, or buffers
// whose owners keep them apart.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// An empty memfd under `reserved` bytes of address space.
    pub fn create(name: &CStr, reserved: usize) -> Result<Mapping, Errno> {
        let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
        // It never gets shorter, whoever has the descriptor: an access past the end is SIGBUS.
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
        fcntl(&fd, FcntlArg::F_ADD_SEALS(seals))?;
        Mapping::attach(Fd::from_owned(fd), reserved)
    }

    /// The memfd `fd`, which another process has filled.
    pub fn attach(fd: Fd, reserved: usize) -> Result<Mapping, Errno> {
        let length = super::file::fstatx(fd)?.stx_size;
        let length = usize::try_from(length).map_err(|_| Errno::EFBIG)?;
        let size = NonZeroUsize::new(reserved).ok_or(Errno::EINVAL)?;
        if length > reserved {
            return Err(Errno::EFBIG);
        }
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE;
        let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let start = unsafe { mmap(None, size, prot, flags, fd, 0) }?.cast::<u8>();
        // SAFETY: exactly the range just mapped. A core dump does without it.
        let _ = unsafe { madvise(start.cast(), reserved, MmapAdvise::MADV_DONTDUMP) };
        Ok(Mapping { start, reserved, length: AtomicUsize::new(length), fd })
    }

    /// The memfd.
    pub fn fd(&self) -> Fd {
        self.fd
    }

    /// Bytes that the file has.
    pub fn length(&self) -> usize {
        self.length.load(Ordering::Acquire)
    }

    /// Makes the file `length` bytes long if it is shorter; new bytes are zero.
    pub fn grow(&self, length: usize) -> Result<(), Errno> {
        if length > self.reserved {
            return Err(Errno::ENOMEM);
        }
        if length > self.length() {
            nix::unistd::ftruncate(self.fd, length as i64)?;
            self.length.store(length, Ordering::Release);
        }
        Ok(())
    }

    fn piece(&self, offset: usize, length: usize) -> Option<NonNull<u8>> {
        let end = offset.checked_add(length)?;
        if end > self.length() {
            return None;
        }
        // SAFETY: within the mapping, which is one allocation.
        Some(unsafe { self.start.add(offset) })
    }

    /// `count` words at `offset`, a multiple of 8. `None`: they are not in the file.
    pub fn words(&self, offset: usize, count: usize) -> Option<&'static [AtomicU64]> {
        let start = self.piece(offset, count.checked_mul(8)?)?;
        if !offset.is_multiple_of(8) {
            return None;
        }
        // SAFETY: in range and aligned (the mapping begins on a page), initialised (zero or what
        // was stored), never unmapped; atomics may be shared with any thread and process.
        Some(unsafe { std::slice::from_raw_parts(start.as_ptr().cast(), count) })
    }

    /// `length` bytes at `offset`, which must be the only buffer there in this process as long as
    /// it lives: whoever hands out numbers of buffers sees to that.
    pub fn buffer(&self, offset: usize, length: usize) -> Option<SharedBuffer> {
        Some(SharedBuffer { start: self.piece(offset, length)?, length })
    }
}

/// A piece of shared memory that belongs to one owner at a time.
#[derive(Debug)]
pub struct SharedBuffer {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the bytes belong to this value alone, as the heap does to a Box.
unsafe impl Send for SharedBuffer {}
// SAFETY: a shared reference only reads.
unsafe impl Sync for SharedBuffer {}

impl SharedBuffer {
    /// Touches every page and locks it in memory: a page fault while the kernel copies a
    /// request into it would cost that request. Locked memory may be limited (RLIMIT_MEMLOCK);
    /// then the pages are touched at least.
    pub fn fault_in(&mut self) {
        // SAFETY: a range of the mapping; mlock(2) rounds it to whole pages itself.
        if unsafe { mlock(self.start.cast(), self.length) }.is_err() {
            self.touch();
        }
    }

    /// The same for pages that another process of the mount has locked: maps them here.
    pub fn touch(&mut self) {
        let (start, advice) = (self.start.cast(), MmapAdvise::MADV_POPULATE_WRITE);
        // SAFETY: a range of the mapping, from a page on; its bytes stay as they are.
        if unsafe { madvise(start, self.length, advice) }.is_ok() {
            return;
        }
        // Before Linux 5.14, or not from a page on.
        for page in self.bytes_mut().chunks_mut(PAGE) {
            let first = page[0];
            page[0] = std::hint::black_box(first);
        }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: mapped for ever, initialised (zero or what was written), and written only
        // through `&mut self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    /// The bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; `&mut self` makes it the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_out_lies_in_the_file() {
        let mapping = Mapping::create(c"test", 1 << 20).unwrap();
        assert!(mapping.words(0, 1).is_none(), "nothing yet");
        mapping.grow(2 * PAGE).unwrap();
        let words = mapping.words(PAGE, PAGE / 8).unwrap();
        assert!(words.iter().all(|word| word.load(Ordering::Relaxed) == 0));
        assert!(mapping.words(PAGE, PAGE / 8 + 1).is_none(), "behind the end");
        assert!(mapping.words(4, 1).is_none(), "not aligned");
        assert!(mapping.words(usize::MAX, 1).is_none() && mapping.words(0, usize::MAX).is_none());
        assert_eq!(mapping.grow((1 << 20) + 1), Err(Errno::ENOMEM));
    }

    #[test]
    fn another_mapping_of_the_same_file_sees_the_same() {
        let first = Mapping::create(c"test", 1 << 20).unwrap();
        first.grow(PAGE).unwrap();
        let second = Mapping::attach(first.fd(), 1 << 20).unwrap();
        assert_eq!(second.length(), PAGE);
        let mut buffer = first.buffer(16, 8).unwrap();
        buffer.fault_in();
        buffer.bytes_mut().copy_from_slice(&7_u64.to_ne_bytes());
        assert_eq!(second.words(16, 1).unwrap()[0].load(Ordering::Relaxed), 7);
        assert_eq!(buffer.bytes(), 7_u64.to_ne_bytes());
        assert_eq!(nix::unistd::ftruncate(first.fd(), 0), Err(Errno::EPERM), "sealed");
        assert_eq!(Mapping::attach(first.fd(), PAGE / 2).unwrap_err(), Errno::EFBIG);
    }
}

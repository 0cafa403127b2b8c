//! io_uring(7) for commands to a device: one ring, one buffer, one command at a time.
//!
//! IORING_OP_URING_CMD with 80 bytes of command (IORING_SETUP_SQE128, Linux 5.19). The device
//! writes to the buffer as long as a command is under way, so it can only be looked at in between.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

use io_uring::squeue::Entry128;
use io_uring::{IoUring, cqueue, opcode, types};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap};

use super::Fd;
use crate::Errno;

/// Bytes of a command.
pub const COMMAND: usize = 80;
/// Commands under way at the most.
const DEPTH: u32 = 1;
/// Where `len` stands in struct io_uring_sqe.
const SQE_LEN: std::ops::Range<usize> = 24..28;

type Commands = IoUring<Entry128, cqueue::Entry>;

/// A ring, and the memory that its commands work on. It belongs to the thread that made it.
pub struct Ring {
    // Goes before the memory does.
    ring: Commands,
    memory: Memory,
    device: Fd,
    /// A command that was pushed and has not completed.
    under_way: bool,
}

/// The part of a ring's buffer that a command gets: offset and length, in bytes.
pub type Part = (usize, usize);

impl Ring {
    /// A ring for commands to `device`, with a buffer of `length` bytes, all zero.
    ///
    /// ENOSYS, EPERM: io_uring is not there, or forbidden. EINVAL: Linux before 6.1.
    pub fn new(device: Fd, length: usize) -> Result<Ring, Errno> {
        let mut builder = Commands::builder();
        // One thread submits and waits. Nobody need interrupt it: it looks by itself.
        builder.dontfork().setup_single_issuer().setup_coop_taskrun();
        let ring = builder.build(DEPTH).map_err(errno)?;
        // Nothing depends on it: it saves looking the descriptor up.
        let _ = ring.submitter().register_ring_fd();
        Ok(Ring { ring, memory: Memory::new(length)?, device, under_way: false })
    }

    /// The buffer; `None` while a command is under way.
    pub fn buffer(&mut self) -> Option<&mut [u8]> {
        if self.under_way {
            return None;
        }
        // SAFETY: mapped and initialised as long as `memory` lives. No command is under way, so the
        // kernel does not write to it, and `&mut self` makes this the only reference.
        Some(unsafe {
            std::slice::from_raw_parts_mut(self.memory.start.as_ptr(), self.memory.length)
        })
    }

    /// Whether a command is under way.
    pub fn is_under_way(&self) -> bool {
        self.under_way
    }

    /// Hands `command` to the device, with an array of the two `parts` of the buffer.
    ///
    /// EBUSY: one is under way. EINVAL: a part is not in the buffer.
    pub fn start_with(
        &mut self,
        operation: u32,
        command: [u8; COMMAND],
        parts: [Part; 2],
    ) -> Result<(), Errno> {
        let length = self.memory.length;
        if parts.iter().any(|(at, size)| at.checked_add(*size).is_none_or(|end| end > length)) {
            return Err(Errno::EINVAL);
        }
        let vectors = parts.map(|(at, iov_len)| libc::iovec {
            // SAFETY: within the mapping, as just checked.
            iov_base: unsafe { self.memory.start.add(at) }.as_ptr().cast(),
            iov_len,
        });
        let built = opcode::UringCmd80::new(types::Fd(self.device.as_raw_fd()), operation)
            .cmd(command)
            .addr(Some(vectors.as_ptr() as u64))
            .build();
        // SAFETY: Entry128 is repr(C) around the kernel's submission entry of 128 bytes, in which
        // every bit pattern is valid.
        let mut bytes = unsafe { std::mem::transmute::<Entry128, [u8; 128]>(built) };
        bytes[SQE_LEN].copy_from_slice(&(parts.len() as u32).to_ne_bytes());
        // SAFETY: as above.
        let entry = unsafe { std::mem::transmute::<[u8; 128], Entry128>(bytes) };
        self.push(&entry)?;
        // The kernel reads the array, which is this function's, before this returns.
        self.enter(0)
    }

    /// Hands `command` to the device with the next [`Ring::enter`].
    ///
    /// EBUSY: one is under way.
    pub fn start(&mut self, operation: u32, command: [u8; COMMAND]) -> Result<(), Errno> {
        let device = types::Fd(self.device.as_raw_fd());
        self.push(&opcode::UringCmd80::new(device, operation).cmd(command).build())
    }

    fn push(&mut self, entry: &Entry128) -> Result<(), Errno> {
        if self.under_way {
            return Err(Errno::EBUSY);
        }
        // SAFETY: the device works on the buffer alone, which lives as long as a command is under
        // way: see `drop`. What the entry points to otherwise is read before `start_with` returns.
        unsafe { self.ring.submission().push(entry) }.map_err(|_| Errno::EBUSY)?;
        self.under_way = true;
        Ok(())
    }

    /// Tells the kernel what was started, and waits until `completions` (0 or 1) have come.
    pub fn enter(&mut self, completions: usize) -> Result<(), Errno> {
        loop {
            match self.ring.submit_and_wait(completions).map_err(errno) {
                Err(Errno::EINTR) => {}
                other => return other.map(drop),
            }
        }
    }

    /// Whether the command has completed.
    pub fn is_complete(&mut self) -> bool {
        !self.ring.completion().is_empty()
    }

    /// The result of the command that has completed: at 0 or above a success, below an error.
    pub fn completion(&mut self) -> Option<i32> {
        let result = self.ring.completion().next()?.result();
        self.under_way = false;
        Some(result)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.under_way {
            // The kernel may write to it until this thread has ended: it is never unmapped.
            self.memory.length = 0;
        }
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (device, under_way) = (self.device, self.under_way);
        f.debug_struct("Ring").field("device", &device).field("under_way", &under_way).finish()
    }
}

/// Private memory, page by page as it is touched.
struct Memory {
    start: NonNull<u8>,
    length: usize,
}

impl Memory {
    fn new(length: usize) -> Result<Memory, Errno> {
        let size = NonZeroUsize::new(length).ok_or(Errno::EINVAL)?;
        let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let start = unsafe { mmap_anonymous(None, size, prot, flags) }?;
        // SAFETY: exactly the range just mapped. A child must not get the kernel's writes.
        let _ = unsafe { madvise(start, length, MmapAdvise::MADV_DONTFORK) };
        Ok(Memory { start: start.cast(), length })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.length > 0 {
            // SAFETY: the whole mapping, to which there are no references without the ring.
            let _ = unsafe { munmap(self.start.cast(), self.length) };
        }
    }
}

/// Whether this process may make a ring at all.
///
/// ENOSYS, EPERM: io_uring is not there, or forbidden (kernel.io_uring_disabled, a filter).
pub fn probe() -> Result<(), Errno> {
    Commands::builder().build(DEPTH).map(drop).map_err(errno)
}

fn errno(error: io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

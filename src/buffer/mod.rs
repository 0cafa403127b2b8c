//! Buffers: data that is in memory, or can be had from a descriptor, and its way to the reader
//! with as few copies as the kernel allows.
//!
//! A [`BufVec`] is a list of segments ([`Buf`]), as libfuse's `fuse_bufvec` is: memory, a file at a
//! position, or the payload of a stream of packets ([`Packets`]).
//!
//! * `copy`: from one vector to another
//! * `pipe`: what splice(2) needs between two descriptors
//! * `reply`: a vector as the answer to a READ: by the pipe, or by memory
//! * `section`: packets with a header and a footer around the payload

mod copy;
mod pipe;
mod reply;
pub mod section;

pub use pipe::Pipe;
pub use reply::{Fallback, Piped};
pub use section::Section;

use bitflags::bitflags;

use crate::Errno;
use crate::sys::Fd;

bitflags! {
    /// What a segment is: libfuse's `fuse_buf_flags`, with the same numbers.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct BufFlags: u32 {
        /// The bytes are behind [`Buf::fd`]; else they are in [`Buf::mem`].
        const IS_FD = 1 << 1;
        /// At [`Buf::pos`]; else where the descriptor stands.
        const FD_SEEK = 1 << 2;
        /// A short transfer is gone on with, until an error or the end; else it ends the copy.
        const FD_RETRY = 1 << 3;
        /// The payload of packets, from [`Buf::packets`].
        const FD_SECTION = 1 << 4;
    }
}

/// The memory of a segment.
#[derive(Debug)]
pub enum Memory<'a> {
    /// None: the bytes are behind a descriptor, and need no room here.
    None,
    /// Bytes to be read.
    Shared(&'a [u8]),
    /// Bytes to be read or written. Of a segment with a descriptor: room for its bytes, for when
    /// they have to be copied.
    Unique(&'a mut [u8]),
    /// The same, of the segment's own.
    Owned(Vec<u8>),
}

impl Memory<'_> {
    /// The bytes; none if there is no memory.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Memory::None => &[],
            Memory::Shared(bytes) => bytes,
            Memory::Unique(bytes) => bytes,
            Memory::Owned(bytes) => bytes,
        }
    }

    /// The bytes, if they can be written.
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        match self {
            Memory::None | Memory::Shared(_) => None,
            Memory::Unique(bytes) => Some(bytes),
            Memory::Owned(bytes) => Some(bytes),
        }
    }
}

/// Where payload goes.
#[derive(Debug)]
pub enum Sink<'a> {
    /// Into a pipe, without being looked at.
    Pipe(Pipe),
    /// Into memory.
    Memory(&'a mut [u8]),
}

/// Why payload ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The pipe has no room for more: `moved` bytes are in it.
    Full {
        /// Bytes that this call has put there.
        moved: usize,
    },
    /// Of these packets nothing may be shown to anybody.
    Failed(Errno),
}

/// A stream of packets whose payload is wanted.
pub trait Packets {
    /// Moves up to `want` bytes of payload to `sink` (as many as it has room for, when it is
    /// memory); fewer at the end of the stream. When it returns Ok, each packet that bytes came
    /// from has been verified. After [`Stopped::Full`] another call goes on behind the bytes moved.
    fn take(&mut self, want: usize, sink: Sink<'_>) -> Result<usize, Stopped>;

    /// Whether payload is better taken into memory: it comes there in any case.
    fn wants_memory(&self) -> bool {
        false
    }
}

impl<P: Packets + ?Sized> Packets for &mut P {
    fn take(&mut self, want: usize, sink: Sink<'_>) -> Result<usize, Stopped> {
        (**self).take(want, sink)
    }

    fn wants_memory(&self) -> bool {
        (**self).wants_memory()
    }
}

/// One segment of a vector: libfuse's `fuse_buf`.
pub struct Buf<'a> {
    /// Bytes.
    pub size: usize,
    /// What it is.
    pub flags: BufFlags,
    /// See [`Memory`].
    pub mem: Memory<'a>,
    /// With [`BufFlags::IS_FD`].
    pub fd: Fd,
    /// With [`BufFlags::FD_SEEK`].
    pub pos: u64,
    /// With [`BufFlags::FD_SECTION`].
    pub packets: Option<Box<dyn Packets + 'a>>,
}

impl std::fmt::Debug for Buf<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Buf { size, flags, fd, pos, .. } = self;
        write!(f, "Buf {{ size: {size}, flags: {flags:?}, fd: {fd:?}, pos: {pos} }}")
    }
}

impl<'a> Buf<'a> {
    fn new(size: usize, flags: BufFlags, mem: Memory<'a>) -> Buf<'a> {
        Buf { size, flags, mem, fd: Fd::NONE, pos: 0, packets: None }
    }

    /// Bytes in memory, to be read.
    pub fn shared(bytes: &'a [u8]) -> Buf<'a> {
        Buf::new(bytes.len(), BufFlags::empty(), Memory::Shared(bytes))
    }

    /// Bytes in memory, to be read or written.
    pub fn unique(bytes: &'a mut [u8]) -> Buf<'a> {
        Buf::new(bytes.len(), BufFlags::empty(), Memory::Unique(bytes))
    }

    /// Bytes that the segment keeps itself.
    pub fn owned(bytes: Vec<u8>) -> Buf<'a> {
        Buf::new(bytes.len(), BufFlags::empty(), Memory::Owned(bytes))
    }

    /// `size` bytes of a file from `pos` on, with as much of them as `room` holds to be copied to
    /// if need be.
    pub fn file(fd: Fd, pos: u64, size: usize, room: Memory<'a>) -> Buf<'a> {
        let flags = BufFlags::IS_FD | BufFlags::FD_SEEK | BufFlags::FD_RETRY;
        Buf { fd, pos, ..Buf::new(size, flags, room) }
    }

    /// `size` bytes of a pipe, a socket, or a file where it stands.
    pub fn stream(fd: Fd, size: usize, room: Memory<'a>) -> Buf<'a> {
        Buf { fd, ..Buf::new(size, BufFlags::IS_FD | BufFlags::FD_RETRY, room) }
    }

    /// As much payload as `room` is long.
    pub fn section(packets: Box<dyn Packets + 'a>, room: &'a mut [u8]) -> Buf<'a> {
        let flags = BufFlags::IS_FD | BufFlags::FD_RETRY | BufFlags::FD_SECTION;
        Buf { packets: Some(packets), ..Buf::new(room.len(), flags, Memory::Unique(room)) }
    }

    /// Whether the bytes are in memory from the start.
    pub fn is_memory(&self) -> bool {
        !self.flags.contains(BufFlags::IS_FD)
    }
}

/// A list of segments and a place in it: libfuse's `fuse_bufvec`.
#[derive(Debug, Default)]
pub struct BufVec<'a> {
    /// The segments.
    pub bufs: Vec<Buf<'a>>,
    /// The segment that comes next.
    pub index: usize,
    /// The byte in it that comes next.
    pub offset: usize,
}

impl<'a> BufVec<'a> {
    /// All of these, from the first byte on.
    pub fn new(bufs: Vec<Buf<'a>>) -> BufVec<'a> {
        BufVec { bufs, index: 0, offset: 0 }
    }

    /// Bytes in memory.
    pub fn memory(bytes: &'a [u8]) -> BufVec<'a> {
        BufVec::new(vec![Buf::shared(bytes)])
    }

    /// Bytes from the place in it to the end.
    pub fn size(&self) -> usize {
        let rest = self.bufs.get(self.index..).unwrap_or_default();
        let sizes = rest.iter().fold(0, |sum: usize, buf| sum.saturating_add(buf.size));
        sizes.saturating_sub(self.offset)
    }
}

//! Replies: small structs on the stack, in the kernel's form. Nothing here allocates, except that
//! [`DirBuffer`] may grow the vector it is given.
//!
//! A reply is [`out_header`], then the struct (`to_wire()`), then data; all written at once. The
//! structs without a type of their own here (`fuse_write_out`, `fuse_lseek_out` and so on) are
//! filled from [`abi`](super::abi) directly.

use std::time::Duration;

use nix::errno::Errno;
use zerocopy::IntoBytes;

use super::abi::{
    FUSE_COMPAT_22_INIT_OUT_SIZE, FUSE_COMPAT_INIT_OUT_SIZE, FUSE_KERNEL_VERSION, fuse_attr_out,
    fuse_entry_out, fuse_init_out, fuse_kstatfs, fuse_lk_out, fuse_open_out, fuse_out_header,
    fuse_statfs_out,
};
use super::flags::{InitFlags, OpenOutFlags};
use super::ops::FileLock;
use super::{Attr, FileHandle, NodeId, Unique};

pub use super::dir::DirBuffer;

/// The header of a reply with `payload` bytes after it; an error has none.
///
/// # Panics
/// If the payload is 4 GiB or more; the kernel's buffers end far below.
pub fn out_header(unique: Unique, errno: Option<Errno>, payload: usize) -> fuse_out_header {
    let len =
        u32::try_from(size_of::<fuse_out_header>() + payload).expect("a reply is below 4 GiB");
    fuse_out_header { len, error: errno.map_or(0, |e| -(e as i32)), unique: unique.0 }
}

/// The answer to LOOKUP and to everything that makes a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The node; 0 says that the name does not exist.
    pub node: NodeId,
    /// Tells nodes apart that had the same number one after the other.
    pub generation: u64,
    /// Its attributes.
    pub attr: Attr,
    /// How long the kernel may keep the attributes.
    pub attr_valid: Duration,
    /// How long the kernel may keep the name.
    pub entry_valid: Duration,
}

impl Entry {
    /// "No such name", to be remembered for `valid`.
    pub fn negative(valid: Duration) -> Self {
        Self { entry_valid: valid, ..Self::default() }
    }

    /// The wire form.
    pub const fn to_wire(&self) -> fuse_entry_out {
        fuse_entry_out {
            nodeid: self.node.0,
            generation: self.generation,
            entry_valid: self.entry_valid.as_secs(),
            attr_valid: self.attr_valid.as_secs(),
            entry_valid_nsec: self.entry_valid.subsec_nanos(),
            attr_valid_nsec: self.attr_valid.subsec_nanos(),
            attr: self.attr.to_wire(),
        }
    }
}

/// The answer to GETATTR and SETATTR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttrReply {
    /// The attributes.
    pub attr: Attr,
    /// How long the kernel may keep them.
    pub valid: Duration,
}

impl AttrReply {
    /// The wire form.
    pub const fn to_wire(&self) -> fuse_attr_out {
        fuse_attr_out {
            attr_valid: self.valid.as_secs(),
            attr_valid_nsec: self.valid.subsec_nanos(),
            dummy: 0,
            attr: self.attr.to_wire(),
        }
    }
}

/// The answer to OPEN and OPENDIR, and the second part of that to CREATE and TMPFILE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// What the kernel sends with every use of the file.
    pub fh: FileHandle,
    /// How the kernel treats the file.
    pub open_flags: OpenOutFlags,
    /// With FOPEN_PASSTHROUGH: the id of the backing file, else 0.
    pub backing_id: i32,
}

impl Opened {
    /// The wire form.
    pub const fn to_wire(&self) -> fuse_open_out {
        fuse_open_out {
            fh: self.fh.0,
            open_flags: self.open_flags.bits(),
            backing_id: self.backing_id,
        }
    }
}

/// The answer to STATFS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statfs {
    /// Blocks of `frsize` bytes.
    pub blocks: u64,
    /// Free ones.
    pub bfree: u64,
    /// Free ones for users other than root.
    pub bavail: u64,
    /// Inodes.
    pub files: u64,
    /// Free ones.
    pub ffree: u64,
    /// Preferred I/O size in bytes.
    pub bsize: u32,
    /// Longest name in bytes.
    pub namelen: u32,
    /// Bytes in a block.
    pub frsize: u32,
}

impl Statfs {
    /// The wire form.
    pub const fn to_wire(&self) -> fuse_statfs_out {
        fuse_statfs_out {
            st: fuse_kstatfs {
                blocks: self.blocks,
                bfree: self.bfree,
                bavail: self.bavail,
                files: self.files,
                ffree: self.ffree,
                bsize: self.bsize,
                namelen: self.namelen,
                frsize: self.frsize,
                padding: 0,
                spare: [0; 6],
            },
        }
    }
}

/// The answer to GETLK: the lock that is in the way, or type F_UNLCK.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LockReply {
    /// The lock.
    pub lk: FileLock,
}

impl LockReply {
    /// The wire form.
    pub const fn to_wire(&self) -> fuse_lk_out {
        fuse_lk_out { lk: self.lk.to_wire() }
    }
}

/// The answer to INIT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InitReply {
    /// The smaller of both sides' minor versions: it decides the reply's length.
    pub minor: u32,
    /// Bytes.
    pub max_readahead: u32,
    /// What is wanted of what was offered. Bits above 31 reach the kernel only together with
    /// FUSE_INIT_EXT.
    pub flags: InitFlags,
    /// Most background requests in flight; 0 keeps the kernel's default.
    pub max_background: u16,
    /// From this many on the kernel calls the device congested; 0 keeps the default.
    pub congestion_threshold: u16,
    /// Most bytes in one WRITE, at least 4096.
    pub max_write: u32,
    /// Granularity of times in nanoseconds, 1 to 1,000,000,000.
    pub time_gran: u32,
    /// Most pages in one request, with FUSE_MAX_PAGES.
    pub max_pages: u16,
    /// Logarithm of the alignment of mappings, with FUSE_MAP_ALIGNMENT.
    pub map_alignment: u16,
    /// How many file systems may be stacked, 1 or 2, with FUSE_PASSTHROUGH.
    pub max_stack_depth: u32,
    /// Seconds after which the kernel ends the connection, with FUSE_REQUEST_TIMEOUT.
    pub request_timeout: u16,
}

impl InitReply {
    /// The wire form, cut to what the minor version knows.
    pub fn to_wire(&self) -> InitOut {
        let bits = self.flags.bits();
        let out = fuse_init_out {
            major: FUSE_KERNEL_VERSION,
            minor: self.minor,
            max_readahead: self.max_readahead,
            flags: bits as u32,
            max_background: self.max_background,
            congestion_threshold: self.congestion_threshold,
            max_write: self.max_write,
            time_gran: self.time_gran,
            max_pages: self.max_pages,
            map_alignment: self.map_alignment,
            flags2: (bits >> 32) as u32,
            max_stack_depth: self.max_stack_depth,
            request_timeout: self.request_timeout,
            unused: [0; 11],
        };
        let len = match self.minor {
            0..5 => FUSE_COMPAT_INIT_OUT_SIZE,
            5..23 => FUSE_COMPAT_22_INIT_OUT_SIZE,
            _ => size_of::<fuse_init_out>(),
        };
        InitOut { out, len }
    }
}

/// The bytes of the answer to INIT.
#[derive(Clone, Copy, Debug)]
pub struct InitOut {
    out: fuse_init_out,
    len: usize,
}

impl InitOut {
    /// 8, 24 or 64 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.out.as_bytes()[..self.len]
    }
}

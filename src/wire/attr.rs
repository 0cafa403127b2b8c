//! Attributes of a node as the file system thinks of them, and how they go on the wire.

use std::time::Duration;

use super::abi::{fuse_attr, fuse_statx, fuse_statx_out, fuse_sx_time};
use super::flags::AttrFlags;

/// A point in time, before 1970 too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since 1970.
    pub secs: i64,
    /// Nanoseconds on top, below 1,000,000,000.
    pub nanos: u32,
}

impl Timestamp {
    /// From the wire, where seconds are unsigned but stand for a signed number.
    pub(crate) const fn from_wire(secs: u64, nanos: u32) -> Self {
        Self { secs: secs.cast_signed(), nanos }
    }

    const fn to_statx(self) -> fuse_sx_time {
        fuse_sx_time { tv_sec: self.secs, tv_nsec: self.nanos, __reserved: 0 }
    }
}

/// What stat(2) shows of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attr {
    /// Inode number shown to users; need not be the node id.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// Units of 512 bytes.
    pub blocks: u64,
    /// Last access.
    pub atime: Timestamp,
    /// Last change of the data.
    pub mtime: Timestamp,
    /// Last change of the node.
    pub ctime: Timestamp,
    /// Type and permissions, as `st_mode`.
    pub mode: u32,
    /// Hard links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number in the kernel's `new_encode_dev` form (12 bits major, 20 bits minor).
    pub rdev: u32,
    /// Preferred I/O size in bytes.
    pub blksize: u32,
    /// Marks for the kernel (7.32).
    pub flags: AttrFlags,
}

impl Attr {
    /// The wire form.
    pub const fn to_wire(&self) -> fuse_attr {
        fuse_attr {
            ino: self.ino,
            size: self.size,
            blocks: self.blocks,
            atime: self.atime.secs.cast_unsigned(),
            mtime: self.mtime.secs.cast_unsigned(),
            ctime: self.ctime.secs.cast_unsigned(),
            atimensec: self.atime.nanos,
            mtimensec: self.mtime.nanos,
            ctimensec: self.ctime.nanos,
            mode: self.mode,
            nlink: self.nlink,
            uid: self.uid,
            gid: self.gid,
            rdev: self.rdev,
            blksize: self.blksize,
            flags: self.flags.bits(),
        }
    }
}

/// The answer to STATX (7.39): what [`Attr`] lacks, above all the birth time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatxReply {
    /// The part that stat(2) shows too.
    pub attr: Attr,
    /// How long the kernel may keep it.
    pub valid: Duration,
    /// Birth.
    pub btime: Timestamp,
    /// `STATX_*`: which fields are valid.
    pub mask: u32,
    /// `STATX_ATTR_*` that are set.
    pub attributes: u64,
    /// `STATX_ATTR_*` that are known.
    pub attributes_mask: u64,
    /// Major number of the device that holds the node.
    pub dev_major: u32,
    /// Minor number of the device that holds the node.
    pub dev_minor: u32,
}

impl StatxReply {
    /// The wire form.
    pub const fn to_wire(&self) -> fuse_statx_out {
        let a = &self.attr;
        fuse_statx_out {
            attr_valid: self.valid.as_secs(),
            attr_valid_nsec: self.valid.subsec_nanos(),
            flags: 0,
            spare: [0; 2],
            stat: fuse_statx {
                mask: self.mask,
                blksize: a.blksize,
                attributes: self.attributes,
                nlink: a.nlink,
                uid: a.uid,
                gid: a.gid,
                // Type and permissions fill 16 bits.
                mode: a.mode as u16,
                __spare0: 0,
                ino: a.ino,
                size: a.size,
                blocks: a.blocks,
                attributes_mask: self.attributes_mask,
                atime: a.atime.to_statx(),
                btime: self.btime.to_statx(),
                ctime: a.ctime.to_statx(),
                mtime: a.mtime.to_statx(),
                rdev_major: (a.rdev >> 8) & 0xfff,
                rdev_minor: (a.rdev & 0xff) | ((a.rdev >> 12) & 0xf_ff00),
                dev_major: self.dev_major,
                dev_minor: self.dev_minor,
                __spare2: [0; 14],
            },
        }
    }
}

//! The kernel's structs, byte for byte (`include/uapi/linux/fuse.h` of FUSE 7.45).
//!
//! Every struct and field is named as there, and the comments of that header hold. All structs
//! are free of hidden padding (zerocopy refuses others), so that sizes are the same everywhere;
//! integers are in the machine's byte order. Fields added after 7.31 name their version.

#![allow(non_camel_case_types, missing_docs)]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Major version of the protocol.
pub const FUSE_KERNEL_VERSION: u32 = 7;
/// Newest minor version that this crate knows.
pub const FUSE_KERNEL_MINOR_VERSION: u32 = 45;
/// A read from `/dev/fuse` with a smaller buffer is refused.
pub const FUSE_MIN_READ_BUFFER: usize = 8192;
/// Most iovecs (in + out) of an unrestricted ioctl.
pub const FUSE_IOCTL_MAX_IOV: usize = 256;
/// Extension types up to this are the number of security contexts.
pub const FUSE_MAX_NR_SECCTX: u32 = 31;
/// Extension type of [`fuse_supp_groups`] (7.38).
pub const FUSE_EXT_GROUPS: u32 = 32;
/// Bit of `unique`: sent again (7.40).
pub const FUSE_UNIQUE_RESEND: u64 = 1 << 63;
/// Size of `fuse_init_out` before 7.5.
pub const FUSE_COMPAT_INIT_OUT_SIZE: usize = 8;
/// Size of `fuse_init_out` from 7.5 to 7.22.
pub const FUSE_COMPAT_22_INIT_OUT_SIZE: usize = 24;
/// Size of `fuse_setxattr_in` without FUSE_SETXATTR_EXT.
pub const FUSE_COMPAT_SETXATTR_IN_SIZE: usize = 8;
/// SETUPMAPPING: map for writing.
pub const FUSE_SETUPMAPPING_FLAG_WRITE: u64 = 1 << 0;
/// SETUPMAPPING: map for reading.
pub const FUSE_SETUPMAPPING_FLAG_READ: u64 = 1 << 1;
/// Size of the first part of [`fuse_uring_req_header`].
pub const FUSE_URING_IN_OUT_HEADER_SZ: usize = 128;
/// Size of the second part of [`fuse_uring_req_header`].
pub const FUSE_URING_OP_IN_OUT_SZ: usize = 128;

macro_rules! wire {
    ($($(#[$doc:meta])* struct $name:ident { $($field:ident: $type:ty),* $(,)? })*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
        #[repr(C)]
        pub struct $name { $(pub $field: $type),* }
    )* };
}

// Headers and what several messages share.
wire! {
    /// In front of every request.
    struct fuse_in_header {
        len: u32, opcode: u32, unique: u64, nodeid: u64, uid: u32, gid: u32, pid: u32,
        total_extlen: u16, padding: u16,
    }
    /// In front of every reply and notification.
    struct fuse_out_header { len: u32, error: i32, unique: u64 }
    /// Attributes; `flags` since 7.32.
    struct fuse_attr {
        ino: u64, size: u64, blocks: u64, atime: u64, mtime: u64, ctime: u64,
        atimensec: u32, mtimensec: u32, ctimensec: u32, mode: u32, nlink: u32, uid: u32,
        gid: u32, rdev: u32, blksize: u32, flags: u32,
    }
    /// A time in [`fuse_statx`].
    struct fuse_sx_time { tv_sec: i64, tv_nsec: u32, __reserved: i32 }
    /// Attributes as statx(2) shows them (7.39).
    struct fuse_statx {
        mask: u32, blksize: u32, attributes: u64, nlink: u32, uid: u32, gid: u32,
        mode: u16, __spare0: u16, ino: u64, size: u64, blocks: u64, attributes_mask: u64,
        atime: fuse_sx_time, btime: fuse_sx_time, ctime: fuse_sx_time, mtime: fuse_sx_time,
        rdev_major: u32, rdev_minor: u32, dev_major: u32, dev_minor: u32, __spare2: [u64; 14],
    }
    /// File system figures.
    struct fuse_kstatfs {
        blocks: u64, bfree: u64, bavail: u64, files: u64, ffree: u64,
        bsize: u32, namelen: u32, frsize: u32, padding: u32, spare: [u32; 6],
    }
    /// A byte range and who locked it.
    struct fuse_file_lock { start: u64, end: u64, r#type: u32, pid: u32 }
}

// What follows the header of a request.
wire! {
    struct fuse_forget_in { nlookup: u64 }
    struct fuse_forget_one { nodeid: u64, nlookup: u64 }
    struct fuse_batch_forget_in { count: u32, dummy: u32 }
    struct fuse_getattr_in { getattr_flags: u32, dummy: u32, fh: u64 }
    struct fuse_setattr_in {
        valid: u32, padding: u32, fh: u64, size: u64, lock_owner: u64,
        atime: u64, mtime: u64, ctime: u64, atimensec: u32, mtimensec: u32, ctimensec: u32,
        mode: u32, unused4: u32, uid: u32, gid: u32, unused5: u32,
    }
    struct fuse_mknod_in { mode: u32, rdev: u32, umask: u32, padding: u32 }
    struct fuse_mkdir_in { mode: u32, umask: u32 }
    struct fuse_rename_in { newdir: u64 }
    struct fuse_rename2_in { newdir: u64, flags: u32, padding: u32 }
    struct fuse_link_in { oldnodeid: u64 }
    struct fuse_open_in { flags: u32, open_flags: u32 }
    struct fuse_create_in { flags: u32, mode: u32, umask: u32, open_flags: u32 }
    struct fuse_release_in { fh: u64, flags: u32, release_flags: u32, lock_owner: u64 }
    struct fuse_flush_in { fh: u64, unused: u32, padding: u32, lock_owner: u64 }
    struct fuse_read_in {
        fh: u64, offset: u64, size: u32, read_flags: u32, lock_owner: u64, flags: u32,
        padding: u32,
    }
    struct fuse_write_in {
        fh: u64, offset: u64, size: u32, write_flags: u32, lock_owner: u64, flags: u32,
        padding: u32,
    }
    struct fuse_fsync_in { fh: u64, fsync_flags: u32, padding: u32 }
    /// The whole of it only with FUSE_SETXATTR_EXT (7.33).
    struct fuse_setxattr_in { size: u32, flags: u32, setxattr_flags: u32, padding: u32 }
    struct fuse_getxattr_in { size: u32, padding: u32 }
    struct fuse_lk_in {
        fh: u64, owner: u64, lk: fuse_file_lock, lk_flags: u32, padding: u32,
    }
    struct fuse_access_in { mask: u32, padding: u32 }
    /// `flags2` since 7.36; before, the struct ended at `flags`.
    struct fuse_init_in {
        major: u32, minor: u32, max_readahead: u32, flags: u32, flags2: u32, unused: [u32; 11],
    }
    struct cuse_init_in { major: u32, minor: u32, unused: u32, flags: u32 }
    struct fuse_interrupt_in { unique: u64 }
    struct fuse_bmap_in { block: u64, blocksize: u32, padding: u32 }
    struct fuse_ioctl_in {
        fh: u64, flags: u32, cmd: u32, arg: u64, in_size: u32, out_size: u32,
    }
    struct fuse_poll_in { fh: u64, kh: u64, flags: u32, events: u32 }
    struct fuse_fallocate_in { fh: u64, offset: u64, length: u64, mode: u32, padding: u32 }
    struct fuse_lseek_in { fh: u64, offset: u64, whence: u32, padding: u32 }
    struct fuse_copy_file_range_in {
        fh_in: u64, off_in: u64, nodeid_out: u64, fh_out: u64, off_out: u64, len: u64,
        flags: u64,
    }
    struct fuse_setupmapping_in { fh: u64, foffset: u64, len: u64, flags: u64, moffset: u64 }
    /// The array of [`fuse_removemapping_one`] follows at once, unaligned.
    struct fuse_removemapping_in { count: u32 }
    struct fuse_removemapping_one { moffset: u64, len: u64 }
    struct fuse_syncfs_in { padding: u64 }
    /// 7.39.
    struct fuse_statx_in {
        getattr_flags: u32, reserved: u32, fh: u64, sx_flags: u32, sx_mask: u32,
    }
    struct fuse_notify_retrieve_in {
        dummy1: u64, offset: u64, size: u32, dummy2: u32, dummy3: u64, dummy4: u64,
    }
}

// Extensions at the end of a request (7.36; general form 7.38).
wire! {
    struct fuse_secctx { size: u32, padding: u32 }
    struct fuse_secctx_header { size: u32, nr_secctx: u32 }
    struct fuse_ext_header { size: u32, r#type: u32 }
    /// The group ids follow.
    struct fuse_supp_groups { nr_groups: u32 }
}

// What follows the header of a reply.
wire! {
    struct fuse_entry_out {
        nodeid: u64, generation: u64, entry_valid: u64, attr_valid: u64,
        entry_valid_nsec: u32, attr_valid_nsec: u32, attr: fuse_attr,
    }
    struct fuse_attr_out { attr_valid: u64, attr_valid_nsec: u32, dummy: u32, attr: fuse_attr }
    /// `backing_id` since 7.40.
    struct fuse_open_out { fh: u64, open_flags: u32, backing_id: i32 }
    struct fuse_write_out { size: u32, padding: u32 }
    struct fuse_statfs_out { st: fuse_kstatfs }
    struct fuse_getxattr_out { size: u32, padding: u32 }
    struct fuse_lk_out { lk: fuse_file_lock }
    /// `flags2` since 7.36, `max_stack_depth` since 7.40, `request_timeout` since 7.43.
    struct fuse_init_out {
        major: u32, minor: u32, max_readahead: u32, flags: u32, max_background: u16,
        congestion_threshold: u16, max_write: u32, time_gran: u32, max_pages: u16,
        map_alignment: u16, flags2: u32, max_stack_depth: u32, request_timeout: u16,
        unused: [u16; 11],
    }
    struct cuse_init_out {
        major: u32, minor: u32, unused: u32, flags: u32, max_read: u32, max_write: u32,
        dev_major: u32, dev_minor: u32, spare: [u32; 10],
    }
    struct fuse_bmap_out { block: u64 }
    struct fuse_ioctl_iovec { base: u64, len: u64 }
    struct fuse_ioctl_out { result: i32, flags: u32, in_iovs: u32, out_iovs: u32 }
    struct fuse_poll_out { revents: u32, padding: u32 }
    struct fuse_lseek_out { offset: u64 }
    /// 7.45.
    struct fuse_copy_file_range_out { bytes_copied: u64 }
    /// 7.39.
    struct fuse_statx_out {
        attr_valid: u64, attr_valid_nsec: u32, flags: u32, spare: [u64; 2], stat: fuse_statx,
    }
    /// The name follows, and zeros up to a multiple of 8 bytes.
    struct fuse_dirent { ino: u64, off: u64, namelen: u32, r#type: u32 }
    /// As [`fuse_dirent`], with the entry in front.
    struct fuse_direntplus { entry_out: fuse_entry_out, dirent: fuse_dirent }
}

// What follows the header of a notification, and arguments of ioctls on `/dev/fuse`.
wire! {
    struct fuse_notify_poll_wakeup_out { kh: u64 }
    struct fuse_notify_inval_inode_out { ino: u64, off: i64, len: i64 }
    /// `flags` since 7.38.
    struct fuse_notify_inval_entry_out { parent: u64, namelen: u32, flags: u32 }
    struct fuse_notify_delete_out { parent: u64, child: u64, namelen: u32, padding: u32 }
    struct fuse_notify_store_out { nodeid: u64, offset: u64, size: u32, padding: u32 }
    struct fuse_notify_retrieve_out {
        notify_unique: u64, nodeid: u64, offset: u64, size: u32, padding: u32,
    }
    /// 7.45; `count` node ids follow.
    struct fuse_notify_prune_out { count: u32, padding: u32, spare: u64 }
    /// Argument of FUSE_DEV_IOC_BACKING_OPEN (7.40).
    struct fuse_backing_map { fd: i32, flags: u32, padding: u64 }
}

// The io_uring transport (7.42).
wire! {
    struct fuse_uring_ent_in_out {
        flags: u64, commit_id: u64, payload_sz: u32, padding: u32, reserved: u64,
    }
    struct fuse_uring_cmd_req { flags: u64, commit_id: u64, qid: u16, padding: [u8; 6] }
}

/// Header of a request or reply in an io_uring ring (7.42).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct fuse_uring_req_header {
    pub in_out: [u8; FUSE_URING_IN_OUT_HEADER_SZ],
    pub op_in: [u8; FUSE_URING_OP_IN_OUT_SZ],
    pub ring_ent_in_out: fuse_uring_ent_in_out,
}

//! Notifications: what the daemon tells the kernel without having been asked.
//!
//! | notification | code | since | payload after the struct |
//! | --- | --- | --- | --- |
//! | POLL | 1 | 7.11 | |
//! | INVAL_INODE | 2 | 7.12 | |
//! | INVAL_ENTRY | 3 | 7.12 (FUSE_EXPIRE_ONLY 7.38) | name and NUL |
//! | STORE | 4 | 7.15 | data |
//! | RETRIEVE | 5 | 7.15 | (answered by FUSE_NOTIFY_REPLY) |
//! | DELETE | 6 | 7.18 | name and NUL |
//! | RESEND | 7 | 7.40 | |
//! | INC_EPOCH | 8 | 7.44 | |
//! | PRUNE | 9 | 7.45 | node ids, 8 bytes each |
//!
//! A notification is a reply whose `unique` is 0 and whose `error` is the code. The payload is
//! not copied: the sender writes header, struct and payload with one writev.

use zerocopy::{Immutable, IntoBytes};

use super::abi::{
    fuse_notify_delete_out, fuse_notify_inval_entry_out, fuse_notify_inval_inode_out,
    fuse_notify_poll_wakeup_out, fuse_notify_prune_out, fuse_notify_retrieve_out,
    fuse_notify_store_out, fuse_out_header,
};
use super::flags::ExpireFlags;
use super::{Name, NodeId};

/// The kernel's `enum fuse_notify_code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[allow(non_camel_case_types)]
pub enum NotifyCode {
    /// A poll handle became ready.
    FUSE_NOTIFY_POLL = 1,
    /// Forget cached attributes and pages.
    FUSE_NOTIFY_INVAL_INODE = 2,
    /// Forget a name, or let it expire.
    FUSE_NOTIFY_INVAL_ENTRY = 3,
    /// Put data into the page cache.
    FUSE_NOTIFY_STORE = 4,
    /// Send data from the page cache.
    FUSE_NOTIFY_RETRIEVE = 5,
    /// A name was removed.
    FUSE_NOTIFY_DELETE = 6,
    /// Send all requests that were read and not answered again.
    FUSE_NOTIFY_RESEND = 7,
    /// Let all names expire.
    FUSE_NOTIFY_INC_EPOCH = 8,
    /// Let go of nodes that nobody uses.
    FUSE_NOTIFY_PRUNE = 9,
}

/// The fixed part of a notification: header, struct; the payload follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice<T> {
    /// Its `len` counts the payload.
    pub header: fuse_out_header,
    /// `()` where the header is all.
    pub body: T,
}

impl<T: IntoBytes + Immutable> Notice<T> {
    /// # Panics
    /// If the payload is 4 GiB or more: nothing that a notification carries comes near.
    fn new(code: NotifyCode, body: T, payload: usize) -> Self {
        let len = size_of::<fuse_out_header>() + size_of::<T>() + payload;
        let len = u32::try_from(len).expect("a notification is below 4 GiB");
        Self { header: fuse_out_header { len, error: code as i32, unique: 0 }, body }
    }

    /// The two slices that go in front of the payload.
    pub fn parts(&self) -> [&[u8]; 2] {
        [self.header.as_bytes(), self.body.as_bytes()]
    }
}

/// The file behind poll handle `kh` is ready.
pub fn poll(kh: u64) -> Notice<fuse_notify_poll_wakeup_out> {
    Notice::new(NotifyCode::FUSE_NOTIFY_POLL, fuse_notify_poll_wakeup_out { kh }, 0)
}

/// Forget the attributes of `node`, and its pages from byte `off` on: `len` bytes, 0 means to the
/// end. A negative `off` leaves the pages alone.
pub fn inval_inode(node: NodeId, off: i64, len: i64) -> Notice<fuse_notify_inval_inode_out> {
    let body = fuse_notify_inval_inode_out { ino: node.0, off, len };
    Notice::new(NotifyCode::FUSE_NOTIFY_INVAL_INODE, body, 0)
}

/// Forget `name` in `parent`, or only look it up again (FUSE_EXPIRE_ONLY). Payload: the name with
/// its NUL.
pub fn inval_entry(
    parent: NodeId,
    name: Name<'_>,
    flags: ExpireFlags,
) -> Notice<fuse_notify_inval_entry_out> {
    let namelen = name_len(name);
    let body = fuse_notify_inval_entry_out { parent: parent.0, namelen, flags: flags.bits() };
    Notice::new(NotifyCode::FUSE_NOTIFY_INVAL_ENTRY, body, with_nul(name))
}

/// Put `size` bytes at `offset` into the page cache of `node`. Payload: the data.
pub fn store(node: NodeId, offset: u64, size: u32) -> Notice<fuse_notify_store_out> {
    let body = fuse_notify_store_out { nodeid: node.0, offset, size, padding: 0 };
    Notice::new(NotifyCode::FUSE_NOTIFY_STORE, body, size as usize)
}

/// Send `size` bytes at `offset` of `node` from the page cache: a FUSE_NOTIFY_REPLY whose header
/// carries `notify_unique` as its `unique`.
pub fn retrieve(
    notify_unique: u64,
    node: NodeId,
    offset: u64,
    size: u32,
) -> Notice<fuse_notify_retrieve_out> {
    let body = fuse_notify_retrieve_out { notify_unique, nodeid: node.0, offset, size, padding: 0 };
    Notice::new(NotifyCode::FUSE_NOTIFY_RETRIEVE, body, 0)
}

/// `name` in `parent` is gone, if it still was `child`. Payload: the name with its NUL.
pub fn delete(parent: NodeId, child: NodeId, name: Name<'_>) -> Notice<fuse_notify_delete_out> {
    let body = fuse_notify_delete_out {
        parent: parent.0,
        child: child.0,
        namelen: name_len(name),
        padding: 0,
    };
    Notice::new(NotifyCode::FUSE_NOTIFY_DELETE, body, with_nul(name))
}

/// Send everything again that was read and not answered.
pub fn resend() -> Notice<()> {
    Notice::new(NotifyCode::FUSE_NOTIFY_RESEND, (), 0)
}

/// Look every name up again at its next use.
pub fn inc_epoch() -> Notice<()> {
    Notice::new(NotifyCode::FUSE_NOTIFY_INC_EPOCH, (), 0)
}

/// Let go of `count` nodes where nobody uses them. Payload: the node ids as u64.
pub fn prune(count: u32) -> Notice<fuse_notify_prune_out> {
    let body = fuse_notify_prune_out { count, padding: 0, spare: 0 };
    Notice::new(NotifyCode::FUSE_NOTIFY_PRUNE, body, count as usize * size_of::<u64>())
}

/// A name comes from the kernel or a directory and is never near 4 GiB.
fn name_len(name: Name<'_>) -> u32 {
    u32::try_from(name.as_bytes().len()).expect("a name is below 4 GiB")
}

fn with_nul(name: Name<'_>) -> usize {
    name.as_cstr().to_bytes_with_nul().len()
}

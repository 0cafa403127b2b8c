//! Notifications: what the file system tells the kernel unasked.
//!
//! None of them may be sent before INIT is answered. ENOENT from an invalidation means
//! that the kernel had nothing cached, which is as good.

use std::io::IoSlice;

use zerocopy::{Immutable, IntoBytes};

use super::Connection;
use crate::Errno;
use crate::wire::NodeId;
use crate::wire::notify::{self, Notice};

impl Connection {
    fn notify<T: IntoBytes + Immutable>(
        self,
        notice: &Notice<T>,
        payload: &[IoSlice<'_>],
    ) -> Result<(), Errno> {
        let [header, body] = notice.parts();
        let mut parts = [IoSlice::new(body), IoSlice::new(&[])];
        parts[1..=payload.len()].copy_from_slice(payload);
        self.write(header, &parts[..=payload.len()])
    }

    /// The kernel forgets `node`'s attributes; its cached data stays.
    pub fn inval_attributes(self, node: NodeId) -> Result<(), Errno> {
        self.notify(&notify::inval_inode(node, -1, 0), &[])
    }

    /// The kernel sends every request that was read and not answered once more, with bit 63 of
    /// its number set (FUSE_NOTIFY_RESEND, Linux 6.9; EINVAL before).
    pub fn resend(self) -> Result<(), Errno> {
        self.notify(&notify::resend(), &[])
    }
}

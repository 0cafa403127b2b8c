//! Extended attributes and POSIX ACLs (which are the attributes `system.posix_acl_*`).
//!
//! The kernel checks who may do what. What it leaves to the file system: `trusted.*` is
//! listed to root only, and setting an ACL clears the set-group-id bit for a caller who
//! is not in the group.

use std::ffi::CStr;

use super::Passthrough;
use crate::Errno;
use crate::fs::{Context, Result};
use crate::recovery::journal;
use crate::recovery::points::called;
use crate::sys::{Fd, file, xattr};
use crate::wire::flags::SetxattrFlags;
use crate::wire::{NodeId, ops};

/// XATTR_LIST_MAX: the longest list that the kernel lets through.
const LIST_MAX: usize = 64 << 10;

impl Passthrough {
    /// Where this process is an ordinary user, kernels before 6.2 send ACLs unchecked: nobody
    /// else sets one then.
    fn may_change(&self, cx: &Context, name: &CStr) -> Result<()> {
        let acl = name.to_bytes().starts_with(b"system.posix_acl_");
        let own = cx.uid == 0 || cx.uid == nix::unistd::geteuid().as_raw();
        if acl && !self.powers.switch_user && !own { Err(Errno::EOPNOTSUPP) } else { Ok(()) }
    }

    pub(super) fn set_xattr(&self, cx: &Context, id: NodeId, op: &ops::Setxattr<'_>) -> Result<()> {
        self.may_change(cx, op.name)?;
        let inode = self.nodes.fd(id)?;
        if op.flags & libc::XATTR_CREATE as u32 != 0 {
            journal::intend(&[u64::from(exists(inode.get(), op.name))]);
        }
        called(xattr::set(inode.get(), op.name, op.value, op.flags))?;
        has_set(inode.get(), op)
    }

    pub(super) fn get_xattr(
        &self,
        id: NodeId,
        op: &ops::Getxattr<'_>,
        buf: &mut [u8],
    ) -> Result<usize> {
        xattr::get(self.nodes.fd(id)?.get(), op.name, buf)
    }

    pub(super) fn list_xattrs(&self, cx: &Context, id: NodeId, buf: &mut [u8]) -> Result<usize> {
        let inode = self.nodes.fd(id)?;
        if cx.uid == 0 {
            return xattr::list(inode.get(), buf);
        }
        let mut all = vec![0; LIST_MAX];
        let length = xattr::list(inode.get(), &mut all)?;
        let visible: Vec<u8> = all[..length]
            .split_inclusive(|byte| *byte == 0)
            .filter(|name| !name.starts_with(b"trusted."))
            .flatten()
            .copied()
            .collect();
        if !buf.is_empty() {
            buf.get_mut(..visible.len()).ok_or(Errno::ERANGE)?.copy_from_slice(&visible);
        }
        Ok(visible.len())
    }

    pub(super) fn remove_xattr(
        &self,
        cx: &Context,
        id: NodeId,
        op: &ops::Removexattr<'_>,
    ) -> Result<()> {
        self.may_change(cx, op.name)?;
        let inode = self.nodes.fd(id)?;
        journal::intend(&[u64::from(exists(inode.get(), op.name))]);
        called(xattr::remove(inode.get(), op.name))
    }
}

/// Whether there is an attribute of this name.
pub(super) fn exists(inode: Fd, name: &CStr) -> bool {
    xattr::get(inode, name, &mut []).is_ok()
}

/// What belongs to SETXATTR behind the change itself.
pub(super) fn has_set(inode: Fd, op: &ops::Setxattr<'_>) -> Result<()> {
    if op.setxattr_flags.contains(SetxattrFlags::FUSE_SETXATTR_ACL_KILL_SGID) {
        let mode = u32::from(file::fstatx(inode)?.stx_mode);
        if mode & libc::S_ISGID != 0 {
            called(file::chmod(inode, mode & 0o7777 & !libc::S_ISGID))?;
        }
    }
    Ok(())
}

//! A tree whose processes were all gone: a service manager has kept the arena and /dev/fuse, and
//! nothing else.
//!
//! Nodes are reached by the file handles that they kept ([`super::Config::durable`]), open files
//! opened anew, with the flags of their first open, and locks taken again. What has no name any
//! more has no handle that opens: it answers ESTALE. An open file's flock(2) is not noted, and
//! not taken again.

use super::Passthrough;
use crate::Errno;
use crate::sys::{OpFd, file};
use crate::wire::NodeId;

impl Passthrough {
    pub(super) fn revive(&self) {
        self.nodes.revive();
        self.handles.revive(|node, flags, directory| self.open_again(node, flags, directory));
        self.locks.revive(|node| {
            let inode = self.nodes.fd(node).ok()?;
            let open = |flags| file::reopen(inode.get(), flags | libc::O_NONBLOCK).ok();
            open(libc::O_RDWR).or_else(|| open(libc::O_RDONLY))
        });
    }

    fn open_again(&self, node: NodeId, flags: u32, directory: bool) -> Result<OpFd, Errno> {
        let inode = self.nodes.fd(node)?;
        let flags = match directory {
            true => libc::O_RDONLY | libc::O_DIRECTORY,
            false => self.lower_flags(flags),
        };
        let opened = file::reopen(inode.get(), flags)?;
        // A handle may still open what nobody has a name for, while the file system remembers it.
        match file::fstatx(opened.get())?.stx_nlink {
            0 => Err(Errno::ESTALE),
            _ => Ok(opened),
        }
    }
}

//! READDIR and READDIRPLUS.

use super::Mem;
use super::dir::{DOT, DOT_DOT, Target};
use super::tree::Tree;
use crate::Errno;
use crate::fs::Result;
use crate::recovery::points::{self, Point};
use crate::wire::{Attr, DirBuffer, NodeId};

impl Mem {
    /// Entries of `node` behind `offset` go to `push` until it has no more room; an entry
    /// comes as (cookie, name, target). EINVAL when there is no room for one.
    pub(super) fn list(
        &self,
        tree: &Tree,
        node: NodeId,
        offset: u64,
        mut push: impl FnMut(u64, &[u8], Target) -> bool,
    ) -> Result<()> {
        let inode = tree.inode(node)?;
        let dir = inode.dir()?;
        let dot = |node| Target { node, kind: libc::S_IFDIR };
        let dots = [(DOT, &b"."[..], dot(node.0)), (DOT_DOT, &b".."[..], dot(inode.record.parent))];
        let dots = dots.into_iter().filter(|(cookie, ..)| *cookie > offset);
        for (count, (cookie, name, target)) in dots.chain(dir.after(offset)).enumerate() {
            if !push(cookie, name, target) {
                return if count == 0 { Err(Errno::EINVAL) } else { Ok(()) };
            }
        }
        Ok(())
    }

    /// One entry of READDIRPLUS, with its lookup.
    pub(super) fn push_plus(
        &self,
        tree: &Tree,
        out: &mut DirBuffer<'_>,
        (cookie, name, target): (u64, &[u8], Target),
    ) -> bool {
        let id = NodeId(target.node);
        let child = if cookie > DOT_DOT { tree.inode_mut(id).ok() } else { None };
        let counted = child.and_then(|mut child| {
            tree.count(child.id, &mut child.record).ok()?;
            Some(self.entry_of(child.id, child.attr()))
        });
        // A dot, or what cannot be looked up: number and type alone.
        let bare = || self.entry_of(0, Attr { ino: target.node, ..Attr::default() });
        let entry = counted.unwrap_or_else(bare);
        points::reach(Point::Listing);
        let pushed = out.push_plus(&entry, cookie, target.dirent_type(), name);
        points::reach(Point::Listed);
        if counted.is_some() && !pushed {
            // It has a name, so that it is not freed by this.
            tree.uncount(id, 1);
        }
        pushed
    }
}

//! RENAME2: a name moves, replaces another, or trades places with it.

use super::dir::Target;
use super::node::Content;
use super::tree::{Plan, Tree};
use crate::Errno;
use crate::fs::{Context, Result};
use crate::wire::NodeId;

/// A name in a directory.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) parent: NodeId,
    pub(super) name: &'a [u8],
}

/// The flags of renameat2(2), checked.
#[derive(Clone, Copy)]
pub(super) struct Flags {
    noreplace: bool,
    exchange: bool,
    whiteout: bool,
}

impl Flags {
    pub(super) fn new(bits: u32) -> Result<Self> {
        let known = libc::RENAME_NOREPLACE | libc::RENAME_EXCHANGE | libc::RENAME_WHITEOUT;
        let exchange = bits & libc::RENAME_EXCHANGE != 0;
        if bits & !known != 0 || exchange && bits != libc::RENAME_EXCHANGE {
            return Err(Errno::EINVAL);
        }
        let noreplace = bits & libc::RENAME_NOREPLACE != 0;
        Ok(Flags { noreplace, exchange, whiteout: bits & libc::RENAME_WHITEOUT != 0 })
    }
}

impl Tree {
    /// Write lock.
    pub(super) fn rename(
        &self,
        cx: &Context,
        from: Place<'_>,
        to: Place<'_>,
        flags: Flags,
    ) -> Result<()> {
        let source = self.find(from.parent, from.name)?;
        let target = match self.find(to.parent, to.name) {
            Ok(target) => Some(target),
            Err(Errno::ENOENT) if !flags.exchange && self.inode(to.parent)?.nlink > 0 => None,
            Err(errno) => return Err(errno),
        };
        if flags.noreplace && target.is_some() {
            return Err(Errno::EEXIST);
        }
        if source.is_dir() && self.is_within(to.parent, source)? {
            return Err(Errno::EINVAL);
        }
        match target {
            // Two names of one file: both stay.
            Some(target) if target.node == source.node => Ok(()),
            Some(target) if flags.exchange => self.exchange((from, source), (to, target)),
            _ => self.move_name(cx, (from, source), (to, target), flags.whiteout),
        }
    }

    /// Whether the directory `node` is `ancestor` or somewhere below it.
    fn is_within(&self, node: NodeId, ancestor: Target) -> Result<bool> {
        let mut at = node;
        while at.0 != ancestor.node && at != NodeId::ROOT {
            at = NodeId(self.inode(at)?.dir()?.parent);
        }
        Ok(at.0 == ancestor.node)
    }

    fn exchange(&self, a: (Place<'_>, Target), b: (Place<'_>, Target)) -> Result<()> {
        if b.1.is_dir() && self.is_within(a.0.parent, b.1)? {
            return Err(Errno::EINVAL);
        }
        for ((place, old), (_, new)) in [(a, b), (b, a)] {
            let mut directory = self.inode_mut(place.parent)?;
            directory.dir_mut()?.set(place.name, new);
            directory.nlink += u32::from(new.is_dir());
            directory.nlink -= u32::from(old.is_dir());
            directory.modified();
            drop(directory);
            self.moved(new, place.parent)?;
        }
        Ok(())
    }

    fn move_name(
        &self,
        cx: &Context,
        (from, source): (Place<'_>, Target),
        (to, target): (Place<'_>, Option<Target>),
        whiteout: bool,
    ) -> Result<()> {
        if let Some(target) = target {
            self.check_replace(source, target)?;
        }
        let whiteout = match whiteout {
            true => Some(self.make(cx, from.parent, whiteout_plan())?),
            false => None,
        };
        if from.parent == to.parent && whiteout.is_none() {
            self.inode_mut(from.parent)?.dir_mut()?.rename(from.name, to.name);
        } else {
            self.inode_mut(to.parent)?.dir_mut()?.set(to.name, source);
            let mut old = self.inode_mut(from.parent)?;
            match whiteout {
                Some(whiteout) => old.dir_mut()?.set(from.name, whiteout),
                None => drop(old.dir_mut()?.remove(from.name)),
            }
        }
        self.inode_mut(from.parent)?.nlink -= u32::from(source.is_dir());
        self.inode_mut(to.parent)?.nlink += u32::from(source.is_dir());
        self.inode_mut(from.parent)?.modified();
        self.inode_mut(to.parent)?.modified();
        self.moved(source, to.parent)?;
        if let Some(target) = target {
            self.inode_mut(to.parent)?.nlink -= u32::from(target.is_dir());
            self.drop_name(target)?;
        }
        Ok(())
    }

    fn check_replace(&self, source: Target, target: Target) -> Result<()> {
        match (source.is_dir(), target.is_dir()) {
            (true, false) => Err(Errno::ENOTDIR),
            (false, true) => Err(Errno::EISDIR),
            (false, false) => Ok(()),
            (true, true) if self.inode(NodeId(target.node))?.dir()?.is_empty() => Ok(()),
            (true, true) => Err(Errno::ENOTEMPTY),
        }
    }

    /// `node` has got a place in `parent`.
    fn moved(&self, node: Target, parent: NodeId) -> Result<()> {
        let mut inode = self.inode_mut(NodeId(node.node))?;
        inode.changed();
        if let Content::Dir(dir) = &mut inode.content {
            dir.parent = parent.0;
        }
        Ok(())
    }
}

/// What overlayfs takes for "deleted here": a character device 0:0 without permissions.
fn whiteout_plan() -> Plan {
    Plan { mode: libc::S_IFCHR, rdev: 0, content: Content::Special }
}

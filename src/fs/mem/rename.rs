//! RENAME2: a name moves, replaces another, or trades places with it.

use super::batch::Batch;
use super::dir::{Found, Target};
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
            Err(Errno::ENOENT) if !flags.exchange => None,
            Err(errno) => return Err(errno),
        };
        if flags.noreplace && target.is_some() {
            return Err(Errno::EEXIST);
        }
        if source.target.is_dir() && self.is_within(to.parent, source.target)? {
            return Err(Errno::EINVAL);
        }
        let mut batch = Batch::new(self);
        match target {
            // Two names of one file: both stay.
            Some(target) if target.target.node == source.target.node => {}
            Some(target) if flags.exchange => {
                self.exchange(&mut batch, (from, source), (to, target))?;
            }
            _ => self.move_name(&mut batch, cx, (from, source), (to, target), flags.whiteout)?,
        }
        batch.finish(cx.unique, 0);
        Ok(())
    }

    /// Whether the directory `node` is `ancestor` or somewhere below it.
    fn is_within(&self, node: NodeId, ancestor: Target) -> Result<bool> {
        let mut at = node.0;
        // As many steps as there can be nodes: a damaged arena may have a circle in it.
        for _ in 0..self.store.nodes.end() {
            if at == ancestor.node || at == NodeId::ROOT.0 {
                break;
            }
            at = self.store.node(at)?.parent;
        }
        Ok(at == ancestor.node)
    }

    fn exchange<'a>(
        &'a self,
        batch: &mut Batch<'a>,
        a: (Place<'_>, Found),
        b: (Place<'_>, Found),
    ) -> Result<()> {
        if b.1.target.is_dir() && self.is_within(a.0.parent, b.1.target)? {
            return Err(Errno::EINVAL);
        }
        for ((place, old), (_, new)) in [(a, b), (b, a)] {
            batch.rename(old, place.parent, place.name, new.target);
            let directory = batch.node(place.parent.0)?;
            directory.nlink += u32::from(new.target.is_dir());
            directory.nlink = directory.nlink.saturating_sub(u32::from(old.target.is_dir()));
            directory.modified();
            moved(batch, new.target, place.parent)?;
        }
        Ok(())
    }

    fn move_name<'a>(
        &'a self,
        batch: &mut Batch<'a>,
        cx: &Context,
        (from, source): (Place<'_>, Found),
        (to, target): (Place<'_>, Option<Found>),
        whiteout: bool,
    ) -> Result<()> {
        if let Some(target) = target {
            self.check_replace(source.target, target.target)?;
        }
        batch.directory(to.parent)?.nlink += u32::from(source.target.is_dir());
        let old = batch.directory(from.parent)?;
        old.nlink = old.nlink.saturating_sub(u32::from(source.target.is_dir()));
        if whiteout {
            let left = self.make(batch, cx, from.parent, &Plan::new(WHITEOUT, 0))?;
            batch.node(left.node)?.nlink = 1;
            batch.charge_inode()?;
            batch.rename(source, from.parent, from.name, left);
            batch.set_name(to.parent, to.name, source.target)?;
        } else if from.parent == to.parent && target.is_none() {
            batch.rename(source, from.parent, to.name, source.target);
        } else {
            batch.remove_name(from.parent, source);
            batch.set_name(to.parent, to.name, source.target)?;
        }
        batch.node(from.parent.0)?.modified();
        batch.node(to.parent.0)?.modified();
        moved(batch, source.target, to.parent)?;
        if let Some(target) = target {
            let directory = batch.node(to.parent.0)?;
            let lost = u32::from(target.target.is_dir());
            directory.nlink = directory.nlink.saturating_sub(lost);
            batch.drop_link(target.target);
        }
        Ok(())
    }

    fn check_replace(&self, source: Target, target: Target) -> Result<()> {
        match (source.is_dir(), target.is_dir()) {
            (true, false) => Err(Errno::ENOTDIR),
            (false, true) => Err(Errno::EISDIR),
            (false, false) => Ok(()),
            (true, true) if self.is_empty(target) => Ok(()),
            (true, true) => Err(Errno::ENOTEMPTY),
        }
    }
}

/// `node` has got a place in `parent`.
fn moved(batch: &mut Batch<'_>, node: Target, parent: NodeId) -> Result<()> {
    let record = batch.node(node.node)?;
    record.changed();
    if record.is_dir() {
        record.parent = parent.0;
    }
    Ok(())
}

/// What overlayfs takes for "deleted here": a character device 0:0 without permissions.
const WHITEOUT: u32 = libc::S_IFCHR;

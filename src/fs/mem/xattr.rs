//! The extended attributes of one node: all of them in one memfd, which each change replaces
//! by another.
//!
//! ```text
//! length of the name (4 bytes) | of the value (4) | name | value | the next ...
//! ```
//!
//! File capabilities are taken away by a flag in the record (every write does it), and from the
//! memfd with its next change.

use std::collections::BTreeMap;

use super::Mem;
use super::batch::Batch;
use super::record::{CAPABILITY, NodeRecord};
use super::store::Held;
use super::tree::write;
use crate::Errno;
use crate::fs::{Context, Result};
use crate::sys::{Fd, file};
use crate::wire::NodeId;

/// The longest name, without its NUL.
const NAME_MAX: usize = 255;
/// The longest value, and the longest list of names.
const SIZE_MAX: usize = 64 << 10;
/// The file capabilities, which every change of a file's data or owner removes.
const CAPABILITY_NAME: &[u8] = b"security.capability";

#[derive(Default)]
pub(super) struct Xattrs(BTreeMap<Box<[u8]>, Box<[u8]>>);

/// EOPNOTSUPP for other namespaces (POSIX ACLs among them), EINVAL for a bare prefix.
fn check(name: &[u8]) -> Result<()> {
    let prefixes: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
    let Some(rest) = prefixes.iter().find_map(|prefix| name.strip_prefix(*prefix)) else {
        return Err(Errno::EOPNOTSUPP);
    };
    match (rest.is_empty(), name.len() > NAME_MAX) {
        (true, _) => Err(Errno::EINVAL),
        (_, true) => Err(Errno::ERANGE),
        _ => Ok(()),
    }
}

/// Copies `value` into `buf`; an empty `buf` asks for the length alone.
fn answer(value: &[u8], buf: &mut [u8]) -> Result<usize> {
    if !buf.is_empty() {
        buf.get_mut(..value.len()).ok_or(Errno::ERANGE)?.copy_from_slice(value);
    }
    Ok(value.len())
}

/// Name and value of the first attribute in `bytes`, and what is behind it.
fn parse(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<8>()?;
    let length =
        |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (name, rest) = rest.split_at_checked(length(0) as usize)?;
    let (value, rest) = rest.split_at_checked(length(4) as usize)?;
    Some((name, value, rest))
}

impl Xattrs {
    /// Those of a node.
    pub(super) fn load(record: &NodeRecord) -> Result<Xattrs> {
        let mut xattrs = Xattrs::default();
        let Some(fd) = record.xattrs() else { return Ok(xattrs) };
        let mut bytes = vec![0; file::fstatx(fd)?.stx_size as usize];
        let length = file::pread(fd, &mut bytes, 0)?;
        let mut rest = &bytes[..length];
        while let Some((name, value, behind)) = parse(rest) {
            xattrs.0.insert(name.into(), value.into());
            rest = behind;
        }
        if !record.has(CAPABILITY) {
            xattrs.0.remove(CAPABILITY_NAME);
        }
        Ok(xattrs)
    }

    /// Writes them to an empty memfd.
    pub(super) fn store(&self, fd: Fd) -> Result<()> {
        let mut bytes = Vec::new();
        for (name, value) in &self.0 {
            bytes.extend((name.len() as u32).to_ne_bytes());
            bytes.extend((value.len() as u32).to_ne_bytes());
            bytes.extend(name.iter().chain(value));
        }
        match file::pwrite(fd, &bytes, 0) {
            Ok(length) if length == bytes.len() => Ok(()),
            _ => Err(Errno::ENOSPC),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has_capability(&self) -> bool {
        self.0.contains_key(CAPABILITY_NAME)
    }

    /// `flags`: XATTR_CREATE, XATTR_REPLACE.
    pub(super) fn set(&mut self, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        check(name)?;
        if value.len() > SIZE_MAX {
            return Err(Errno::E2BIG);
        }
        let is_there = self.0.contains_key(name);
        if is_there && flags & libc::XATTR_CREATE as u32 != 0 {
            return Err(Errno::EEXIST);
        }
        if !is_there && flags & libc::XATTR_REPLACE as u32 != 0 {
            return Err(Errno::ENODATA);
        }
        if !is_there && self.list(true).len() + name.len() + 1 > SIZE_MAX {
            return Err(Errno::ENOSPC);
        }
        self.0.insert(name.into(), value.into());
        Ok(())
    }

    pub(super) fn get(&self, name: &[u8], buf: &mut [u8]) -> Result<usize> {
        check(name)?;
        answer(self.0.get(name).ok_or(Errno::ENODATA)?, buf)
    }

    /// The names into `buf`, each with a NUL; `trusted.` ones only where asked for.
    pub(super) fn names(&self, trusted: bool, buf: &mut [u8]) -> Result<usize> {
        answer(&self.list(trusted), buf)
    }

    fn list(&self, trusted: bool) -> Vec<u8> {
        let seen = self.0.keys().filter(|name| trusted || !name.starts_with(b"trusted."));
        seen.flat_map(|name| name.iter().chain([&0])).copied().collect()
    }

    pub(super) fn remove(&mut self, name: &[u8]) -> Result<()> {
        check(name)?;
        self.0.remove(name).map(drop).ok_or(Errno::ENODATA)
    }

    /// Bytes charged for all of them.
    pub(super) fn cost(&self) -> u64 {
        self.0.iter().map(|(name, value)| (name.len() + value.len()) as u64).sum()
    }
}

impl Mem {
    /// Replaces the extended attributes of `node` by what `change` makes of them.
    pub(super) fn change_xattrs(
        &self,
        cx: &Context,
        node: NodeId,
        change: impl FnOnce(&mut Xattrs) -> Result<()>,
    ) -> Result<()> {
        let tree = write(&self.tree);
        let mut batch = Batch::new(&tree);
        let record = *batch.node(node.0)?;
        let mut xattrs = Xattrs::load(&record)?;
        change(&mut xattrs)?;
        let (old, new) = (record.xattr_bytes, xattrs.cost());
        tree.space().bytes().charge(new.saturating_sub(old))?;
        let stored = store_xattrs(&mut batch, node.0, &xattrs);
        if let Err(errno) = stored {
            tree.space().bytes().release(new.saturating_sub(old));
            return Err(errno);
        }
        batch.finish(cx.unique, 0);
        tree.space().bytes().release(old.saturating_sub(new));
        Ok(())
    }
}

/// Writes `xattrs` to a new memfd that node `node` is going to hold in place of the old one.
fn store_xattrs(batch: &mut Batch<'_>, node: u64, xattrs: &Xattrs) -> Result<()> {
    let new = match xattrs.is_empty() {
        true => None,
        false => Some(batch.add_memfd(|fd| Held::xattrs(node, fd))?.fd),
    };
    if let Some(fd) = new {
        xattrs.store(fd)?;
    }
    let record = batch.node(node)?;
    let old = record.xattrs();
    record.set_xattrs(new);
    record.set_flag(CAPABILITY, xattrs.has_capability());
    record.xattr_bytes = xattrs.cost();
    record.changed();
    if let Some(old) = old {
        batch.let_go(Held::xattrs(node, old));
    }
    Ok(())
}

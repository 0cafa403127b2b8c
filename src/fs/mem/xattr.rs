//! The extended attributes of one node.

use std::collections::BTreeMap;

use super::space::Space;
use crate::Errno;
use crate::fs::Result;

/// The longest name, without its NUL.
const NAME_MAX: usize = 255;
/// The longest value, and the longest list of names.
const SIZE_MAX: usize = 64 << 10;
/// The file capabilities, which every change of a file's data or owner removes.
const CAPABILITY: &[u8] = b"security.capability";

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

fn cost(name: &[u8], value: &[u8]) -> u64 {
    (name.len() + value.len()) as u64
}

/// Copies `value` into `buf`; an empty `buf` asks for the length alone.
fn answer(value: &[u8], buf: &mut [u8]) -> Result<usize> {
    if !buf.is_empty() {
        buf.get_mut(..value.len()).ok_or(Errno::ERANGE)?.copy_from_slice(value);
    }
    Ok(value.len())
}

impl Xattrs {
    /// `flags`: XATTR_CREATE, XATTR_REPLACE.
    pub(super) fn set(
        &mut self,
        space: &Space,
        name: &[u8],
        value: &[u8],
        flags: u32,
    ) -> Result<()> {
        check(name)?;
        if value.len() > SIZE_MAX {
            return Err(Errno::E2BIG);
        }
        let old = self.0.get(name).map(|old| cost(name, old));
        if old.is_some() && flags & libc::XATTR_CREATE as u32 != 0 {
            return Err(Errno::EEXIST);
        }
        if old.is_none() && flags & libc::XATTR_REPLACE as u32 != 0 {
            return Err(Errno::ENODATA);
        }
        if old.is_none() && self.list(true).len() + name.len() + 1 > SIZE_MAX {
            return Err(Errno::ENOSPC);
        }
        space.bytes().charge(cost(name, value))?;
        space.bytes().release(old.unwrap_or(0));
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

    pub(super) fn remove(&mut self, space: &Space, name: &[u8]) -> Result<()> {
        check(name)?;
        let value = self.0.remove(name).ok_or(Errno::ENODATA)?;
        space.bytes().release(cost(name, &value));
        Ok(())
    }

    pub(super) fn remove_capability(&mut self, space: &Space) {
        if let Some(value) = self.0.remove(CAPABILITY) {
            space.bytes().release(cost(CAPABILITY, &value));
        }
    }

    /// Bytes charged for all of them.
    pub(super) fn cost(&self) -> u64 {
        self.0.iter().map(|(name, value)| cost(name, value)).sum()
    }
}

//! A directory's entries, by name and by cookie.
//!
//! The cookie is an entry's offset for readdir. Cookies grow and are not used again,
//! so an offset stays good whatever is added or removed meanwhile: a reader that
//! resumes behind a cookie sees every entry that was there all the time, once. A name
//! keeps its cookie when another node takes its place (rename onto it, exchange), and
//! a rename inside one directory to a new name keeps it too: programs that rename
//! while they read come to an end.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

/// The offset behind "." in a listing; ".." has the next.
pub(super) const DOT: u64 = 1;
/// The offset behind "..".
pub(super) const DOT_DOT: u64 = 2;

/// What a name stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Target {
    pub(super) node: u64,
    /// File type bits (`S_IFMT`) of the node, which never change.
    pub(super) kind: u32,
}

impl Target {
    pub(super) fn is_dir(self) -> bool {
        self.kind == libc::S_IFDIR
    }

    /// The type as readdir gives it (`DT_*`).
    pub(super) fn dirent_type(self) -> u8 {
        (self.kind >> 12) as u8
    }
}

pub(super) struct Dir {
    /// The directory that holds this one; the root holds itself.
    pub(super) parent: u64,
    next: u64,
    cookies: HashMap<Arc<[u8]>, u64>,
    entries: BTreeMap<u64, (Arc<[u8]>, Target)>,
}

impl Dir {
    pub(super) fn new(parent: u64) -> Self {
        let next = DOT_DOT + 1;
        Dir { parent, next, cookies: HashMap::new(), entries: BTreeMap::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.cookies.is_empty()
    }

    pub(super) fn get(&self, name: &[u8]) -> Option<Target> {
        let cookie = self.cookies.get(name)?;
        self.entries.get(cookie).map(|(_, target)| *target)
    }

    /// Lets `name` stand for `target`, which it did not or did for another node.
    pub(super) fn set(&mut self, name: &[u8], target: Target) {
        if let Some(cookie) = self.cookies.get(name) {
            let entry = self.entries.get_mut(cookie);
            entry.expect("each name's cookie has an entry").1 = target;
            return;
        }
        let name: Arc<[u8]> = name.into();
        self.cookies.insert(name.clone(), self.next);
        self.entries.insert(self.next, (name, target));
        self.next += 1;
    }

    pub(super) fn remove(&mut self, name: &[u8]) -> Option<Target> {
        let cookie = self.cookies.remove(name)?;
        self.entries.remove(&cookie).map(|(_, target)| target)
    }

    /// Gives the entry `old` the name `new`; an entry that had it before is replaced.
    pub(super) fn rename(&mut self, old: &[u8], new: &[u8]) {
        let Some(cookie) = self.cookies.remove(old) else { return };
        let Some((_, target)) = self.entries.remove(&cookie) else { return };
        if self.cookies.contains_key(new) {
            return self.set(new, target);
        }
        let name: Arc<[u8]> = new.into();
        self.cookies.insert(name.clone(), cookie);
        self.entries.insert(cookie, (name, target));
    }

    /// Entries behind `offset` as (cookie, name, target), oldest first.
    pub(super) fn after(&self, offset: u64) -> impl Iterator<Item = (u64, &[u8], Target)> {
        let behind = (Bound::Excluded(offset), Bound::Unbounded);
        self.entries.range(behind).map(|(cookie, (name, target))| (*cookie, &**name, *target))
    }
}

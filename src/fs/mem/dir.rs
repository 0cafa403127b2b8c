//! A directory's entries, by name and by cookie: a cache of the name records.
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

use super::record::NameRecord;

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

/// What a directory knows of one of its names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) target: Target,
    pub(super) cookie: u64,
    /// The name's record.
    pub(super) id: u64,
}

#[derive(Default)]
pub(super) struct Dir {
    cookies: HashMap<Arc<[u8]>, u64>,
    entries: BTreeMap<u64, (Arc<[u8]>, Target, u64)>,
}

impl Dir {
    pub(super) fn is_empty(&self) -> bool {
        self.cookies.is_empty()
    }

    pub(super) fn get(&self, name: &[u8]) -> Option<Found> {
        let cookie = *self.cookies.get(name)?;
        let (_, target, id) = self.entries.get(&cookie)?;
        Some(Found { target: *target, cookie, id: *id })
    }

    /// Puts in what record `id` says.
    pub(super) fn put(&mut self, id: u64, record: &NameRecord) {
        let name: Arc<[u8]> = record.name().into();
        self.cookies.insert(name.clone(), record.cookie);
        self.entries.insert(record.cookie, (name, record.target(), id));
    }

    /// Takes the entry with this cookie out.
    pub(super) fn remove(&mut self, cookie: u64) {
        if let Some((name, ..)) = self.entries.remove(&cookie)
            && self.cookies.get(&name) == Some(&cookie)
        {
            self.cookies.remove(&name);
        }
    }

    /// Entries behind `offset` as (cookie, name, target), oldest first.
    pub(super) fn after(&self, offset: u64) -> impl Iterator<Item = (u64, &[u8], Target)> {
        let behind = (Bound::Excluded(offset), Bound::Unbounded);
        self.entries.range(behind).map(|(cookie, (name, target, _))| (*cookie, &**name, *target))
    }
}

//! One change of several records: all of it is carried out, or nothing.
//!
//! Records are changed as copies and names are noted; [`Batch::finish`] commits them
//! (`recovery::commit`) and brings the caches up to date. A batch that is dropped before has
//! changed nothing: what it had made is given back. Under the tree's write lock.

use super::cache::Cache;
use super::dir::{Found, Target};
use super::record::{NameRecord, NodeRecord};
use super::store::{self, Held};
use super::tree::{Tree, check_name};
use crate::Errno;
use crate::fs::Result;
use crate::recovery::commit::Change;
use crate::recovery::journal;
use crate::sys::Fd;
use crate::wire::{NodeId, Unique};

/// What [`journal::intend`] gets first when a request's changes are made.
pub(super) const DONE: u64 = 1;

/// A change of one name.
struct Naming {
    id: u64,
    /// The directory and the cookie that it had.
    old: Option<(u64, u64)>,
    new: Option<NameRecord>,
}

pub(super) struct Batch<'a> {
    tree: &'a Tree,
    nodes: Vec<(u64, NodeRecord)>,
    names: Vec<Naming>,
    /// Made, and to be given back if it comes to nothing.
    new_nodes: Vec<u64>,
    new_names: Vec<u64>,
    new_fds: Vec<Held>,
    /// Let go of behind the commit.
    old_fds: Vec<Held>,
    /// Inodes charged, and to be released behind the commit.
    charged: u64,
    released: u64,
}

impl<'a> Batch<'a> {
    pub(super) fn new(tree: &'a Tree) -> Batch<'a> {
        Batch {
            tree,
            nodes: Vec::new(),
            names: Vec::new(),
            new_nodes: Vec::new(),
            new_names: Vec::new(),
            new_fds: Vec::new(),
            old_fds: Vec::new(),
            charged: 0,
            released: 0,
        }
    }

    /// The record of node `id` as it is going to be; ESTALE: it is gone, or damaged.
    pub(super) fn node(&mut self, id: u64) -> Result<&mut NodeRecord> {
        let place = match self.nodes.iter().position(|(known, _)| *known == id) {
            Some(place) => place,
            None => {
                self.nodes.push((id, self.tree.store.node(id)?));
                self.nodes.len() - 1
            }
        };
        Ok(&mut self.nodes[place].1)
    }

    /// The same of a directory that takes names.
    pub(super) fn directory(&mut self, id: NodeId) -> Result<&mut NodeRecord> {
        let record = self.node(id.0)?;
        match (record.is_dir(), record.nlink) {
            (false, _) => Err(Errno::ENOTDIR),
            (true, 0) => Err(Errno::ENOENT),
            _ => Ok(record),
        }
    }

    /// A new node; without names and lookups, until the batch gives it some.
    pub(super) fn add_node(&mut self, record: NodeRecord) -> Result<u64> {
        let id = self.tree.store.nodes.insert(&record).ok_or(Errno::ENOSPC)?;
        self.new_nodes.push(id);
        self.nodes.push((id, record));
        Ok(id)
    }

    /// A memfd that a record of the batch is going to hold.
    pub(super) fn add_memfd(&mut self, held: impl FnOnce(Fd) -> Held) -> Result<Held> {
        let held = self.tree.store.new_memfd(held)?;
        self.new_fds.push(held);
        Ok(held)
    }

    /// `held` is no record's any more, behind this.
    pub(super) fn let_go(&mut self, held: Held) {
        self.old_fds.push(held);
    }

    pub(super) fn charge_inode(&mut self) -> Result<()> {
        self.tree.space().inodes().charge(1)?;
        self.charged += 1;
        Ok(())
    }

    /// Lets `name` in `parent` stand for `target`; if it stood for something, it keeps its place.
    /// What names cost is the caller's to charge.
    pub(super) fn set_name(&mut self, parent: NodeId, name: &[u8], target: Target) -> Result<()> {
        check_name(name)?;
        let found = self.tree.inode(parent)?.dir()?.get(name);
        if let Some(found) = found {
            self.rename(found, parent, name, target);
            return Ok(());
        }
        let id = self.tree.store.names.insert(&NameRecord::unused()).ok_or(Errno::ENOSPC)?;
        self.new_names.push(id);
        let directory = self.node(parent.0)?;
        let record = NameRecord::new(parent.0, directory.next, name, target);
        directory.next += 1;
        self.names.push(Naming { id, old: None, new: Some(record) });
        Ok(())
    }

    /// The name `found` in `parent` becomes `name` and stands for `target`.
    pub(super) fn rename(&mut self, found: Found, parent: NodeId, name: &[u8], target: Target) {
        let new = Some(NameRecord::new(parent.0, found.cookie, name, target));
        self.names.push(Naming { id: found.id, old: Some((parent.0, found.cookie)), new });
    }

    /// The name `found` in `parent` goes; what it stood for is the caller's to see to.
    pub(super) fn remove_name(&mut self, parent: NodeId, found: Found) {
        self.names.push(Naming { id: found.id, old: Some((parent.0, found.cookie)), new: None });
    }

    /// A name of `target` is gone; with the last one, and unless the kernel still knows the node,
    /// the node is. One that is damaged is left alone.
    pub(super) fn drop_link(&mut self, target: Target) {
        self.released += 1;
        let Ok(record) = self.node(target.node) else { return };
        record.nlink = if record.is_dir() { 0 } else { record.nlink.saturating_sub(1) };
        record.changed();
        if record.nlink == 0 && record.lookups > 0 {
            // It stays, and stays charged.
            self.released -= 1;
        }
    }

    /// Carries it out for the request `unique`, whose result is the node `result`.
    pub(super) fn finish(mut self, unique: Unique, result: u64) {
        let store = &self.tree.store;
        let gone: Vec<_> = self.nodes.iter().filter(|(_, record)| record.is_unused()).collect();
        for (id, record) in &gone {
            Held::of(*id, record).for_each(|held| store.doubt(held));
        }
        self.old_fds.iter().for_each(|held| store.doubt(*held));
        let changes = self.changes();
        store.log.commit(unique.base().0, result, &changes);
        changes.iter().for_each(|change| store.apply(change));
        journal::intend(&[DONE, result]);
        store.log.applied();
        for (id, record) in gone {
            self.tree.clean(*id, record);
        }
        self.new_fds.drain(..).for_each(|held| store.keep(held));
        self.old_fds.drain(..).for_each(|held| store.close(held));
        self.tree.space().inodes().release(self.released);
        self.update_caches();
        (self.charged, self.released) = (0, 0);
        self.new_nodes.clear();
        self.new_names.clear();
    }

    fn changes(&self) -> Vec<Change> {
        let nodes = self.nodes.iter().map(|(id, record)| match record.is_unused() {
            true => store::remove_node(*id),
            false => store::put_node(*id, record),
        });
        let names = self.names.iter().map(|naming| match &naming.new {
            Some(record) => store::put_name(naming.id, record),
            None => store::remove_name(naming.id),
        });
        nodes.chain(names).collect()
    }

    fn update_caches(&self) {
        for id in &self.new_nodes {
            if let Some((_, record)) = self.nodes.iter().find(|(known, _)| known == id) {
                self.tree.set_cache(*id, Cache::of(record.mode));
            }
        }
        for naming in &self.names {
            if let Some((parent, cookie)) = naming.old {
                self.tree.change_dir(parent, |dir| dir.remove(cookie));
            }
        }
        for naming in &self.names {
            if let Some(new) = &naming.new {
                self.tree.change_dir(new.parent, |dir| dir.put(naming.id, new));
            }
        }
    }
}

impl Drop for Batch<'_> {
    /// Unless it is finished: gives back what was made for it.
    fn drop(&mut self) {
        for id in &self.new_nodes {
            self.tree.store.nodes.remove(*id);
        }
        for id in &self.new_names {
            self.tree.store.names.remove(*id);
        }
        self.new_fds.iter().for_each(|held| self.tree.store.close(*held));
        self.tree.space().inodes().release(self.charged);
    }
}

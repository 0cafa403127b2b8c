//! What a worker does with the tree of a dead one.
//!
//! The records are whole at any moment but for a commit that was not carried out to its end:
//! [`Mem::replay`] does that first of all. Then the caches are made anew from the records. This
//! looks at every node and name once (some 0.5 us each), so a takeover takes the longer the more
//! there are.

use std::collections::HashMap;

use super::cache::Cache;
use super::data::{Data, PAGE};
use super::dir::Dir;
use super::tree::{Tree, read, write};
use super::{Mem, batch, opened};
use crate::fs::{Answer, Recovered, Unfinished};
use crate::recovery::journal::{Change, Effect};
use crate::wire::flags::OpenOutFlags;
use crate::wire::{Entry, NodeId, Operation};

impl Mem {
    /// Nothing else is right before this. Asked for by whichever hook comes first.
    pub(super) fn replay(&self) {
        read(&self.tree).store.replay();
    }

    pub(super) fn rebuild(&self) {
        self.replay();
        write(&self.tree).rebuild();
    }

    pub(super) fn has_happened(&self, effect: &Effect) -> bool {
        read(&self.tree).store.nodes.state(effect.id) != Some(effect.before)
    }

    /// Takes back a lookup that nobody was told of; frees what is unused then, or was already.
    pub(super) fn settle_effect(&self, effect: &Effect) {
        let node = NodeId(effect.id);
        if effect.change == Change::Count {
            self.forget_lookups(node, 1);
        } else {
            write(&self.tree).collect(node);
        }
    }

    /// Requests that change names or attributes leave their mark in the log, and then in their
    /// journal; all others come to the same when they are done again.
    pub(super) fn recover_request(&self, request: &Unfinished<'_>) -> Recovered {
        let tree = read(&self.tree);
        let unique = request.cx.unique.base().0;
        let node = match (request.intent, tree.store.log.last()) {
            (Some(intent), _) if intent[0] == batch::DONE => intent[1],
            (_, Some((last, node))) if last == unique => node,
            _ => return Recovered::Again,
        };
        Recovered::Done(match request.operation {
            Operation::Symlink(_)
            | Operation::Mknod(_)
            | Operation::Mkdir(_)
            | Operation::Link(_) => self.counted(&tree, node, Answer::Entry),
            Operation::Create(_) | Operation::Tmpfile(_) => {
                let opened = opened(OpenOutFlags::FOPEN_KEEP_CACHE);
                self.counted(&tree, node, |entry| Answer::Created(entry, opened))
            }
            _ => Answer::Empty,
        })
    }

    /// The answer that names `node`, whose lookup was counted with the change.
    fn counted(&self, tree: &Tree, node: u64, answer: impl FnOnce(Entry) -> Answer) -> Answer {
        match tree.inode(NodeId(node)) {
            Ok(inode) => answer(self.entry_of(node, inode.attr())),
            Err(errno) => Answer::Failed(errno),
        }
    }
}

impl Tree {
    /// Makes the caches and counters anew; frees what nobody names and the kernel does not know:
    /// new nodes and names that were never committed, and nodes forgotten but not yet freed.
    fn rebuild(&self) {
        let mut dirs: HashMap<u64, Dir> = HashMap::new();
        let mut inodes = 1;
        for (id, record) in self.store.names.iter() {
            if record.parent == 0 {
                self.store.names.remove(id);
                continue;
            }
            inodes += 1;
            dirs.entry(record.parent).or_default().put(id, &record);
        }
        let mut bytes = 0;
        for (id, record) in self.store.nodes.iter() {
            let cache = match record.mode & libc::S_IFMT {
                libc::S_IFDIR => Cache::Dir(dirs.remove(&id).unwrap_or_default()),
                libc::S_IFREG => Cache::File(Data::of(record.content())),
                _ => Cache::Other,
            };
            if let Cache::File(data) = &cache {
                bytes += data.pages() * PAGE;
            }
            bytes += record.xattr_bytes;
            inodes += u64::from(record.nlink == 0);
            self.set_cache(id, cache);
        }
        self.space().inodes().set(inodes);
        self.space().bytes().set(bytes);
        for (id, _) in self.store.nodes.iter().filter(|(_, record)| record.is_unused()) {
            self.collect(NodeId(id));
        }
    }
}

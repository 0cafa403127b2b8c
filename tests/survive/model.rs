//! What a tree of files has to look like: kept in memory, changed by hand beside each call, and
//! never read from the file system that is checked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::errno::Errno;

use crate::random::Random;

/// Names a node of the model, whatever it is called in the file system.
pub(crate) type Id = u32;

/// What a node is, with what is in it.
pub(crate) enum Kind {
    File(Vec<u8>),
    /// The names in it; the parent and the own name, none for a root.
    Dir(BTreeMap<String, Id>, Option<(Id, String)>),
    Symlink(String),
    Fifo,
}

/// What is known of a time of last change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Changed {
    /// Set by a call, in seconds and nanoseconds.
    Exactly(i64, i64),
    /// During a call that began and ended then.
    Between(SystemTime, SystemTime),
    /// By a call that need not set it.
    Perhaps,
}

/// A file, directory, symbolic link or fifo.
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// Permission bits.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Names; not kept for directories.
    pub(crate) names: u64,
    /// How many open files of the program refer to it.
    pub(crate) opens: u32,
    pub(crate) xattrs: BTreeMap<String, Vec<u8>>,
    pub(crate) mtime: Changed,
    /// The number that the first stat gave: from then on it stays.
    pub(crate) ino: Option<u64>,
    /// A directory that others use too, each with names of his own.
    pub(crate) shared: bool,
}

impl Node {
    pub(crate) fn is_dir(&self) -> bool {
        matches!(self.kind, Kind::Dir(..))
    }
}

/// A place for a name, and what is there.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) dir: Id,
    pub(crate) name: String,
    pub(crate) id: Option<Id>,
}

/// Some trees below one directory.
pub(crate) struct Model {
    base: PathBuf,
    nodes: BTreeMap<Id, Node>,
    roots: BTreeMap<Id, String>,
    next: Id,
}

impl Model {
    pub(crate) fn new(base: &Path) -> Model {
        Model { base: base.into(), nodes: BTreeMap::new(), roots: BTreeMap::new(), next: 0 }
    }

    /// A node without a name yet.
    pub(crate) fn add(&mut self, kind: Kind, mode: u32, mtime: Changed) -> Id {
        self.next += 1;
        let node = Node {
            kind,
            mode,
            uid: 0,
            gid: 0,
            names: 0,
            opens: 0,
            xattrs: BTreeMap::new(),
            mtime,
            ino: None,
            shared: false,
        };
        self.nodes.insert(self.next, node);
        self.next
    }

    /// A directory that stays where it is.
    pub(crate) fn add_root(&mut self, name: &str, mode: u32, shared: bool) -> Id {
        let id = self.add(Kind::Dir(BTreeMap::new(), None), mode, Changed::Perhaps);
        self.get_mut(id).shared = shared;
        self.roots.insert(id, name.into());
        id
    }

    /// The directories that stay, with their names.
    pub(crate) fn roots(&self) -> impl Iterator<Item = (Id, &str)> {
        self.roots.iter().map(|(id, name)| (*id, name.as_str()))
    }

    pub(crate) fn get(&self, id: Id) -> &Node {
        &self.nodes[&id]
    }

    pub(crate) fn get_mut(&mut self, id: Id) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node of the model")
    }

    /// What is in a file.
    pub(crate) fn data(&mut self, id: Id) -> &mut Vec<u8> {
        match &mut self.get_mut(id).kind {
            Kind::File(data) => data,
            _ => panic!("node {id} of the model is no file"),
        }
    }

    /// The names in a directory.
    pub(crate) fn names(&self, id: Id) -> &BTreeMap<String, Id> {
        match &self.get(id).kind {
            Kind::Dir(names, _) => names,
            _ => panic!("node {id} of the model is no directory"),
        }
    }

    fn dir_mut(&mut self, id: Id) -> (&mut BTreeMap<String, Id>, &mut Option<(Id, String)>) {
        match &mut self.get_mut(id).kind {
            Kind::Dir(names, parent) => (names, parent),
            _ => panic!("node {id} of the model is no directory"),
        }
    }

    fn parent(&self, id: Id) -> Option<&(Id, String)> {
        match &self.get(id).kind {
            Kind::Dir(_, parent) => parent.as_ref(),
            _ => None,
        }
    }

    /// Where a directory is now.
    pub(crate) fn dir_path(&self, id: Id) -> PathBuf {
        match (self.parent(id), self.roots.get(&id)) {
            (Some((above, name)), _) => self.dir_path(*above).join(name),
            (None, Some(name)) => self.base.join(name),
            (None, None) => panic!("node {id} of the model is nowhere"),
        }
    }

    pub(crate) fn path(&self, place: &Place) -> PathBuf {
        self.dir_path(place.dir).join(&place.name)
    }

    /// Whether `above` is `id` or one of the directories above it.
    pub(crate) fn is_within(&self, id: Id, above: Id) -> bool {
        id == above || self.parent(id).is_some_and(|(parent, _)| self.is_within(*parent, above))
    }

    /// What the link count has to be.
    pub(crate) fn nlink(&self, id: Id) -> u64 {
        match &self.get(id).kind {
            Kind::Dir(names, _) => {
                2 + names.values().filter(|id| self.get(**id).is_dir()).count() as u64
            }
            _ => self.get(id).names,
        }
    }

    /// What the size has to be; none for a directory.
    pub(crate) fn size(&self, id: Id) -> Option<usize> {
        match &self.get(id).kind {
            Kind::File(data) => Some(data.len()),
            Kind::Symlink(target) => Some(target.len()),
            Kind::Fifo => Some(0),
            Kind::Dir(..) => None,
        }
    }

    /// Gives a node a name at a place that has none.
    pub(crate) fn link(&mut self, place: &Place, id: Id, now: Changed) {
        let above = (place.dir, place.name.clone());
        let before = self.dir_mut(place.dir).0.insert(place.name.clone(), id);
        assert_eq!(before, None);
        self.get_mut(place.dir).mtime = now;
        self.get_mut(id).names += 1;
        if self.get(id).is_dir() {
            *self.dir_mut(id).1 = Some(above);
        }
    }

    /// Takes a name away, and what nobody can reach any more.
    pub(crate) fn unlink(&mut self, place: &Place, now: Changed) {
        let id = self.take(place, now);
        self.collect(id);
    }

    /// Takes a name away; the node stays.
    pub(crate) fn take(&mut self, place: &Place, now: Changed) -> Id {
        let id = self.dir_mut(place.dir).0.remove(&place.name).expect("a name of the model");
        self.get_mut(place.dir).mtime = now;
        self.get_mut(id).names -= 1;
        id
    }

    /// Forgets a node that has neither a name nor an open file.
    pub(crate) fn collect(&mut self, id: Id) {
        if self.get(id).names == 0 && self.get(id).opens == 0 {
            self.nodes.remove(&id);
        }
    }

    /// All directories.
    pub(crate) fn dirs(&self) -> Vec<Id> {
        self.nodes.iter().filter(|(_, node)| node.is_dir()).map(|(id, _)| *id).collect()
    }

    /// One of the names that are there and whose node pleases.
    pub(crate) fn some_name(
        &self,
        random: &mut Random,
        pleases: impl Fn(&Node) -> bool,
    ) -> Option<Place> {
        let names = |(dir, node): (&Id, &Node)| match &node.kind {
            Kind::Dir(names, _) => {
                names.iter().map(|(name, id)| (*dir, name.clone(), *id)).collect()
            }
            _ => Vec::new(),
        };
        let mut all: Vec<_> = self.nodes.iter().flat_map(names).collect();
        all.retain(|(_, _, id)| pleases(self.get(*id)));
        if all.is_empty() {
            return None;
        }
        let (dir, name, id) = all.swap_remove(random.below(all.len()));
        Some(Place { dir, name, id: Some(id) })
    }

    /// What a rename has to come to: done, with what was replaced; or the error.
    pub(crate) fn may_rename(&self, from: &Place, to: &Place) -> Result<(), Errno> {
        let Some(moved) = from.id else { return Err(Errno::ENOENT) };
        if self.is_within(to.dir, moved) {
            return Err(Errno::EINVAL);
        }
        let Some(replaced) = to.id else { return Ok(()) };
        if self.is_within(from.dir, replaced) {
            return Err(Errno::ENOTEMPTY);
        }
        match (self.get(moved).is_dir(), self.get(replaced).is_dir()) {
            (true, false) => Err(Errno::ENOTDIR),
            (false, true) => Err(Errno::EISDIR),
            (true, true) if moved != replaced && !self.names(replaced).is_empty() => {
                Err(Errno::ENOTEMPTY)
            }
            _ => Ok(()),
        }
    }
}

//! What a tree of files has to look like: kept in memory, changed by hand beside each call, and
//! never read from the file system that is checked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::errno::Errno;
use xxhash_rust::xxh3::xxh3_64;

use super::abilities::{Abilities, Ability};
use super::random::Random;

/// Names a node of the model, whatever it is called in the file system.
pub(crate) type Id = u64;

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
    fn new(kind: Kind, mode: u32, mtime: Changed, (uid, gid): (u32, u32)) -> Node {
        let (xattrs, ino, shared) = (BTreeMap::new(), None, false);
        Node { kind, mode, uid, gid, names: 0, opens: 0, xattrs, mtime, ino, shared }
    }

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
///
/// What is asked of a node that is not there, or of one of another kind, is answered with nothing:
/// the program that makes such a mistake sees a difference, and not its end.
pub(crate) struct Model {
    base: PathBuf,
    nodes: BTreeMap<Id, Node>,
    roots: BTreeMap<Id, String>,
    next: Id,
    /// Who makes files.
    owner: (u32, u32),
    abilities: Abilities,
    nothing: Node,
    no_data: Vec<u8>,
    no_names: BTreeMap<String, Id>,
}

impl Model {
    pub(crate) fn new(base: &Path, abilities: &Abilities) -> Model {
        let owner = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        Model {
            base: base.into(),
            nodes: BTreeMap::new(),
            roots: BTreeMap::new(),
            next: 0,
            owner,
            abilities: abilities.clone(),
            nothing: Node::new(Kind::Fifo, 0, Changed::Perhaps, owner),
            no_data: Vec::new(),
            no_names: BTreeMap::new(),
        }
    }

    /// Whether the file system can do it.
    pub(crate) fn can(&self, ability: Ability) -> bool {
        self.abilities.has(ability)
    }

    /// What the file system can do.
    pub(crate) fn abilities(&self) -> &Abilities {
        &self.abilities
    }

    /// Permission bits without which the program could not go on.
    pub(crate) fn least_mode(&self) -> u32 {
        if self.owner.0 == 0 { 0 } else { 0o700 }
    }

    /// Nodes made from now on have names from here: those of one operation do not depend on how
    /// many others made before.
    pub(crate) fn begin(&mut self, operation: u64) {
        self.next = self.next.max(operation * 16);
    }

    /// A node without a name yet.
    pub(crate) fn add(&mut self, kind: Kind, mode: u32, mtime: Changed) -> Id {
        self.next += 1;
        self.nodes.insert(self.next, Node::new(kind, mode, mtime, self.owner));
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
        self.nodes.get(&id).unwrap_or(&self.nothing)
    }

    pub(crate) fn get_mut(&mut self, id: Id) -> &mut Node {
        self.nodes.get_mut(&id).unwrap_or(&mut self.nothing)
    }

    /// What is in a file.
    pub(crate) fn data(&mut self, id: Id) -> &mut Vec<u8> {
        match self.nodes.get_mut(&id).map(|node| &mut node.kind) {
            Some(Kind::File(data)) => data,
            _ => &mut self.no_data,
        }
    }

    /// The names in a directory.
    pub(crate) fn names(&self, id: Id) -> &BTreeMap<String, Id> {
        match &self.get(id).kind {
            Kind::Dir(names, _) => names,
            _ => &self.no_names,
        }
    }

    fn names_mut(&mut self, id: Id) -> &mut BTreeMap<String, Id> {
        match self.nodes.get_mut(&id).map(|node| &mut node.kind) {
            Some(Kind::Dir(names, _)) => names,
            _ => &mut self.no_names,
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
            (None, None) => self.base.join("nowhere"),
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
        self.names_mut(place.dir).insert(place.name.clone(), id);
        self.get_mut(place.dir).mtime = now;
        let node = self.get_mut(id);
        node.names += 1;
        if let Kind::Dir(_, parent) = &mut node.kind {
            *parent = Some(above);
        }
    }

    /// Takes a name away, and what nobody can reach any more.
    pub(crate) fn unlink(&mut self, place: &Place, now: Changed) {
        if let Some(id) = self.take(place, now) {
            self.collect(id);
        }
    }

    /// Takes a name away; the node stays.
    pub(crate) fn take(&mut self, place: &Place, now: Changed) -> Option<Id> {
        let id = self.names_mut(place.dir).remove(&place.name)?;
        self.get_mut(place.dir).mtime = now;
        let names = &mut self.get_mut(id).names;
        *names = names.saturating_sub(1);
        Some(id)
    }

    /// Forgets a node that has neither a name nor an open file.
    pub(crate) fn collect(&mut self, id: Id) {
        if self.get(id).names == 0 && self.get(id).opens == 0 {
            self.nodes.remove(&id);
        }
    }

    /// All directories.
    pub(crate) fn dirs(&self) -> impl Iterator<Item = Id> {
        self.nodes.iter().filter(|(_, node)| node.is_dir()).map(|(id, _)| *id)
    }

    /// One of the names that are there and whose node pleases.
    pub(crate) fn some_name(
        &self,
        random: &mut Random,
        pleases: impl Fn(&Node) -> bool,
    ) -> Option<Place> {
        let all = self.dirs().flat_map(|dir| self.names(dir).iter().map(move |it| (dir, it)));
        let pleasing = all.filter(|(_, (_, id))| pleases(self.get(**id)));
        let number = |(dir, (name, _)): &(Id, (&String, &Id))| dir ^ xxh3_64(name.as_bytes());
        let (dir, (name, id)) = random.steady(pleasing, number)?;
        Some(Place { dir, name: name.clone(), id: Some(*id) })
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

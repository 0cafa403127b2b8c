//! The nodes: the files of the manifest, and the directories that their paths make up.
//!
//! They are fixed by the manifest. A node's id is its number and one, so that the root has 1; the
//! same manifest gives the same ids, in whichever process.

use std::collections::BTreeMap;

use super::local::Local;
use super::manifest::{Manifest, Place, Wrong, add, wrong};
use crate::Errno;
use crate::wire::{Attr, NodeId, Timestamp};

/// All of them.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    /// Bytes in all files.
    pub(super) bytes: u64,
}

/// One file or directory.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) attr: Attr,
    pub(super) kind: Kind,
}

/// What a node is.
#[derive(Debug)]
pub(super) enum Kind {
    Dir {
        parent: NodeId,
        children: BTreeMap<Vec<u8>, NodeId>,
    },
    File {
        pieces: Vec<Piece>,
        /// The number of the local file that this file is, from its first byte to its last.
        whole: Option<usize>,
    },
}

/// A part of a file, with the bytes that it has.
#[derive(Debug)]
pub(super) struct Piece {
    /// Where it begins in the file.
    pub(super) start: u64,
    pub(super) length: u64,
    pub(super) place: Place,
    /// Where it begins there.
    pub(super) offset: u64,
}

/// Who owns what the manifest says nothing of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Tree {
    /// The tree of a manifest, whose local files are open.
    pub(super) fn new(manifest: &Manifest, locals: &[Local], owner: Owner) -> Result<Tree, Wrong> {
        let mut tree = Tree { nodes: Vec::new(), bytes: 0 };
        tree.add_dir(NodeId::ROOT, owner);
        for (index, file) in manifest.files.iter().enumerate() {
            let at = format!("files[{index}]");
            let (name, dirs) = file
                .path
                .split_last()
                .ok_or_else(|| Wrong { at: at.clone(), what: "no path: give one".to_string() })?;
            let taken = |what: &str| {
                wrong(format!("{at}.path"), format!("'{}': {what}", file.path.join("/")))
            };
            let mut parent = NodeId::ROOT;
            for dir in dirs {
                parent = match tree.child(parent, dir.as_bytes()) {
                    Ok(node) => node,
                    Err(Errno::ENOENT) => {
                        tree.add_named(parent, dir, |tree| tree.add_dir(parent, owner))
                    }
                    Err(_) => return taken("a directory above it is a file: rename one of them"),
                };
            }
            match tree.child(parent, name.as_bytes()) {
                Err(Errno::ENOENT) => {}
                Err(_) => return taken("a directory above it is a file: rename one of them"),
                Ok(_) => return taken("is there already: rename one of them"),
            }
            let node = tree.file(file, &at, locals, owner)?;
            tree.dated(parent, node.attr.mtime);
            tree.add_named(parent, name, |tree| tree.add(node));
        }
        Ok(tree)
    }

    fn file(
        &mut self,
        file: &super::manifest::File,
        at: &str,
        locals: &[Local],
        owner: Owner,
    ) -> Result<Node, Wrong> {
        let (mut size, mut newest) = (0, Timestamp::default());
        let mut pieces = Vec::with_capacity(file.segments.len());
        for (index, segment) in file.segments.iter().enumerate() {
            let at = format!("{at}.segments[{index}]");
            let length = match &segment.place {
                Place::Local(number) => {
                    let local = &locals[*number];
                    newest = newest.max(local.mtime);
                    local.length_from(segment.offset, segment.length, &at)?
                }
                // The manifest says it.
                Place::Framed(..) => segment.length.unwrap_or(0),
            };
            let place = segment.place.clone();
            pieces.push(Piece { start: size, length, place, offset: segment.offset });
            size = add(size, length, &at)?;
        }
        self.bytes = self.bytes.saturating_add(size);
        let whole = match &pieces[..] {
            [Piece { place: Place::Local(number), offset: 0, length, .. }]
                if *length == locals[*number].size =>
            {
                Some(*number)
            }
            _ => None,
        };
        let mtime = file.mtime.map_or(newest, |secs| Timestamp { secs, nanos: 0 });
        let attr = Attr {
            size,
            blocks: size.div_ceil(512),
            mode: libc::S_IFREG | file.mode,
            nlink: 1,
            uid: file.uid.unwrap_or(owner.uid),
            gid: file.gid.unwrap_or(owner.gid),
            ..dated_attr(mtime)
        };
        Ok(Node { attr, kind: Kind::File { pieces, whole } })
    }

    fn add_dir(&mut self, parent: NodeId, owner: Owner) -> NodeId {
        let attr = Attr {
            mode: libc::S_IFDIR | 0o555,
            nlink: 2,
            uid: owner.uid,
            gid: owner.gid,
            ..dated_attr(Timestamp::default())
        };
        self.add(Node { attr, kind: Kind::Dir { parent, children: BTreeMap::new() } })
    }

    fn add(&mut self, mut node: Node) -> NodeId {
        let id = NodeId(self.nodes.len() as u64 + 1);
        node.attr.ino = id.0;
        self.nodes.push(node);
        id
    }

    /// Adds what `make` makes to a directory.
    fn add_named(
        &mut self,
        parent: NodeId,
        name: &str,
        make: impl FnOnce(&mut Tree) -> NodeId,
    ) -> NodeId {
        let id = make(self);
        let is_dir = u32::from(matches!(self.nodes[id.0 as usize - 1].kind, Kind::Dir { .. }));
        let node = &mut self.nodes[parent.0 as usize - 1];
        node.attr.nlink += is_dir;
        if let Kind::Dir { children, .. } = &mut node.kind {
            children.insert(name.as_bytes().to_vec(), id);
        }
        id
    }

    /// A directory is as new as what is newest in it.
    fn dated(&mut self, mut dir: NodeId, time: Timestamp) {
        loop {
            let node = &mut self.nodes[dir.0 as usize - 1];
            if node.attr.mtime < time {
                node.attr = Attr { atime: time, mtime: time, ctime: time, ..node.attr };
            }
            match node.kind {
                Kind::Dir { parent, .. } if parent != dir => dir = parent,
                _ => return,
            }
        }
    }

    /// How many nodes there are.
    pub(super) fn count(&self) -> u64 {
        self.nodes.len() as u64
    }

    /// ESTALE: there is none.
    pub(super) fn node(&self, id: NodeId) -> Result<&Node, Errno> {
        let index = usize::try_from(id.0).ok().and_then(|id| id.checked_sub(1));
        index.and_then(|index| self.nodes.get(index)).ok_or(Errno::ESTALE)
    }

    /// What `name` in `parent` stands for; ENOENT, ENOTDIR.
    pub(super) fn child(&self, parent: NodeId, name: &[u8]) -> Result<NodeId, Errno> {
        match &self.node(parent)?.kind {
            Kind::Dir { children, .. } => children.get(name).copied().ok_or(Errno::ENOENT),
            Kind::File { .. } => Err(Errno::ENOTDIR),
        }
    }

    /// The entries of a directory behind the first `skip`, `.` and `..` among them.
    pub(super) fn entries(
        &self,
        id: NodeId,
        skip: usize,
    ) -> Result<impl Iterator<Item = (&[u8], NodeId)>, Errno> {
        let Kind::Dir { parent, children } = &self.node(id)?.kind else {
            return Err(Errno::ENOTDIR);
        };
        let dots = [(&b"."[..], id), (&b".."[..], *parent)];
        let named = children.iter().map(|(name, id)| (name.as_slice(), *id));
        Ok(dots.into_iter().chain(named).skip(skip))
    }
}

impl Node {
    /// The pieces that `size` bytes from `offset` on are in, each with the place of the first byte
    /// in it, and how many there are. EISDIR.
    pub(super) fn range(
        &self,
        offset: u64,
        size: usize,
    ) -> Result<impl Iterator<Item = (&Piece, u64, usize)>, Errno> {
        let Kind::File { pieces, .. } = &self.kind else { return Err(Errno::EISDIR) };
        let end = offset.saturating_add(size as u64).min(self.attr.size);
        let first = pieces.partition_point(|piece| piece.start + piece.length <= offset);
        let inside = pieces[first..].iter().take_while(move |piece| piece.start < end);
        Ok(inside.map(move |piece| {
            let from = offset.max(piece.start);
            let length = end.min(piece.start + piece.length) - from;
            (piece, from - piece.start, length as usize)
        }))
    }
}

fn dated_attr(time: Timestamp) -> Attr {
    Attr { atime: time, mtime: time, ctime: time, blksize: 4096, ..Attr::default() }
}

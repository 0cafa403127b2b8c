//! The node table and the names in it.
//!
//! Whoever holds the tree's lock for writing may lock nodes one after another or one
//! inside the other, for nobody else is there. Whoever holds it for reading locks one
//! node at a time, or a directory and then a child of it. Nodes are freed under the
//! write lock only, so a node found under either lock stays.

use std::sync::atomic::Ordering;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::dir::{Dir, Target};
use super::node::{Content, Inode, Node, now};
use super::space::Space;
use crate::Errno;
use crate::fs::slab::Slab;
use crate::fs::{Context, Result};
use crate::wire::NodeId;

/// The longest name in bytes.
pub(super) const NAME_MAX: usize = 255;

/// Locks for reading. A panic elsewhere is no reason to fail here too.
pub(super) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// Locks for writing.
pub(super) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

pub(super) struct Tree {
    nodes: Slab<Node>,
    space: Space,
}

/// What a new node is to be.
pub(super) struct Plan {
    /// Type and permissions.
    pub(super) mode: u32,
    pub(super) rdev: u32,
    pub(super) content: Content,
}

/// Refuses names that are too long.
pub(super) fn check_name(name: &[u8]) -> Result<()> {
    if name.len() > NAME_MAX { Err(Errno::ENAMETOOLONG) } else { Ok(()) }
}

impl Tree {
    /// A tree with an empty root directory of the given owner, mode 0755.
    pub(super) fn new(space: Space, uid: u32, gid: u32) -> Self {
        let tree = Tree { nodes: Slab::new(NodeId::ROOT.0 as u32), space };
        let content = Content::Dir(Dir::new(NodeId::ROOT.0));
        let root = Plan { mode: libc::S_IFDIR | 0o755, rdev: 0, content };
        let made = tree.insert(root, uid, gid).map(|target| target.node);
        debug_assert_eq!(made, Ok(NodeId::ROOT.0), "the first node is the root");
        tree
    }

    pub(super) fn space(&self) -> &Space {
        &self.space
    }

    /// The node of `id`, or ESTALE.
    pub(super) fn node(&self, id: NodeId) -> Result<&Node> {
        self.nodes.get(id.0).ok_or(Errno::ESTALE)
    }

    pub(super) fn inode(&self, id: NodeId) -> Result<RwLockReadGuard<'_, Inode>> {
        Ok(read(&self.node(id)?.inode))
    }

    pub(super) fn inode_mut(&self, id: NodeId) -> Result<RwLockWriteGuard<'_, Inode>> {
        Ok(write(&self.node(id)?.inode))
    }

    /// What `name` in `parent` stands for; ENOENT where it stands for nothing.
    pub(super) fn find(&self, parent: NodeId, name: &[u8]) -> Result<Target> {
        check_name(name)?;
        self.inode(parent)?.dir()?.get(name).ok_or(Errno::ENOENT)
    }

    /// A node with one name to come (a directory: its own name and its dot).
    fn insert(&self, plan: Plan, uid: u32, gid: u32) -> Result<Target> {
        self.space.inodes().charge(1)?;
        let Some((id, node)) = self.nodes.insert() else {
            self.space.inodes().release(1);
            return Err(Errno::ENOSPC);
        };
        let now = now();
        let nlink = if plan.mode & libc::S_IFMT == libc::S_IFDIR { 2 } else { 1 };
        node.lookups.store(0, Ordering::Relaxed);
        *write(&node.inode) = Inode {
            mode: plan.mode,
            uid,
            gid,
            rdev: plan.rdev,
            nlink,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            content: plan.content,
            ..Inode::default()
        };
        Ok(Target { node: id, kind: plan.mode & libc::S_IFMT })
    }

    /// Makes a node for `cx` in the directory `parent`, which gives its group to what is
    /// made in it if it is setgid. Write lock.
    pub(super) fn make(&self, cx: &Context, parent: NodeId, mut plan: Plan) -> Result<Target> {
        let gid = {
            let directory = self.inode(parent)?;
            directory.dir()?;
            if directory.nlink == 0 {
                return Err(Errno::ENOENT);
            }
            if directory.mode & libc::S_ISGID == 0 {
                cx.gid
            } else {
                if let Content::Dir(_) = plan.content {
                    plan.mode |= libc::S_ISGID;
                }
                directory.gid
            }
        };
        self.insert(plan, cx.uid, gid)
    }

    /// Makes a node and names it. Write lock.
    pub(super) fn make_named(
        &self,
        cx: &Context,
        parent: NodeId,
        name: &[u8],
        plan: Plan,
    ) -> Result<Target> {
        match self.find(parent, name) {
            Err(Errno::ENOENT) => {}
            Ok(_) => return Err(Errno::EEXIST),
            Err(errno) => return Err(errno),
        }
        let target = self.make(cx, parent, plan)?;
        let mut directory = self.inode_mut(parent)?;
        directory.dir_mut()?.set(name, target);
        directory.nlink += u32::from(target.is_dir());
        directory.modified();
        Ok(target)
    }

    /// Gives `node` the further name `name`. Write lock.
    pub(super) fn link(&self, node: NodeId, parent: NodeId, name: &[u8]) -> Result<Target> {
        match self.find(parent, name) {
            Err(Errno::ENOENT) if self.inode(parent)?.nlink > 0 => {}
            Ok(_) => return Err(Errno::EEXIST),
            Err(errno) => return Err(errno),
        }
        let target = {
            let mut inode = self.inode_mut(node)?;
            if inode.is_dir() {
                return Err(Errno::EPERM);
            }
            match inode.nlink {
                // Its inode was charged when it was made without a name.
                0 if inode.linkable => inode.linkable = false,
                0 => return Err(Errno::ENOENT),
                u32::MAX => return Err(Errno::EMLINK),
                _ => self.space.inodes().charge(1)?,
            }
            inode.nlink += 1;
            inode.changed();
            Target { node: node.0, kind: inode.kind() }
        };
        let mut directory = self.inode_mut(parent)?;
        directory.dir_mut()?.set(name, target);
        directory.modified();
        Ok(target)
    }

    /// UNLINK. Write lock.
    pub(super) fn unlink(&self, parent: NodeId, name: &[u8]) -> Result<()> {
        let target = self.find(parent, name)?;
        if target.is_dir() {
            return Err(Errno::EISDIR);
        }
        let mut directory = self.inode_mut(parent)?;
        directory.dir_mut()?.remove(name);
        directory.modified();
        drop(directory);
        self.drop_name(target)
    }

    /// RMDIR. Write lock.
    pub(super) fn rmdir(&self, parent: NodeId, name: &[u8]) -> Result<()> {
        let target = self.find(parent, name)?;
        if !self.inode(NodeId(target.node))?.dir()?.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        let mut directory = self.inode_mut(parent)?;
        directory.dir_mut()?.remove(name);
        directory.nlink -= 1;
        directory.modified();
        drop(directory);
        self.drop_name(target)
    }

    /// A name of `target` is gone; with the last one, and unless the kernel still knows
    /// the node, the node is. Write lock.
    pub(super) fn drop_name(&self, target: Target) -> Result<()> {
        let mut inode = self.inode_mut(NodeId(target.node))?;
        inode.nlink = if inode.is_dir() { 0 } else { inode.nlink - 1 };
        inode.changed();
        if inode.nlink > 0 {
            self.space.inodes().release(1);
        }
        drop(inode);
        self.collect(NodeId(target.node));
        Ok(())
    }

    /// Frees `id` if nothing names it and the kernel has forgotten it. Write lock.
    pub(super) fn collect(&self, id: NodeId) {
        let Ok(node) = self.node(id) else { return };
        let mut inode = write(&node.inode);
        if inode.nlink > 0 || node.lookups.load(Ordering::Relaxed) > 0 {
            return;
        }
        let gone = std::mem::take(&mut *inode);
        drop(inode);
        if let Content::File(mut data) = gone.content {
            data.drop_all(&self.space);
        }
        self.space.bytes().release(gone.xattrs.cost());
        self.space.inodes().release(1);
        self.nodes.remove(id.0);
    }

    /// Takes `count` off the lookups of `id`; true when it may have to be freed. Read lock.
    pub(super) fn forget(&self, id: NodeId, count: u64) -> bool {
        let Ok(node) = self.node(id) else { return false };
        let take = |lookups: u64| Some(lookups.saturating_sub(count));
        let taken = node.lookups.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.is_ok_and(|before| before <= count) && read(&node.inode).nlink == 0
    }
}

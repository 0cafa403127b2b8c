//! The tables, the log and the descriptors in the arena, and how they change together.

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::resource::{Resource, getrlimit};

use super::record::{NameRecord, NodeRecord};
use crate::Errno;
use crate::fs::Result;
use crate::recovery::arena::{Arena, ArenaError};
use crate::recovery::commit::{Change, Log};
use crate::recovery::fds::{FIRST, Fds, Kind};
use crate::recovery::table::Table;
use crate::sys::Fd;

/// Nodes, and names, that there may be; what is not used takes no memory.
pub(super) const NODES: u32 = 1 << 22;
/// Descriptors left to the rest of the process.
const SPARE: i32 = 64;

/// The tables' numbers in the log.
const NODE_TABLE: u8 = 1;
const NAME_TABLE: u8 = 2;

pub(super) struct Store {
    pub(super) nodes: Table<NodeRecord>,
    pub(super) names: Table<NameRecord>,
    pub(super) log: Log,
    fds: Fds,
}

/// A memfd that a node holds, or is going to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) fd: Fd,
    kind: Kind,
    index: u32,
}

impl Held {
    /// Contents of a file, or a long target.
    pub(super) fn content(node: u64, fd: Fd) -> Held {
        Held { fd, kind: Kind::Content, index: node as u32 }
    }

    pub(super) fn xattrs(node: u64, fd: Fd) -> Held {
        Held { fd, kind: Kind::Own, index: node as u32 }
    }

    /// All that a node holds.
    pub(super) fn of(node: u64, record: &NodeRecord) -> impl Iterator<Item = Held> {
        let content = record.content().map(|fd| Held::content(node, fd));
        content.into_iter().chain(record.xattrs().map(|fd| Held::xattrs(node, fd)))
    }
}

pub(super) fn put_node(id: u64, record: &NodeRecord) -> Change {
    Change::put(NODE_TABLE, id, record)
}

pub(super) fn remove_node(id: u64) -> Change {
    Change::remove(NODE_TABLE, id)
}

pub(super) fn put_name(id: u64, record: &NameRecord) -> Change {
    Change::put(NAME_TABLE, id, record)
}

pub(super) fn remove_name(id: u64) -> Change {
    Change::remove(NAME_TABLE, id)
}

impl Store {
    pub(super) fn new(arena: &Arena) -> std::result::Result<Store, ArenaError> {
        Ok(Store {
            nodes: Table::new(arena, "mem nodes", NODES, 1)?,
            names: Table::new(arena, "mem names", NODES, 1)?,
            log: Log::new(arena, "mem log")?,
            fds: arena.fds(),
        })
    }

    /// The record of node `id`, or ESTALE: it is gone, or damaged.
    pub(super) fn node(&self, id: u64) -> Result<NodeRecord> {
        self.nodes.get(id).ok_or(Errno::ESTALE)
    }

    pub(super) fn apply(&self, change: &Change) {
        match change.table() {
            NODE_TABLE => change.apply(&self.nodes),
            NAME_TABLE => change.apply(&self.names),
            _ => {}
        }
    }

    /// Takeover: makes what was committed and maybe not made. Again it does no harm.
    pub(super) fn replay(&self) {
        if let Some(changes) = self.log.pending() {
            changes.iter().for_each(|change| self.apply(change));
            self.log.applied();
        }
    }

    /// Takeover: whether the record of `index` holds `fd`.
    pub(super) fn holds(&self, kind: Kind, index: u32, fd: Fd) -> bool {
        let record = self.nodes.at(index);
        record.is_some_and(|(id, record)| {
            Held::of(id, &record).any(|held| held == Held { fd, kind, index })
        })
    }

    /// A new memfd for `held` to make one of: ENOSPC when descriptors or memory are short. A
    /// takeover closes it unless the record of `held` has got it.
    pub(super) fn new_memfd(&self, held: impl FnOnce(Fd) -> Held) -> Result<Held> {
        let fd = memfd_create(c"fusex mem", MFdFlags::MFD_CLOEXEC).map_err(|_| Errno::ENOSPC)?;
        let mut fd = Fd::from_owned(fd);
        if fd.number() < FIRST {
            // A takeover does not look at those.
            let moved = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(FIRST));
            fd.close();
            fd = Fd::from_number(moved.map_err(|_| Errno::ENOSPC)?);
        }
        let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let held = held(fd);
        if fd.number() >= limit - SPARE || self.begin(held).is_err() {
            fd.close();
            return Err(Errno::ENOSPC);
        }
        Ok(held)
    }

    fn begin(&self, held: Held) -> Result<()> {
        self.fds.begin(held.fd, held.kind, held.index)
    }

    /// It is about to be let go of: from here on a takeover asks the record whether it holds it,
    /// and closes it if not.
    pub(super) fn doubt(&self, held: Held) {
        // Fails only for a number that was too high from the beginning.
        let _ = self.begin(held);
    }

    /// The record holds it for good.
    pub(super) fn keep(&self, held: Held) {
        self.fds.keep(held.fd, held.kind, held.index);
    }

    pub(super) fn close(&self, held: Held) {
        self.fds.close(held.fd);
    }
}

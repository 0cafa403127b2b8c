//! Descriptors are for open files first.
//!
//! Nodes keep an O_PATH descriptor each while all together use less than three quarters of
//! RLIMIT_NOFILE (directories, which every lookup passes, a little more). When open files
//! push the sum past that, nodes give descriptors up and are reached by handle from then on.
//! The rest is for what a request opens and closes, and for locks.
//!
//! A descriptor that a request is using (pinned) stays; so does one of a file without a
//! name, which no handle would find again once it is not open.

use std::sync::atomic::Ordering;

use super::Passthrough;
use super::nodes::{Node, Nodes, is_directory};
use super::record::Place;
use crate::sys::file;

/// Descriptors given up at once.
const BATCH: usize = 64;
/// Nodes looked at for that, at the most.
const LOOKS: u32 = 4096;

impl Passthrough {
    /// Before another file is open for long: makes room if there is little.
    pub(super) fn make_room(&self) {
        self.note_open_files();
        if self.nodes.used() > self.nodes.limit / 20 * 17 {
            self.nodes.give_up(BATCH);
        }
    }

    /// Behind each open and close: nodes take what open files leave.
    pub(super) fn note_open_files(&self) {
        self.nodes.open_files.store(self.handles.count(), Ordering::Relaxed);
    }
}

impl Nodes {
    fn used(&self) -> usize {
        self.kept.load(Ordering::Relaxed) + self.open_files.load(Ordering::Relaxed)
    }

    /// Whether one more node may keep its descriptor.
    pub(super) fn may_keep(&self, directory: bool) -> bool {
        let twentieths = if directory { 16 } else { 15 };
        self.used() < self.limit / 20 * twentieths
    }

    /// Closes up to `wanted` descriptors of nodes, of directories last.
    pub(super) fn give_up(&self, wanted: usize) {
        if !self.can_open_handles {
            return;
        }
        let (mut left, end) = (wanted, self.table.end());
        for directories in [false, true] {
            for _ in 0..end.min(LOOKS) {
                if left == 0 {
                    return;
                }
                let index = self.hand.fetch_add(1, Ordering::Relaxed) % end;
                if let Some(mut node) = self.try_lock_at(index)
                    && self.demote(&mut node, directories)
                {
                    left -= 1;
                }
            }
        }
    }

    /// From descriptor to handle.
    fn demote(&self, node: &mut Node<'_>, directories: bool) -> bool {
        let Place::Kept(fd) = self.place(&node.record) else { return false };
        if node.local.pins > 0 || node.record.is_root() {
            return false;
        }
        let Ok(stat) = file::fstatx(fd) else { return false };
        if stat.stx_nlink == 0 || is_directory(&stat) != directories {
            return false;
        }
        self.give_up_fd(node, &stat)
    }
}

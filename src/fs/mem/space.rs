//! What may still be stored: bytes and inodes, counted and limited.
//!
//! Charged before memory is taken, so that a full file system answers ENOSPC while
//! the machine still has memory. Counted are the pages of files (reserved ones too),
//! extended attributes, and names: every name and every nameless file is one inode. The
//! counters are private and found again by a takeover.

use std::sync::atomic::{AtomicU64, Ordering};

use super::data::PAGE;
use crate::Errno;
use crate::fs::Result;

pub(super) struct Space {
    bytes: Counter,
    inodes: Counter,
}

/// How much of something is used, out of how much.
pub(super) struct Counter {
    limit: u64,
    used: AtomicU64,
}

impl Counter {
    fn new(limit: u64) -> Self {
        Counter { limit, used: AtomicU64::new(0) }
    }

    pub(super) fn charge(&self, amount: u64) -> Result<()> {
        let fits = |used: u64| used.checked_add(amount).filter(|sum| *sum <= self.limit);
        let charged = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        charged.map(drop).map_err(|_| Errno::ENOSPC)
    }

    /// Counts what is used already, past the limit too.
    pub(super) fn force(&self, amount: u64) {
        self.used.fetch_add(amount, Ordering::Relaxed);
    }

    pub(super) fn release(&self, amount: u64) {
        let less = |used: u64| Some(used.saturating_sub(amount));
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Takeover: what was found to be used.
    pub(super) fn set(&self, used: u64) {
        self.used.store(used, Ordering::Relaxed);
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    pub(super) fn free(&self) -> u64 {
        self.limit.saturating_sub(self.used.load(Ordering::Relaxed))
    }
}

impl Space {
    /// `limit` bytes, and one inode for each page of it.
    pub(super) fn new(limit: u64) -> Self {
        Space { bytes: Counter::new(limit), inodes: Counter::new((limit / PAGE).max(1)) }
    }

    pub(super) fn bytes(&self) -> &Counter {
        &self.bytes
    }

    pub(super) fn inodes(&self) -> &Counter {
        &self.inodes
    }
}

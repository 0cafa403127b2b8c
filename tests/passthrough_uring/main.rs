//! The tests of the passthrough file system, with requests over io_uring.

#[path = "../common/mod.rs"]
mod base;

/// The same as for the others, but for the transport.
mod common {
    pub(crate) use crate::base::*;

    pub(crate) const TRANSPORT: Mode = uring::URING;
    /// A queue has a thread at the least: this is not offered.
    pub(crate) const SINGLE: Mode = DEFAULT;
    pub(crate) const ALL: &[Mode] = &[DEFAULT, SERVED, WRITEBACK, NEVER, ALWAYS];

    pub(crate) fn why_no_mounts() -> Option<String> {
        crate::base::why_no_mounts().or_else(|| uring::why_not(TRANSPORT))
    }
}

#[path = "../passthrough/append.rs"]
mod append;
#[path = "../passthrough/child.rs"]
mod child;
#[path = "../passthrough/data.rs"]
mod data;
#[path = "../passthrough/dirs.rs"]
mod dirs;
#[path = "../passthrough/escape.rs"]
mod escape;
#[path = "../passthrough/limits.rs"]
mod limits;
#[path = "../passthrough/locks.rs"]
mod locks;
#[path = "../passthrough/mapped.rs"]
mod mapped;
#[path = "../passthrough/names.rs"]
mod names;
#[path = "../passthrough/owners.rs"]
mod owners;
#[path = "../passthrough/parallel.rs"]
mod parallel;
#[path = "../passthrough/privilege.rs"]
mod privilege;
#[path = "../passthrough/stacked.rs"]
mod stacked;
#[path = "../passthrough/times.rs"]
mod times;
#[path = "../passthrough/xattrs.rs"]
mod xattrs;

//! The passthrough file system on real mounts.
//!
//! Most tests do the same below a mount, in each way of caching, and in a directory of the
//! lower file system, and compare what they see.

#[path = "../common/mod.rs"]
mod common;

mod append;
mod child;
mod data;
mod dirs;
mod escape;
mod limits;
mod locks;
mod mapped;
mod names;
mod owners;
mod parallel;
mod privilege;
mod stacked;
mod times;
mod xattrs;

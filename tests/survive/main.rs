//! What callers see of a mount whose servers die: nothing.

#[path = "../common/mod.rs"]
mod common;

mod attrs;
mod check;
mod data;
mod files;
mod kills;
mod listing;
mod locks;
mod mapped;
mod model;
mod names;
mod oracle;
mod quiet;
mod random;
mod single;
mod tree;
mod under;
mod waiting;

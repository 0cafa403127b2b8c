//! What callers see of a mount whose servers die: nothing.

#[path = "../common/mod.rs"]
mod common;

mod kills;
mod program;
mod quiet;
mod single;
mod under;
mod waiting;

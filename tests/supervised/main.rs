//! `fusex supervise` as whoever runs a mount sees it: by the command line, and by what processes,
//! descriptors and memory show from outside. What callers see is in `tests/survive`.

#[path = "../common/mod.rs"]
mod common;
// Made for other tests, which use more of them.
#[allow(dead_code)]
#[path = "../survive/kills.rs"]
mod kills;

mod arena;
mod commands;
mod confined;
mod control;
mod damage;
mod hostile;
mod journals;
mod kept;
mod kernel;
mod leaks;
mod line;
mod load;
mod locks;
mod nested;
mod points;
mod sockets;
mod supervisors;
mod user;

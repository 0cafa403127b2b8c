//! File systems that kill, block or starve the process that serves them, and what callers and
//! operators see of it.
//!
//! What serves is this test binary again (`server`), with a file system of traps (`traps`), and
//! for `fusex mount` the program itself (`program`).

#[path = "../common/mod.rs"]
mod common;

mod callers;
mod deaths;
mod fault;
mod hangs;
mod loops;
mod memory;
mod poison;
mod program;
mod program_loops;
mod server;
mod traps;

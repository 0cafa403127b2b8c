//! What the subcommands do, one file each. The command line is [`crate::cli`]'s.

pub mod bpf_load;
pub mod bpf_stats;
pub mod crash_test;
pub mod doctor;
pub mod mount;
mod mounts;
mod serve;
pub mod splice_bench;
pub mod supervise;
mod supervised;
pub mod umount;

use std::io::{self, ErrorKind, Write};

/// Writes to stdout; false when nobody reads it any more ("| head"), which is no failure.
fn print(text: &str) -> io::Result<bool> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        result => result.map(|()| true),
    }
}

//! What the subcommands do, one file each. The command line is [`crate::cli`]'s.

pub mod crash_test;
pub mod doctor;
pub mod mount;
mod serve;
pub mod supervise;
mod supervised;
pub mod umount;

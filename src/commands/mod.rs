//! What the subcommands do, one file each. The command line is [`crate::cli`]'s.

pub mod mount;
pub mod umount;

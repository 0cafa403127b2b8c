//! `fusex umount`.

use std::path::PathBuf;

use crate::exit::EXIT_STATUS;

/// Take a FUSE mount away
///
/// Works for every FUSE mount, not only those of fusex, and when its server is dead. Without
/// privilege it is done by fusermount3, which lets a user unmount what is his own.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXIT_STATUS)]
pub struct UmountArgs {
    /// Where it is mounted
    pub mountpoint: PathBuf,

    /// Take it out of the tree now, even if it is in use; it ends with its last use
    #[arg(short, long)]
    pub lazy: bool,
}

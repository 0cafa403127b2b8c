//! `fusex umount`.

use crate::cli::umount::UmountArgs;

/// Unmounts one FUSE mount.
///
/// # Errors
/// See [`crate::mount::unmount`].
pub fn run(args: &UmountArgs) -> anyhow::Result<()> {
    crate::mount::unmount(&args.mountpoint, args.lazy)?;
    tracing::info!(mountpoint = %args.mountpoint.display(), "unmounted");
    Ok(())
}

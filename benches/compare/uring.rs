//! FUSE over io_uring is off until root allows it: for the whole machine, by a switch of the
//! module. It is put back as it was.

use anyhow::Context;

/// Linux 6.14.
const SWITCH: &str = "/sys/module/fuse/parameters/enable_uring";

/// While this lives, mounts may ask for io_uring.
pub(crate) struct Uring {
    before: String,
}

impl Uring {
    /// # Errors
    /// Where the kernel does not have it, or does not let this process switch it.
    pub(crate) fn allow() -> anyhow::Result<Uring> {
        let before =
            std::fs::read_to_string(SWITCH).with_context(|| format!("reading {SWITCH}"))?;
        if before.trim() != "Y" {
            std::fs::write(SWITCH, "Y").with_context(|| format!("writing Y to {SWITCH}"))?;
        }
        Ok(Uring { before })
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        if self.before.trim() == "Y" {
            return;
        }
        if let Err(error) = std::fs::write(SWITCH, &self.before) {
            eprintln!("compare: {SWITCH} stays Y: {error}");
        }
    }
}

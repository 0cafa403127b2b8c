//! Exit codes: those of mount(8), so that scripts and fstab can rely on them.

use std::process::ExitCode;

use crate::mount::MountError;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It worked.
    Success = 0,
    /// Incorrect invocation, a bad option, or no permission.
    Usage = 1,
    /// A system error: no memory, no process, a system call that must not fail.
    System = 2,
    /// A fault of fusex itself.
    Internal = 4,
    /// Interrupted by the user.
    Interrupted = 8,
    /// The mount table could not be written or locked (kept for mount(8); fusex has none).
    Mtab = 16,
    /// The mount or the unmount failed.
    Mount = 32,
    /// Some of several mounts succeeded.
    Partly = 64,
}

/// The section of the manual pages and of `--help` that lists the codes fusex uses.
pub const EXIT_STATUS: &str = "\
Exit status:
  0   success
  1   incorrect invocation, a bad option, or no permission
  2   system error (no memory, no more processes)
  4   a fault of fusex itself
  8   interrupted by the user
  32  the mount or the unmount failed";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

impl Exit {
    /// The code that a child process ended with.
    pub fn from_code(code: i32) -> Exit {
        let known = [
            Exit::Success,
            Exit::Usage,
            Exit::System,
            Exit::Internal,
            Exit::Interrupted,
            Exit::Mtab,
            Exit::Mount,
            Exit::Partly,
        ];
        known.into_iter().find(|exit| *exit as i32 == code).unwrap_or(Exit::Internal)
    }

    /// The code for an error that ended the program: what the first [`MountError`] or
    /// [`Failure`] in its chain says, otherwise [`Exit::Mount`].
    pub fn of(error: &anyhow::Error) -> Exit {
        error
            .chain()
            .find_map(|cause| {
                let failure = cause.downcast_ref::<Failure>().map(|failure| failure.exit);
                failure.or_else(|| cause.downcast_ref::<MountError>().map(MountError::exit))
            })
            .unwrap_or(Exit::Mount)
    }
}

/// An error with its exit code, for what is not a [`MountError`].
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What the program ends with.
    pub exit: Exit,
    /// One line: the object, what is wrong, and the cure.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn the_first_error_that_knows_its_code_decides() {
        let failure = Failure { exit: Exit::System, message: "no memory".into() };
        let wrapped = anyhow::Error::new(failure).context("outer");
        assert_eq!(Exit::of(&wrapped), Exit::System);
        assert_eq!(format!("{wrapped:#}"), "outer: no memory");

        let mount: anyhow::Result<()> = Err(MountError::NoSource).context("outer");
        assert_eq!(Exit::of(&mount.unwrap_err()), Exit::Usage);
        assert_eq!(Exit::of(&anyhow::anyhow!("anything else")), Exit::Mount);
    }
}

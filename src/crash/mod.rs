//! `fusex crash-test`: proof by crashing.
//!
//! | file | what |
//! | --- | --- |
//! | `target` | the mount under test, and who serves it |
//! | `pieces` | what a mount of pieces is made of |
//! | `matrix` | every operation, killed at every point |
//! | `storm` | deaths at random moments |
//! | `workload` | what uses the mount meanwhile, and checks every answer |
//! | `replay` | a failed storm, run again and made smaller |
//! | `faults` | hangs, poison, lack of memory, core dumps |
//! | `report` | what is found |
//!
//! Every run has a [`target::Target`] and comes to a report of [`report`]. What is printed of it is
//! the matter of [`output`](crate::output).

pub mod faults;
pub mod matrix;
pub mod pieces;
pub mod replay;
pub mod report;
pub mod storm;
pub mod target;
pub mod workload;

use crate::Errno;

/// Why a crash test could not be run. What it finds is no error but an anomaly.
#[derive(Debug, thiserror::Error)]
pub enum CrashError {
    /// This machine or user cannot do it: exit code 77.
    #[error("{0}")]
    Unsupported(String),
    /// A system call.
    #[error("{what}: {}", .errno.desc())]
    System {
        /// The call, and what it was about.
        what: String,
        /// Why.
        errno: Errno,
    },
    /// Anything else that is in the way: one line, what is wrong and the cure.
    #[error("{0}")]
    Failed(String),
}

impl CrashError {
    /// For `map_err`: a call that failed, on what.
    pub fn system(what: impl Into<String>) -> impl FnOnce(Errno) -> CrashError {
        let what = what.into();
        move |errno| CrashError::System { what, errno }
    }

    /// The same for the standard library's errors.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> CrashError {
        let what = what.into();
        move |error| match error.raw_os_error() {
            Some(number) => CrashError::System { what, errno: Errno::from_raw(number) },
            None => CrashError::Failed(format!("{what}: {error}")),
        }
    }
}

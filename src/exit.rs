//! Exit codes: those of mount(8), so that scripts and fstab can rely on them. `fusex crash-test`,
//! `fusex bpf-stats` and `fusex splice-bench`, which scripts use as a test, have their own.

use std::process::ExitCode;

use crate::crash::CrashError;
use crate::mount::MountError;
use crate::splicing::BenchError;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It worked.
    Success,
    /// Incorrect invocation, a bad option, or no permission.
    Usage,
    /// A system error: no memory, no process, a system call that must not fail.
    System,
    /// A fault of fusex itself.
    Internal,
    /// Interrupted by the user.
    Interrupted,
    /// The mount table could not be written or locked (kept for mount(8); fusex has none).
    Mtab,
    /// The mount or the unmount failed.
    Mount,
    /// Some of several mounts succeeded.
    Partly,
    /// A crash test found something, `bpf-stats --once --stuck` a request, or `splice-bench` a wrong
    /// byte.
    Anomaly,
    /// A crash test or a measurement was not made: incorrect invocation, or something is in the
    /// way.
    Untested,
    /// A crash test was not run: this machine or user cannot do it.
    Unsupported,
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

/// The same of `fusex crash-test`.
pub const CRASH_TEST_STATUS: &str = "\
Exit status:
  0   no anomaly
  1   an anomaly, or a cell of the matrix that is wrong or not reached
  2   incorrect invocation, or the test could not be run
  77  no privilege or no kernel support: nothing was tested";

/// The same of `fusex bpf-load`.
pub const BPF_LOAD_STATUS: &str = "\
Exit status:
  0   success
  1   incorrect invocation, or no such mount
  2   this kernel or this mount cannot do it, or nothing is loaded";

/// The same of `fusex bpf-stats`.
pub const BPF_STATS_STATUS: &str = "\
Exit status:
  0   success, also when interrupted or with less than is wished for
  1   with --once --stuck: a request is stuck
  2   incorrect invocation, or nothing could be measured or written";

/// The same of `fusex splice-bench`.
pub const SPLICE_BENCH_STATUS: &str = "\
Exit status:
  0   measured, and every byte was right
  1   a wrong byte has arrived
  2   incorrect invocation, or it could not be measured";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

impl Exit {
    /// What the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Usage | Exit::Anomaly => 1,
            Exit::System | Exit::Untested => 2,
            Exit::Internal => 4,
            Exit::Interrupted => 8,
            Exit::Mtab => 16,
            Exit::Mount => 32,
            Exit::Partly => 64,
            Exit::Unsupported => 77,
        }
    }

    /// The code that a child process, one that serves a mount, ended with.
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
        known.into_iter().find(|exit| i32::from(exit.code()) == code).unwrap_or(Exit::Internal)
    }

    /// The code for an error that ended the program: what the first [`MountError`],
    /// [`CrashError`], [`BenchError`] or [`Failure`] in its chain says, otherwise [`Exit::Mount`].
    pub fn of(error: &anyhow::Error) -> Exit {
        error
            .chain()
            .find_map(|cause| {
                let failure = cause.downcast_ref::<Failure>().map(|failure| failure.exit);
                let failure = failure.or_else(|| cause.downcast_ref().map(MountError::exit));
                let failure = failure.or_else(|| cause.downcast_ref().map(of_crash_test));
                failure.or_else(|| cause.downcast_ref().map(of_bench))
            })
            .unwrap_or(Exit::Mount)
    }
}

fn of_crash_test(error: &CrashError) -> Exit {
    match error {
        CrashError::Unsupported(_) => Exit::Unsupported,
        CrashError::System { .. } | CrashError::Failed(_) => Exit::Untested,
    }
}

fn of_bench(error: &BenchError) -> Exit {
    match error {
        BenchError::Wrong(_) => Exit::Anomaly,
        BenchError::System { .. } | BenchError::Failed(_) => Exit::Untested,
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

        let crash = |error: CrashError| Exit::of(&anyhow::Error::new(error).context("outer"));
        assert_eq!(crash(CrashError::Unsupported("not root".into())), Exit::Unsupported);
        assert_eq!(crash(CrashError::Failed("no".into())), Exit::Untested);

        let bench = |error: BenchError| Exit::of(&anyhow::Error::new(error).context("outer"));
        assert_eq!(bench(BenchError::Wrong("at 7".into())), Exit::Anomaly);
        assert_eq!(bench(BenchError::Failed("no".into())), Exit::Untested);
    }

    #[test]
    fn codes_of_children() {
        let expected =
            [(0, Exit::Success), (2, Exit::System), (32, Exit::Mount), (77, Exit::Internal)];
        for (code, exit) in expected {
            assert_eq!(Exit::from_code(code), exit, "{code}");
        }
        assert_eq!([Exit::Anomaly, Exit::Untested, Exit::Unsupported].map(Exit::code), [1, 2, 77]);
    }
}

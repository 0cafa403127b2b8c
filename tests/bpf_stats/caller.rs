//! Processes that call into a mount, each known by its pid.

use std::ffi::OsStr;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{SOON, wait_until};

/// A program that calls, and may hang in a call.
pub(crate) struct Caller(Child);

impl Caller {
    /// `stat` of these paths, one after the other: of each that is not there one LOOKUP.
    pub(crate) fn stat(paths: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Caller {
        Caller::run(Command::new("stat").args(paths))
    }

    /// Any program; what it prints is not looked at.
    pub(crate) fn run(command: &mut Command) -> Caller {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Caller(command.spawn().unwrap())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// SIGKILL.
    pub(crate) fn kill(&self) {
        kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGKILL).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) {
        assert!(wait_until(SOON, || self.0.try_wait().unwrap().is_some()), "a caller hangs");
    }

    /// Whether it is still in its calls.
    pub(crate) fn hangs(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        // One that hangs in a server that has stopped ends when the mount goes.
        let _ = self.0.kill();
        let _ = self.0.try_wait();
    }
}

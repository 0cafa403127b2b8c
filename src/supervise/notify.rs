//! What the service manager is told, and the descriptors that it keeps.
//!
//! The protocol is sd_notify(3): datagrams to the socket that `NOTIFY_SOCKET` names. Descriptors
//! given to [`Notifier::store`] outlive all processes of the service; the next start gets them
//! back by [`stored`]. systemd drops those that report an error to poll(2), which /dev/fuse does
//! once the mount is gone; a memfd stays until [`Notifier::forget`].
//!
//! Without a service manager nothing is sent. What cannot be sent is no reason to stop serving: it
//! is logged, the first time. A socket in the abstract namespace (`@name`) is not reached; systemd
//! uses a path. Each message is sent by a socket of its own, open for the moment.
//!
//! The environment is read by the process that the manager started. A standby keeps in memory what
//! was found there, and the manager must take messages from all processes (NotifyAccess=all).

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::sys::Fd;

/// The way to the service manager, if there is one.
#[derive(Debug, Default)]
pub struct Notifier {
    present: bool,
    watchdog: Option<Duration>,
    failed: AtomicBool,
}

impl Notifier {
    /// Whether there is a service manager.
    pub fn is_present(&self) -> bool {
        self.present
    }

    /// As the environment says, in the process that the manager started: the watchdog is for its
    /// process id.
    pub fn from_env() -> Notifier {
        let present = std::env::var_os("NOTIFY_SOCKET").is_some_and(|path| !path.is_empty());
        let watchdog = if present { sd_notify::watchdog_enabled() } else { None };
        Notifier { present, watchdog, failed: AtomicBool::new(false) }
    }

    /// The mount can be used.
    pub fn ready(&self, status: &str) {
        self.send(&[NotifyState::Ready, NotifyState::Status(&one_line(status))], &[]);
    }

    /// One line for `systemctl status`.
    pub fn status(&self, status: &str) {
        self.send(&[NotifyState::Status(&one_line(status))], &[]);
    }

    /// How often [`Notifier::watchdog`] has to be called: half the time after which the manager
    /// takes the service for dead. `None`: never.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 2)
    }

    /// The supervisor is alive.
    pub fn watchdog(&self) {
        if self.watchdog.is_some() {
            self.send(&[NotifyState::Watchdog], &[]);
        }
    }

    /// `pid` is the supervisor now.
    pub fn main_pid(&self, pid: u32) {
        self.send(&[NotifyState::MainPid(pid)], &[]);
    }

    /// Gives the manager a copy of `fd` to keep. `name` has no colon and no control character.
    pub fn store(&self, name: &str, fd: Fd) {
        self.send(&[NotifyState::FdStore, NotifyState::FdName(name)], &[fd.as_fd()]);
    }

    /// Has the manager close what is stored under `name`.
    pub fn forget(&self, name: &str) {
        self.send(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)], &[]);
    }

    /// The mount is being taken away.
    pub fn stopping(&self) {
        self.send(&[NotifyState::Stopping], &[]);
    }

    fn send(&self, message: &[NotifyState<'_>], fds: &[BorrowedFd<'_>]) {
        if !self.present {
            return;
        }
        let sent = match fds {
            // Empty control data is not the same as none.
            [] => sd_notify::notify(message),
            fds => sd_notify::notify_with_fds(message, fds),
        };
        if let Err(error) = sent
            && !self.failed.swap(true, Ordering::Relaxed)
        {
            tracing::warn!("NOTIFY_SOCKET: {error}: the service manager knows less of the mount");
        }
    }
}

/// A message is lines; a status with several would be read as further messages.
fn one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

/// The descriptors that the manager kept for this service, with their names, close-on-exec. None
/// for a process that it did not start itself.
pub fn stored() -> Vec<(String, Fd)> {
    match sd_notify::listen_fds_with_names() {
        Ok(fds) => fds.map(|(number, name)| (name, Fd::from_number(number))).collect(),
        Err(error) => {
            tracing::warn!("LISTEN_FDS: {error}: what the service manager kept is not used");
            Vec::new()
        }
    }
}

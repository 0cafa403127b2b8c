//! What one program hands to the next: a new version that takes its place by exec(2), or one that
//! a service manager starts with what it has stored.
//!
//! *Upgrade*: the supervisor ends its worker, keeps every descriptor open over exec, and says in
//! the environment (`FUSEX_HANDOVER`) which is which. The process id stays, and so do the standbys,
//! who run the old program with the old fd table: if the new one ends before it has understood
//! the arena, the standby takes its place, and the mount goes on with the old version.
//!
//! *Stored*: all processes were gone, and only /dev/fuse and the arena are left.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::unistd::alarm;
use serde::{Deserialize, Serialize};

use super::notify;
use super::protocol::{Answer, line};
use crate::recovery::arena::Origin;
use crate::recovery::fds::{FIRST, Fds};
use crate::recovery::points::{self, Point};
use crate::sys::Fd;

/// Where the new program finds what it is given: one JSON object.
const VARIABLE: &str = "FUSEX_HANDOVER";
/// Seconds after which a new version that has not taken over is ended by SIGALRM: an alarm stays over
/// exec(2), and the standby takes the place of who dies of it.
const LIMIT: u32 = 10;
/// Names of what a service manager stores.
pub const STORED_ARENA: &str = "fusex-arena";
/// See [`STORED_ARENA`].
pub const STORED_DEVICE: &str = "fusex-device";

/// What is handed over, by number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// The arena's memfd.
    pub arena: i32,
    /// The mount's /dev/fuse.
    pub device: i32,
    /// What is served, absolute.
    pub source: Option<PathBuf>,
    /// Where it is mounted, absolute.
    pub mount_point: Option<PathBuf>,
    /// Who waits for the upgrade.
    pub client: Option<i32>,
    /// Whether all processes were gone.
    #[serde(skip)]
    pub stored: bool,
}

impl Handover {
    /// What this process was given. `None`: it begins anew. The error is one line.
    pub fn take() -> Result<Option<Handover>, String> {
        if let Some(text) = std::env::var_os(VARIABLE) {
            let given = serde_json::from_slice(text.as_bytes());
            return given.map(Some).map_err(|error| format!("{VARIABLE}: {error}"));
        }
        let stored = notify::stored();
        let find = |name| stored.iter().find(|(given, _)| given == name).map(|(_, fd)| *fd);
        let (Some(arena), Some(device)) = (find(STORED_ARENA), find(STORED_DEVICE)) else {
            return Ok(None);
        };
        let (arena, device) = (arena.number(), device.number());
        let (source, mount_point, client, stored) = (None, None, None, true);
        Ok(Some(Handover { arena, device, source, mount_point, client, stored }))
    }

    /// Where its arena comes from.
    pub fn origin(&self) -> Origin {
        if self.stored { Origin::Stored } else { Origin::Inherited }
    }

    /// Tells whoever waits for the upgrade that it failed.
    pub fn refuse(&self, error: &str) {
        let Some(client) = self.client else { return };
        let answer = line(&Answer::Error(format!("upgrade: {error}: the old version goes on")));
        // It may be gone.
        let _ = nix::unistd::write(Fd::from_number(client), &answer);
    }

    /// Replaces the running program by the one that is installed in its place now. Returns only
    /// when that fails, with the reason.
    pub fn exec(&self, fds: Fds) -> String {
        let program = match std::fs::read_link("/proc/self/exe") {
            Ok(path) => path.into_os_string(),
            Err(error) => return format!("/proc/self/exe: {error}"),
        };
        // What was replaced has this behind its name.
        let name = program.as_bytes();
        let name = name.strip_suffix(b" (deleted)").unwrap_or(name);
        let given = match serde_json::to_string(self) {
            Ok(given) => format!("{VARIABLE}={given}"),
            Err(error) => return format!("the paths of the mount: {error}"),
        };
        let others = std::env::vars_os().filter(|(name, _)| name != VARIABLE);
        let others = others.map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
        let environment = strings(others.chain([given.into_bytes()]));
        let arguments = strings(std::env::args_os().map(|argument| argument.as_bytes().to_vec()));
        let Ok(path) = CString::new(name) else { return "/proc/self/exe: has a NUL".into() };
        keep_over_exec(fds, FdFlag::empty());
        alarm::set(LIMIT);
        points::reach(Point::Executing);
        let failed = nix::unistd::execve(&path, &arguments, &environment).err();
        alarm::cancel();
        keep_over_exec(fds, FdFlag::FD_CLOEXEC);
        let why = failed.map_or("failed", |errno| errno.desc());
        format!("{}: {why}", path.to_string_lossy())
    }
}

/// None of them has a NUL: they come from the kernel.
fn strings(all: impl Iterator<Item = Vec<u8>>) -> Vec<CString> {
    all.filter_map(|bytes| CString::new(bytes).ok()).collect()
}

/// Whether the descriptors of the mount stay open over exec(2).
fn keep_over_exec(fds: Fds, flag: FdFlag) {
    for fd in (3..FIRST).map(Fd::from_number).chain(fds.iter()) {
        // EBADF: nothing is there.
        let _ = fcntl(fd, FcntlArg::F_SETFD(flag));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_survives_the_environment() {
        let handover = Handover {
            arena: 5,
            device: 6,
            source: Some("/srv/a b".into()),
            mount_point: Some("/mnt".into()),
            client: Some(50),
            stored: false,
        };
        let text = serde_json::to_string(&handover).unwrap();
        assert_eq!(serde_json::from_str::<Handover>(&text).unwrap(), handover);
        assert!(serde_json::from_str::<Handover>("{\"arena\":1}").is_err());
    }
}

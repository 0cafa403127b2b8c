//! What the program says when something is not as the model has it.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::time::{Duration, SystemTime};

use nix::sys::stat::FileStat;

use super::abilities::Ability;
use super::model::{Changed, Id, Kind, Model};
use crate::crash::report::Anomaly;

/// How many of a thread's last operations are told.
const TOLD: usize = 20;
/// How far the clock of time stamps may lag behind the other.
const LAG: Duration = Duration::from_millis(50);

/// Something else than expected.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) got: String,
    pub(crate) expected: String,
}

pub(crate) type Checked<T = ()> = Result<T, Wrong>;

pub(crate) fn wrong<T>(got: impl Debug, expected: impl Debug) -> Checked<T> {
    Err(Wrong { got: format!("{got:?}"), expected: format!("{expected:?}") })
}

/// Both the same, or the difference.
pub(crate) fn same<T: PartialEq + Debug>(got: T, expected: T) -> Checked {
    if got == expected { Ok(()) } else { wrong(got, expected) }
}

/// The same bytes, or the first that differs.
pub(crate) fn same_bytes(got: &[u8], expected: &[u8]) -> Checked {
    if got == expected {
        return Ok(());
    }
    let equal = got.iter().zip(expected).take_while(|(a, b)| a == b).count();
    let tell = |bytes: &[u8]| {
        let some = &bytes[equal..bytes.len().min(equal + 16)];
        format!("{} bytes, from {equal} on {some:02x?}", bytes.len())
    };
    Err(Wrong { got: tell(got), expected: tell(expected) })
}

/// What a call that has to succeed gave.
pub(crate) fn fine<T, E: Debug>(got: Result<T, E>) -> Checked<T> {
    got.or_else(|error| wrong(error, "success"))
}

/// The attributes of a node, but for its times.
pub(crate) fn same_stat(got: &FileStat, model: &Model, id: Id) -> Checked {
    let node = model.get(id);
    let kind = match node.kind {
        Kind::File(_) => libc::S_IFREG,
        Kind::Dir(..) => libc::S_IFDIR,
        Kind::Symlink(_) => libc::S_IFLNK,
        Kind::Fifo => libc::S_IFIFO,
    };
    let named = |what: &str, value: u64| format!("{what} {value}");
    match model.can(Ability::Modes) {
        true => same(format!("mode {:o}", got.st_mode), format!("mode {:o}", kind | node.mode))?,
        false => same(format!("kind {:o}", got.st_mode & libc::S_IFMT), format!("kind {kind:o}"))?,
    }
    if model.can(Ability::Owners) {
        same(named("uid", got.st_uid.into()), named("uid", node.uid.into()))?;
        same(named("gid", got.st_gid.into()), named("gid", node.gid.into()))?;
    }
    if let Some(size) = model.size(id) {
        same(named("size", got.st_size as u64), named("size", size as u64))?;
    }
    if !node.shared && (!node.is_dir() || model.can(Ability::DirLinks)) {
        same(named("nlink", got.st_nlink), named("nlink", model.nlink(id)))?;
    }
    Ok(())
}

/// The time of last change, as far as it is known.
pub(crate) fn same_mtime(got: &FileStat, model: &Model, id: Id) -> Checked {
    match model.get(id).mtime {
        _ if model.get(id).shared => Ok(()),
        Changed::Exactly(seconds, nanoseconds) => {
            let expected = model.abilities().as_kept((seconds, nanoseconds));
            same(("mtime", (got.st_mtime, got.st_mtime_nsec)), ("mtime", expected))
        }
        Changed::Between(..) if !model.can(Ability::Clock) => Ok(()),
        Changed::Between(start, end) => {
            let since = Duration::new(got.st_mtime as u64, got.st_mtime_nsec as u32);
            let seen = SystemTime::UNIX_EPOCH + since;
            let early = LAG + model.abilities().grain;
            match (start - early..=end + LAG).contains(&seen) {
                true => Ok(()),
                false => wrong(("mtime", seen), (start, end)),
            }
        }
        Changed::Perhaps => Ok(()),
    }
}

/// The last operations of a thread.
#[derive(Default)]
pub(crate) struct Log {
    last: VecDeque<String>,
    path: String,
    /// How many there were.
    pub(crate) count: u64,
}

impl Log {
    /// Notes one that begins now.
    pub(crate) fn begin(&mut self, path: String, operation: String) {
        if self.last.len() == TOLD {
            self.last.pop_front();
        }
        self.count += 1;
        self.path = path;
        self.last.push_back(operation);
    }

    /// What went wrong in the last one.
    pub(crate) fn anomaly(&self, wrong: Wrong, generation: Option<u64>) -> Anomaly {
        let before = self.last.iter().take(self.last.len().saturating_sub(1)).cloned().collect();
        let operation = self.last.back().cloned().unwrap_or_default();
        let Wrong { got, expected } = wrong;
        Anomaly { operation, path: self.path.clone(), expected, got, generation, before }
    }
}

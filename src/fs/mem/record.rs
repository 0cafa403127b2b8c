//! What the arena holds of the file system: the records of nodes and of names.
//!
//! They are the truth; everything else (`cache`, `space`) is found again from them. Their layout is
//! part of the arena's format.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::dir::Target;
use crate::sys::Fd;
use crate::wire::Timestamp;
use crate::wire::ops::{SetTime, Setattr};

/// The longest name in bytes.
pub(super) const NAME_MAX: usize = 255;
/// Symlink targets up to this long are in the record; longer ones take a descriptor.
pub(super) const INLINE: usize = 120;
/// An access time is moved again after this, even if nothing was written (relatime).
const ATIME_AGE: i64 = 24 * 60 * 60;

/// In [`NodeRecord::flags`]: made without a name, and may be given one.
pub(super) const LINKABLE: u32 = 1;
/// In [`NodeRecord::flags`]: has file capabilities (`security.capability`).
pub(super) const CAPABILITY: u32 = 2;

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Time {
    secs: i64,
    nanos: u64,
}

impl From<Timestamp> for Time {
    fn from(time: Timestamp) -> Time {
        Time { secs: time.secs, nanos: u64::from(time.nanos) }
    }
}

impl Time {
    pub(super) fn get(self) -> Timestamp {
        Timestamp { secs: self.secs, nanos: self.nanos as u32 }
    }
}

/// One node.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct NodeRecord {
    /// How often the kernel was given this node and has not forgotten it.
    pub(super) lookups: u64,
    /// Of a directory: the one that holds it; the root holds itself.
    pub(super) parent: u64,
    /// Of a directory: the cookie that the next new name gets.
    pub(super) next: u64,
    pub(super) atime: Time,
    pub(super) mtime: Time,
    pub(super) ctime: Time,
    pub(super) btime: Time,
    /// Type and permissions. The type never changes.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// As the kernel encodes it.
    pub(super) rdev: u32,
    pub(super) nlink: u32,
    pub(super) flags: u32,
    /// The memfd of the contents or of a long target: its number plus 1; 0: there is none.
    content: u32,
    /// That of the extended attributes.
    xattrs: u32,
    /// Bytes charged for them.
    pub(super) xattr_bytes: u64,
    /// Of a symlink: the target's length.
    pub(super) target_length: u64,
    pub(super) target: [u8; INLINE],
}

fn numbered(fd: Option<Fd>) -> u32 {
    fd.map_or(0, |fd| fd.number().cast_unsigned() + 1)
}

fn descriptor(field: u32) -> Option<Fd> {
    let number = i32::try_from(field).ok().filter(|number| *number > 0)?;
    Some(Fd::from_number(number - 1))
}

impl NodeRecord {
    /// A node of type and permissions `mode`, made now, with neither name nor lookup: a takeover
    /// takes such a node for unused.
    pub(super) fn new(mode: u32, rdev: u32, uid: u32, gid: u32) -> NodeRecord {
        let now = now().into();
        NodeRecord {
            mode,
            uid,
            gid,
            rdev,
            next: super::dir::DOT_DOT + 1,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            ..NodeRecord::new_zeroed()
        }
    }

    pub(super) fn kind(&self) -> u32 {
        self.mode & libc::S_IFMT
    }

    pub(super) fn is_dir(&self) -> bool {
        self.kind() == libc::S_IFDIR
    }

    pub(super) fn content(&self) -> Option<Fd> {
        descriptor(self.content)
    }

    pub(super) fn set_content(&mut self, fd: Fd) {
        self.content = numbered(Some(fd));
    }

    pub(super) fn xattrs(&self) -> Option<Fd> {
        descriptor(self.xattrs)
    }

    pub(super) fn set_xattrs(&mut self, fd: Option<Fd>) {
        self.xattrs = numbered(fd);
    }

    /// Whether nothing names it and the kernel has forgotten it.
    pub(super) fn is_unused(&self) -> bool {
        self.nlink == 0 && self.lookups == 0
    }

    pub(super) fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn set_flag(&mut self, flag: u32, on: bool) {
        self.flags = if on { self.flags | flag } else { self.flags & !flag };
    }

    /// The data, or a directory's entries, changed.
    pub(super) fn modified(&mut self) {
        self.mtime = now().into();
        self.ctime = self.mtime;
    }

    /// The node changed, not its data.
    pub(super) fn changed(&mut self) {
        self.ctime = now().into();
    }

    /// Whether an access moves atime under the rules of relatime, the kernel's default.
    pub(super) fn wants_atime(&self) -> bool {
        let atime = self.atime.get();
        let old = atime <= self.mtime.get() || atime <= self.ctime.get();
        old || now().secs - atime.secs >= ATIME_AGE
    }

    /// Takes suid away, and sgid where it means "run as the group" and not a lock mode.
    fn kill_suidgid(&mut self) {
        if self.is_dir() {
            return;
        }
        self.mode &= !libc::S_ISUID;
        if self.mode & libc::S_IXGRP != 0 {
            self.mode &= !libc::S_ISGID;
        }
    }

    /// With a change of the data: capabilities go always, suid and sgid where `kill` says
    /// that the caller may not keep them.
    pub(super) fn drop_privileges(&mut self, kill: bool) {
        self.set_flag(CAPABILITY, false);
        if kill {
            self.kill_suidgid();
        }
    }

    /// SETATTR, all but the size. `kill` as in [`NodeRecord::drop_privileges`].
    pub(super) fn set(&mut self, op: &Setattr, kill: bool) {
        if op.uid.is_some() || op.gid.is_some() {
            self.drop_privileges(true);
        } else if kill {
            self.kill_suidgid();
        }
        self.uid = op.uid.unwrap_or(self.uid);
        self.gid = op.gid.unwrap_or(self.gid);
        if let Some(mode) = op.mode {
            self.mode = self.kind() | mode & 0o7777;
        }
        let now = now();
        if let Some(atime) = op.atime {
            self.atime = resolve(atime, now).into();
        }
        if let Some(mtime) = op.mtime {
            self.mtime = resolve(mtime, now).into();
        }
        self.ctime = op.ctime.unwrap_or(now).into();
    }
}

/// The time of day.
pub(super) fn now() -> Timestamp {
    let since: Duration = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp { secs: since.as_secs() as i64, nanos: since.subsec_nanos() }
}

fn resolve(time: SetTime, now: Timestamp) -> Timestamp {
    match time {
        SetTime::Now => now,
        SetTime::At(at) => at,
    }
}

/// One name in a directory.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct NameRecord {
    /// The directory; 0: the name is not in use.
    pub(super) parent: u64,
    /// Its offset for readdir: see `dir`.
    pub(super) cookie: u64,
    node: u64,
    kind: u32,
    length: u32,
    name: [u8; NAME_MAX + 1],
}

impl NameRecord {
    /// A name that is not in use.
    pub(super) fn unused() -> NameRecord {
        NameRecord::new_zeroed()
    }

    /// `name` has at most [`NAME_MAX`] bytes.
    pub(super) fn new(parent: u64, cookie: u64, name: &[u8], target: Target) -> NameRecord {
        let mut record = NameRecord { parent, cookie, ..NameRecord::unused() };
        let length = name.len().min(NAME_MAX);
        record.name[..length].copy_from_slice(&name[..length]);
        record.length = length as u32;
        (record.node, record.kind) = (target.node, target.kind);
        record
    }

    pub(super) fn name(&self) -> &[u8] {
        &self.name[..(self.length as usize).min(NAME_MAX)]
    }

    pub(super) fn target(&self) -> Target {
        Target { node: self.node, kind: self.kind }
    }
}

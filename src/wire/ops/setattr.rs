//! SETATTR: chmod, chown, truncate, utimes.

use crate::wire::abi::fuse_setattr_in;
use crate::wire::flags::SetattrValid;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, FileHandle, LockOwner, Protocol, Timestamp};

/// Changes what is `Some`; answered with the new attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setattr {
    /// As the kernel sent it, FATTR_KILL_SUIDGID included.
    pub valid: SetattrValid,
    /// The open file through which ftruncate(2) and the like came.
    pub fh: Option<FileHandle>,
    /// Who truncates, for mandatory locks.
    pub lock_owner: Option<LockOwner>,
    /// Permissions; the type bits are those of the node.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Bytes.
    pub size: Option<u64>,
    /// Last access.
    pub atime: Option<SetTime>,
    /// Last change of the data.
    pub mtime: Option<SetTime>,
    /// Last change of the node; only under writeback cache.
    pub ctime: Option<Timestamp>,
}

impl Setattr {
    pub(crate) fn decode(r: &mut Reader<'_>, _p: &Protocol) -> Result<Self, DecodeError> {
        let raw: fuse_setattr_in = r.take()?;
        let valid = SetattrValid::from_bits_retain(raw.valid);
        let has = |bit| valid.contains(bit);
        let time = |set, now, secs, nanos| match (has(now), has(set)) {
            (true, _) => Some(SetTime::Now),
            (false, true) => Some(SetTime::At(Timestamp::from_wire(secs, nanos))),
            (false, false) => None,
        };
        let (atime, atime_now) = (SetattrValid::FATTR_ATIME, SetattrValid::FATTR_ATIME_NOW);
        let (mtime, mtime_now) = (SetattrValid::FATTR_MTIME, SetattrValid::FATTR_MTIME_NOW);
        let ctime = Timestamp::from_wire(raw.ctime, raw.ctimensec);
        Ok(Self {
            valid,
            fh: has(SetattrValid::FATTR_FH).then_some(FileHandle(raw.fh)),
            lock_owner: has(SetattrValid::FATTR_LOCKOWNER).then_some(LockOwner(raw.lock_owner)),
            mode: has(SetattrValid::FATTR_MODE).then_some(raw.mode),
            uid: has(SetattrValid::FATTR_UID).then_some(raw.uid),
            gid: has(SetattrValid::FATTR_GID).then_some(raw.gid),
            size: has(SetattrValid::FATTR_SIZE).then_some(raw.size),
            atime: time(atime, atime_now, raw.atime, raw.atimensec),
            mtime: time(mtime, mtime_now, raw.mtime, raw.mtimensec),
            ctime: has(SetattrValid::FATTR_CTIME).then_some(ctime),
        })
    }
}

/// A time to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetTime {
    /// The time at which the file system carries the request out.
    Now,
    /// This time.
    At(Timestamp),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Operation;
    use crate::wire::ops::testing::operation;
    use crate::wire::testing::fixture;

    #[test]
    fn fixture_decodes() {
        let bytes = fixture("setattr");
        let expected = Setattr {
            valid: SetattrValid::from_bits_retain(0x77f),
            fh: Some(FileHandle(9)),
            lock_owner: Some(LockOwner(0xabcd)),
            mode: Some(0o100640),
            uid: Some(1001),
            gid: Some(1002),
            size: Some(4096),
            atime: Some(SetTime::At(Timestamp { secs: -2, nanos: 11 })),
            mtime: Some(SetTime::Now),
            ctime: Some(Timestamp { secs: 300, nanos: 33 }),
        };
        assert_eq!(operation(&bytes), Operation::Setattr(expected));
    }

    #[test]
    fn nothing_valid_changes_nothing() {
        let mut bytes = fixture("setattr");
        bytes[40..44].fill(0);
        let expected = Setattr {
            valid: SetattrValid::empty(),
            fh: None,
            lock_owner: None,
            mode: None,
            uid: None,
            gid: None,
            size: None,
            atime: None,
            mtime: None,
            ctime: None,
        };
        assert_eq!(operation(&bytes), Operation::Setattr(expected));
    }
    #[test]
    fn now_and_a_given_time_are_told_apart() {
        let mut bytes = fixture("setattr");
        let valid =
            SetattrValid::FATTR_ATIME | SetattrValid::FATTR_ATIME_NOW | SetattrValid::FATTR_MTIME;
        bytes[40..44].copy_from_slice(&valid.bits().to_ne_bytes());
        let Operation::Setattr(found) = operation(&bytes) else { panic!("another operation") };
        let mtime = SetTime::At(Timestamp { secs: 200, nanos: 22 });
        assert_eq!((found.atime, found.mtime), (Some(SetTime::Now), Some(mtime)));
    }
}

//! What makes, moves and removes names.

use super::{Asked, Found, Identity, Verdict};

/// MKDIR: `found` is what the name stands for now.
pub fn mkdir(asked: &Asked, found: Option<&Found>) -> Verdict {
    made(asked, libc::S_IFDIR, found)
}

/// MKNOD of `mode` (without a type: a regular file) and, for devices, `rdev`.
pub fn mknod(asked: &Asked, mode: u32, rdev: u32, found: Option<&Found>) -> Verdict {
    let kind = match mode & libc::S_IFMT {
        0 => libc::S_IFREG,
        kind => kind,
    };
    let is_device = matches!(kind, libc::S_IFCHR | libc::S_IFBLK);
    match found {
        Some(found) if is_device && found.rdev != rdev => Verdict::Again,
        _ => made(asked, kind, found),
    }
}

/// SYMLINK: `same_target` says whether what was found is a link to what was asked for.
pub fn symlink(asked: &Asked, same_target: bool, found: Option<&Found>) -> Verdict {
    if same_target { made(asked, libc::S_IFLNK, found) } else { Verdict::Again }
}

/// CREATE. Below it always makes a new file, whether the caller asked for O_EXCL or not.
pub fn create(asked: &Asked, found: Option<&Found>) -> Verdict {
    made(asked, libc::S_IFREG, found)
}

fn made(asked: &Asked, kind: u32, found: Option<&Found>) -> Verdict {
    Verdict::done_if(found.is_some_and(|found| found.kind() == kind && asked.made(found)))
}

/// UNLINK: whether the name is still there.
pub fn unlink(present: bool) -> Verdict {
    Verdict::done_if(!present)
}

/// RMDIR: whether the name is still there.
pub fn rmdir(present: bool) -> Verdict {
    Verdict::done_if(!present)
}

/// RENAME and RENAME2: `old` is what the old name stands for now, `before` what it stood for
/// (noted for RENAME_EXCHANGE and RENAME_WHITEOUT), `new_present` whether the new name is there.
///
/// Without flags both names may be left behind: they are links to one inode, and doing it again
/// changes nothing.
pub fn rename(
    flags: u32,
    before: Option<Identity>,
    old: Option<&Found>,
    new_present: bool,
) -> Verdict {
    let exchanges = flags & libc::RENAME_EXCHANGE != 0;
    let leaves_whiteout = flags & libc::RENAME_WHITEOUT != 0;
    let replaced = |old: &Found| before.is_some_and(|before| before != old.identity);
    Verdict::done_if(match old {
        Some(old) if exchanges => replaced(old),
        Some(old) if leaves_whiteout => replaced(old) && old.is_whiteout(),
        Some(_) => false,
        None => new_present && !exchanges && !leaves_whiteout,
    })
}

/// LINK of `inode`: `new` is what the new name stands for now.
pub fn link(inode: Identity, new: Option<Identity>) -> Verdict {
    Verdict::done_if(new == Some(inode))
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Again, Done};
    use super::*;
    use libc::{RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT};
    use std::time::Duration;

    const BEGAN: Duration = Duration::new(1_700_000_000, 123_456_789);

    fn asked() -> Asked {
        Asked { began: BEGAN, owners: Some([1000, 0]) }
    }

    fn identity(ino: u64) -> Identity {
        Identity { device: 1, ino }
    }

    /// Made by the request.
    fn found(mode: u32) -> Found {
        Found { identity: identity(5), mode, uid: 1000, rdev: 0, born: BEGAN }
    }

    /// All that one function may say of a new name of this type.
    fn new_names(kind: u32, decide: impl Fn(Option<&Found>) -> Verdict) {
        let made = found(kind | 0o750);
        assert_eq!(decide(Some(&made)), Done);
        assert_eq!(decide(None), Again, "not made yet");
        let older = Found { born: BEGAN - Duration::from_nanos(1), ..made };
        assert_eq!(decide(Some(&older)), Again, "there before");
        assert_eq!(decide(Some(&Found { uid: 1001, ..made })), Again, "somebody else's");
        for other in [libc::S_IFDIR, libc::S_IFREG, libc::S_IFLNK, libc::S_IFIFO] {
            if other != kind {
                assert_eq!(decide(Some(&Found { mode: other, ..made })), Again, "{other:o}");
            }
        }
    }

    #[test]
    fn new_names_are_recognised() {
        new_names(libc::S_IFDIR, |found| mkdir(&asked(), found));
        new_names(libc::S_IFREG, |found| create(&asked(), found));
        new_names(libc::S_IFREG, |found| mknod(&asked(), 0o644, 0, found));
        new_names(libc::S_IFSOCK, |found| mknod(&asked(), libc::S_IFSOCK | 0o644, 0, found));
        new_names(libc::S_IFLNK, |found| symlink(&asked(), true, found));
    }

    #[test]
    fn a_link_to_elsewhere_is_another_one() {
        assert_eq!(symlink(&asked(), false, Some(&found(libc::S_IFLNK))), Again);
    }

    #[test]
    fn a_device_has_its_number() {
        for kind in [libc::S_IFCHR, libc::S_IFBLK] {
            let device = Found { rdev: 0x0103, ..found(kind) };
            assert_eq!(mknod(&asked(), kind | 0o600, 0x0103, Some(&device)), Done);
            assert_eq!(mknod(&asked(), kind | 0o600, 0x0105, Some(&device)), Again);
        }
        // Others have none, whatever the request says.
        let fifo = found(libc::S_IFIFO);
        assert_eq!(mknod(&asked(), libc::S_IFIFO, 0x0103, Some(&fifo)), Done);
    }

    #[test]
    fn a_name_that_was_to_go_is_gone() {
        assert_eq!((unlink(false), unlink(true)), (Done, Again));
        assert_eq!((rmdir(false), rmdir(true)), (Done, Again));
    }

    #[test]
    fn a_plain_rename_leaves_the_new_name_only() {
        let there = found(libc::S_IFREG);
        for flags in [0, RENAME_NOREPLACE] {
            assert_eq!(rename(flags, None, None, true), Done);
            assert_eq!(rename(flags, None, Some(&there), true), Again);
            assert_eq!(rename(flags, None, Some(&there), false), Again);
            assert_eq!(rename(flags, None, None, false), Again, "there is nothing to rename");
        }
    }

    #[test]
    fn an_exchange_leaves_the_other_inode() {
        let old = found(libc::S_IFREG);
        let decide = |before| rename(RENAME_EXCHANGE, before, Some(&old), true);
        assert_eq!(decide(Some(identity(5))), Again);
        assert_eq!(decide(Some(identity(6))), Done);
        assert_eq!(decide(Some(Identity { device: 2, ino: 5 })), Done);
        assert_eq!(decide(None), Again, "it had not come so far");
        assert_eq!(rename(RENAME_EXCHANGE, Some(identity(5)), None, true), Again);
    }

    #[test]
    fn a_whiteout_is_left_behind() {
        let whiteout = found(libc::S_IFCHR);
        let decide = |before, old: &Found, flags| rename(flags, before, Some(old), true);
        for flags in [RENAME_WHITEOUT, RENAME_WHITEOUT | RENAME_NOREPLACE] {
            assert_eq!(decide(Some(identity(6)), &whiteout, flags), Done);
            // One that was there before, and is what is renamed.
            assert_eq!(decide(Some(identity(5)), &whiteout, flags), Again);
            assert_eq!(decide(Some(identity(6)), &found(libc::S_IFREG), flags), Again);
            let null = Found { rdev: 0x0103, ..whiteout };
            assert_eq!(decide(Some(identity(6)), &null, flags), Again, "/dev/null");
            assert_eq!(decide(None, &whiteout, flags), Again, "it had not come so far");
            assert_eq!(rename(flags, Some(identity(6)), None, true), Again);
        }
    }

    #[test]
    fn a_link_names_the_inode() {
        assert_eq!(link(identity(5), Some(identity(5))), Done);
        assert_eq!(link(identity(5), Some(identity(6))), Again);
        assert_eq!(link(identity(5), Some(Identity { device: 2, ino: 5 })), Again);
        assert_eq!(link(identity(5), None), Again);
    }
}

//! Operations on attributes and extended attributes.

use std::ffi::CString;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, UtimensatFlags};
use nix::sys::stat::{fchmodat, fstat, lstat, utimensat};
use nix::sys::statvfs::statvfs;
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat};

use super::abilities::Ability;
use super::actor::Actor;
use super::check::{Checked, fine, same, same_bytes, same_mtime, same_stat, wrong};
use super::model::{Changed, Id, Kind, Node};
use crate::sys::xattr;

/// Different extended attributes of one file.
const XATTRS: usize = 5;
const OWNERS: [u32; 3] = [0, 1234, 70_000];

fn takes_xattrs(node: &Node) -> bool {
    matches!(node.kind, Kind::File(_) | Kind::Dir(..))
}

impl Actor {
    /// Something with a name, that pleases.
    fn thing(&mut self, pleases: impl Fn(&Node) -> bool) -> Option<(PathBuf, Id)> {
        let place = self.model.some_name(&mut self.random, pleases)?;
        Some((self.model.path(&place), place.id?))
    }

    /// A file or directory, and the name of an extended attribute.
    fn with_xattr(&mut self) -> Option<(PathBuf, Id, String)> {
        let (path, id) = self.thing(takes_xattrs)?;
        Some((path, id, format!("user.{}", self.random.below(XATTRS))))
    }

    /// Compares attributes, and the inode's number with the one that it had at first.
    pub(crate) fn same_attributes(&mut self, got: &FileStat, id: Id) -> Checked {
        same_stat(got, &self.model, id)?;
        same_mtime(got, &self.model, id)?;
        if !self.model.can(Ability::Inodes) {
            return Ok(());
        }
        let first = *self.model.get_mut(id).ino.get_or_insert(got.st_ino);
        same(("inode", got.st_ino), ("inode", first))
    }
}

fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

pub(crate) fn chmod(actor: &mut Actor) -> Checked {
    let not_links = |node: &Node| !matches!(node.kind, Kind::Symlink(_));
    let Some((path, id)) = actor.thing(not_links) else { return Ok(()) };
    let mode = actor.random.below(0o1000) as u32 | actor.model.least_mode();
    actor.begin(&path, format!("chmod {path:?} {mode:o}"));
    let bits = Mode::from_bits_retain(mode);
    fine(fchmodat(AT_FDCWD, &path, bits, FchmodatFlags::FollowSymlink))?;
    actor.model.get_mut(id).mode = mode;
    Ok(())
}

pub(crate) fn chown(actor: &mut Actor) -> Checked {
    let Some((path, id)) = actor.thing(|_| true) else { return Ok(()) };
    let uid = (!actor.random.once_in(3)).then(|| actor.random.pick(&OWNERS));
    let gid = (!actor.random.once_in(3)).then(|| actor.random.pick(&OWNERS));
    actor.begin(&path, format!("chown {path:?} {uid:?} {gid:?}"));
    let (user, group) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
    fine(fchownat(AT_FDCWD, &path, user, group, AtFlags::AT_SYMLINK_NOFOLLOW))?;
    let node = actor.model.get_mut(id);
    node.uid = uid.unwrap_or(node.uid);
    node.gid = gid.unwrap_or(node.gid);
    Ok(())
}

pub(crate) fn utimens(actor: &mut Actor) -> Checked {
    let Some((path, id)) = actor.thing(|_| true) else { return Ok(()) };
    let mut time = || {
        let seconds = actor.random.below(2_000_000_000) as i64;
        TimeSpec::new(seconds, actor.random.below(1_000_000_000) as i64)
    };
    let (atime, mtime) = (time(), time());
    actor.begin(&path, format!("utimens {path:?} {atime:?} {mtime:?}"));
    let nofollow = UtimensatFlags::NoFollowSymlink;
    fine(utimensat(AT_FDCWD, &path, &atime, &mtime, nofollow))?;
    actor.model.get_mut(id).mtime = Changed::Exactly(mtime.tv_sec(), mtime.tv_nsec());
    // Reading it would change the one that is not kept in the model.
    let got = fine(lstat(&path))?;
    let expected = actor.model.abilities().as_kept((atime.tv_sec(), atime.tv_nsec()));
    same(("atime", (got.st_atime, got.st_atime_nsec)), ("atime", expected))?;
    actor.same_attributes(&got, id)
}

pub(crate) fn stat(actor: &mut Actor) -> Checked {
    let place = actor.a_name();
    let path = actor.model.path(&place);
    actor.begin(&path, format!("lstat {path:?}"));
    match (lstat(&path), place.id) {
        (Ok(got), Some(id)) => actor.same_attributes(&got, id),
        (Err(Errno::ENOENT), None) => Ok(()),
        (got, None) => wrong(got.map(|stat| stat.st_ino), Errno::ENOENT),
        (got, Some(_)) => wrong(got.map(|stat| stat.st_ino), "it is there"),
    }
}

/// Of an open file, which may have no name any more.
pub(crate) fn stat_open(actor: &mut Actor) -> Checked {
    let Some(which) = actor.an_open() else { return Ok(()) };
    let id = actor.open[which].id;
    actor.begin_open(which, format!("fstat of {id}, {} names", actor.model.nlink(id)));
    let got = fine(fstat(&actor.open[which].file))?;
    actor.same_attributes(&got, id)
}

pub(crate) fn statfs(actor: &mut Actor) -> Checked {
    let Some((path, _)) = actor.thing(takes_xattrs) else { return Ok(()) };
    actor.begin(&path, format!("statfs {path:?}"));
    let got = fine(statvfs(&path))?;
    let fixed = (got.block_size() as i64, got.name_max() as i64);
    same(fixed, *actor.statfs.get_or_insert(fixed))?;
    match got.blocks_free() <= got.blocks() && got.files_free() <= got.files() {
        true => Ok(()),
        false => wrong(got, "not more free than there is"),
    }
}

pub(crate) fn set_xattr(actor: &mut Actor) -> Checked {
    let Some((path, id, name)) = actor.with_xattr() else { return Ok(()) };
    let how = actor.random.pick(&[0, libc::XATTR_CREATE, libc::XATTR_REPLACE]);
    let length = actor.random.below(200);
    let value = actor.random.bytes(length);
    actor.begin(&path, format!("setxattr {path:?} {name} flags {how}, {length} bytes"));
    let expected = match actor.model.get(id).xattrs.contains_key(&name) {
        true if how == libc::XATTR_CREATE => Err(Errno::EEXIST),
        false if how == libc::XATTR_REPLACE => Err(Errno::ENODATA),
        _ => Ok(()),
    };
    let got = xattr::set_of_path(&path, &c_string(&name), &value, how);
    same(got, expected)?;
    if got.is_ok() {
        actor.model.get_mut(id).xattrs.insert(name, value);
    }
    Ok(())
}

pub(crate) fn get_xattr(actor: &mut Actor) -> Checked {
    let Some((path, id, name)) = actor.with_xattr() else { return Ok(()) };
    actor.begin(&path, format!("getxattr, listxattr {path:?} {name}"));
    let got = xattr::get_of_path(&path, &c_string(&name), 1000);
    let xattrs = &actor.model.get(id).xattrs;
    match xattrs.get(&name) {
        Some(value) => same_bytes(&fine(got)?.1, value)?,
        None => same(got, Err(Errno::ENODATA))?,
    }
    same(user_xattrs(&path)?, xattrs.keys().cloned().collect())
}

/// The names that users can give, sorted.
pub(crate) fn user_xattrs(path: &std::path::Path) -> Checked<Vec<String>> {
    let mut names = fine(xattr::list_of_path(path))?;
    names.retain(|name| name.starts_with("user."));
    Ok(names)
}

pub(crate) fn remove_xattr(actor: &mut Actor) -> Checked {
    let Some((path, id, mut name)) = actor.with_xattr() else { return Ok(()) };
    if let Some((first, _)) = actor.model.get(id).xattrs.first_key_value() {
        name.clone_from(first);
    }
    actor.begin(&path, format!("removexattr {path:?} {name}"));
    let got = xattr::remove_of_path(&path, &c_string(&name));
    let xattrs = &mut actor.model.get_mut(id).xattrs;
    same(got, xattrs.remove(&name).map(drop).ok_or(Errno::ENODATA))
}

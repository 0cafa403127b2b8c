//! Operations that make, move and remove names.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, RenameFlags, renameat2};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{UnlinkatFlags, linkat};

use super::UMASK;
use super::abilities::Ability;
use super::actor::{Actor, Open, open};
use super::check::{Checked, fine, same, same_stat};
use super::model::{Id, Kind, Node, Place};

/// EEXIST where a name is taken.
fn free(place: &Place) -> Result<(), Errno> {
    if place.id.is_some() { Err(Errno::EEXIST) } else { Ok(()) }
}

impl Actor {
    /// Compares what a call that makes a node said, and adds the node.
    fn made(&mut self, place: &Place, got: nix::Result<()>, kind: Kind, mode: u32) -> Checked {
        same(got, free(place))?;
        if got.is_ok() {
            let now = self.now();
            let id = self.model.add(kind, mode, now);
            self.model.link(place, id, now);
        }
        Ok(())
    }

    /// Permission bits to ask for, and those that come of them.
    fn some_mode(&mut self) -> (Mode, u32) {
        let asked = self.random.below(0o1000) as u32 | 0o600 | self.model.least_mode();
        (Mode::from_bits_retain(asked), asked & !UMASK)
    }
}

pub(crate) fn mkdir(actor: &mut Actor) -> Checked {
    let place = actor.any_place();
    if place.id.is_none() && actor.is_full() {
        return Ok(());
    }
    let (path, (asked, mode)) = (actor.model.path(&place), actor.some_mode());
    actor.begin(&path, format!("mkdir {path:?} {asked:?}"));
    let got = nix::unistd::mkdir(&path, asked);
    actor.made(&place, got, Kind::Dir(Default::default(), None), mode)
}

pub(crate) fn mknod(actor: &mut Actor) -> Checked {
    let (place, (asked, mode)) = (actor.any_place(), actor.some_mode());
    let path = actor.model.path(&place);
    let fifo = actor.random.once_in(2);
    if !actor.model.can(if fifo { Ability::Fifos } else { Ability::Mknod }) {
        return Ok(());
    }
    let (kind, node) = match fifo {
        true => (SFlag::S_IFIFO, Kind::Fifo),
        false => (SFlag::S_IFREG, Kind::File(Vec::new())),
    };
    actor.begin(&path, format!("mknod {path:?} {kind:?} {asked:?}"));
    let got = nix::sys::stat::mknod(&path, kind, asked, 0);
    actor.made(&place, got, node, mode)
}

pub(crate) fn symlink(actor: &mut Actor) -> Checked {
    let place = actor.any_place();
    let path = actor.model.path(&place);
    let target = format!("to/{}", "x".repeat(1 + actor.random.below(120)));
    actor.begin(&path, format!("symlink {target:?} {path:?}"));
    let got = nix::unistd::symlinkat(target.as_str(), AT_FDCWD, &path);
    actor.made(&place, got, Kind::Symlink(target), 0o777)
}

pub(crate) fn readlink(actor: &mut Actor) -> Checked {
    let model = &actor.model;
    let links = |node: &Node| matches!(node.kind, Kind::Symlink(_));
    let Some(place) = model.some_name(&mut actor.random, links) else { return Ok(()) };
    let path = model.path(&place);
    actor.begin(&path, format!("readlink {path:?}"));
    let got = nix::fcntl::readlink(&path).map(|target| target.into_string().unwrap_or_default());
    match place.id.map(|id| &actor.model.get(id).kind) {
        Some(Kind::Symlink(target)) => same(got, Ok(target.clone())),
        _ => same(got, Err(Errno::EINVAL)),
    }
}

pub(crate) fn link(actor: &mut Actor) -> Checked {
    let (from, to) = (actor.a_name(), actor.any_place());
    let (old, new) = (actor.model.path(&from), actor.model.path(&to));
    actor.begin(&old, format!("link {old:?} {new:?}"));
    let got = linkat(AT_FDCWD, &old, AT_FDCWD, &new, AtFlags::empty());
    let Some(id) = from.id else { return same(got, Err(Errno::ENOENT)) };
    if free(&to).is_ok() && actor.model.get(id).is_dir() {
        return same(got, Err(Errno::EPERM));
    }
    same(got, free(&to))?;
    if got.is_ok() {
        actor.model.link(&to, id, actor.now());
    }
    Ok(())
}

pub(crate) fn create(actor: &mut Actor) -> Checked {
    let (place, (asked, mode)) = (actor.any_place(), actor.some_mode());
    let path = actor.model.path(&place);
    let (excl, trunc) = (actor.random.once_in(2), actor.random.once_in(4));
    let access = actor.random.pick(&[libc::O_RDWR, libc::O_WRONLY, libc::O_RDWR | libc::O_APPEND]);
    let exclusive = if excl { libc::O_EXCL } else { 0 };
    let truncate = if trunc { libc::O_TRUNC } else { 0 };
    let expected = match place.id.map(|id| &actor.model.get(id).kind) {
        None => Ok(()),
        Some(_) if excl => Err(Errno::EEXIST),
        Some(Kind::File(_)) => Ok(()),
        Some(Kind::Dir(..)) => Err(Errno::EISDIR),
        Some(Kind::Symlink(_)) => Err(Errno::ELOOP),
        // Would talk to nobody.
        Some(Kind::Fifo) => return Ok(()),
    };
    actor.begin(&path, format!("create {path:?} {asked:?} {excl} {trunc} {access:#x}"));
    let flags = access | exclusive | truncate | libc::O_CREAT | libc::O_NOFOLLOW;
    let got = open(&path, flags, asked.bits());
    same(got.as_ref().map(drop).map_err(|error| *error), expected)?;
    let Ok(file) = got else { return Ok(()) };
    let now = actor.now();
    let id = match place.id {
        Some(id) => {
            if trunc {
                actor.resize(id, 0);
            }
            id
        }
        None => {
            let id = actor.model.add(Kind::File(Vec::new()), mode, now);
            actor.model.link(&place, id, now);
            id
        }
    };
    actor.keep_open(file, &path, id, access);
    Ok(())
}

impl Actor {
    /// Notes an open file.
    pub(crate) fn keep_open(&mut self, file: File, path: &Path, id: Id, flags: i32) {
        let access = flags & libc::O_ACCMODE;
        self.opened(Open {
            file,
            path: path.into(),
            number: self.number,
            id,
            reads: access != libc::O_WRONLY,
            writes: access != libc::O_RDONLY,
            appends: flags & libc::O_APPEND != 0,
            position: 0,
        });
    }
}

pub(crate) fn unlink(actor: &mut Actor) -> Checked {
    let place = actor.a_name();
    let path = actor.model.path(&place);
    if !actor.may_go(place.id) {
        return Ok(());
    }
    actor.begin(&path, format!("unlink {path:?}"));
    let got = nix::unistd::unlink(&path);
    let expected = match place.id {
        None => Err(Errno::ENOENT),
        Some(id) if actor.model.get(id).is_dir() => Err(Errno::EISDIR),
        Some(_) => Ok(()),
    };
    same(got, expected)?;
    if got.is_ok() {
        actor.model.unlink(&place, actor.now());
    }
    Ok(())
}

pub(crate) fn rmdir(actor: &mut Actor) -> Checked {
    // An empty one, if there is one; now and then any, or something else.
    let empty = |node: &Node| matches!(&node.kind, Kind::Dir(names, _) if names.is_empty());
    let dir = match actor.random.once_in(4) {
        true => actor.model.some_name(&mut actor.random, Node::is_dir),
        false => actor.model.some_name(&mut actor.random, empty),
    };
    let place = match (dir, actor.random.once_in(8)) {
        (Some(place), false) => place,
        _ => actor.a_name(),
    };
    let path = actor.model.path(&place);
    actor.begin(&path, format!("rmdir {path:?}"));
    let got = nix::unistd::unlinkat(AT_FDCWD, &path, UnlinkatFlags::RemoveDir);
    let expected = match place.id {
        None => Err(Errno::ENOENT),
        Some(id) if !actor.model.get(id).is_dir() => Err(Errno::ENOTDIR),
        Some(id) if !actor.model.names(id).is_empty() => Err(Errno::ENOTEMPTY),
        Some(_) => Ok(()),
    };
    same(got, expected)?;
    if got.is_ok() {
        actor.model.unlink(&place, actor.now());
    }
    Ok(())
}

pub(crate) fn rename(actor: &mut Actor) -> Checked {
    let (from, any) = (actor.a_name(), actor.any_place());
    let to = if actor.random.once_in(3) { actor.a_name() } else { any };
    if !actor.may_go(to.id) {
        return Ok(());
    }
    match actor.random.below(4) {
        0 if !actor.model.can(Ability::Exchange) => Ok(()),
        1 if !actor.model.can(Ability::NoReplace) => Ok(()),
        0 => exchange(actor, &from, &to),
        1 => rename_to(actor, &from, &to, RenameFlags::RENAME_NOREPLACE),
        _ => rename_to(actor, &from, &to, RenameFlags::empty()),
    }
}

fn rename_to(actor: &mut Actor, from: &Place, to: &Place, flags: RenameFlags) -> Checked {
    let (old, new) = (actor.model.path(from), actor.model.path(to));
    actor.begin(&old, format!("rename {old:?} {new:?} {flags:?}"));
    let got = renameat2(AT_FDCWD, &old, AT_FDCWD, &new, flags);
    let expected = match from.id {
        Some(_) if !flags.is_empty() && to.id.is_some() => Err(Errno::EEXIST),
        _ => actor.model.may_rename(from, to),
    };
    same(got, expected)?;
    // Two names of one file stay as they are.
    if got.is_ok() && from.id != to.id {
        let now = actor.now();
        if to.id.is_some() {
            actor.model.unlink(to, now);
        }
        if let Some(id) = actor.model.take(from, now) {
            actor.model.link(to, id, now);
        }
    }
    Ok(())
}

fn exchange(actor: &mut Actor, from: &Place, to: &Place) -> Checked {
    let (Some(one), Some(other)) = (from.id, to.id) else {
        let (old, new) = (actor.model.path(from), actor.model.path(to));
        actor.begin(&old, format!("exchange {old:?} {new:?}"));
        let got = renameat2(AT_FDCWD, &old, AT_FDCWD, &new, RenameFlags::RENAME_EXCHANGE);
        return same(got, Err(Errno::ENOENT));
    };
    let (old, new) = (actor.model.path(from), actor.model.path(to));
    actor.begin(&old, format!("exchange {old:?} {new:?}"));
    let got = renameat2(AT_FDCWD, &old, AT_FDCWD, &new, RenameFlags::RENAME_EXCHANGE);
    if actor.model.is_within(to.dir, one) || actor.model.is_within(from.dir, other) {
        return same(got, Err(Errno::EINVAL));
    }
    same(got, Ok(()))?;
    if one != other {
        let now = actor.now();
        actor.model.take(from, now);
        actor.model.take(to, now);
        actor.model.link(to, one, now);
        actor.model.link(from, other, now);
    }
    Ok(())
}

pub(crate) fn tmpfile(actor: &mut Actor) -> Checked {
    let (place, (asked, mode)) = (actor.any_place(), actor.some_mode());
    let dir = actor.model.dir_path(place.dir);
    actor.begin(&dir, format!("open {dir:?} O_TMPFILE {asked:?}"));
    let file = fine(open(&dir, libc::O_TMPFILE | libc::O_RDWR, asked.bits()))?;
    let now = actor.now();
    let id = actor.model.add(Kind::File(Vec::new()), mode, now);
    let from = format!("/proc/self/fd/{}", file.as_raw_fd());
    same_stat(&fine(fstat(&file))?, &actor.model, id)?;
    actor.keep_open(file, &dir, id, libc::O_RDWR);
    if actor.random.once_in(3) {
        return Ok(());
    }
    let path = actor.model.path(&place);
    actor.begin(&path, format!("link of the O_TMPFILE to {path:?}"));
    let got = linkat(AT_FDCWD, from.as_str(), AT_FDCWD, &path, AtFlags::AT_SYMLINK_FOLLOW);
    same(got, free(&place))?;
    if got.is_ok() {
        actor.model.link(&place, id, actor.now());
    }
    Ok(())
}

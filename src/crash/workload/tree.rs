//! Comparing whole trees with what the threads of the program know.

use std::path::Path;

use nix::sys::stat::lstat;

use super::abilities::Ability;
use super::actor::Actor;
use super::attrs::user_xattrs;
use super::check::{Checked, Wrong, fine, same, same_bytes, same_mtime, same_stat};
use super::common::{COMMON, INODES};
use super::listing::once;
use super::model::{Changed, Id, Kind};
use super::{Setup, kept, lines};
use crate::crash::report::Anomaly;
use crate::sys::xattr;

/// The directory in which all threads have names.
pub(crate) const SHARED: &str = "shared";
/// As callers see it.
const MOUNTED: &str = "mounted";
/// Differences that are told at most.
const TOLD: usize = 10;

/// The directory of a thread with what lasts as long as it runs.
pub(crate) fn fixed(tag: &str) -> String {
    format!("{tag}.fixed")
}

/// What differs in the directory, and below the mount.
pub(super) fn differences(
    setup: &Setup<'_>,
    actors: &mut [Actor],
    generation: Option<u64>,
) -> Vec<Anomaly> {
    // What the kernel gathers is written by the last close at the latest.
    actors.iter_mut().for_each(Actor::close_all);
    let views = [(MOUNTED, Some(setup.dir)), ("below", setup.lower)];
    let mut found = Vec::new();
    for (view, dir) in views.into_iter().filter_map(|(view, dir)| Some((view, dir?))) {
        let mut note = |path: &Path, result: Checked| {
            if let Err(Wrong { got, expected }) = result {
                found.push(Anomaly {
                    operation: format!("compared at the end, {view}"),
                    path: path.strip_prefix(dir).unwrap_or(path).display().to_string(),
                    expected,
                    got,
                    generation,
                    before: Vec::new(),
                });
            }
        };
        note(dir, roots(dir, actors));
        note(&dir.join(COMMON), together(dir, actors));
        if let Some(common) = actors.first().map(|actor| &actor.common) {
            for number in 0..common.inodes {
                let path = dir.join(common.inode(number));
                note(&path, kept::inode(&path, &common.inode_bytes(number)));
            }
        }
        for actor in actors.iter() {
            let roots: Vec<_> = actor.model.roots().collect();
            for (id, name) in roots {
                compare(actor, view, &dir.join(name), id, &mut note);
            }
            let fixed = dir.join(fixed(&actor.tag));
            note(&fixed, lasting(&fixed, actor));
        }
    }
    found.truncate(TOLD);
    found
}

/// The directories that all have to be there, and the names in the one that is everybody's.
fn roots(dir: &Path, actors: &[Actor]) -> Checked {
    let mut expected = vec![COMMON.to_string(), SHARED.to_string()];
    if actors.first().is_some_and(|actor| actor.common.inodes > 0) {
        expected.push(INODES.into());
    }
    let mut shared = Vec::new();
    for actor in actors {
        expected.extend([actor.tag.clone(), fixed(&actor.tag)]);
        for (id, _) in actor.model.roots().filter(|(_, name)| *name == SHARED) {
            shared.extend(actor.model.names(id).keys().cloned());
        }
    }
    expected.sort();
    shared.sort();
    same(once(dir)?.into_keys().collect::<Vec<_>>(), expected)?;
    same(once(&dir.join(SHARED))?.into_keys().collect::<Vec<_>>(), shared)
}

/// Nobody has the lock file, and the lines are there.
fn together(dir: &Path, actors: &[Actor]) -> Checked {
    let mut expected = lines::at_end(actors, dir)?;
    expected.sort();
    same(once(&dir.join(COMMON))?.into_keys().collect::<Vec<_>>(), expected)
}

/// The files of the other modules.
fn lasting(dir: &Path, actor: &Actor) -> Checked {
    let mut names = vec!["large", "list"];
    names.extend(actor.locks.is_some().then_some("locked"));
    if let Some(mapped) = &actor.mapped {
        names.extend(["mapped", "stored"]);
        same_bytes(&fine(std::fs::read(dir.join("mapped")))?, &mapped.bytes)?;
        same_bytes(&fine(std::fs::read(dir.join("stored")))?, &mapped.stored)?;
    }
    same(
        once(dir)?.into_keys().collect::<Vec<_>>(),
        names.into_iter().map(String::from).collect(),
    )?;
    same(once(&dir.join("list"))?.into_keys().collect(), actor.listing.names.clone())?;
    same_bytes(&fine(std::fs::read(dir.join("large")))?, &actor.large.bytes)
}

fn compare(actor: &Actor, view: &str, path: &Path, id: Id, note: &mut impl FnMut(&Path, Checked)) {
    note(path, node(actor, view, path, id));
    if let Kind::Dir(names, _) = &actor.model.get(id).kind {
        for (name, id) in names {
            compare(actor, view, &path.join(name), *id, note);
        }
    }
}

fn node(actor: &Actor, view: &str, path: &Path, id: Id) -> Checked {
    let node = actor.model.get(id);
    let stat = fine(lstat(path))?;
    same_stat(&stat, &actor.model, id)?;
    // Below, what the kernel gathered was changed when it was written.
    if view == MOUNTED || matches!(node.mtime, Changed::Exactly(..)) {
        same_mtime(&stat, &actor.model, id)?;
    }
    match &node.kind {
        Kind::File(data) => same_bytes(&fine(std::fs::read(path))?, data)?,
        Kind::Symlink(target) => {
            same(fine(std::fs::read_link(path))?, target.into())?;
            return Ok(());
        }
        Kind::Dir(names, _) if !node.shared => {
            same(once(path)?.into_keys().collect::<Vec<_>>(), names.keys().cloned().collect())?;
        }
        Kind::Dir(..) => {}
        Kind::Fifo => return Ok(()),
    }
    if !actor.model.can(Ability::Xattrs) {
        return Ok(());
    }
    same(user_xattrs(path)?, node.xattrs.keys().cloned().collect())?;
    for (name, value) in &node.xattrs {
        let name = std::ffi::CString::new(name.as_str()).unwrap_or_default();
        same_bytes(&fine(xattr::get_of_path(path, &name, 1000))?.1, value)?;
    }
    Ok(())
}

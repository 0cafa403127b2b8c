//! Comparing whole trees with what the threads of the program know.

use std::path::Path;

use nix::sys::stat::lstat;

use crate::attrs::user_xattrs;
use crate::check::{Checked, Wrong, fine, same, same_bytes, same_mtime, same_stat};
use crate::common::sys;
use crate::listing::once;
use crate::model::{Changed, Id, Kind};
use crate::oracle::{Actor, Setup};

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
pub(crate) fn differences(setup: &Setup<'_>, actors: &mut [Actor]) -> Vec<String> {
    // What the kernel gathers is written by the last close at the latest.
    actors.iter_mut().for_each(|actor| (0..actor.open.len()).rev().for_each(|n| actor.close(n)));
    let views = [(MOUNTED, Some(setup.dir)), ("below", setup.lower)];
    let mut found = Vec::new();
    for (view, dir) in views.into_iter().filter_map(|(view, dir)| Some((view, dir?))) {
        let mut note = |path: &Path, result: Checked| {
            if let Err(Wrong { got, expected }) = result {
                let path = path.display();
                found.push(format!(
                    "at the end, {view}: {path}\n    got:      {got}\n    expected: {expected}"
                ));
            }
        };
        note(dir, roots(dir, actors));
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
    let mut expected = vec![SHARED.to_string()];
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

/// The files of the other modules.
fn lasting(dir: &Path, actor: &Actor) -> Checked {
    let names = ["list", "locked", "mapped"].map(String::from);
    same(once(dir)?.into_keys().collect::<Vec<_>>(), names.to_vec())?;
    same(once(&dir.join("list"))?.into_keys().collect(), actor.listing.names.clone())?;
    same_bytes(&fine(std::fs::read(dir.join("mapped")))?, &actor.mapped.bytes)
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
    same(user_xattrs(path)?, node.xattrs.keys().cloned().collect())?;
    for (name, value) in &node.xattrs {
        let name = std::ffi::CString::new(name.as_str()).unwrap_or_default();
        same_bytes(&fine(sys::get_xattr(path, &name, 1000))?.1, value)?;
    }
    Ok(())
}

//! Directories: read whole, and read on from positions that are kept over time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, mknod};

use super::actor::Actor;
use super::check::{Checked, fine, same, wrong};
use crate::sys::stream::Stream;

/// Names that stay, and names that come and go.
const STAY: usize = 150;
const COME_AND_GO: usize = 20;

/// A directory that is never read to its end at once.
pub(crate) struct Listing {
    pub(crate) dir: PathBuf,
    /// What is in it.
    pub(crate) names: BTreeSet<String>,
    pass: Option<Pass>,
}

/// One way through it.
struct Pass {
    stream: Stream,
    /// What was listed, each with the position behind it.
    listed: Vec<(String, i64)>,
    /// What has to be listed next: it was before the stream was set back.
    again: VecDeque<String>,
    /// What came or went meanwhile: may be listed or not.
    changed: BTreeSet<String>,
}

impl Listing {
    /// Fills a directory in `fixed`.
    pub(crate) fn start(fixed: &Path) -> Checked<Listing> {
        let dir = fixed.join("list");
        fine(nix::unistd::mkdir(&dir, Mode::S_IRWXU))?;
        // Of several lengths, so that entries end at no particular place of a buffer.
        let name = |number| format!("{number}{}", "n".repeat(number * 7 % 60));
        let names: BTreeSet<String> = (0..STAY).map(name).collect();
        for name in &names {
            fine(make(&dir, name))?;
        }
        Ok(Listing { dir, names, pass: None })
    }
}

fn make(dir: &Path, name: &str) -> nix::Result<()> {
    mknod(&dir.join(name), SFlag::S_IFREG, Mode::S_IRUSR, 0)
}

/// Reads on for a while.
pub(crate) fn go_on(actor: &mut Actor) -> Checked {
    let steps = 1 + actor.random.below(30);
    let dir = actor.listing.dir.clone();
    actor.begin(&dir, format!("readdir {dir:?}, {steps} entries"));
    let listing = &mut actor.listing;
    let pass = match &mut listing.pass {
        Some(pass) => pass,
        none => none.insert(Pass {
            stream: fine(Stream::open(&listing.dir))?,
            listed: Vec::new(),
            again: VecDeque::new(),
            changed: BTreeSet::new(),
        }),
    };
    for _ in 0..steps {
        let Some((name, _)) = fine(pass.stream.entry())? else {
            let pass = listing.pass.take();
            return pass.map_or(Ok(()), |pass| pass.ended(&listing.names));
        };
        pass.step(&listing.names, name.into_string().unwrap_or_default())?;
    }
    Ok(())
}

impl Pass {
    fn step(&mut self, names: &BTreeSet<String>, name: String) -> Checked {
        let changed = self.changed.contains(&name);
        if !changed && !names.contains(&name) {
            return wrong(name, "a name that is there");
        }
        if !changed && self.listed.iter().any(|(before, _)| *before == name) {
            return wrong(name, "each name once");
        }
        // What has changed since may be there or not, and elsewhere; or twice, if it came again.
        self.again.retain(|name| !self.changed.contains(name));
        if !changed && let Some(expected) = self.again.pop_front() {
            same(&name, &expected)?;
        }
        self.listed.push((name, self.stream.tell()));
        Ok(())
    }

    fn ended(self, names: &BTreeSet<String>) -> Checked {
        let listed: BTreeSet<_> = self.listed.iter().map(|(name, _)| name).collect();
        let stay = names.iter().filter(|name| !self.changed.contains(*name));
        let missing: Vec<_> = stay.filter(|name| !listed.contains(name)).collect();
        same(missing, Vec::new())
    }
}

/// Sets the stream back to a position that it had.
pub(crate) fn go_back(actor: &mut Actor) -> Checked {
    let Some(pass) = &mut actor.listing.pass else { return Ok(()) };
    if pass.listed.is_empty() {
        return Ok(());
    }
    let last = actor.random.below(pass.listed.len());
    let (name, position) = pass.listed[last].clone();
    let skipped = pass.listed.split_off(last + 1);
    skipped.into_iter().rev().for_each(|(name, _)| pass.again.push_front(name));
    pass.stream.seek(position);
    let dir = actor.listing.dir.clone();
    actor.begin(&dir, format!("seekdir {dir:?} to {position:#x}, behind {name:?}"));
    Ok(())
}

/// Adds or removes a name while the directory is read.
pub(crate) fn change(actor: &mut Actor) -> Checked {
    let name = format!("come and go {}", actor.random.below(COME_AND_GO));
    let there = actor.listing.names.contains(&name);
    let dir = actor.listing.dir.clone();
    actor.begin(&dir, format!("in {dir:?}: {name:?} {}", if there { "-" } else { "+" }));
    let listing = &mut actor.listing;
    if there {
        fine(nix::unistd::unlink(&listing.dir.join(&name)))?;
        listing.names.remove(&name);
    } else {
        fine(make(&listing.dir, &name))?;
        listing.names.insert(name.clone());
    }
    if let Some(pass) = &mut listing.pass {
        pass.changed.insert(name);
    }
    Ok(())
}

/// Lists one of the other directories from beginning to end.
pub(crate) fn whole(actor: &mut Actor) -> Checked {
    let Some(dir) = actor.random.steady(actor.model.dirs(), |dir| *dir) else { return Ok(()) };
    let path = actor.model.dir_path(dir);
    actor.begin(&path, format!("readdir {path:?}, all"));
    let listed = once(&path)?;
    let names = actor.model.names(dir);
    // t1 has no name of t10's.
    let begins =
        |name: &str| name.strip_prefix(&actor.tag)?.chars().next().map(|c| " -".contains(c));
    let own = |name: &&String| !actor.model.get(dir).shared || begins(name) == Some(true);
    same(listed.keys().filter(own).collect::<Vec<_>>(), names.keys().collect())?;
    for (name, id) in names {
        if let Some(ino) = actor.model.get(*id).ino {
            same((name, listed[name]), (name, ino))?;
        }
    }
    Ok(())
}

/// The names in a directory, with their inode numbers; each has to come once.
pub(crate) fn once(path: &Path) -> Checked<BTreeMap<String, u64>> {
    let mut stream = fine(Stream::open(path))?;
    let mut listed = BTreeMap::new();
    while let Some((name, ino)) = fine(stream.entry())? {
        let name = fine(name.into_string().map_err(|_| Errno::EILSEQ))?;
        if listed.insert(name.clone(), ino).is_some() {
            return wrong(name, "each name once");
        }
    }
    Ok(listed)
}

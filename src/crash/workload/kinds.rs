//! The operations by name, and which of them comes next.

use super::abilities::{Abilities, Ability};
use super::actor::Actor;
use super::check::Checked;
use super::random::Random;
use super::{attrs, contend, data, files, kept, lines, listing, locks, mapped, names};
use crate::crash::CrashError;

type Operation = fn(&mut Actor) -> Checked;

/// One kind of operation: its name, how often it comes, without what it cannot be.
pub(super) struct Kind {
    pub(super) name: &'static str,
    weight: usize,
    needs: Option<Ability>,
    pub(super) run: Operation,
}

const fn kind(name: &'static str, weight: usize, run: Operation) -> Kind {
    Kind { name, weight, needs: None, run }
}

impl Kind {
    const fn with(self, ability: Ability) -> Kind {
        Kind { needs: Some(ability), ..self }
    }
}

/// All of them.
const KINDS: &[Kind] = &[
    kind("mkdir", 8, names::mkdir),
    kind("mknod", 4, names::mknod),
    kind("symlink", 4, names::symlink).with(Ability::Symlinks),
    kind("link", 6, names::link).with(Ability::Links),
    kind("create", 14, names::create),
    kind("unlink", 10, names::unlink),
    kind("rmdir", 6, names::rmdir),
    kind("rename", 14, names::rename),
    kind("tmpfile", 3, names::tmpfile).with(Ability::Tmpfile),
    kind("readlink", 6, names::readlink).with(Ability::Symlinks),
    kind("open", 10, files::open),
    kind("close", 6, files::close),
    kind("pread", 16, data::read),
    kind("read", 10, data::read_on),
    kind("pwrite", 14, data::write),
    kind("write", 10, data::write_on),
    kind("lseek", 5, data::seek),
    kind("seek-data", 3, data::holes).with(Ability::Holes),
    kind("truncate", 6, data::truncate).with(Ability::Resize),
    kind("fallocate", 4, data::allocate).with(Ability::Allocate),
    kind("copy-file-range", 4, data::copy).with(Ability::Copy),
    kind("fsync", 1, data::sync).with(Ability::Sync),
    kind("read-whole", 4, files::read_whole),
    kind("chmod", 5, attrs::chmod).with(Ability::Modes),
    kind("chown", 4, attrs::chown).with(Ability::Chown),
    kind("utimens", 5, attrs::utimens).with(Ability::Times),
    kind("setxattr", 8, attrs::set_xattr).with(Ability::Xattrs),
    kind("getxattr", 4, attrs::get_xattr).with(Ability::Xattrs),
    kind("removexattr", 4, attrs::remove_xattr).with(Ability::Xattrs),
    kind("stat", 14, attrs::stat),
    kind("fstat", 8, attrs::stat_open),
    kind("statfs", 2, attrs::statfs).with(Ability::Statfs),
    kind("readdir", 4, listing::whole),
    kind("readdir-on", 12, listing::go_on),
    kind("seekdir", 3, listing::go_back).with(Ability::Positions),
    kind("readdir-change", 4, listing::change),
    kind("flock", 6, locks::whole).with(Ability::Locks),
    kind("lock", 6, locks::range).with(Ability::Locks),
    kind("lock-test", 2, locks::test).with(Ability::Locks),
    kind("lock-wait", 1, locks::hand_over).with(Ability::Locks),
    kind("lock-close", 1, locks::open_again).with(Ability::Locks),
    kind("mmap-pwrite", 4, mapped::write).with(Ability::Mapped),
    kind("mmap-read", 3, mapped::read).with(Ability::Mapped),
    kind("mmap-store", 4, mapped::store).with(Ability::Mapped),
    kind("large-write", 1, kept::write_large),
    kind("inode", 4, kept::look),
    kind("lock-file", 4, contend::lock_file),
    kind("append-line", 6, lines::append),
];

/// The names of all operations.
pub fn kinds() -> Vec<&'static str> {
    KINDS.iter().map(|kind| kind.name).collect()
}

/// Some of the operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kinds(Vec<&'static str>);

impl Kinds {
    /// All of them.
    pub fn all() -> Kinds {
        Kinds(kinds())
    }

    /// Those with these names.
    pub fn named<S: AsRef<str>>(names: &[S]) -> Result<Kinds, CrashError> {
        let known = kinds();
        for name in names.iter().map(AsRef::as_ref) {
            if !known.contains(&name) {
                let all = known.join(", ");
                return Err(CrashError::Failed(format!("no operation '{name}': there are {all}")));
            }
        }
        let chosen = |kind: &&str| names.iter().any(|name| name.as_ref() == *kind);
        let chosen: Vec<_> = known.into_iter().filter(chosen).collect();
        match chosen.is_empty() {
            true => Err(CrashError::Failed("no operation is named: give one at least".into())),
            false => Ok(Kinds(chosen)),
        }
    }

    /// Their names.
    pub fn names(&self) -> Vec<&'static str> {
        self.0.clone()
    }

    /// Those that can be done.
    pub(super) fn possible(&self, abilities: &Abilities) -> Result<Possible, CrashError> {
        let can = |kind: &Kind| kind.needs.is_none_or(|ability| abilities.has(ability));
        let possible = Possible(KINDS.iter().map(|k| self.0.contains(&k.name) && can(k)).collect());
        if possible.0.contains(&true) {
            return Ok(possible);
        }
        let names = self.0.join(", ");
        Err(CrashError::Failed(format!("this file system can do none of {names}: name others")))
    }
}

/// For each of [`KINDS`] whether it may come.
#[derive(Clone)]
pub(super) struct Possible(Vec<bool>);

impl Possible {
    /// What comes next. The others do not change what an operation is, but for those whose place
    /// it takes.
    pub(super) fn next(&self, random: &mut Random) -> &'static Kind {
        let total = KINDS.iter().map(|kind| kind.weight).sum();
        loop {
            let mut left = random.below(total);
            for (kind, may) in KINDS.iter().zip(&self.0) {
                if left < kind.weight {
                    if *may {
                        return kind;
                    }
                    break;
                }
                left -= kind.weight;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_chosen_by_name() {
        let mut names = kinds();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KINDS.len());
        assert_eq!(Kinds::named(&["rename", "mkdir"]).unwrap().names(), ["mkdir", "rename"]);
        let error = Kinds::named(&["mkdri"]).unwrap_err().to_string();
        assert!(error.starts_with("no operation 'mkdri': there are mkdir, "), "{error}");
        assert!(Kinds::named::<&str>(&[]).is_err());
    }

    #[test]
    fn what_cannot_be_done_does_not_come() {
        let mut abilities = Abilities::all();
        abilities.lacks(Ability::Links, "a test".into());
        let possible = Kinds::named(&["link", "mkdir"]).unwrap().possible(&abilities).unwrap();
        let come = (0..1000).map(|seed| possible.next(&mut Random::new(seed)).name);
        assert!(come.into_iter().all(|name| name == "mkdir"));
        assert!(Kinds::named(&["link"]).unwrap().possible(&abilities).is_err());
    }
}

//! One thread of the program: what it has open, what it knows, and what it does next.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::abilities::Ability;
use super::check::{Log, Wrong};
use super::common::Common;
use super::kept::Large;
use super::lines::Lines;
use super::listing::Listing;
use super::locks::Locks;
use super::mapped::Mapped;
use super::model::{Changed, Id, Kind, Model, Place};
use super::random::Random;
use super::{Setup, tree};
use crate::crash::report::Anomaly;

/// Directories of one thread at most.
const DIRS: usize = 12;
/// Open files of one thread at most.
const OPEN: usize = 8;
/// Names in one directory: few, so that most of them are sometimes there and sometimes not.
const NAMES: usize = 10;
/// How often a word is repeated that makes a long name.
const LONG: usize = 55;

/// An open file of a thread.
pub(crate) struct Open {
    pub(crate) file: File,
    /// What it was opened as.
    pub(crate) path: PathBuf,
    /// The operation that opened it.
    pub(crate) number: u64,
    pub(crate) id: Id,
    pub(crate) reads: bool,
    pub(crate) writes: bool,
    pub(crate) appends: bool,
    pub(crate) position: usize,
}

/// One thread of the program.
pub(crate) struct Actor {
    pub(crate) random: Random,
    /// Of what is done now.
    pub(crate) number: u64,
    pub(crate) model: Model,
    pub(crate) open: Vec<Open>,
    pub(crate) listing: Listing,
    pub(crate) locks: Option<Locks>,
    pub(crate) mapped: Option<Mapped>,
    pub(crate) large: Large,
    pub(crate) lines: Lines,
    pub(crate) common: Arc<Common>,
    pub(crate) thread: usize,
    /// What the names of this thread begin with.
    pub(crate) tag: String,
    /// Of the file system, as first seen: block size, longest name.
    pub(crate) statfs: Option<(i64, i64)>,
    pub(crate) dir: PathBuf,
    log: Log,
    begun: SystemTime,
}

impl Actor {
    /// Makes what the thread begins with.
    pub(super) fn start(
        setup: &Setup<'_>,
        common: &Arc<Common>,
        thread: usize,
    ) -> Result<Actor, Wrong> {
        let tag = format!("t{thread}");
        let fixed = setup.dir.join(tree::fixed(&tag));
        let make = |path: &Path| {
            let expected = || format!("a new directory {}", path.display());
            std::fs::create_dir(path)
                .map_err(|error| Wrong { got: error.to_string(), expected: expected() })
        };
        make(&setup.dir.join(&tag))?;
        make(&fixed)?;
        let mut model = Model::new(setup.dir, &setup.abilities);
        model.add_root(&tag, 0o755, false);
        model.add_root(tree::SHARED, 0o755, true);
        let (locks, maps) = (model.can(Ability::Locks), model.can(Ability::Mapped));
        Ok(Actor {
            random: Random::new(setup.seed),
            number: 0,
            model,
            open: Vec::new(),
            listing: Listing::start(&fixed)?,
            locks: if locks { Some(Locks::start(&fixed)?) } else { None },
            mapped: if maps { Some(Mapped::start(&fixed)?) } else { None },
            large: Large::start(&fixed)?,
            lines: Lines::default(),
            common: common.clone(),
            thread,
            tag,
            statfs: None,
            dir: setup.dir.into(),
            log: Log::default(),
            begun: SystemTime::now(),
        })
    }

    /// How many calls were made.
    pub(super) fn count(&self) -> u64 {
        self.log.count
    }

    /// What is wrong, as it is told.
    pub(super) fn anomaly(&self, wrong: Wrong, generation: Option<u64>) -> Anomaly {
        let below = format!("{}/", self.dir.display());
        let short = |text: &mut String| {
            *text = text.replace(&below, "").replace(&"long".repeat(LONG), "long...");
        };
        let mut anomaly = self.log.anomaly(wrong, generation);
        anomaly.before.iter_mut().for_each(short);
        [&mut anomaly.operation, &mut anomaly.path].into_iter().for_each(short);
        anomaly.operation = format!("{}.{} {}", self.tag, self.number, anomaly.operation);
        anomaly
    }

    /// Notes what is done next, to what, and when.
    pub(crate) fn begin(&mut self, path: &Path, operation: String) {
        self.log.begin(path.display().to_string(), operation);
        self.begun = SystemTime::now();
    }

    /// The same for an open file.
    pub(crate) fn begin_open(&mut self, which: usize, operation: String) {
        let path = self.open[which].path.clone();
        self.begin(&path, operation);
    }

    /// The same for one of the files that last.
    pub(crate) fn begin_fixed(&mut self, name: &str, operation: String) {
        let path = self.dir.join(tree::fixed(&self.tag)).join(name);
        self.begin(&path, operation);
    }

    /// When what is being done changes a time stamp.
    pub(crate) fn now(&self) -> Changed {
        Changed::Between(self.begun, SystemTime::now())
    }

    /// A place in one of the directories, taken or not.
    pub(crate) fn any_place(&mut self) -> Place {
        let dir = self.random.steady(self.model.dirs(), |dir| *dir).unwrap_or_default();
        let name = match self.random.below(NAMES) {
            0 if self.model.can(Ability::OddNames) => {
                format!("{} with space, \u{fc} and\nline", self.tag)
            }
            1 if self.model.can(Ability::LongNames) => {
                format!("{}-{}", self.tag, "long".repeat(LONG))
            }
            number => format!("{}-{number}", self.tag),
        };
        let id = self.model.names(dir).get(&name).copied();
        Place { dir, name, id }
    }

    /// A place that is taken, if there is one; now and then any.
    pub(crate) fn a_name(&mut self) -> Place {
        let named = self.model.some_name(&mut self.random, |_| true);
        if !self.random.once_in(8)
            && let Some(place) = named
        {
            return place;
        }
        self.any_place()
    }

    /// A place with a regular file, if there is one.
    pub(crate) fn a_file(&mut self) -> Option<Place> {
        self.model.some_name(&mut self.random, |node| matches!(node.kind, Kind::File(_)))
    }

    /// Whether there may be no more directories.
    pub(crate) fn is_full(&self) -> bool {
        self.model.dirs().count() >= DIRS
    }

    /// Which of the open files to use, if any is.
    pub(crate) fn an_open(&mut self) -> Option<usize> {
        let open = &self.open;
        self.random.steady(0..open.len(), |which| open[*which].number)
    }

    /// Whether the last name of a file may go now.
    pub(crate) fn may_go(&self, id: Option<Id>) -> bool {
        let is_open = id.is_some_and(|id| self.model.get(id).opens > 0);
        !is_open || self.model.can(Ability::Unlinked)
    }

    /// Notes an open file; closes another when they are too many.
    pub(crate) fn opened(&mut self, open: Open) {
        self.model.get_mut(open.id).opens += 1;
        self.open.push(open);
        if self.open.len() > OPEN {
            self.close(self.random.clone().below(OPEN));
        }
    }

    /// Closes all; what is in mapped memory is written.
    pub(super) fn close_all(&mut self) {
        (0..self.open.len()).rev().for_each(|which| self.close(which));
        self.mapped.iter().for_each(Mapped::write_back);
    }

    /// Closes an open file.
    pub(crate) fn close(&mut self, which: usize) {
        let id = self.open.swap_remove(which).id;
        let opens = &mut self.model.get_mut(id).opens;
        *opens = opens.saturating_sub(1);
        self.model.collect(id);
    }
}

/// Opens, without the second try after EINTR that the standard library makes.
pub(crate) fn open(path: &Path, flags: i32, mode: u32) -> nix::Result<File> {
    use nix::fcntl::OFlag;
    let flags = OFlag::from_bits_retain(flags | libc::O_CLOEXEC);
    let mode = nix::sys::stat::Mode::from_bits_retain(mode);
    nix::fcntl::open(path, flags, mode).map(File::from)
}

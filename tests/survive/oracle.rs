//! A program of many operations that knows what each of them has to come to.
//!
//! Each thread has a directory of its own, and all of them one in which each has names of his
//! own. What a thread does depends on the seed alone. Each result, error, byte, attribute and
//! lock is compared with the thread's [`Model`], which is never read from the file system. So
//! what is done twice shows (a second mkdir says EEXIST, a second append is longer), what is not
//! done at all, and what is done wrong. At the end whole trees are compared, in the mount and
//! below it.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use crate::check::{Checked, Log, Wrong};
use crate::common::{ROOT, sys};
use crate::listing::Listing;
use crate::locks::Locks;
use crate::mapped::Mapped;
use crate::model::{Changed, Id, Kind, Model, Place};
use crate::random::Random;
use crate::{attrs, data, files, listing, locks, mapped, names, tree};

/// Directories of one thread at most.
const DIRS: usize = 12;
/// Open files of one thread at most.
const OPEN: usize = 8;
/// Names in one directory: few, so that most of them are sometimes there and sometimes not.
const NAMES: usize = 10;
/// How often a word is repeated that makes a long name.
const LONG: usize = 55;

/// Where the program runs.
pub(crate) struct Setup<'a> {
    /// An empty directory.
    pub(crate) dir: &'a Path,
    /// The same directory below the mount, if it can be seen.
    pub(crate) lower: Option<&'a Path>,
    pub(crate) seed: u64,
    pub(crate) threads: usize,
}

/// An open file of a thread.
pub(crate) struct Open {
    pub(crate) file: File,
    pub(crate) id: Id,
    pub(crate) reads: bool,
    pub(crate) writes: bool,
    pub(crate) appends: bool,
    pub(crate) position: usize,
}

/// One thread of the program.
pub(crate) struct Actor {
    pub(crate) random: Random,
    pub(crate) model: Model,
    pub(crate) open: Vec<Open>,
    pub(crate) listing: Listing,
    pub(crate) locks: Locks,
    pub(crate) mapped: Mapped,
    /// What the names of this thread begin with.
    pub(crate) tag: String,
    /// Of the file system, as first seen: block size, longest name.
    pub(crate) statfs: Option<(i64, i64)>,
    log: Log,
    begun: SystemTime,
}

type Operation = fn(&mut Actor) -> Checked;

/// Operations and how often they come.
const OPERATIONS: &[(usize, Operation)] = &[
    (8, names::mkdir),
    (4, names::mknod),
    (4, names::symlink),
    (6, names::link),
    (14, names::create),
    (10, names::unlink),
    (6, names::rmdir),
    (14, names::rename),
    (3, names::tmpfile),
    (6, names::readlink),
    (10, files::open),
    (6, files::close),
    (16, data::read),
    (10, data::read_on),
    (14, data::write),
    (10, data::write_on),
    (5, data::seek),
    (3, data::holes),
    (6, data::truncate),
    (4, data::allocate),
    (4, data::copy),
    (1, data::sync),
    (4, files::read_whole),
    (5, attrs::chmod),
    (4, attrs::chown),
    (5, attrs::utimens),
    (8, attrs::set_xattr),
    (4, attrs::get_xattr),
    (4, attrs::remove_xattr),
    (14, attrs::stat),
    (8, attrs::stat_open),
    (2, attrs::statfs),
    (4, listing::whole),
    (12, listing::go_on),
    (3, listing::go_back),
    (4, listing::change),
    (6, locks::flock),
    (6, locks::lock),
    (2, locks::test),
    (1, locks::hand_over),
    (1, locks::open_again),
    (4, mapped::write),
    (3, mapped::read),
];

/// Runs the program until `stop`, given the number of operations that the asking thread has done,
/// is true for each thread. Returns how many there were.
///
/// # Errors
/// Everything that was not as expected, with what led to it.
pub(crate) fn run(setup: &Setup<'_>, stop: impl Fn(u64) -> bool + Sync) -> Result<u64, String> {
    let failed = AtomicBool::new(false);
    std::fs::create_dir(setup.dir.join(tree::SHARED)).map_err(|error| error.to_string())?;
    let one = |number| {
        sys::become_caller(&ROOT);
        let mut actor = Actor::start(setup, number)?;
        let result = actor.go_on_until(|count| failed.load(Ordering::Relaxed) || stop(count));
        result.map_err(|wrong| {
            failed.store(true, Ordering::Relaxed);
            actor.report(setup, &wrong)
        })?;
        Ok(actor)
    };
    let ended: Vec<Result<Actor, String>> = std::thread::scope(|scope| {
        let one = &one;
        let start = |number| scope.spawn(move || one(number));
        let threads: Vec<_> = (0..setup.threads).map(start).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread of the program")).collect()
    });
    let (mut actors, mut wrong) = (Vec::new(), Vec::new());
    for end in ended {
        match end {
            Ok(actor) => actors.push(actor),
            Err(report) => wrong.push(report),
        }
    }
    if wrong.is_empty() {
        wrong.extend(tree::differences(setup, &mut actors));
    }
    match wrong.is_empty() {
        true => Ok(actors.iter().map(|actor| actor.log.count).sum()),
        false => Err(format!("seed {:#x}:\n{}", setup.seed, wrong.join("\n"))),
    }
}

impl Actor {
    fn start(setup: &Setup<'_>, number: usize) -> Result<Actor, String> {
        let tag = format!("t{number}");
        let fixed = setup.dir.join(tree::fixed(&tag));
        let failed = |wrong: Wrong| format!("{tag}: at the start: {}", wrong.got);
        let make = |path: &Path| std::fs::create_dir(path).map_err(|error| error.to_string());
        make(&setup.dir.join(&tag))?;
        make(&fixed)?;
        let mut model = Model::new(setup.dir);
        model.add_root(&tag, 0o755, false);
        model.add_root(tree::SHARED, 0o755, true);
        Ok(Actor {
            random: Random::new(setup.seed ^ (number as u64) << 32),
            model,
            open: Vec::new(),
            listing: Listing::start(&fixed).map_err(failed)?,
            locks: Locks::start(&fixed).map_err(failed)?,
            mapped: Mapped::start(&fixed).map_err(failed)?,
            tag,
            statfs: None,
            log: Log::default(),
            begun: SystemTime::now(),
        })
    }

    fn go_on_until(&mut self, stop: impl Fn(u64) -> bool) -> Checked {
        let total = OPERATIONS.iter().map(|(weight, _)| weight).sum();
        while !stop(self.log.count) {
            let mut left = self.random.below(total);
            for (weight, operation) in OPERATIONS {
                if left < *weight {
                    operation(self)?;
                    break;
                }
                left -= weight;
            }
        }
        Ok(())
    }

    fn report(&self, setup: &Setup<'_>, wrong: &Wrong) -> String {
        let (dir, report) = (setup.dir.display().to_string(), self.log.report(wrong));
        let report = report.replace(&dir, "").replace(&"long".repeat(LONG), "long...");
        format!("{}: below {dir}: {report}", self.tag)
    }

    /// Notes what is done next, and when.
    pub(crate) fn begin(&mut self, operation: String) {
        self.log.begin(operation);
        self.begun = SystemTime::now();
    }

    /// When what is being done changes a time stamp.
    pub(crate) fn now(&self) -> Changed {
        Changed::Between(self.begun, SystemTime::now())
    }

    /// A place in one of the directories, taken or not.
    pub(crate) fn any_place(&mut self) -> Place {
        let dirs = self.model.dirs();
        let dir = self.random.pick(&dirs);
        let number = self.random.below(NAMES);
        let name = match number {
            0 => format!("{} with space, \u{fc} and\nline", self.tag),
            1 => format!("{}-{}", self.tag, "long".repeat(LONG)),
            _ => format!("{}-{number}", self.tag),
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
        self.model.dirs().len() >= DIRS
    }

    /// Which of the open files to use, if any is.
    pub(crate) fn an_open(&mut self) -> Option<usize> {
        let count = self.open.len();
        (count > 0).then(|| self.random.below(count))
    }

    /// Notes an open file; closes another when they are too many.
    pub(crate) fn opened(&mut self, open: Open) {
        self.model.get_mut(open.id).opens += 1;
        self.open.push(open);
        if self.open.len() > OPEN {
            let which = self.random.below(OPEN);
            self.close(which);
        }
    }

    /// Closes an open file.
    pub(crate) fn close(&mut self, which: usize) {
        let id = self.open.swap_remove(which).id;
        self.model.get_mut(id).opens -= 1;
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

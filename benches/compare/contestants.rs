//! Who is compared, and how each is started.
//!
//! All have timeouts of one second and the page cache as with `cache=auto`: the defaults of fusex
//! and `passthrough_ll`; mergerfs has to be told. Debian 12 links bindfs with libfuse 2, which
//! sends writes page by page unless it is told `big_writes`. mergerfs has one branch.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::output;
use crate::libfuse::build_passthrough_ll;
use crate::scenes::Scene;
use crate::uring::Uring;

/// The directory itself, with which the others are compared.
pub(crate) const NATIVE: &str = "native";

/// One that is compared.
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    /// `None`: no server, the lower directory is used as it is.
    pub(crate) program: Option<PathBuf>,
    /// Its arguments; `LOWER` and `MOUNT` among them stand for the directories.
    pub(crate) arguments: &'static str,
    /// Takes part also where only small requests are measured.
    in_all: bool,
}

/// One way to start a program: name and arguments, and whether it takes part in all scenes.
type Variant = (&'static str, &'static str, bool);

/// Both without passthrough, so that data go the way that is compared.
pub(crate) const UNSUPERVISED_DEV: &str = "fusex unsupervised dev";
pub(crate) const UNSUPERVISED_URING: &str = "fusex unsupervised uring";

/// `shared` is for all users, with permissions checked: fusex has the kernel check them then,
/// `passthrough_ll` has to be told.
#[rustfmt::skip]
const FUSEX: &[Variant] = &[
    ("fusex", "mount -f LOWER MOUNT", true),
    ("fusex -s", "mount -f -s LOWER MOUNT", true),
    ("fusex shared", "mount -f -o allow_other LOWER MOUNT", false),
    ("fusex nopassthrough", "mount -f -o nopassthrough LOWER MOUNT", true),
    ("fusex nopassthrough dev", "mount -f --transport dev -o nopassthrough LOWER MOUNT", false),
    ("fusex nopassthrough splice", "mount -f --transport splice -o nopassthrough LOWER MOUNT", false),
    (UNSUPERVISED_DEV, "mount -f --no-supervise --transport dev -o nopassthrough LOWER MOUNT", true),
    (UNSUPERVISED_URING, "mount -f --no-supervise --transport uring -o nopassthrough LOWER MOUNT", true),
];

const PASSTHROUGH_LL: &[Variant] = &[
    ("passthrough_ll", "-f -o source=LOWER MOUNT", true),
    ("passthrough_ll -s", "-f -s -o source=LOWER MOUNT", true),
    ("passthrough_ll clone_fd", "-f -o clone_fd,source=LOWER MOUNT", true),
    ("passthrough_ll shared", "-f -o source=LOWER,allow_other,default_permissions MOUNT", false),
];

const BINDFS: &[Variant] = &[("bindfs", "-f -o big_writes LOWER MOUNT", true)];

const MERGERFS: &[Variant] = &[(
    "mergerfs",
    "-f -o cache.files=partial,category.create=ff,minfreespace=0 LOWER MOUNT",
    true,
)];

type Find = fn(tools: &Path) -> anyhow::Result<PathBuf>;

/// The programs: how each is found or built, and its variants.
const PROGRAMS: &[(&str, Find, &[Variant])] = &[
    ("fusex", |_| Ok(PathBuf::from(env!("CARGO_BIN_EXE_fusex"))), FUSEX),
    ("passthrough_ll", build_passthrough_ll, PASSTHROUGH_LL),
    ("bindfs", |_| installed("bindfs"), BINDFS),
    ("mergerfs", |_| installed("mergerfs"), MERGERFS),
];

/// Every mount's name, as `--contestant` takes it.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    PROGRAMS.iter().flat_map(|(_, _, variants)| *variants).map(|(name, ..)| *name)
}

/// Those who take part.
pub(crate) struct Contestants {
    /// The native directory is the first.
    all: Vec<Contestant>,
    /// Keeps io_uring allowed.
    _uring: Option<Uring>,
}

impl Contestants {
    /// The native directory, and of the mounts those that are `asked` for (none: all) and can run
    /// here; for the others the reason is printed. What has to be built is built in `tools`.
    pub(crate) fn gather(asked: &[String], tools: &Path) -> Contestants {
        let native = Contestant { name: NATIVE, program: None, arguments: "", in_all: true };
        let mut gathered = Contestants { all: vec![native], _uring: None };
        for (program, find, variants) in PROGRAMS {
            let wanted =
                |(name, ..): &&Variant| asked.is_empty() || asked.iter().any(|wish| wish == name);
            let variants: Vec<&Variant> = variants.iter().filter(wanted).collect();
            if variants.is_empty() {
                continue;
            }
            match find(tools) {
                Ok(path) => {
                    for (name, arguments, in_all) in variants {
                        gathered.add(name, &path, arguments, *in_all || !asked.is_empty());
                    }
                }
                Err(error) => eprintln!("SKIP: {program}: {error:#}"),
            }
        }
        gathered
    }

    fn add(&mut self, name: &'static str, program: &Path, arguments: &'static str, in_all: bool) {
        if name == UNSUPERVISED_URING {
            match Uring::allow() {
                Ok(uring) => self._uring = Some(uring),
                Err(error) => return eprintln!("SKIP: {name}: {error:#}"),
            }
        }
        self.all.push(Contestant { name, program: Some(program.into()), arguments, in_all });
    }

    /// The directory itself.
    pub(crate) fn native(&self) -> &Contestant {
        &self.all[0]
    }

    /// Who takes part in a scene.
    pub(crate) fn of(&self, scene: &Scene) -> Vec<&Contestant> {
        self.all.iter().filter(|contestant| !scene.small || contestant.in_all).collect()
    }
}

fn installed(program: &str) -> anyhow::Result<PathBuf> {
    output(Command::new(program).arg("--version"))
        .map_err(|error| error.context(format!("install {program}")))?;
    Ok(PathBuf::from(program))
}

//! Who is compared, and how each is started.
//!
//! All run with their defaults, which for fusex and `passthrough_ll` are timeouts of one second
//! and `cache=auto`, and what each pair is told is the same. Debian 12
//! links bindfs with libfuse 2, which sends writes page by page unless told otherwise.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::output;
use crate::libfuse::build_passthrough_ll;

/// The directory itself, with which the others are compared.
pub(crate) const NATIVE: &str = "native";

/// One that is compared.
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    /// `None`: no server, the lower directory is used as it is.
    pub(crate) program: Option<PathBuf>,
    /// Its arguments; `LOWER` and `MOUNT` in them stand for the directories.
    pub(crate) arguments: &'static [&'static str],
}

/// Which fusex is compared with which `passthrough_ll`: those with the same options.
pub(crate) const PAIRS: &[(&str, &str)] = &[
    ("fusex", "passthrough_ll"),
    ("fusex -s", "passthrough_ll -s"),
    ("fusex shared", "passthrough_ll shared"),
    ("fusex nopassthrough", "passthrough_ll"),
];

/// `shared` is for all users, with permissions checked: fusex has the kernel check them then,
/// `passthrough_ll` has to be told.
const FUSEX: &[(&str, &[&str])] = &[
    ("fusex", &["mount", "-f", "LOWER", "MOUNT"]),
    ("fusex -s", &["mount", "-f", "-s", "LOWER", "MOUNT"]),
    ("fusex shared", &["mount", "-f", "-o", "allow_other", "LOWER", "MOUNT"]),
    ("fusex nopassthrough", &["mount", "-f", "-o", "nopassthrough", "LOWER", "MOUNT"]),
];

const PASSTHROUGH_LL: &[(&str, &[&str])] = &[
    ("passthrough_ll", &["-f", "-o", "source=LOWER", "MOUNT"]),
    ("passthrough_ll -s", &["-f", "-s", "-o", "source=LOWER", "MOUNT"]),
    (
        "passthrough_ll shared",
        &["-f", "-o", "source=LOWER,allow_other,default_permissions", "MOUNT"],
    ),
];

const BINDFS: &[(&str, &[&str])] = &[("bindfs", &["-f", "LOWER", "MOUNT"])];

/// Everyone who can run here; for the others the reason is printed. What has to be built is
/// built in `tools`.
pub(crate) fn all(tools: &Path) -> Vec<Contestant> {
    let mut all = vec![Contestant { name: NATIVE, program: None, arguments: &[] }];
    let programs = [
        ("fusex", Ok(PathBuf::from(env!("CARGO_BIN_EXE_fusex"))), FUSEX),
        ("passthrough_ll", build_passthrough_ll(tools), PASSTHROUGH_LL),
        ("bindfs", find("bindfs"), BINDFS),
    ];
    for (name, program, variants) in programs {
        match program {
            Ok(program) => all.extend(variants.iter().map(|&(name, arguments)| Contestant {
                name,
                program: Some(program.clone()),
                arguments,
            })),
            Err(error) => eprintln!("compare: {name} is skipped: {error:#}"),
        }
    }
    all
}

fn find(program: &str) -> anyhow::Result<PathBuf> {
    output(Command::new(program).arg("--version"))?;
    Ok(PathBuf::from(program))
}

//! The mounts of the matrix.

use super::{MatrixConfig, Size};
use crate::crash::CrashError;
use crate::crash::target::{FsKind, Target};

/// How many serving threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// One, and nobody but the step's caller.
    One,
    /// Several, each with a clone of the device, and neighbours of the caller.
    Many,
}

impl Threads {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Threads::One => "one-thread",
            Threads::Many => "many-threads",
        }
    }
}

/// One kind of mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flavour {
    pub(super) kind: FsKind,
    pub(super) threads: Threads,
    pub(super) resend: bool,
    /// The kernel reads and writes lower files itself.
    pub(super) backed: bool,
    /// What is read goes through the slots' pipes.
    pub(super) spliced: bool,
}

/// So that the kernel keeps nothing to itself.
const ASK: &str = "nopassthrough,cache=never,attr_timeout=0,entry_timeout=0";
const BACKED: &str = "attr_timeout=0,entry_timeout=0";

impl Flavour {
    /// Its name in reports.
    pub(super) fn name(self) -> String {
        let kind = match (self.kind, self.backed) {
            (FsKind::Mem, _) => "mem",
            (FsKind::Passthrough, false) => "passthrough",
            (FsKind::Passthrough, true) => "passthrough backed",
            (FsKind::Merge, _) => "merge",
        };
        let spliced = if self.spliced { " spliced" } else { "" };
        let resend = if self.resend { "resend" } else { "no-resend" };
        format!("{kind}{spliced} {} {resend}", self.threads.name())
    }

    pub(super) fn start(self) -> Result<Target, CrashError> {
        let mut arguments = vec!["-o", if self.backed { BACKED } else { ASK }];
        if self.threads == Threads::One {
            arguments.push("-s");
        }
        arguments.push(if self.spliced { "--transport=splice" } else { "--transport=dev" });
        if !self.resend {
            arguments.push("--no-resend");
        }
        Target::start_private(self.kind, &arguments)
    }
}

/// Those that are asked for.
pub(super) fn flavours(config: &MatrixConfig) -> Vec<Flavour> {
    let mut all = Vec::new();
    for (kind, backed, spliced) in [
        (FsKind::Passthrough, false, false),
        (FsKind::Passthrough, false, true),
        (FsKind::Passthrough, true, false),
        (FsKind::Mem, false, false),
        (FsKind::Mem, false, true),
        (FsKind::Merge, false, false),
        (FsKind::Merge, false, true),
    ] {
        for threads in [Threads::One, Threads::Many] {
            for resend in [true, false] {
                all.push(Flavour { kind, threads, resend, backed, spliced });
            }
        }
    }
    // The short matrix has each of both, not all four ways to put them together.
    let short = config.size == Size::Short && config.threads.is_empty() && config.resend.is_empty();
    all.retain(|flavour| !short || flavour.resend == (flavour.threads == Threads::Many));
    all.retain(|flavour| {
        (config.file_systems.is_empty() || config.file_systems.contains(&flavour.kind))
            && (config.threads.is_empty() || config.threads.contains(&flavour.threads))
            && (config.resend.is_empty() || config.resend.contains(&flavour.resend))
    });
    all
}

/// Whether a pair of crashes is run: all of them, or a sample.
pub(super) fn in_sample(config: &MatrixConfig, key: &str) -> bool {
    // One in a hundred.
    config.size == Size::Full
        || xxhash_rust::xxh3::xxh3_64_with_seed(key.as_bytes(), config.seed).is_multiple_of(100)
}

//! `fusex splice-bench`: how bytes get from a source to a sink on this machine, and what it costs.
//!
//! | file | what |
//! | --- | --- |
//! | `plan` | which combinations there are, and why not the others |
//! | `rounds` | all of them, interleaved: from a [`Config`] to a [`report::Report`] |
//! | `local` | one measurement within this process: a thread each for server, client and peer |
//! | `mounted` | one measurement on a mount, whose server is a process of its own |
//! | `existing` | the same on a mount of somebody else |
//! | `moving` | the ways of a block from a descriptor to another |
//! | `peer` | who sends the packets of a socket |
//! | `pattern` | bytes that are known beforehand: each one that arrives is compared |
//! | `server` | a mount for a measurement, and the processes behind it |
//! | `machine` | what the figures depend on: kernel, CPUs, capabilities, wake-ups |
//! | `pin`, `spread` | CPUs to run on; several figures as one |
//! | `report`, `verdict` | what was found, and what to make of it |
//!
//! A round measures each combination once, the modes of the same source, size and sink right after
//! each other in an order that rotates: what else the machine does meets all of them. A ratio is
//! taken within a round, against the plain copy, before the median over the rounds is.
//!
//! Nothing is checked while a clock runs. Whoever receives keeps the bytes of a measurement and
//! compares them afterwards; what goes to /dev/null goes to a receiver first, by the same code.

mod existing;
mod frames;
mod local;
pub mod machine;
mod mounted;
mod moving;
mod pattern;
mod peer;
pub mod pin;
mod plan;
pub mod report;
mod rounds;
pub mod server;
pub mod spread;
pub mod verdict;

pub use rounds::{Progress, run};

use std::path::PathBuf;

use serde::Serialize;

use crate::Errno;
use pin::Pin;

/// The smallest block, in bytes, and what every size is a multiple of.
pub const LEAST: usize = 4 << 10;
/// The largest block, in bytes.
pub const MOST: usize = 1 << 20;

/// Where bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A file in the page cache
    File,
    /// Packets from a unix socket
    Unix,
    /// Packets from a TCP connection over the loopback device
    Tcp,
}

/// How they travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Read into a buffer that is used again and again, then written
    Copy,
    /// The same, with header, payload and footer of a packet by one call
    Iovec,
    /// By splice(2), through a pipe
    Splice,
    /// A splice that finds no room in its pipe, and is finished by copying
    Fallback,
    /// The kernel reads the file below the mount itself (FUSE_PASSTHROUGH)
    Passthrough,
    /// Copied, with requests and replies over io_uring
    Uring,
    /// What the server of '--mount' does
    #[value(skip)]
    Existing,
}

/// Where they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Sink {
    /// /dev/null
    Null,
    /// A pipe that somebody reads
    Pipe,
    /// A new file
    File,
    /// A reader on a FUSE mount, without the page cache
    MountDirect,
    /// A reader on a FUSE mount, through the page cache, which is empty beforehand
    MountCached,
}

/// The name that an enum has on the command line and in every form of output.
pub fn name(value: impl clap::ValueEnum) -> String {
    value.to_possible_value().map_or("existing".to_string(), |it| it.get_name().to_string())
}

impl Sink {
    /// Whether it takes a mount.
    pub fn is_mount(self) -> bool {
        matches!(self, Sink::MountDirect | Sink::MountCached)
    }
}

/// One combination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// From where.
    pub source: Source,
    /// To where.
    pub sink: Sink,
    /// Bytes of a block.
    pub size: usize,
    /// How.
    pub mode: Mode,
}

/// What is to be measured, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// These sources.
    pub sources: Vec<Source>,
    /// Sizes of a block, in bytes: multiples of [`LEAST`] up to [`MOST`], in order.
    pub sizes: Vec<usize>,
    /// These modes; with [`Mode::Copy`], which the others are compared with.
    pub modes: Vec<Mode>,
    /// These sinks.
    pub sinks: Vec<Sink>,
    /// Each combination is measured so often.
    pub rounds: u32,
    /// About so many bytes are moved in one measurement; one block at the least.
    pub bytes: usize,
    /// Who runs where.
    pub pin: Pin,
    /// Where files and mounts are made.
    pub dir: PathBuf,
    /// A file on a mount of somebody else, or a directory there.
    pub mount: Option<PathBuf>,
    /// Round trips that the wake-up times are taken over.
    pub trips: u32,
    /// For tests: the source has another byte at this position than it should.
    pub corrupt: Option<usize>,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// What arrived is not what was sent.
    #[error("a wrong byte: {0}")]
    Wrong(String),
    /// A system call.
    #[error("{what}: {}", .errno.desc())]
    System {
        /// The call, and what it was about.
        what: String,
        /// Why.
        errno: Errno,
    },
    /// Anything else that is in the way: one line, what is wrong and the cure.
    #[error("{0}")]
    Failed(String),
}

impl BenchError {
    /// For `map_err`: a call that failed, on what.
    fn system(what: impl Into<String>) -> impl FnOnce(Errno) -> BenchError {
        let what = what.into();
        move |errno| BenchError::System { what, errno }
    }

    /// The same for the standard library's errors.
    fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> BenchError {
        let what = what.into();
        move |error| match error.raw_os_error() {
            Some(number) => BenchError::System { what, errno: Errno::from_raw(number) },
            None => BenchError::Failed(format!("{what}: {error}")),
        }
    }
}

type Result<T> = std::result::Result<T, BenchError>;

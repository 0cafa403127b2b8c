//! Everything that `-o` can say: typed, checked, the last of two winning.
//!
//! `table` has one row an option (name, value, help, effect); parsing, `--help`, the manual
//! page and the suggestion for a misspelt name all come from it. [`grammar`] cuts the strings,
//! `kernel` turns the result into what mount(2) and `fusermount3` take.

pub mod grammar;
mod kernel;
mod table;
mod values;

pub(crate) use values::size;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use nix::mount::MsFlags;

pub use kernel::KernelData;
pub use table::{MAX_THREADS, help};

/// When the kernel may keep file data in its page cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cache {
    /// Every read and write is a request (`FOPEN_DIRECT_IO`).
    Never,
    /// Dropped when the file has changed below the mount, or is opened again after that.
    #[default]
    Auto,
    /// Kept across opens (`FOPEN_KEEP_CACHE`).
    Always,
}

/// Whose FUSE in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kernel {
    /// The kernel's own.
    #[default]
    Fuse,
    /// That of the module fusebpf, whose requests BPF programs can answer (`fusex bpf-load`).
    Fusebpf,
}

impl Kernel {
    /// The type of its mounts.
    pub fn name(self) -> &'static str {
        match self {
            Kernel::Fuse => "fuse",
            Kernel::Fusebpf => "fusebpf",
        }
    }

    /// Its device.
    pub fn device(self) -> &'static str {
        match self {
            Kernel::Fuse => "/dev/fuse",
            Kernel::Fusebpf => "/dev/fusebpf",
        }
    }
}

/// What `-o` said. Sizes are in bytes; what is `None` was not given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Every user may use the mount, not only the one who mounted it.
    pub allow_other: bool,
    /// That user and root. The kernel is told `allow_other`; the session refuses the others.
    pub allow_root: bool,
    /// The kernel checks permissions from mode, owner and ACLs. It does so with `allow_other` in
    /// any case: see [`Options::kernel_checks`].
    pub default_permissions: bool,
    /// Unmount when the serving process is gone, however it ended.
    pub auto_unmount: bool,
    /// Whose FUSE in the kernel.
    pub kernel: Kernel,
    /// Source in the mount table.
    pub fsname: Option<String>,
    /// Second half of the type in the mount table.
    pub subtype: Option<String>,
    /// Largest READ, bytes.
    pub max_read: Option<u32>,
    /// `st_blksize` of every file, bytes. Not for the kernel: it takes `blksize=` for block
    /// devices only.
    pub blksize: Option<u32>,
    /// Largest WRITE, bytes.
    pub max_write: Option<u32>,
    /// Largest readahead, bytes; 0 is none.
    pub max_readahead: Option<u32>,
    /// Background requests (readahead, writeback) in flight at most.
    pub max_background: Option<u16>,
    /// So many background requests make the mount count as congested.
    pub congestion_threshold: Option<u16>,
    /// Granularity of time stamps, nanoseconds: a power of ten.
    pub time_gran: Option<u32>,
    /// One `/dev/fuse` clone a thread.
    pub clone_fd: bool,
    /// Serving threads at most; 1 or more.
    pub max_threads: Option<u32>,
    /// How long the kernel trusts a name.
    pub entry_timeout: Option<Duration>,
    /// How long the kernel trusts attributes.
    pub attr_timeout: Option<Duration>,
    /// How long the kernel trusts that a name is absent.
    pub negative_timeout: Option<Duration>,
    /// The directory to serve.
    pub source: Option<PathBuf>,
    /// Writes are gathered in the page cache (`FUSE_WRITEBACK_CACHE`).
    pub writeback: bool,
    /// When file data are cached.
    pub cache: Cache,
    /// Reads and writes go from the kernel straight to the lower file (`FUSE_PASSTHROUGH`).
    pub passthrough: bool,
    /// Flags for mount(2).
    pub flags: MsFlags,
}

impl Default for Options {
    /// No option given: `nosuid,nodev`, data passed through by the kernel.
    fn default() -> Options {
        Options {
            allow_other: false,
            allow_root: false,
            default_permissions: false,
            auto_unmount: false,
            kernel: Kernel::Fuse,
            fsname: None,
            subtype: None,
            max_read: None,
            blksize: None,
            max_write: None,
            max_readahead: None,
            max_background: None,
            congestion_threshold: None,
            time_gran: None,
            clone_fd: false,
            max_threads: None,
            entry_timeout: None,
            attr_timeout: None,
            negative_timeout: None,
            source: None,
            writeback: false,
            cache: Cache::default(),
            passthrough: true,
            flags: MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        }
    }
}

/// Why an `-o` string was refused: one line, with the cure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// No option has this name.
    #[error("option '{name}': unknown: {}", suggestion(*nearest))]
    Unknown {
        /// As given.
        name: String,
        /// The known name most like it.
        nearest: Option<&'static str>,
    },
    /// The option needs a value.
    #[error("option '{name}': needs a value: write '{name}={value}'")]
    NeedsValue {
        /// The option.
        name: &'static str,
        /// What stands for the value in `--help`.
        value: &'static str,
    },
    /// The option takes no value.
    #[error("option '{name}': takes no value: write '{name}' alone")]
    NoValue {
        /// The option.
        name: &'static str,
    },
    /// The value is not one that the option takes.
    #[error("option '{name}': bad value '{value}': give {want}")]
    BadValue {
        /// The option.
        name: &'static str,
        /// As given.
        value: String,
        /// What it takes, with range and unit.
        want: String,
    },
    /// The string ends in a backslash.
    #[error("option string ends in a lone backslash: write '\\\\' for a backslash")]
    LoneBackslash,
    /// A NUL byte.
    #[error("option string has a NUL byte: remove it")]
    Nul,
}

fn suggestion(nearest: Option<&str>) -> String {
    match nearest {
        Some(name) => format!("did you mean '{name}'?"),
        None => "'fusex mount --help' lists all options".to_string(),
    }
}

/// What to do with an option that nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// An error that names it.
    Refuse,
    /// Leave it out, as `mount -s` asks.
    Ignore,
}

impl Options {
    /// Parses `-o` strings, in order; the last of two options wins, opposites included.
    ///
    /// # Errors
    /// See [`OptionError`].
    pub fn parse<S: AsRef<OsStr>>(
        strings: impl IntoIterator<Item = S>,
        unknown: Unknown,
    ) -> Result<Options, OptionError> {
        let mut options = Options::default();
        for string in strings {
            for option in grammar::split(string.as_ref().as_bytes())? {
                match options.set(&option) {
                    Err(OptionError::Unknown { .. }) if unknown == Unknown::Ignore => {}
                    other => other?,
                }
            }
        }
        Ok(options)
    }

    /// Applies one option: `name` or `name=value`, unescaped.
    fn set(&mut self, option: &[u8]) -> Result<(), OptionError> {
        let (name, value) = match option.iter().position(|&byte| byte == b'=') {
            Some(equals) => (&option[..equals], Some(&option[equals + 1..])),
            None => (option, None),
        };
        let name = String::from_utf8_lossy(name);
        if table::is_ignored(&name) {
            return Ok(());
        }
        let Some(row) = table::row_of(&name) else {
            let nearest = table::nearest(&name);
            return Err(OptionError::Unknown { name: name.into_owned(), nearest });
        };
        row.apply(self, value)
    }
}

#[cfg(test)]
mod tests;

//! The table of options: one row each.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use nix::mount::MsFlags;

use super::values::{flags, granularity, number, power_of_two, seconds, short, size, text};
use super::{Cache, Kernel, OptionError, Options};

/// Largest request that the kernel can be asked for: 65535 pages, rounded up, in bytes.
const MAX_REQUEST: u32 = 256 << 20;
/// Most serving threads that can be asked for.
pub const MAX_THREADS: u32 = 4096;
/// `MS_NOSYMFOLLOW` (5.10), which nix has no name for.
const MS_NOSYMFOLLOW: MsFlags = MsFlags::from_bits_retain(256);

/// One option.
pub(super) struct Row {
    pub(super) name: &'static str,
    effect: Effect,
    /// Meaning, unit and default.
    help: &'static str,
}

enum Effect {
    /// `name`.
    Switch(fn(&mut Options)),
    /// `name=value`; the first field stands for the value in `--help`.
    Value(&'static str, fn(&mut Options, &[u8]) -> Result<(), String>),
    /// `name`: sets mount flags.
    Set(MsFlags),
    /// `name`: clears mount flags.
    Clear(MsFlags),
}

use Effect::{Clear, Set, Switch, Value};

const fn row(name: &'static str, effect: Effect, help: &'static str) -> Row {
    Row { name, effect, help }
}

/// Every option that has an effect.
#[rustfmt::skip]
pub(super) static TABLE: &[Row] = &[
    row("source", Value("DIR", |o, v| { text_path(v).map(|path| o.source = Some(path)) }),
        "directory to serve, in place of SOURCE"),
    row("fsname", Value("NAME", |o, v| { o.fsname = Some(text(v)?); Ok(()) }),
        "source in the mount table; without subtype= the type is then 'fuse' (default: the served directory)"),
    row("subtype", Value("NAME", |o, v| { o.subtype = Some(text(v)?); Ok(()) }),
        "the type in the mount table is fuse.NAME (default: fusex)"),
    row("allow_other", Switch(|o| { o.allow_other = true; o.allow_root = false; }),
        "every user may use the mount (default: only the one who mounted)"),
    row("allow_root", Switch(|o| { o.allow_root = true; o.allow_other = false; }),
        "the one who mounted and root may use the mount"),
    row("default_permissions", Switch(|o| o.default_permissions = true),
        "the kernel checks permissions (default with allow_other, allow_root and -t mem)"),
    row("auto_unmount", Switch(|o| o.auto_unmount = true),
        "unmount when the serving process is gone, however it ended"),
    row("kernel", Value("fuse|fusebpf", |o, v| { kernel(v).map(|kernel| o.kernel = kernel) }),
        "whose FUSE: the kernel's own, or that of the module fusebpf, for 'fusex bpf-load' (default: fuse)"),
    row("max_read", Value("BYTES", |o, v| { o.max_read = Some(size(v, 4096..=MAX_REQUEST)?); Ok(()) }),
        "largest read request, bytes, 4096 or more (default: the kernel's)"),
    row("max_write", Value("BYTES", |o, v| { o.max_write = Some(size(v, 4096..=MAX_REQUEST)?); Ok(()) }),
        "largest write request, bytes, 4096 or more (default: the kernel's limit)"),
    row("max_readahead", Value("BYTES", |o, v| { o.max_readahead = Some(size(v, 0..=u32::MAX)?); Ok(()) }),
        "largest readahead, bytes; 0 is none (default: the kernel's)"),
    row("max_background", Value("N", |o, v| { o.max_background = Some(short(v)?); Ok(()) }),
        "readahead and writeback requests in flight, 1 to 65535 (default: 64)"),
    row("congestion_threshold", Value("N", |o, v| { o.congestion_threshold = Some(short(v)?); Ok(()) }),
        "so many of those make the mount congested, 1 to 65535 (default: 3/4 of max_background)"),
    row("time_gran", Value("NANOSECONDS", |o, v| { o.time_gran = Some(granularity(v)?); Ok(()) }),
        "granularity of time stamps, a power of ten (default: 1)"),
    row("blksize", Value("BYTES", |o, v| { o.blksize = Some(power_of_two(v, 512..=1 << 20)?); Ok(()) }),
        "st_blksize that files report, a power of two, 512 to 1M (default: the lower file's)"),
    row("max_threads", Value("N", |o, v| { o.max_threads = Some(number(v, 1..=MAX_THREADS)?); Ok(()) }),
        "serving threads at most, 1 to 4096 (default: 16)"),
    row("clone_fd", Switch(|o| o.clone_fd = true),
        "one /dev/fuse clone a thread (always so with several threads)"),
    row("entry_timeout", Value("SECONDS", |o, v| { o.entry_timeout = Some(seconds(v)?); Ok(()) }),
        "how long the kernel trusts a name, with decimals (default: 1; 0 with cache=never; 86400 with cache=always and -t mem)"),
    row("attr_timeout", Value("SECONDS", |o, v| { o.attr_timeout = Some(seconds(v)?); Ok(()) }),
        "how long the kernel trusts attributes, with decimals (default: 1; 0 with cache=never; 86400 with cache=always and -t mem)"),
    row("negative_timeout", Value("SECONDS", |o, v| { o.negative_timeout = Some(seconds(v)?); Ok(()) }),
        "how long the kernel trusts that a name is absent, with decimals (default: 0; 86400 with cache=always and -t mem)"),
    row("cache", Value("never|auto|always", |o, v| { cache(v).map(|cache| o.cache = cache) }),
        "when file data stay in the page cache (default: auto, until the file changes below)"),
    row("writeback", Switch(|o| o.writeback = true),
        "gather writes in the page cache; rules passthrough out"),
    row("nowriteback", Switch(|o| o.writeback = false),
        "send each write at once (default)"),
    row("passthrough", Switch(|o| o.passthrough = true),
        "the kernel reads and writes the lower file directly where it can (default)"),
    row("nopassthrough", Switch(|o| o.passthrough = false),
        "all data go through fusex"),
    row("ro", Set(MsFlags::MS_RDONLY), "read-only"),
    row("rw", Clear(MsFlags::MS_RDONLY), "read and write (default)"),
    row("suid", Clear(MsFlags::MS_NOSUID), "set-user-id bits have effect (default from fstab as root)"),
    row("nosuid", Set(MsFlags::MS_NOSUID), "set-user-id bits have no effect (default)"),
    row("dev", Clear(MsFlags::MS_NODEV), "device nodes work (default from fstab as root)"),
    row("nodev", Set(MsFlags::MS_NODEV), "device nodes do not work (default)"),
    row("exec", Clear(MsFlags::MS_NOEXEC), "programs may be run (default)"),
    row("noexec", Set(MsFlags::MS_NOEXEC), "programs may not be run"),
    row("atime", Clear(MsFlags::MS_NOATIME), "reading updates access times (default)"),
    row("noatime", Set(MsFlags::MS_NOATIME), "reading does not update access times"),
    row("diratime", Clear(MsFlags::MS_NODIRATIME), "nodiratime undone (default)"),
    row("nodiratime", Set(MsFlags::MS_NODIRATIME), "reading a directory does not update its access time"),
    row("relatime", Set(MsFlags::MS_RELATIME), "access times are updated when older than the last change (default)"),
    row("norelatime", Clear(MsFlags::MS_RELATIME), "relatime undone"),
    row("strictatime", Set(MsFlags::MS_STRICTATIME), "every read updates access times"),
    row("nostrictatime", Clear(MsFlags::MS_STRICTATIME), "strictatime undone (default)"),
    row("lazytime", Set(MsFlags::MS_LAZYTIME), "time stamps stay in memory for a while"),
    row("nolazytime", Clear(MsFlags::MS_LAZYTIME), "lazytime undone (default)"),
    row("sync", Set(MsFlags::MS_SYNCHRONOUS), "every write is synchronous"),
    row("async", Clear(MsFlags::MS_SYNCHRONOUS), "sync undone (default)"),
    row("dirsync", Set(MsFlags::MS_DIRSYNC), "changes of directories are synchronous"),
    row("symfollow", Clear(MS_NOSYMFOLLOW), "symbolic links are followed (default)"),
    row("nosymfollow", Set(MS_NOSYMFOLLOW), "symbolic links are not followed"),
    row("flags", Value("N", |o, v| { o.flags = flags(v, every_flag())?; Ok(()) }),
        "all mount(2) flags at once, decimal or 0x; options after it change single ones"),
];

/// Words of fstab and of mount(8) that are not for the one who mounts.
const IGNORED: &str = "defaults auto noauto user nouser users nousers owner noowner group nogroup \
                       nofail fail _netdev comment context fscontext defcontext rootcontext \
                       uhelper helper";

/// Whether the option is accepted and has no effect.
pub(super) fn is_ignored(name: &str) -> bool {
    IGNORED.split(' ').any(|word| word == name) || name.starts_with("x-") || name.starts_with("X-")
}

/// The row of an option.
pub(super) fn row_of(name: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.name == name)
}

/// The known name most like `name`, if any is like it at all.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let scored = TABLE.iter().map(|row| (strsim::jaro_winkler(row.name, name), row.name));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= 0.8).then_some(best.1)
}

/// The list of options for `--help` and the manual page: two columns of 80 characters together.
pub fn help() -> String {
    let mut text = "Mount options:".to_string();
    for row in TABLE {
        let name = match row.effect {
            Value(value, _) => format!("{}={value}", row.name),
            _ => row.name.to_string(),
        };
        text.push_str(&format!("\n  {name:<25}"));
        wrap(&mut text, row.help);
    }
    text.push_str("\n\nMount options without effect:\n ");
    wrap(&mut text, &format!("{IGNORED} x-* X-*"));
    text.push_str("\n\nRules:\n ");
    wrap(&mut text, RULES);
    text
}

/// What holds for every option.
const RULES: &str = "Options are separated by commas. '\\,' is a comma in a value, '\\\\' a \
                     backslash, '\\ooo' a byte in octal. The last of two wins, also of two \
                     opposites. Sizes are in bytes; K and M may follow the number. Times are in \
                     seconds.";

/// Appends `words`, breaking lines at column 80 and indenting to where the first one began.
fn wrap(text: &mut String, words: &str) {
    let start = text.len() - text.rfind('\n').map_or(0, |newline| newline + 1);
    let mut column = start;
    for word in words.split(' ') {
        if column + 1 + word.len() > 80 {
            text.push('\n');
            text.push_str(&" ".repeat(start));
            column = start;
        }
        text.push(' ');
        text.push_str(word);
        column += 1 + word.len();
    }
}

impl Row {
    /// Applies the option to `options`.
    pub(super) fn apply(
        &self,
        options: &mut Options,
        value: Option<&[u8]>,
    ) -> Result<(), OptionError> {
        let name = self.name;
        match (&self.effect, value) {
            (Value(_, set), Some(value)) => set(options, value).map_err(|want| {
                let value = String::from_utf8_lossy(value).into_owned();
                OptionError::BadValue { name, value, want }
            }),
            (Value(value, _), None) => Err(OptionError::NeedsValue { name, value }),
            (_, Some(_)) => Err(OptionError::NoValue { name }),
            (Switch(set), None) => {
                set(options);
                Ok(())
            }
            (Set(flags), None) => {
                options.flags.remove(overridden(*flags));
                options.flags.insert(*flags);
                Ok(())
            }
            (Clear(flags), None) => {
                options.flags.remove(*flags);
                Ok(())
            }
        }
    }
}

/// Flags that say the opposite of `flags` without being its negation: the three policies for
/// access times exclude each other.
fn overridden(flags: MsFlags) -> MsFlags {
    let atime = MsFlags::MS_NOATIME | MsFlags::MS_RELATIME | MsFlags::MS_STRICTATIME;
    if atime.contains(flags) { atime } else { MsFlags::empty() }
}

/// Every flag that an option sets.
fn every_flag() -> MsFlags {
    let flags = TABLE.iter().filter_map(|row| match row.effect {
        Set(flags) => Some(flags),
        _ => None,
    });
    flags.fold(MsFlags::empty(), MsFlags::union)
}

/// The names of the options that make `flags` from no flags at all, for `fusermount3`.
pub(super) fn flag_names(flags: MsFlags) -> impl Iterator<Item = &'static str> {
    TABLE.iter().filter_map(move |row| match row.effect {
        Set(flag) if flags.contains(flag) => Some(row.name),
        _ => None,
    })
}

fn kernel(value: &[u8]) -> Result<Kernel, String> {
    match value {
        b"fuse" => Ok(Kernel::Fuse),
        b"fusebpf" => Ok(Kernel::Fusebpf),
        _ => Err("fuse or fusebpf".to_string()),
    }
}

fn cache(value: &[u8]) -> Result<Cache, String> {
    match value {
        b"never" => Ok(Cache::Never),
        b"auto" => Ok(Cache::Auto),
        b"always" => Ok(Cache::Always),
        _ => Err("never, auto or always".to_string()),
    }
}

/// A path, which need not be UTF-8.
fn text_path(value: &[u8]) -> Result<std::path::PathBuf, String> {
    if value.is_empty() {
        return Err("a directory".to_string());
    }
    Ok(OsStr::from_bytes(value).into())
}

//! The program under the names that mount(8) looks for: a helper for `/etc/fstab`.
//!
//! A line `SOURCE DIR fuse.fusex OPTIONS 0 0` makes mount(8) run `mount.fuse.fusex SOURCE DIR
//! -o OPTIONS`, with `-s`, `-f`, `-n`, `-v`, `-N` and `-t` meaning what they mean there.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};

use clap::Parser;
use nix::sched::{CloneFlags, setns};

use super::mount::{FsType, Kind, MountArgs};
use crate::Errno;
use crate::exit::EXIT_STATUS;
use crate::mount::MountError;

/// What mount(8) calls the helper.
const NAMES: &[&str] = &["mount.fuse.fusex", "mount.fusex", "mount.fuse3.fusex"];

/// Whether the program was called by a helper's name.
pub(super) fn is_name(program: &OsStr) -> bool {
    let base = Path::new(program).file_name().and_then(OsStr::to_str);
    base.is_some_and(|base| NAMES.contains(&base))
}

/// Mount a directory as mount(8) asks for it
#[derive(Debug, Parser)]
#[command(name = "mount.fusex", version, after_help = EXIT_STATUS)]
pub struct HelperArgs {
    /// Directory to serve, or the manifest
    source: PathBuf,

    /// Directory to mount on
    dir: PathBuf,

    /// Mount options, separated by commas; may be repeated
    #[arg(short, value_name = "OPTIONS")]
    options: Vec<OsString>,

    /// Leave out options that are unknown
    #[arg(short)]
    sloppy: bool,

    /// Do everything but mount
    #[arg(short)]
    fake: bool,

    /// Accepted: there is no mtab to be left alone
    #[arg(short)]
    no_mtab: bool,

    /// Say what is done
    #[arg(short)]
    verbose: bool,

    /// Mount in this namespace: a process id or a path
    #[arg(short = 'N', value_name = "NS")]
    namespace: Option<PathBuf>,

    /// fuse.fusex, fusex, dir, mem, fusex.mem, merge, or fusex.merge
    #[arg(short, value_name = "TYPE", value_parser = parse_type)]
    type_: Option<FsType>,
}

impl From<HelperArgs> for MountArgs {
    fn from(helper: HelperArgs) -> MountArgs {
        // mount(8) adds nosuid and nodev itself where a user may mount; what root has in fstab
        // is a file system like the others.
        let root = nix::unistd::geteuid().is_root();
        let defaults = root.then(|| OsString::from("suid,dev"));
        MountArgs {
            source: Some(helper.source),
            mountpoint: helper.dir,
            foreground: false,
            verbose: helper.verbose,
            debug: false,
            single_threaded: false,
            multi_threaded: false,
            clone_fd: false,
            kind: helper.type_.map(Kind::Type).into_iter().collect(),
            options: defaults.into_iter().chain(helper.options).collect(),
            no_supervise: false,
            request_timeout: None,
            poison_after: None,
            restart_limit: None,
            no_resend: false,
            sandbox: false,
            core: false,
            fake: helper.fake,
            sloppy: helper.sloppy,
            transport: Default::default(),
            follow: false,
            namespace: helper.namespace,
        }
    }
}

/// The type as fstab has it: a name of ours, and `mem`, `merge` or `dir` after it or alone.
fn parse_type(text: &str) -> Result<FsType, String> {
    let rest = text.strip_prefix("fuse.").or_else(|| text.strip_prefix("fuse3.")).unwrap_or(text);
    match rest.strip_prefix("fusex.").unwrap_or(rest) {
        "fusex" | "dir" => Ok(FsType::Dir),
        "mem" => Ok(FsType::Mem),
        "merge" => Ok(FsType::Merge),
        _ => Err("give fuse.fusex, fusex, dir, mem, fusex.mem, merge or fusex.merge".to_string()),
    }
}

/// Enters the mount namespace that `-N` names: from here on, paths are seen as there.
pub(super) fn enter(name: &Path) -> Result<(), MountError> {
    let failed = |errno| MountError::Namespace { name: name.display().to_string(), errno };
    let text = name.to_string_lossy();
    let is_pid = text.bytes().all(|byte| byte.is_ascii_digit());
    let path = if is_pid { format!("/proc/{text}/ns/mnt").into() } else { name.to_path_buf() };
    let file = File::open(path)
        .map_err(|error| failed(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)))?;
    setns(file, CloneFlags::CLONE_NEWNS).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &[&str]) -> MountArgs {
        HelperArgs::try_parse_from([&["mount.fusex"], line].concat()).unwrap().into()
    }

    #[test]
    fn names() {
        for name in ["mount.fusex", "/sbin/mount.fuse.fusex", "./mount.fuse3.fusex"] {
            assert!(is_name(OsStr::new(name)), "{name}");
        }
        for name in ["fusex", "mount", "mount.fusex/x", ""] {
            assert!(!is_name(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn the_way_mount_calls() {
        let args = args(&["/src", "/dir", "-n", "-v", "-o", "rw,ro", "-t", "fuse.fusex", "-sf"]);
        assert_eq!((args.source, args.mountpoint), (Some("/src".into()), "/dir".into()));
        assert!(args.sloppy && args.fake && args.verbose && !args.foreground);
        assert_eq!(args.options.last().unwrap(), "rw,ro");
        assert_eq!(args.kind, [Kind::Type(FsType::Dir)]);
    }

    #[test]
    fn types() {
        for (text, expected) in [
            ("fuse.fusex", FsType::Dir),
            ("fuse3.fusex", FsType::Dir),
            ("fusex", FsType::Dir),
            ("fusex.mem", FsType::Mem),
            ("fuse.fusex.mem", FsType::Mem),
            ("mem", FsType::Mem),
            ("merge", FsType::Merge),
            ("fuse.fusex.merge", FsType::Merge),
        ] {
            assert_eq!(parse_type(text), Ok(expected), "{text}");
        }
        assert!(parse_type("ext4").is_err());
    }

    #[test]
    fn a_namespace_that_is_not_there() {
        let error = enter(Path::new("/nonexistent")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "namespace /nonexistent: No such file or directory: give a process id or the path of \
             a mount namespace"
        );
    }
}

//! `fusex mount`: the arguments as given, and checked.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use crate::channel::{Transport, uring};
use crate::exit::EXIT_STATUS;
use crate::mount::options::{self, Options, Unknown};
use crate::mount::{MountError, Mountpoint, check, mountinfo, without_last};
use crate::supervise::handover::Handover;

/// Mount a directory, a file system in memory, or files made of pieces
///
/// SOURCE appears at MOUNTPOINT, served by this program. The command returns when the mount
/// can be used. In the background a worker serves it, and a supervisor replaces the worker when
/// that dies: the mount stays, and whoever waits for an answer gets it. It ends when it is taken
/// away with 'fusex umount' or 'fusex supervise stop', or when the supervisor gets SIGTERM, SIGINT
/// or SIGHUP.
#[derive(Debug, clap::Args)]
#[command(allow_missing_positional = true, after_long_help = after_help())]
pub struct MountArgs {
    /// Directory to serve, or with '-t merge' the manifest; may be left out with '-t mem' and with
    /// '-o source='
    pub source: Option<PathBuf>,

    /// Directory to mount on, or /dev/fd/N: descriptor N is a /dev/fuse that is mounted already
    pub mountpoint: PathBuf,

    /// Stay in the foreground [default: go to the background once the mount can be used]
    #[arg(short, long)]
    pub foreground: bool,

    /// Say what is done and what was negotiated with the kernel
    #[arg(short, long)]
    pub verbose: bool,

    /// Log every request; implies --foreground
    #[arg(short, long)]
    pub debug: bool,

    /// Serve with one thread [default: several, up to '-o max_threads=']
    #[arg(short, long)]
    pub single_threaded: bool,

    /// Serve with several threads (the default)
    #[arg(short, long, conflicts_with = "single_threaded")]
    pub multi_threaded: bool,

    /// One /dev/fuse clone a thread (always so with several threads), as '-o clone_fd'
    #[arg(short, long)]
    pub clone_fd: bool,

    /// What to mount: dir (a directory), mem (in memory), or merge (files made of pieces, as a
    /// manifest says); a number means '-o max_threads=' [default: dir]
    #[arg(short = 't', long = "type", value_name = "TYPE", value_parser = parse_kind)]
    pub kind: Vec<Kind>,

    /// How requests and replies travel
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Transport::Auto)]
    pub transport: Transport,

    /// Serve a caller that is alone on its own CPU, and only while nobody else wants that
    #[arg(long, conflicts_with = "single_threaded")]
    pub follow: bool,

    /// Mount options, separated by commas; may be repeated
    #[arg(short, value_name = "OPTIONS")]
    pub options: Vec<OsString>,

    /// Serve in one process: the mount ends with it
    #[arg(long, help_heading = "Supervision")]
    pub no_supervise: bool,

    /// Replace a worker whose request takes longer; 0: never
    /// [default: 0; 60 with 'fusex supervise']
    #[arg(long, help_heading = "Supervision", value_name = "SECONDS", value_parser = parse_seconds)]
    pub request_timeout: Option<Duration>,

    /// Answer EIO to a request that so many workers died of; 0: never [default: 3]
    #[arg(long, help_heading = "Supervision", value_name = "DEATHS")]
    pub poison_after: Option<u64>,

    /// Give the mount up when so many workers in a row die without finishing a request
    /// [default: 30]
    #[arg(long, help_heading = "Supervision", value_name = "DEATHS", value_parser = clap::value_parser!(u32).range(1..))]
    pub restart_limit: Option<u32>,

    /// Do not ask the kernel to send requests again: recover from the arena alone
    #[arg(long, help_heading = "Supervision")]
    pub no_resend: bool,

    /// Keep the workers in a mount namespace that has the source only
    #[arg(long, help_heading = "Supervision")]
    pub sandbox: bool,

    /// Let dead workers leave core dumps, which delays their successors
    #[arg(long, help_heading = "Supervision")]
    pub core: bool,

    /// From the fstab helper: do everything but mount.
    #[arg(skip)]
    pub fake: bool,

    /// From the fstab helper: unknown options are left out.
    #[arg(skip)]
    pub sloppy: bool,

    /// From the fstab helper: enter this mount namespace first.
    #[arg(skip)]
    pub namespace: Option<PathBuf>,
}

/// How the processes of a mount are looked after, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supervision {
    /// A request under way for longer is taken for hanging.
    pub request_timeout: Option<Duration>,
    /// A request that so many workers died of is answered EIO; 0: never.
    pub poison_after: u64,
    /// As many deaths in a row without progress, and the mount is given up.
    pub restart_limit: u32,
    /// Ask the kernel to send requests again.
    pub resend: bool,
    /// The workers have a mount namespace of their own.
    pub sandbox: bool,
    /// Dead workers leave core dumps.
    pub core: bool,
}

/// What `-t` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file system.
    Type(FsType),
    /// A number of threads.
    Threads(u32),
}

/// What is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FsType {
    /// A directory of this machine.
    #[default]
    Dir,
    /// Files in memory, gone with the mount.
    Mem,
    /// Files made of pieces of others, as a manifest says.
    Merge,
}

/// What `fusex mount` is to do, checked: paths exist and are canonical, options are in range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountConfig {
    /// The directory to serve, or the manifest; for [`FsType::Mem`] whatever was given, which only
    /// names it.
    pub source: Option<PathBuf>,
    /// What is mounted.
    pub fs_type: FsType,
    /// Where.
    pub mountpoint: Mountpoint,
    /// Do not go to the background.
    pub foreground: bool,
    /// Tell what was negotiated.
    pub verbose: bool,
    /// Log every request.
    pub debug: bool,
    /// Do everything but mount.
    pub fake: bool,
    /// One serving thread.
    pub single_threaded: bool,
    /// How requests and replies travel.
    pub transport: Transport,
    /// A caller that is alone is served on its own CPU.
    pub follow: bool,
    /// `None`: one process serves, and the mount ends with it.
    pub supervision: Option<Supervision>,
    /// What another program had, in whose place this one goes on.
    pub handover: Option<Handover>,
    /// What `-o`, `-c` and `-t N` said.
    pub options: Options,
}

impl MountConfig {
    /// Whether a service manager keeps what the mount needs when all its processes are gone.
    pub fn is_durable(&self) -> bool {
        let managed = std::env::var_os("NOTIFY_SOCKET").is_some();
        managed && self.fs_type == FsType::Dir && self.supervision.is_some()
    }

    /// The source for the mount table, unless `fsname=` says otherwise.
    pub fn label(&self) -> String {
        match &self.source {
            Some(source) => source.to_string_lossy().into_owned(),
            None => "mem".to_string(),
        }
    }
}

impl MountArgs {
    /// How much is logged.
    pub fn level(&self) -> LevelFilter {
        match (self.debug, self.verbose) {
            (true, _) => LevelFilter::DEBUG,
            (false, true) => LevelFilter::INFO,
            (false, false) => LevelFilter::WARN,
        }
    }

    /// What this process was handed, if its mount is still there.
    fn handover(&self) -> Result<Option<Handover>, MountError> {
        let handover = match Handover::take() {
            Ok(handover) if !self.no_supervise => handover,
            Ok(_) => None,
            Err(error) => return Err(MountError::Handover { error }),
        };
        Ok(handover.filter(|handover| {
            let path = handed_mountpoint(handover, &self.mountpoint);
            let table = mountinfo::read().unwrap_or_default();
            let there = mountinfo::find(&table, &path).is_some_and(|entry| entry.is_fuse());
            if !there {
                tracing::warn!("{}: what was stored is not mounted any more", path.display());
            }
            there
        }))
    }

    fn supervision(&self) -> Supervision {
        Supervision {
            request_timeout: self.request_timeout.filter(|limit| !limit.is_zero()),
            poison_after: self.poison_after.unwrap_or(3),
            restart_limit: self.restart_limit.unwrap_or(30),
            resend: !self.no_resend,
            sandbox: self.sandbox,
            core: self.core,
        }
    }

    /// io_uring: here, and with these options.
    fn check_transport(&self) -> Result<(), MountError> {
        match (self.transport, self.no_supervise, self.single_threaded) {
            (Transport::Uring, true, false) => Ok(uring::available()?),
            (Transport::Uring, false, _) => Err(MountError::SupervisedRing),
            (Transport::Uring, true, true) => Err(MountError::SingleRing),
            _ => Ok(()),
        }
    }

    /// Checks everything that can be checked before mounting.
    ///
    /// # Errors
    /// An option, the source or the mount point is wrong.
    pub fn check(self) -> Result<MountConfig, MountError> {
        let unknown = if self.sloppy { Unknown::Ignore } else { Unknown::Refuse };
        let mut options = Options::parse(&self.options, unknown)?;
        options.clone_fd |= self.clone_fd;
        self.check_transport()?;
        let mut fs_type = FsType::default();
        for kind in &self.kind {
            match kind {
                Kind::Type(given) => fs_type = *given,
                Kind::Threads(threads) => options.max_threads = Some(*threads),
            }
        }
        if let Some(namespace) = &self.namespace {
            super::helper::enter(namespace)?;
        }
        let handover = self.handover()?;
        let handed = handover.as_ref().and_then(|handover| handover.source.as_ref());
        let given = handed.or(options.source.as_ref()).or(self.source.as_ref());
        let source = match (fs_type, given) {
            (FsType::Dir, Some(source)) => Some(check::source(source)?),
            (FsType::Dir | FsType::Merge, None) => return Err(MountError::NoSource),
            // What was mounted is handed down too: the file may be gone.
            (FsType::Merge, Some(source)) if handover.is_some() => Some(source.clone()),
            (FsType::Merge, Some(_)) if self.sandbox => return Err(MountError::NoSandbox),
            (FsType::Merge, Some(source)) => Some(check::manifest(source)?),
            (FsType::Mem, source) => source.cloned(),
        };
        Ok(MountConfig {
            source,
            fs_type,
            mountpoint: match &handover {
                // Nobody answers there: it must not be looked at.
                Some(handover) => Mountpoint::Path(handed_mountpoint(handover, &self.mountpoint)),
                None => check::mountpoint(&self.mountpoint)?,
            },
            foreground: self.foreground || self.debug,
            verbose: self.verbose,
            debug: self.debug,
            fake: self.fake,
            single_threaded: self.single_threaded,
            transport: self.transport,
            follow: self.follow,
            handover,
            supervision: (!self.no_supervise).then(|| self.supervision()),
            options,
        })
    }
}

/// A mount point that another program had, as the mount table has it.
fn handed_mountpoint(handover: &Handover, given: &Path) -> PathBuf {
    let known = handover.mount_point.clone();
    known.or_else(|| without_last(given).ok()).unwrap_or_else(|| given.to_path_buf())
}

/// Seconds, with decimals if need be.
pub(super) fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|_| !text.starts_with('+'));
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or("give a number of seconds, such as 60 or 0.5".to_string())
}

/// A type, or a number of threads as in the command line of fuse-extent.
fn parse_kind(text: &str) -> Result<Kind, String> {
    let number = text.parse::<u32>().ok().filter(|_| !text.starts_with('+'));
    match (text, number) {
        ("dir", _) => Ok(Kind::Type(FsType::Dir)),
        ("mem", _) => Ok(Kind::Type(FsType::Mem)),
        ("merge", _) => Ok(Kind::Type(FsType::Merge)),
        (_, Some(threads @ 1..=options::MAX_THREADS)) => Ok(Kind::Threads(threads)),
        _ => Err(format!("give dir, mem, merge, or 1 to {} threads", options::MAX_THREADS)),
    }
}

/// What a manifest looks like, for the long help.
const MANIFEST: &str = r#"Manifest of '-t merge', JSON: each file is made of segments, one behind the other.
  {"schema": 1, "timeout": 30, "files": [{"path": "dir/all", "mode": "0444", "segments": [
    {"file": "part-1"},
    {"file": "part-2", "offset": 4096, "length": 65536},
    {"source": "unix:/run/store.sock", "name": "part-3", "offset": 0, "length": 1048576,
     "header": 102, "footer": 102, "checksum": "header"}]}]}
  Of a segment: a local 'file', or the 'source' unix:PATH or tcp:HOST:PORT, a server of packets, and
  the 'name' it is asked for; 'offset' (0); 'length' (of a file: to its end); sizes of 'header'
  and 'footer' in bytes (32 and 24 at the least); 'checksum' none, header or payload. Of a file also
  'uid', 'gid' and 'mtime'. 'timeout' is how many seconds a source may be silent. Local paths are
  relative to the manifest."#;

/// The end of the long help: options, the manifest, and exit codes.
fn after_help() -> String {
    format!("{}\n\n{MANIFEST}\n\n{EXIT_STATUS}", options::help())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: MountArgs,
    }

    fn args(line: &[&str]) -> MountArgs {
        Line::try_parse_from([&["mount"], line].concat()).unwrap().args
    }

    #[test]
    fn defaults() {
        let config = args(&["/", "/tmp"]).check().unwrap();
        let expected = MountConfig {
            source: Some("/".into()),
            fs_type: FsType::Dir,
            mountpoint: Mountpoint::Path("/tmp".into()),
            foreground: false,
            verbose: false,
            debug: false,
            fake: false,
            single_threaded: false,
            transport: Transport::Auto,
            follow: false,
            handover: None,
            supervision: Some(Supervision {
                request_timeout: None,
                poison_after: 3,
                restart_limit: 30,
                resend: true,
                sandbox: false,
                core: false,
            }),
            options: Options::default(),
        };
        assert_eq!(config, expected);
        assert_eq!(config.label(), "/");
    }

    #[test]
    fn every_switch() {
        let config = args(&["-fvsc", "-t", "3", "-oro", "-o", "rw,sync", "/", "/tmp"]).check();
        let config = config.unwrap();
        assert!(config.foreground && config.verbose && config.single_threaded && !config.debug);
        let expected = Options::parse(["max_threads=3,clone_fd,sync"], Unknown::Refuse).unwrap();
        assert_eq!(config.options, expected);
        assert!(args(&["-d", "/", "/tmp"]).check().unwrap().foreground, "-d implies -f");
        assert_eq!(args(&["-d", "a", "b"]).level(), LevelFilter::DEBUG);
        assert_eq!(args(&["-v", "a", "b"]).level(), LevelFilter::INFO);
        assert_eq!(args(&["-m", "a", "b"]).level(), LevelFilter::WARN);
    }

    #[test]
    fn the_source_may_be_left_out() {
        let config = args(&["-t", "mem", "/tmp"]).check().unwrap();
        assert_eq!((config.fs_type, &config.source), (FsType::Mem, &None));
        assert_eq!(config.label(), "mem");
        assert_eq!(args(&["-tmem", "name", "/tmp"]).check().unwrap().label(), "name");
        assert!(matches!(args(&["/tmp"]).check(), Err(MountError::NoSource)));
        let config = args(&["-osource=/", "/tmp"]).check().unwrap();
        assert_eq!(config.source, Some("/".into()));
    }

    #[test]
    fn rings_need_one_process_and_several_threads() {
        let error = |line: &[&str]| {
            let given = [line, &["--transport", "uring", "/", "/tmp"]].concat();
            args(&given).check().map(drop)
        };
        assert!(matches!(error(&[]), Err(MountError::SupervisedRing)));
        assert!(matches!(error(&["-s"]), Err(MountError::SupervisedRing)));
        assert!(matches!(error(&["-s", "--no-supervise"]), Err(MountError::SingleRing)));
        // What there is here decides about the rest.
        let expected = uring::available().map_err(|error| error.to_string());
        let seen = error(&["--no-supervise"]).map_err(|error| error.to_string());
        assert_eq!(seen, expected);
    }

    #[test]
    fn how_it_is_supervised() {
        let supervision =
            |line: &[&str]| args(&[line, &["/", "/tmp"]].concat()).check().unwrap().supervision;
        assert_eq!(supervision(&["--no-supervise"]), None);
        let given = ["--request-timeout", "0.5", "--poison-after", "7", "--restart-limit", "9"];
        let switches = ["--no-resend", "--sandbox", "--core"];
        let expected = Supervision {
            request_timeout: Some(Duration::from_millis(500)),
            poison_after: 7,
            restart_limit: 9,
            resend: false,
            sandbox: true,
            core: true,
        };
        assert_eq!(supervision(&[&given[..], &switches].concat()), Some(expected));
        assert_eq!(supervision(&["--request-timeout=0"]).unwrap().request_timeout, None);
        for bad in ["-1", "+1", "x", "", "inf", "nan"] {
            assert!(parse_seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_t_takes() {
        assert_eq!(parse_kind("mem"), Ok(Kind::Type(FsType::Mem)));
        assert_eq!(parse_kind("merge"), Ok(Kind::Type(FsType::Merge)));
        assert_eq!(parse_kind("dir"), Ok(Kind::Type(FsType::Dir)));
        assert_eq!(parse_kind("16"), Ok(Kind::Threads(16)));
        for bad in ["0", "4097", "-1", "+1", "tmpfs", ""] {
            assert_eq!(
                parse_kind(bad),
                Err("give dir, mem, merge, or 1 to 4096 threads".into()),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_descriptor_as_mount_point() {
        let config = args(&["/", "/dev/fd/7"]).check().unwrap();
        assert_eq!(config.mountpoint, Mountpoint::Fd(7));
    }
}

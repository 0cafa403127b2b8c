//! `fusex bpf-load`: the arguments as given, and checked.

use std::path::PathBuf;
use std::time::Duration;

use super::mount::parse_seconds;
use crate::bpf::extfuse::{DIR, ENTRIES, OPCODES, Policy};
use crate::exit::{BPF_LOAD_STATUS, Exit, Failure};
use crate::wire::opcode::Opcode;

/// The longest name of an extended attribute.
const NAME_MAX: usize = 255;

/// Answer requests of a mount in the kernel
///
/// Loads BPF programs that answer LOOKUP, GETATTR, GETXATTR and their like from maps that hold what
/// the server answered before; the server is not woken. What a request changes is asked for again.
/// Programs and maps stay when fusex ends, and answer while the server is down, too. It takes the
/// kernel module fusebpf, and a mount with '-o kernel=fusebpf'; '--probe' says what is missing.
/// It pays for attributes and names with short timeouts, for names that are not there, and for
/// extended attributes; a long timeout of the server's own does the same for repeated stats.
#[derive(Debug, clap::Args)]
#[command(after_help = BPF_LOAD_STATUS, after_long_help = BPF_LOAD_STATUS)]
pub struct BpfLoadArgs {
    /// The mount
    #[arg(value_name = "MOUNTPOINT", required_unless_present_any = ["probe", "list"])]
    mount_point: Option<PathBuf>,

    /// What the kernel must be able to do, or nothing is loaded
    #[arg(long, value_name = "TIER", value_enum, help_heading = "Policy")]
    tier: Option<Tier>,

    /// So long may an answer be given, in seconds [default: as long as the server says; extended
    /// attributes and what else it says no time of 1 s]
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, help_heading = "Policy")]
    ttl: Option<Duration>,

    /// The same for names and extended attributes that are not there
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, help_heading = "Policy")]
    negative_ttl: Option<Duration>,

    /// Answer these: lookup, getattr, getxattr, listxattr, statfs, readlink, access [default: all but
    /// access, whose callers are told apart without their supplementary groups]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = parse_opcode, help_heading = "Policy")]
    opcodes: Vec<Opcode>,

    /// Answer for these extended attributes only: names, or beginnings such as 'user.*'
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = parse_xattr, help_heading = "Policy")]
    xattrs: Vec<String>,

    /// Keep so many names, nodes and values, each; the least used ones go
    #[arg(long, value_name = "N", default_value_t = ENTRIES, value_parser = clap::value_parser!(u32).range(1..=1 << 24), help_heading = "Policy")]
    entries: u32,

    /// Pin maps and programs below DIR, which is in a BPF file system
    #[arg(long, value_name = "DIR", default_value = DIR)]
    pin: PathBuf,

    /// Say what the running kernel can do, and what is missing for more; then end
    #[arg(long, help_heading = "Actions", conflicts_with_all = ["mount_point", "detach", "list", "dump"])]
    probe: bool,

    /// Take the programs of the mount away
    #[arg(long, help_heading = "Actions", conflicts_with_all = ["list", "dump"])]
    detach: bool,

    /// List what is loaded, with counts
    #[arg(long, help_heading = "Actions", conflicts_with_all = ["mount_point", "dump"])]
    list: bool,

    /// Print what the maps of the mount hold
    #[arg(long, help_heading = "Actions")]
    dump: bool,

    /// Print JSON: one object
    #[arg(long)]
    json: bool,
}

/// A tier that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Tier {
    /// Requests are answered in the kernel
    Hook,
}

/// What is to be done, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What.
    pub action: Action,
    /// Where the pins are.
    pub dir: PathBuf,
    /// As JSON.
    pub json: bool,
}

/// What can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Say what the kernel can do.
    Probe,
    /// Load programs for a mount.
    Load(PathBuf, Policy),
    /// Take them away.
    Detach(PathBuf),
    /// What is loaded.
    List,
    /// What the maps of a mount hold.
    Dump(PathBuf),
}

impl BpfLoadArgs {
    /// Checks everything that clap has not.
    ///
    /// # Errors
    /// A policy where nothing is loaded.
    pub fn check(self) -> Result<Config, Failure> {
        let given = [
            (self.tier.is_some(), "--tier"),
            (self.ttl.is_some(), "--ttl"),
            (self.negative_ttl.is_some(), "--negative-ttl"),
            (!self.opcodes.is_empty(), "--opcodes"),
            (!self.xattrs.is_empty(), "--xattrs"),
            (self.entries != ENTRIES, "--entries"),
        ];
        let policy = self.policy();
        let action = match (self.mount_point, self.probe, self.detach, self.dump) {
            (_, true, ..) => Action::Probe,
            (Some(path), _, true, _) => Action::Detach(path),
            (Some(path), .., true) => Action::Dump(path),
            (Some(path), ..) => Action::Load(path, policy),
            (None, ..) => Action::List,
        };
        match given.iter().find(|(given, _)| *given) {
            Some((_, option)) if !matches!(action, Action::Load(..)) => {
                let message = format!("{option}: nothing is loaded: leave it out");
                Err(Failure { exit: Exit::Usage, message })
            }
            _ => Ok(Config { action, dir: self.pin, json: self.json }),
        }
    }

    fn policy(&self) -> Policy {
        let unsaid = Policy::default();
        let or = |given: &[Opcode]| if given.is_empty() { unsaid.opcodes } else { given.to_vec() };
        Policy {
            ttl: self.ttl,
            negative_ttl: self.negative_ttl,
            opcodes: or(&self.opcodes),
            xattrs: if self.xattrs.is_empty() { unsaid.xattrs } else { self.xattrs.clone() },
            entries: self.entries,
        }
    }
}

fn parse_opcode(text: &str) -> Result<Opcode, String> {
    let of = |opcode: &Opcode| opcode.info().name.to_ascii_lowercase();
    let found = OPCODES.iter().find(|(opcode, _)| of(opcode) == text.to_ascii_lowercase());
    found.map(|(opcode, _)| *opcode).ok_or_else(|| {
        let names: Vec<String> = OPCODES.iter().map(|(opcode, _)| of(opcode)).collect();
        format!("give some of {}", names.join(", "))
    })
}

fn parse_xattr(text: &str) -> Result<String, String> {
    let is_one =
        !text.is_empty() && text.len() <= NAME_MAX && !text[..text.len() - 1].contains('*');
    is_one.then(|| text.to_string()).ok_or("give names, with '*' at the end for beginnings".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: BpfLoadArgs,
    }

    fn check(line: &str) -> Result<Config, String> {
        let words = std::iter::once("bpf-load").chain(line.split_whitespace());
        let parsed = Line::try_parse_from(words).map_err(|error| error.kind().to_string())?;
        parsed.args.check().map_err(|failure| failure.message)
    }

    #[test]
    fn defaults() {
        let expected = Action::Load("/m".into(), Policy::default());
        let config = Config { action: expected, dir: DIR.into(), json: false };
        assert_eq!(check("/m"), Ok(config));
    }

    #[test]
    fn a_policy() {
        let line = "/m --ttl 5 --negative-ttl 0.5 --opcodes lookup,ACCESS --xattrs user.a,b.* \
                    --entries 9 --pin /p --tier hook";
        let policy = Policy {
            ttl: Some(Duration::from_secs(5)),
            negative_ttl: Some(Duration::from_millis(500)),
            opcodes: vec![Opcode::FUSE_LOOKUP, Opcode::FUSE_ACCESS],
            xattrs: vec!["user.a".into(), "b.*".into()],
            entries: 9,
        };
        let config =
            Config { action: Action::Load("/m".into(), policy), dir: "/p".into(), json: false };
        assert_eq!(check(line), Ok(config));
    }

    #[test]
    fn actions() {
        let action = |line: &str| check(line).map(|config| config.action);
        assert_eq!(action("--probe --json"), Ok(Action::Probe));
        assert_eq!(action("--list"), Ok(Action::List));
        assert_eq!(action("--detach /m"), Ok(Action::Detach("/m".into())));
        assert_eq!(action("--dump /m"), Ok(Action::Dump("/m".into())));
        let missing = "one or more required arguments were not provided";
        for line in ["", "--detach", "--dump", "--ttl 5"] {
            assert_eq!(check(line), Err(missing.into()), "{line}");
        }
        for line in ["--list /m", "--probe /m", "--detach --dump /m", "--list --probe"] {
            assert!(check(line).is_err_and(|kind| kind.contains("cannot be used")), "{line}");
        }
    }

    #[test]
    fn what_says_nothing_is_refused() {
        let message = "--ttl: nothing is loaded: leave it out";
        assert_eq!(check("--detach /m --ttl 5"), Err(message.into()));
        assert!(check("--list --entries 5").is_err());
        let values = ["--opcodes open", "--xattrs a*b", "--xattrs ,", "--entries 0", "--ttl -1"];
        for value in values {
            assert!(check(&format!("/m {value}")).is_err(), "{value}");
        }
    }
}

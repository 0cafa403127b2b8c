//! `fusex supervise`.

use std::path::PathBuf;
use std::time::Duration;

use super::mount::MountArgs;
use crate::exit::EXIT_STATUS;

/// As long as a request may take under `fusex supervise`, unless `--request-timeout` says
/// otherwise.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Mount and stay in the foreground as a service, or talk to the supervisor of a mount
///
/// 'fusex supervise SOURCE MOUNTPOINT' is 'fusex mount --foreground' for service managers, with a
/// request timeout. The subcommands talk to the supervisor of any mount of this user that was made
/// without '--no-supervise'. A source with the name of a subcommand is given as './list'.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(disable_help_subcommand = true, after_long_help = EXIT_STATUS)]
pub struct SuperviseArgs {
    #[command(subcommand)]
    action: Option<Action>,

    #[command(flatten)]
    mount: Option<MountArgs>,
}

/// What is done with a supervised mount.
#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// List the supervised mounts of this user
    List {
        /// As JSON: an array of what 'status --json' prints
        #[arg(long)]
        json: bool,
    },
    /// Show processes, deaths and recovered requests of a mount
    Status {
        /// Where it is mounted
        mountpoint: PathBuf,
        /// As JSON: one object
        #[arg(long)]
        json: bool,
    },
    /// Replace the worker; callers notice a short pause, and nothing is lost
    Restart {
        /// Where it is mounted
        mountpoint: PathBuf,
    },
    /// Go on with the program as it is installed now; if it cannot, the old one goes on
    Upgrade {
        /// Where it is mounted
        mountpoint: PathBuf,
    },
    /// Unmount, and end the processes of the mount
    Stop {
        /// Where it is mounted
        mountpoint: PathBuf,
    },
}

/// The two uses of the command.
#[derive(Debug)]
pub enum Asked {
    /// A mount is to be looked after.
    Action(Action),
    /// A mount is to be made.
    Mount(MountArgs),
}

impl SuperviseArgs {
    /// Which use it is.
    pub fn split(self) -> Asked {
        match (self.action, self.mount) {
            (Some(action), _) => Asked::Action(action),
            (None, Some(mount)) => Asked::Mount(MountArgs { foreground: true, ..mount }),
            // clap asks for a mount point before it comes to this.
            (None, None) => Asked::Action(Action::List { json: false }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: SuperviseArgs,
    }

    fn parse(line: &[&str]) -> Result<Asked, clap::Error> {
        Line::try_parse_from([&["supervise"], line].concat()).map(|line| line.args.split())
    }

    #[test]
    fn actions() {
        assert!(matches!(parse(&["list"]), Ok(Asked::Action(Action::List { json: false }))));
        let Ok(Asked::Action(Action::Status { mountpoint, json: true })) =
            parse(&["status", "--json", "/mnt"])
        else {
            panic!("status")
        };
        assert_eq!(mountpoint, PathBuf::from("/mnt"));
        for action in ["restart", "upgrade", "stop", "status"] {
            assert!(matches!(parse(&[action, "/mnt"]), Ok(Asked::Action(_))), "{action}");
            assert!(parse(&[action]).is_err(), "{action} wants a mount point");
        }
    }

    #[test]
    fn a_mount_in_the_foreground() {
        let Ok(Asked::Mount(mount)) = parse(&["-o", "ro", "/srv", "/mnt"]) else { panic!("mount") };
        assert!(mount.foreground);
        assert_eq!(mount.source, Some("/srv".into()));
        assert_eq!(mount.mountpoint, PathBuf::from("/mnt"));
        let Ok(Asked::Mount(mount)) = parse(&["-t", "mem", "/mnt"]) else { panic!("mem") };
        assert_eq!((mount.source, mount.mountpoint), (None, PathBuf::from("/mnt")));
        assert!(parse(&[]).is_err());
    }
}

//! The command line: one file a subcommand, and what all have in common.
//!
//! [`main`] is the whole program: parse, set up the log, run, map to an exit code. Every error
//! comes out once, as one line: `fusex: what: cause: cure`.

pub mod bpf_load;
pub mod bpf_stats;
pub mod crash_test;
pub mod doctor;
pub mod helper;
pub mod mount;
pub mod splice_bench;
pub mod supervise;
pub mod umount;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use crate::commands;
use crate::exit::{EXIT_STATUS, Exit, Failure};
use crate::supervise::handover::Handover;

/// FUSE mounts that do not go down, that are fast, and that can be seen into
#[derive(Debug, Parser)]
#[command(name = "fusex", version, propagate_version = true, after_help = EXIT_STATUS)]
#[command(disable_help_subcommand = true)]
struct Fusex {
    #[command(subcommand)]
    command: Subcommand,
}

#[derive(Debug, clap::Subcommand)]
enum Subcommand {
    BpfLoad(bpf_load::BpfLoadArgs),
    BpfStats(bpf_stats::BpfStatsArgs),
    CrashTest(Box<crash_test::CrashTestArgs>),
    Doctor(doctor::DoctorArgs),
    Mount(mount::MountArgs),
    SpliceBench(splice_bench::SpliceBenchArgs),
    Supervise(supervise::SuperviseArgs),
    Umount(umount::UmountArgs),
}

/// The whole command line, for manual pages and completions.
pub fn command() -> clap::Command {
    Fusex::command()
}

/// The program `fusex`, from its arguments to its exit code.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let result = parse(&arguments).and_then(run);
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            if let Ok(Some(handover)) = Handover::take() {
                handover.refuse(&format!("{error:#}"));
            }
            // With stderr closed there is nobody to tell; the exit code still does.
            let _ = writeln!(std::io::stderr(), "fusex: {error:#}");
            Exit::of(&error).into()
        }
    }
}

/// What the arguments ask for; `None` when it was help or the version, which is printed.
fn parse(arguments: &[OsString]) -> anyhow::Result<Option<Subcommand>> {
    let is_helper = arguments.first().is_some_and(|name| helper::is_name(name));
    let parsed = if is_helper {
        let parsed = helper::HelperArgs::try_parse_from(arguments);
        parsed.map(|args| Subcommand::Mount(args.into()))
    } else {
        Fusex::try_parse_from(arguments).map(|line| line.command)
    };
    match parsed {
        Ok(subcommand) => Ok(Some(subcommand)),
        Err(error) if !error.use_stderr() => {
            // A closed pipe ("| head") is no failure.
            let _ = error.print();
            Ok(None)
        }
        Err(error) => {
            let named = arguments.get(1).and_then(|name| name.to_str());
            let subcommand = named.filter(|name| command().find_subcommand(name).is_some());
            let message = match subcommand {
                _ if is_helper => one_line("mount.fusex", &error),
                Some(name) => one_line(&format!("fusex {name}"), &error),
                None => one_line("fusex", &error),
            };
            let exit = match subcommand {
                Some("bpf-stats" | "crash-test" | "splice-bench") => Exit::Untested,
                _ => Exit::Usage,
            };
            Err(Failure { exit, message }.into())
        }
    }
}

fn run(subcommand: Option<Subcommand>) -> anyhow::Result<Exit> {
    match subcommand {
        None => Ok(Exit::Success),
        Some(Subcommand::BpfLoad(args)) => {
            start_log(LevelFilter::WARN);
            commands::bpf_load::run(&args.check()?)
        }
        Some(Subcommand::BpfStats(args)) => {
            start_log(LevelFilter::WARN);
            commands::bpf_stats::run(&args.check()?)
        }
        Some(Subcommand::CrashTest(args)) => {
            start_log(LevelFilter::WARN);
            commands::crash_test::run(&args.check()?)
        }
        Some(Subcommand::Doctor(args)) => commands::doctor::run(&args),
        Some(Subcommand::Mount(args)) => {
            start_log(args.level());
            let config = args.check()?;
            tracing::debug!(?config, "checked");
            commands::mount::run(config)
        }
        Some(Subcommand::SpliceBench(args)) => {
            start_log(LevelFilter::WARN);
            commands::splice_bench::run(&args.check()?)
        }
        Some(Subcommand::Supervise(args)) => match args.split() {
            supervise::Asked::Action(action) => {
                start_log(LevelFilter::WARN);
                commands::supervise::run(&action).map(|()| Exit::Success)
            }
            supervise::Asked::Mount(args) => {
                let given = args.request_timeout;
                let request_timeout = given.map(|limit| Some(limit).filter(|it| !it.is_zero()));
                start_log(args.level());
                let mut config = args.check()?;
                if let Some(supervision) = &mut config.supervision {
                    supervision.request_timeout =
                        request_timeout.unwrap_or(Some(supervise::REQUEST_TIMEOUT));
                }
                commands::mount::run(config)
            }
        },
        Some(Subcommand::Umount(args)) => {
            start_log(LevelFilter::WARN);
            commands::umount::run(&args).map(|()| Exit::Success)
        }
    }
}

/// clap's message, which has several lines, as one.
fn one_line(command: &str, error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return format!("no subcommand: try '{command} --help'");
    }
    let text = error.render().to_string();
    let paragraph = text.lines().take_while(|line| !line.trim().is_empty());
    let words: Vec<&str> = paragraph.flat_map(str::split_whitespace).collect();
    let words = words.join(" ");
    let what = words.strip_prefix("error: ").unwrap_or(&words);
    // The other tip, how to pass such a word as a value, is never what was meant.
    let mut tips = text.lines().filter_map(|line| line.trim().strip_prefix("tip: "));
    match tips.find(|tip| tip.contains("similar")) {
        Some(tip) => format!("{what}: {tip}"),
        None => format!("{what}: try '{command} --help'"),
    }
}

/// The log goes to stderr; `RUST_LOG` wins over the command line.
fn start_log(level: LevelFilter) {
    let filter = EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    // Already set where this is a library in somebody's program: theirs stays.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && !no_color)
        .with_target(false)
        .without_time()
        // A closed stderr is nobody's fault: it must not end a supervisor.
        .log_internal_errors(false)
        .try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
        helper::HelperArgs::command().debug_assert();
    }

    #[test]
    fn clap_errors_become_one_line() {
        let message = |arguments: &[&str]| {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            parse(&arguments).unwrap_err().to_string()
        };
        assert_eq!(message(&["fusex"]), "no subcommand: try 'fusex --help'");
        assert_eq!(
            message(&["fusex", "mount", "--lazzy", "/a"]),
            "unexpected argument '--lazzy' found: try 'fusex mount --help'"
        );
        assert_eq!(
            message(&["fusex", "umount", "--lazzy", "/a"]),
            "unexpected argument '--lazzy' found: a similar argument exists: '--lazy'"
        );
        assert_eq!(
            message(&["fusex", "mount"]),
            "the following required arguments were not provided: <MOUNTPOINT>: try 'fusex \
             mount --help'"
        );
        assert_eq!(
            message(&["fusex", "unmoun"]),
            "unrecognized subcommand 'unmoun': a similar subcommand exists: 'umount'"
        );
        assert_eq!(
            message(&["/sbin/mount.fusex", "a"]),
            "the following required arguments were not provided: <DIR>: try 'mount.fusex --help'"
        );
    }
}

//! `fusex doctor`.

/// The exit codes of this subcommand.
const STATUS: &str = "\
Exit status:
  0   nothing fails; what is marked warn works with less
  1   incorrect invocation
  2   something fails: a mount does not work on this machine";

/// Look at what this machine can and cannot do
///
/// One line for each thing looked at: ok, warn or fail, what was found, and what helps. Nothing is
/// changed. Run it as the user who mounts.
#[derive(Debug, clap::Args)]
#[command(after_help = STATUS, after_long_help = STATUS)]
pub struct DoctorArgs {
    /// Print JSON: schema, and checks with level, what, detail and cure
    #[arg(long)]
    pub json: bool,
}

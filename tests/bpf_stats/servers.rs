//! The servers, each as it is started. Those that can say what they are asked do so.
//!
//! Names and attributes are trusted for an hour, unless the test says otherwise: so that how slow
//! the machine is has no say in how often the kernel asks.

use std::path::Path;
use std::process::{Command, Output};

use crate::common::Place;
use crate::libfuse::build_passthrough_ll;
use crate::served::Served;
use crate::sftp::Sftp;

/// All is trusted for long.
pub(crate) const TRUSTED: &str = "entry_timeout=3600,attr_timeout=3600";
/// Nothing is trusted for any time.
pub(crate) const UNTRUSTED: &str = "entry_timeout=0,attr_timeout=0";

/// A mount of a server that may not be there.
pub(crate) type Mounted = Result<Served, String>;

/// bindfs, of libfuse 2, with one thread.
pub(crate) fn bindfs(options: &str) -> Mounted {
    bindfs_at(Place::new(), options)
}

/// The same in a place made ready before.
pub(crate) fn bindfs_at(place: Place, options: &str) -> Mounted {
    is_there("bindfs")?;
    let mut command = Command::new("bindfs");
    command.args(["-f", "-d", "-o", options]).arg(place.source()).arg(place.point());
    Ok(Served::start(place, command))
}

/// The example of libfuse 3, with many threads.
pub(crate) fn passthrough_ll() -> Mounted {
    let place = Place::new();
    let program = build_passthrough_ll(&place.path("")).map_err(|error| format!("{error:#}"))?;
    let mut command = Command::new(program);
    let source = format!("xattr,timeout=3600,source={}", place.source().display());
    command.args(["-d", "-o", &source]).arg(place.point());
    Ok(Served::start(place, command))
}

/// mergerfs, of its own libfuse, with two branches.
pub(crate) fn mergerfs() -> Mounted {
    is_there("mergerfs")?;
    let place = Place::new();
    let branches = format!("{}:{}", place.source().display(), place.plain().display());
    let mut command = Command::new("mergerfs");
    command.args(["-f", "-o", "cache.attr=3600,cache.entry=3600,category.create=ff"]);
    command.args(["-o", "minfreespace=0"]).arg(branches).arg(place.point());
    Ok(Served::start(place, command))
}

/// sshfs over loopback.
pub(crate) fn sshfs() -> Mounted {
    is_there("sshfs")?;
    let (place, sftp) = (Place::new(), Sftp::start()?);
    let mut command = Command::new("sshfs");
    let port = format!("directport={}", sftp.port);
    command.args(["-f", "-o", &port, "-o", "dir_cache=no", "-o", TRUSTED]);
    command.arg(format!("127.0.0.1:{}", place.source().display())).arg(place.point());
    Ok(Served::over(place, command, Some(sftp)))
}

fn is_there(program: &str) -> Result<Output, String> {
    let output = Command::new(Path::new(program)).arg("--version").output();
    output.map_err(|error| format!("{program}: {error}: install {program}"))
}

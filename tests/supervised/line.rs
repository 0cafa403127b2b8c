//! The command line: what is said, where, and with which exit code.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

use fusex::supervise::control_path;
use serde_json::Value;

use crate::common::{Mount, Place, SOON, finish, wait_until};

pub(crate) const FUSEX: &str = env!("CARGO_BIN_EXE_fusex");

/// What `fusex supervise` says where it finds no supervisor.
pub(crate) const NOT_OURS: &str = "not a supervised fusex mount: see 'fusex supervise list'";

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The program with these arguments.
pub(crate) fn fusex(arguments: &[impl AsRef<OsStr>]) -> Output {
    finish(Command::new(FUSEX).args(arguments))
}

/// `fusex supervise ACTION MOUNTPOINT`.
pub(crate) fn supervise(action: &str, point: &Path) -> Output {
    fusex(&["supervise".as_ref(), action.as_ref(), point.as_os_str()])
}

/// What it prints when it succeeds: all of it on stdout.
pub(crate) fn said(output: Output) -> String {
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{output:?}");
    text(&output.stdout)
}

/// It failed with this exit code, and one line on stderr that ends like this.
pub(crate) fn refused(output: &Output, code: i32, end: &str) {
    let error = text(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{output:?}");
    assert!(error.starts_with("fusex: ") && error.ends_with(&format!("{end}\n")), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

/// `status --json`.
pub(crate) fn status(point: &Path) -> Value {
    let arguments = ["supervise".as_ref(), "status".as_ref(), "--json".as_ref(), point.as_os_str()];
    let text = said(fusex(&arguments));
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A number of it.
pub(crate) fn number(status: &Value, key: &str) -> u64 {
    status[key].as_u64().unwrap_or_else(|| panic!("no number {key}: {status}"))
}

/// The status, once it is as wanted.
pub(crate) fn until(point: &Path, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut last = status(point);
    let done = wait_until(SOON, || {
        last = status(point);
        wanted(&last)
    });
    assert!(done, "not in time: {what}: {last}");
    last
}

/// The control socket of a mount of root's.
pub(crate) fn socket(connection: u32) -> std::path::PathBuf {
    control_path(connection).expect("root has a directory for sockets")
}

/// `fusex mount` in the background: it says nothing.
pub(crate) fn mount(options: &[&str], source: &Path, point: &Path) {
    let mut command = Command::new(FUSEX);
    let output = finish(command.arg("mount").args(options).args([source, point]));
    assert_eq!(said(output), "");
}

/// The socket goes with the mount, a moment after whoever stopped it is told.
pub(crate) fn goes(socket: &Path) {
    assert!(wait_until(SOON, || !socket.exists()), "{} is left", socket.display());
}

pub(crate) fn nothing_left(place: &Place) {
    assert!(wait_until(SOON, || place.servers().is_empty()), "{:?}", place.servers());
    assert!(place.mounts().is_empty(), "{:?}", place.mounts());
}

/// Ends the mount by `fusex supervise stop`.
pub(crate) fn stop(mount: &Mount) {
    assert_eq!(said(supervise("stop", &mount.point())), "");
    assert!(mount.place().mounts().iter().all(|entry| !entry.is_fuse()), "it is still mounted");
}

//! Mount points: those that are none, and those with odd names.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Place, finish};
use crate::line::{
    FUSEX, NOT_OURS, fusex, mount, nothing_left, number, refused, said, status, supervise, text,
};
use crate::need_mounts;

const ACTIONS: [&str; 4] = ["status", "restart", "upgrade", "stop"];

#[test]
fn what_is_no_supervised_mount_is_refused() {
    need_mounts!();
    let place = Place::new();
    fs::write(place.path("file"), "").unwrap();
    fs::create_dir(place.path("tmpfs")).unwrap();
    place.tmpfs(&place.path("tmpfs"), "size=1M");
    mount(&["--no-supervise"], &place.source(), &place.point());
    fs::create_dir(place.path("second")).unwrap();
    mount(&[], &place.source(), &place.path("second"));
    fs::create_dir(place.source().join("dir")).unwrap();
    for name in [
        "plain",
        "file",
        "tmpfs",
        "not there",
        "not there/either",
        "file/below",
        // Unsupervised, and below a supervised one.
        "point",
        "second/dir",
    ] {
        for action in ACTIONS {
            let path = place.path(name);
            let line = format!("{}: {NOT_OURS}", path.display());
            let output = supervise(action, &path);
            refused(&output, 32, &line);
        }
    }
    // Still there.
    fs::metadata(place.point().join("dir")).unwrap();
    assert_eq!(number(&status(&place.path("second")), "generation"), 0);
    for action in ACTIONS {
        let line = "were not provided: <MOUNTPOINT>: try 'fusex supervise --help'";
        refused(&fusex(&["supervise", action]), 1, line);
        refused(&fusex(&["supervise", action, "/", "/"]), 1, "try 'fusex supervise --help'");
    }
    assert_eq!(said(supervise("stop", &place.path("second"))), "");
}

/// All commands on a mount point that is named like this.
fn all_commands_on(name: &OsStr) {
    let place = Place::new();
    let point = place.path("").join(name);
    fs::create_dir(&point).unwrap();
    mount(&[], &place.source(), &point);
    fs::write(point.join("file"), "x").unwrap();
    let told = status(&point);
    assert_eq!(told["mount_point"].as_str().unwrap(), point.to_string_lossy());
    let shown = format!("{}\n", point.to_string_lossy().escape_debug());
    let human = said(supervise("status", &point));
    assert!(human.starts_with(&format!("mount point:       {shown}")), "{human}");
    let list = said(fusex(&["supervise", "list"]));
    assert!(list.split_inclusive('\n').any(|line| line.ends_with(&format!("  {shown}"))), "{list}");
    assert_eq!(said(supervise("restart", &point)), "");
    assert_eq!(number(&status(&point), "generation"), 1);
    assert_eq!(fs::read(place.source().join("file")).unwrap(), b"x");
    assert_eq!(said(supervise("stop", &point)), "");
    nothing_left(&place);
}

#[test]
fn names_with_odd_bytes() {
    need_mounts!();
    for name in [&b"two words"[..], b" ", b"back\\slash\ttab", b"line\nend", b"not \xff\xfe utf-8"]
    {
        all_commands_on(OsStr::from_bytes(name));
    }
}

#[test]
fn other_ways_to_say_where() {
    need_mounts!();
    let place = Place::new();
    mount(&[], &place.source(), &place.point());
    std::os::unix::fs::symlink(place.path(""), place.path("plain/link")).unwrap();
    let ways = ["point", "./point", "source/../point", "point/", "plain/link/point"];
    for way in ways.map(PathBuf::from) {
        let mut command = Command::new(FUSEX);
        command.args(["supervise".as_ref(), "status".as_ref(), way.as_os_str()]);
        let output = finish(command.current_dir(place.path("")));
        assert!(said(output).contains(place.point().to_str().unwrap()), "{}", way.display());
    }
    let mut command = Command::new(FUSEX);
    let output = finish(command.args(["supervise", "stop", "point"]).current_dir(place.path("")));
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    assert!(!place.mounts().iter().any(|entry| entry.mount_point == Path::new(&place.point())));
    nothing_left(&place);
}

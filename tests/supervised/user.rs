//! A mount of an ordinary user: the socket is that user's, and who else may ask is root.
//!
//! The device is for root alone on some machines: the mount is made in a namespace that has one
//! for all, and lives on in it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use fusex::supervise::client::ask;
use fusex::supervise::protocol::{Request, line};
use serde_json::Value;

use crate::common::{Caller, Place, USER, finish, why_no_mounts};
use crate::hostile::say;
use crate::line::{FUSEX, goes, nothing_left, text};
use crate::skip;

const NOBODY: Caller = Caller { uid: 65534, gid: 65534, groups: &[], umask: 0o022 };

const SCRIPT: &str = r#"
set -e
mount -t tmpfs none "$3"
mknod "$3/fuse" c 10 229
chmod 666 "$3/fuse"
mount --bind "$3/fuse" /dev/fuse
chown -R 65534:65534 "$1" "$2" "$4"
user() { XDG_RUNTIME_DIR="$run" setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
run=$4
user "$0" mount "$1" "$2"
user "$0" supervise restart "$2"
user "$0" supervise list
user "$0" supervise status --json "$2"
"#;

/// Why the user cannot mount here, if so.
fn why_not() -> Option<String> {
    let has = |command: &str| {
        let script = format!("command -v {command}");
        finish(Command::new("sh").args(["-c", &script])).status.success()
    };
    let missing = ["fusermount3", "setpriv", "unshare"].into_iter().find(|it| !has(it));
    let nobody = finish(Command::new("getent").args(["passwd", "65534"])).status.success();
    why_no_mounts()
        .or(missing.map(|command| format!("{command} is not installed")))
        .or((!nobody).then(|| "there is no user 65534, and fusermount3 wants a name".to_string()))
}

/// The user's mount, its socket, and what the user was told.
fn mounted(place: &Place) -> (PathBuf, Vec<String>) {
    let run = place.path("run");
    for name in ["run", "private"] {
        fs::create_dir(place.path(name)).unwrap();
    }
    fs::set_permissions(&run, PermissionsExt::from_mode(0o700)).unwrap();
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", SCRIPT, FUSEX]);
    command.args([place.source(), place.point(), place.path("private"), run.clone()]);
    let output = finish(&mut command);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    let lines = text(&output.stdout).lines().map(String::from).collect();
    let mut sockets = fs::read_dir(run.join("fusex")).unwrap();
    (sockets.next().unwrap().unwrap().path(), lines)
}

fn rights(path: &Path) -> (u32, u32) {
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.uid(), meta.mode() & 0o7777)
}

#[test]
fn the_socket_is_the_users_who_mounted() {
    if let Some(reason) = why_not() {
        skip!(reason);
    }
    let place = Place::new();
    let (socket, told) = mounted(&place);
    assert_eq!(rights(&socket), (NOBODY.uid, 0o600));
    assert_eq!(rights(socket.parent().unwrap()), (NOBODY.uid, 0o700));
    assert_eq!(told.len(), 2, "{told:?}");
    let point = place.point().into_os_string().into_string().unwrap();
    assert!(told[0].ends_with(&point) && told[0].contains("generation     1"), "{told:?}");
    let status: Value = serde_json::from_str(&told[1]).unwrap();
    assert_eq!((&status["mount_point"], &status["generation"]), (&point.into(), &1.into()));
    // Another user, even past the modes; the user, and root.
    for path in [&socket, socket.parent().unwrap(), &place.path("run")] {
        fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
    }
    for request in [Request::Status, Request::Restart, Request::Upgrade, Request::Stop] {
        let answer = USER.run(|| say(&socket, &line(&request)));
        let refusal = format!("user {} may not: run it as root or as user 65534", USER.uid);
        assert_eq!(answer, format!("{{\"error\":\"{refusal}\"}}\n"));
    }
    let seen = NOBODY.run(|| ask(&socket, Request::Status)).unwrap();
    assert_eq!((seen.generation, seen.restarts, seen.worker_deaths), (1, 1, 0));
    assert_eq!(ask(&socket, Request::Restart).unwrap().generation, 2);
    NOBODY.run(|| ask(&socket, Request::Stop)).unwrap();
    goes(&socket);
    nothing_left(&place);
}

//! Whom the supervisor of root's mount talks to: root.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use fusex::supervise::client::ask;
use fusex::supervise::protocol::{Request, line};
use nix::sys::signal::Signal;

use crate::common::{DEFAULT, Mount, USER, finish};
use crate::hostile::say;
use crate::kills::{Killer, Victims};
use crate::line::{FUSEX, goes, number, refused, said, socket, status, supervise, text, until};
use crate::need_mounts;

const ALL: [Request; 4] = [Request::Status, Request::Restart, Request::Upgrade, Request::Stop];

/// Owner and permissions.
fn rights(path: &Path) -> (u32, u32, u32) {
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.uid(), meta.gid(), meta.mode() & 0o7777)
}

/// Nobody has carried out anything.
fn is_untouched(mount: &Mount) {
    let status = status(&mount.point());
    assert_eq!((number(&status, "generation"), number(&status, "restarts")), (0, 0));
    fs::metadata(mount.point()).unwrap();
}

#[test]
fn the_socket_is_roots() {
    need_mounts!();
    let mut mount = Mount::new(DEFAULT);
    mount.expect_killed();
    let socket = socket(mount.connection());
    let look = || {
        assert!(fs::symlink_metadata(&socket).unwrap().file_type().is_socket());
        assert_eq!(rights(&socket), (0, 0, 0o600));
        let (uid, gid, mode) = rights(socket.parent().unwrap());
        assert_eq!((uid, gid, mode & 0o022), (0, 0, 0), "{mode:o}");
    };
    look();
    let mut killer = Killer::new(&mount, Victims::SupervisorAndWorker, &[Signal::SIGKILL]);
    killer.kill().unwrap();
    until(&mount.point(), "a successor", |it| number(it, "supervisor_deaths") == 1);
    look();
    assert_eq!(said(supervise("stop", &mount.point())), "");
    goes(&socket);
}

#[test]
fn other_users_are_kept_out() {
    need_mounts!();
    let mount = Mount::new(DEFAULT);
    let socket = socket(mount.connection());
    for request in ALL {
        let failure = USER.run(|| ask(&socket, request)).unwrap_err();
        assert!(failure.message.ends_with("run it as the user who mounted, or as root"));
    }
    is_untouched(&mount);
}

#[test]
fn credentials_are_looked_at() {
    need_mounts!();
    let mount = Mount::new(DEFAULT);
    let socket = socket(mount.connection());
    // The mode keeps others out already; here the credentials have to.
    fs::set_permissions(&socket, PermissionsExt::from_mode(0o666)).unwrap();
    for request in ALL {
        let answer = USER.run(|| say(&socket, &line(&request)));
        let refusal = format!("user {} may not: run it as root or as user 0", USER.uid);
        assert_eq!(answer, format!("{{\"error\":\"{refusal}\"}}\n"));
    }
    is_untouched(&mount);
    assert!(ask(&socket, Request::Status).is_ok());
}

/// The command of a user who owns nothing here.
fn as_user(action: &[&str], point: Option<&Path>, directory: Option<&str>) -> std::process::Output {
    let mut command = Command::new(FUSEX);
    command.arg("supervise").args(action).args(point).env_remove("XDG_RUNTIME_DIR");
    command.envs(directory.map(|path| ("XDG_RUNTIME_DIR", path)));
    // Also gives up all groups.
    finish(command.uid(USER.uid).gid(USER.gid))
}

#[test]
fn the_command_line_does_not_help_other_users() {
    need_mounts!();
    let mount = Mount::new(DEFAULT);
    let point = mount.point();
    // Their own sockets, and root's.
    for (directory, line) in [
        (None, "see 'fusex supervise list'"),
        (Some("/run"), "run it as the user who mounted, or as root"),
    ] {
        for action in
            [&["status"][..], &["status", "--json"], &["restart"], &["upgrade"], &["stop"]]
        {
            let output = as_user(action, Some(&point), directory);
            let code = output.status.code().unwrap();
            assert_ne!(code, 0, "{action:?}");
            refused(&output, code, line);
        }
        let list = as_user(&["list"], None, directory);
        assert_eq!((list.status.code(), text(&list.stdout)), (Some(0), String::new()));
    }
    is_untouched(&mount);
}

//! Locks of all kinds, which another process must not get across the death of the worker.
//!
//! The other process is this program, run again with [`the_other_process`] as its only test.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::Command;

use nix::fcntl::{FcntlArg, fcntl};

use crate::common::{DEFAULT, Mode, Mount, SERVED, finish, sys};
use crate::kept::{kill_worker, new_file};
use crate::line::text;
use crate::need_mounts;

/// What the other process is to lock.
const FILE: &str = "FUSEX_LOCKED_FILE";

const MODES: [Mode; 3] = [DEFAULT, SERVED, &["-t", "mem"]];

/// Ten bytes from `start` on.
fn range(start: i64, kind: i32) -> libc::flock {
    let (l_type, l_whence) = (kind as i16, libc::SEEK_SET as i16);
    libc::flock { l_type, l_whence, l_start: start, l_len: 10, l_pid: 0 }
}

/// Tries to get each lock that the test has, and two that nobody has.
#[test]
#[ignore = "the other process of locks_are_kept, which starts it"]
fn the_other_process() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let write = |start: i64| range(start, libc::F_WRLCK);
    let code = |result: nix::Result<()>| result.map_or_else(|it| it.to_string(), |()| "ok".into());
    let posix = |start| code(fcntl(&file, FcntlArg::F_SETLK(&write(start))).map(drop));
    let ofd = |start| code(fcntl(&file, FcntlArg::F_OFD_SETLK(&write(start))).map(drop));
    let mut asked = write(0);
    fcntl(&file, FcntlArg::F_GETLK(&mut asked)).unwrap();
    let whole = code(sys::flock(&file, libc::LOCK_EX | libc::LOCK_NB));
    let word = |text: String| text.split(':').next().unwrap_or_default().to_string();
    let got = [whole, posix(0), ofd(0), posix(10), ofd(10), posix(20), ofd(30)].map(word);
    println!("\n={} by {}", got.join(" "), asked.l_pid);
}

/// What the other process gets of `path`.
fn other(path: &Path) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "locks::the_other_process", "--ignored", "--nocapture"]);
    let output = finish(command.env(FILE, path));
    let said = text(&output.stdout);
    let line = said.lines().find_map(|line| line.strip_prefix('='));
    line.unwrap_or_else(|| panic!("{output:?}")).to_string()
}

#[test]
fn locks_are_kept() {
    need_mounts!();
    for mode in MODES {
        let mount = Mount::new(mode);
        let path = mount.point().join("file");
        let file = new_file(&path);
        sys::flock(&file, libc::LOCK_EX).unwrap();
        let lock = |start, kind| fcntl(&file, FcntlArg::F_SETLK(&range(start, kind))).unwrap();
        let lock_ofd = |start, kind| fcntl(&file, FcntlArg::F_OFD_SETLK(&range(start, kind)));
        lock(0, libc::F_WRLCK);
        lock_ofd(10, libc::F_WRLCK).unwrap();
        let refused = "EAGAIN EAGAIN EAGAIN EAGAIN EAGAIN ok ok by";
        let expected = format!("{refused} {}", std::process::id());
        assert_eq!(other(&path), expected, "{mode:?}: before");
        kill_worker(&mount);
        assert_eq!(other(&path), expected, "{mode:?}: after");
        if mount.source().join("file").exists() {
            let beside = other(&mount.source().join("file"));
            assert!(beside.starts_with(refused), "{mode:?}: beside the mount: {beside}");
        }
        sys::flock(&file, libc::LOCK_UN).unwrap();
        lock(0, libc::F_UNLCK);
        lock_ofd(10, libc::F_UNLCK).unwrap();
        // Its own locks of both kinds are in each other's way.
        let free = "ok ok EAGAIN ok EAGAIN ok ok by 0";
        assert_eq!(other(&path), free, "{mode:?}: released");
    }
}

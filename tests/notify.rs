//! The service manager's side of a supervisor: a stand-in that receives the messages and holds the
//! descriptors, and the unit file.
//!
//! What notifies is this test binary again, running [`service_process`] alone, with an environment
//! of its own.

#[path = "common/mod.rs"]
mod common;

use std::fs::File;
use std::io::{IoSliceMut, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use fusex::supervise::notify::{self, Notifier};
use fusex::sys::Fd;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use common::SOON;

const CASE: &str = "FUSEX_NOTIFY_CASE";

#[test]
#[ignore = "the service of other tests, which start it"]
fn service_process() {
    match std::env::var(CASE).as_deref() {
        Ok("notify") => notify_all(),
        Ok("stored") => {
            for (name, fd) in notify::stored() {
                let mut text = String::new();
                let mut file = File::from(fd.into_owned());
                file.rewind().unwrap();
                file.read_to_string(&mut text).unwrap();
                println!("={name}: {text}");
            }
        }
        _ => {}
    }
}

fn notify_all() {
    let notifier = Notifier::from_env();
    println!("={:?}", notifier.watchdog_interval());
    let kept = |text: &str| {
        let mut file = File::from(memfd_create(c"test", MFdFlags::MFD_CLOEXEC).unwrap());
        file.write_all(text.as_bytes()).unwrap();
        Fd::from_owned(file.into())
    };
    notifier.ready("serving\nMAINPID=1");
    notifier.store("fuse", kept("the device"));
    notifier.store("arena", kept("the arena"));
    notifier.status("1 death");
    notifier.watchdog();
    notifier.main_pid(4711);
    notifier.forget("fuse");
    notifier.stopping();
}

/// The test binary as a service: `script` runs it as `"$0" "$@"`.
fn service(case: &str, script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "service_process", "--ignored", "--nocapture"]).env(CASE, case);
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command
}

/// The lines that the service printed itself.
fn said(output: Output) -> Vec<String> {
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| Some(line.split_once('=')?.1.to_string())).collect()
}

/// The next message, and the descriptor that came with it.
fn receive(socket: &UnixDatagram) -> (String, Option<OwnedFd>) {
    let mut bytes = [0; 4096];
    let mut space = nix::cmsg_space!([i32; 4]);
    let (length, fds) = {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message =
            recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags).unwrap();
        let mut fds = Vec::new();
        for control in message.cmsgs().unwrap() {
            if let ControlMessageOwned::ScmRights(numbers) = control {
                fds.extend(numbers);
            }
        }
        (message.bytes, fds)
    };
    assert!(fds.len() < 2, "{fds:?}");
    let fd = fds.first().map(|number| Fd::from_number(*number).into_owned());
    (String::from_utf8_lossy(&bytes[..length]).into_owned(), fd)
}

#[test]
fn the_manager_hears_and_keeps() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let mut first = service("notify", "WATCHDOG_PID=$$ exec \"$0\" \"$@\"");
    let first = first.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "30000000");
    assert_eq!(said(first.output().unwrap()), [format!("{:?}", Some(Duration::from_secs(15)))]);

    let mut kept = Vec::new();
    let expected = [
        ("READY=1\nSTATUS=serving MAINPID=1\n", false),
        ("FDSTORE=1\nFDNAME=fuse\n", true),
        ("FDSTORE=1\nFDNAME=arena\n", true),
        ("STATUS=1 death\n", false),
        ("WATCHDOG=1\n", false),
        ("MAINPID=4711\n", false),
        ("FDSTOREREMOVE=1\nFDNAME=fuse\n", false),
        ("STOPPING=1\n", false),
    ];
    for (message, has_fd) in expected {
        let (text, fd) = receive(&socket);
        assert_eq!((text.as_str(), fd.is_some()), (message, has_fd));
        kept.extend(fd);
    }
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv(&mut [0; 16]).is_err(), "a message too many");

    // The service is gone; the next one gets what was kept, as numbers 3 and 4.
    let [fuse, arena] = <[OwnedFd; 2]>::try_from(kept).unwrap();
    let script = "exec 3<&0 4<&2 2>/dev/null; LISTEN_PID=$$ exec \"$0\" \"$@\"";
    let mut next = service("stored", script);
    next.env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", "fuse:arena").stdin(fuse).stderr(arena);
    assert_eq!(said(next.output().unwrap()), ["fuse: the device", "arena: the arena"]);
}

#[test]
fn without_a_manager_nothing_is_sent_or_taken() {
    let plain = "exec \"$0\" \"$@\"";
    // WATCHDOG_USEC may be left from another service.
    let mut alone = service("notify", plain);
    assert_eq!(said(alone.env("WATCHDOG_USEC", "30000000").output().unwrap()), ["None"]);
    // Meant for another process.
    let mut child = service("stored", "exec 3</dev/null; exec \"$0\" \"$@\"");
    child.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "fuse").env("LISTEN_PID", "1");
    assert_eq!(said(child.output().unwrap()), [""; 0]);
    // Not open: told, not taken.
    let mut wrong = service("stored", "LISTEN_PID=$$ exec \"$0\" \"$@\"");
    wrong.env("LISTEN_FDS", "500").env("LISTEN_FDNAMES", "fuse");
    assert_eq!(said(wrong.output().unwrap()), [""; 0]);
    // Nobody listens: the service goes on.
    let mut lonely = service("notify", plain);
    assert_eq!(said(lonely.env("NOTIFY_SOCKET", "/nowhere/notify").output().unwrap()), ["None"]);
}

#[test]
fn the_unit_file_is_understood() {
    let Ok(version) = Command::new("systemd-analyze").arg("--version").output() else {
        skip!("systemd-analyze is not installed");
    };
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let version: u32 = version.split_whitespace().nth(1).unwrap().parse().unwrap_or(0);
    if version < 250 {
        skip!("systemd is older than 250, which the unit needs");
    }
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/fusex@.service");
    let unit = std::fs::read_to_string(unit).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let verify = |unit: String| {
        let path = dir.path().join("fusex@mnt-data.service");
        std::fs::write(&path, unit).unwrap();
        let output =
            Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output();
        let output = output.unwrap();
        // It also tells of other units of this machine.
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        text.lines().filter(|line| line.contains("fusex@")).collect::<Vec<_>>().join("\n")
    };
    // It has to be where the binary is.
    let unit = unit.replace("/usr/bin/fusex", env!("CARGO_BIN_EXE_fusex"));
    assert_eq!(verify(unit.clone()), "");
    assert_ne!(verify(unit.replace("ExitType=cgroup", "ExitTipe=cgroup")), "");
}

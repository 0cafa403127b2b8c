//! What ends a mount and its server: signals, unmounting, death.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use crate::common::{self, DEFAULT, Mount, Place, SERVED, SINGLE, SOON, wait_until};
use crate::{FUSEX, finish, mount, need_mounts, nothing_left, run, text, umount};

#[test]
fn signals_unmount() {
    need_mounts!();
    for (signal, mode) in
        [(Signal::SIGTERM, DEFAULT), (Signal::SIGINT, SINGLE), (Signal::SIGHUP, SERVED)]
    {
        // Through the guard, which wants the server to end well.
        let foreground = Mount::new(mode);
        kill(nix::unistd::Pid::from_raw(foreground.pid() as i32), signal).unwrap();
        let place = foreground.place();
        assert!(wait_until(SOON, || place.mounts().is_empty()), "{signal}");
        drop(foreground);

        let place = Place::new();
        mount(&place, mode, 0);
        kill(place.servers()[0], signal).unwrap();
        nothing_left(&place);
    }
}

#[test]
fn a_signal_ends_a_mount_in_use() {
    need_mounts!();
    let place = Place::new();
    fs::write(place.source().join("file"), "served").unwrap();
    mount(&place, &["--no-supervise"], 0);
    let open = fs::File::open(place.point().join("file")).unwrap();
    kill(place.servers()[0], Signal::SIGTERM).unwrap();
    nothing_left(&place);
    assert!(fs::read_dir(place.point()).unwrap().next().is_none(), "the mount point is free");
    drop(open);
}

#[test]
fn signals_right_after_the_start_leave_nothing() {
    need_mounts!();
    for delay in [0, 1, 2, 4, 8, 16, 32] {
        let place = Place::new();
        let mut server = Command::new(FUSEX)
            .args(["mount", "-f"])
            .args([place.source(), place.point()])
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        kill(nix::unistd::Pid::from_raw(server.id() as i32), Signal::SIGTERM).unwrap();
        let ended = wait_until(SOON, || server.try_wait().unwrap().is_some());
        assert!(ended, "after {delay} ms");
        assert!(place.mounts().is_empty(), "after {delay} ms: {:?}", place.mounts());
    }
}

#[test]
fn unmounting() {
    need_mounts!();
    let place = Place::new();
    fs::write(place.source().join("file"), "served").unwrap();
    mount(&place, &["--no-supervise"], 0);
    let open = fs::File::open(place.point().join("file")).unwrap();
    let refused = umount(&place, &[]);
    assert_eq!(refused.status.code(), Some(32));
    let message = text(&refused.stderr);
    let own = format!("({})", std::process::id());
    assert!(message.contains(": busy: in use by ") && message.contains(&own), "{message}");
    assert_eq!(place.mounts().len(), 1);
    assert!(umount(&place, &["--lazy"]).status.success());
    assert!(place.mounts().is_empty());
    // The server goes on for who still has a file open, and then ends.
    assert_eq!(std::io::read_to_string(&open).unwrap(), "served");
    assert_eq!(place.servers().len(), 1);
    drop(open);
    nothing_left(&place);
    let again = umount(&place, &[]);
    assert_eq!(again.status.code(), Some(32));
    assert!(text(&again.stderr).contains("not a mount point"), "{again:?}");
    // By the system's own program.
    mount(&place, &[], 0);
    assert!(run("umount", &[place.point().to_str().unwrap()]).status.success());
    nothing_left(&place);
}

#[test]
fn unmounting_what_is_no_fuse_mount() {
    need_mounts!();
    let place = Place::new();
    place.tmpfs(&place.point(), "size=1m");
    let refused = umount(&place, &[]);
    assert_eq!(refused.status.code(), Some(32));
    assert!(text(&refused.stderr).contains("tmpfs is mounted there"), "{refused:?}");
    assert_eq!(place.mounts().len(), 1);
}

/// The process that serves, among those of the place: it has the device.
fn server(place: &Place) -> nix::unistd::Pid {
    let has_device = |pid: &nix::unistd::Pid| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let mut targets = files.filter_map(|file| fs::read_link(file.path()).ok());
        targets.any(|target| target == Path::new("/dev/fuse"))
    };
    let serving: Vec<_> = place.servers().into_iter().filter(has_device).collect();
    assert_eq!(serving.len(), 1, "{serving:?}");
    serving[0]
}

#[test]
fn auto_unmount() {
    need_mounts!();
    for signal in [Signal::SIGKILL, Signal::SIGABRT, Signal::SIGTERM] {
        let place = Place::new();
        mount(&place, &["--no-supervise", "-o", "auto_unmount"], 0);
        assert_eq!(place.servers().len(), 2, "the server, and who unmounts after it");
        kill(server(&place), signal).unwrap();
        nothing_left(&place);
        // Unmounted by somebody else, the other process goes as well.
        mount(&place, &["-o", "auto_unmount"], 0);
        assert!(umount(&place, &[]).status.success());
        nothing_left(&place);
    }
    // Another mount that took the place meanwhile is left alone.
    let place = Place::new();
    mount(&place, &["--no-supervise", "-o", "auto_unmount"], 0);
    let first = server(&place);
    assert!(umount(&place, &["--lazy"]).status.success());
    place.tmpfs(&place.point(), "size=1m");
    let _ = kill(first, Signal::SIGKILL);
    assert!(wait_until(SOON, || place.servers().is_empty()));
    assert_eq!(place.mounts().len(), 1);
}

#[test]
fn a_dead_mount_is_in_the_way_until_it_is_taken_away() {
    need_mounts!();
    let place = Place::new();
    mount(&place, &["--no-supervise"], 0);
    kill(server(&place), Signal::SIGKILL).unwrap();
    assert!(wait_until(SOON, || place.servers().is_empty()));
    // The attributes of the root are trusted for a second.
    let gone = Err(nix::errno::Errno::ENOTCONN);
    assert!(wait_until(SOON, || common::code(fs::metadata(place.point())) == gone));
    let refused = mount(&place, &[], 32);
    let message = text(&refused.stderr);
    assert!(message.contains("a dead FUSE mount is there"), "{message}");
    assert_eq!(message.lines().count(), 1);
    assert!(umount(&place, &[]).status.success());
    nothing_left(&place);
    mount(&place, &[], 0);
}

#[test]
fn without_descriptors_nothing_is_left() {
    need_mounts!();
    // Supervised, a mount has 64 numbers of its own.
    without_descriptors("--no-supervise", &mut (3..24));
    without_descriptors("--sandbox", &mut (5..90).step_by(7));
}

fn without_descriptors(mode: &str, limits: &mut dyn Iterator<Item = u32>) {
    let (mut failed, mut mounted) = (0, 0);
    for files in limits {
        let place = Place::new();
        let script = format!("ulimit -n {files}; exec \"$0\" mount {mode} \"$1\" \"$2\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script, FUSEX]).args([place.source(), place.point()]);
        let output = finish(&mut command);
        if output.status.success() {
            mounted += 1;
            assert!(umount(&place, &[]).status.success());
        } else {
            failed += 1;
            // With too few to be loaded at all, it is the loader that says so.
            if files > 4 {
                let message = text(&output.stderr);
                assert!(message.starts_with("fusex: "), "{files}: {output:?}");
                assert_eq!(message.lines().count(), 1, "{files}: {message}");
            }
        }
        nothing_left(&place);
    }
    assert!(failed > 0 && mounted > 0, "{failed} failed, {mounted} mounted");
}

#[test]
fn an_aborted_mount_is_taken_away() {
    need_mounts!();
    let place = Place::new();
    mount(&place, &[], 0);
    let connection = place.mounts().last().unwrap().minor;
    let control = place.path("control");
    fs::create_dir(&control).unwrap();
    let none: Option<&str> = None;
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(none, &control, Some("fusectl"), flags, none).unwrap();
    fs::write(control.join(format!("{connection}/abort")), "1").unwrap();
    nix::mount::umount(&control).unwrap();
    nothing_left(&place);
}

#[test]
fn the_directory_it_was_started_in_is_free() {
    need_mounts!();
    let place = Place::new();
    let started_in = place.path("started_in");
    fs::create_dir(&started_in).unwrap();
    place.tmpfs(&started_in, "size=1m");
    let mut command = Command::new(FUSEX);
    command.arg("mount").args([place.source(), place.point()]).current_dir(&started_in);
    assert!(finish(&mut command).status.success());
    fs::write(place.point().join("file"), "so that every thread has begun").unwrap();
    nix::mount::umount(&started_in).expect("the server is still in it");
}

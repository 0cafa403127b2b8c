//! Other ways to mount: by descriptor, by a helper's name, in odd places, as a user.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use nix::mount::MsFlags;

use crate::common::{DEFAULT, Mount, Place, SOON, wait_until};
use crate::{FUSEX, finish, need_mounts, nothing_left, run, skip, text, umount};

/// Opens /dev/fuse and mounts it on the place's mount point.
fn preopened(place: &Place) -> OwnedFd {
    let device = fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&device);
    let data = format!("fd={number},rootmode=40000,user_id=0,group_id=0,allow_other");
    let (source, kind) = (Some("prepared"), Some("fuse.other"));
    nix::mount::mount(source, &place.point(), kind, MsFlags::empty(), Some(&*data)).unwrap();
    device.into()
}

#[test]
fn a_descriptor_as_mount_point() {
    need_mounts!();
    // As descriptor 7, and as the one that is standard input otherwise.
    for (number, redirection) in [(7, "exec 7<&0 </dev/null;"), (0, "")] {
        for options in ["", "-f", "-s"] {
            let place = Place::new();
            fs::write(place.source().join("file"), "served").unwrap();
            let device = preopened(&place);
            let script =
                format!("{redirection} exec \"$0\" mount {options} \"$1\" /dev/fd/{number}");
            let mut server = Command::new("sh")
                .args(["-c", &script, FUSEX])
                .arg(place.source())
                .stdin(Stdio::from(device))
                .spawn()
                .unwrap();
            if options != "-f" {
                assert!(wait_until(SOON, || server.try_wait().unwrap().is_some()));
                assert!(server.wait().unwrap().success());
            }
            let seen = fs::read_to_string(place.point().join("file")).unwrap();
            assert_eq!(seen, "served", "{number} {options}");
            assert_eq!(place.mounts()[0].fs_type, "fuse.other");
            place.unmount_all();
            assert!(wait_until(SOON, || server.try_wait().unwrap().is_some()));
            assert!(server.wait().unwrap().success());
            nothing_left(&place);
        }
    }
}

#[test]
fn helper_names() {
    need_mounts!();
    for name in ["mount.fuse.fusex", "mount.fusex"] {
        let place = Place::new();
        symlink(FUSEX, place.path(name)).unwrap();
        let helper = |options: &[&str]| {
            let mut command = Command::new(place.path(name));
            finish(command.arg(place.source()).arg(place.point()).args(options))
        };
        let fake = helper(&["-f", "-o", "rw"]);
        assert!(fake.status.success(), "{fake:?}");
        assert!(place.mounts().is_empty());
        let unknown = helper(&["-o", "zzz"]);
        assert_eq!(unknown.status.code(), Some(1));
        assert!(place.mounts().is_empty());
        let options = "rw,noexec,x-systemd.automount,_netdev,zzz,allow_other";
        let output = helper(&["-n", "-s", "-o", options]);
        assert!(output.status.success(), "{output:?}");
        let entry = place.mounts().remove(0);
        assert_eq!(entry.fs_type, "fuse.fusex");
        let flags: Vec<&str> = entry.options.split(',').collect();
        assert!(flags.contains(&"noexec") && !flags.contains(&"nosuid"), "{flags:?}");
        fs::write(place.point().join("file"), "x").unwrap();
        assert!(umount(&place, &[]).status.success());
        nothing_left(&place);
    }
}

#[test]
fn a_mount_point_below_the_source() {
    need_mounts!();
    for options in [&["-f", "-v"][..], &["-f", "-v", "-s"], &["-f", "-v", "-o", "cache=always"]] {
        let place = Place::new();
        let inner = place.source().join("dir/inner");
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("under"), "under").unwrap();
        fs::write(place.source().join("file"), "file").unwrap();
        let mut arguments = options.to_vec();
        arguments.retain(|option| !["-f", "-v"].contains(option));
        let mut command = Command::new(FUSEX);
        let output = finish(command.arg("mount").args(arguments).arg(place.source()).arg(&inner));
        assert!(output.status.success(), "{output:?}");
        assert_eq!(fs::read_to_string(inner.join("file")).unwrap(), "file");
        // The mount point in the mount is what lies under it; a server that asked itself would
        // wait for ever.
        let again = inner.join("dir/inner");
        assert_eq!(fs::read_to_string(again.join("under")).unwrap(), "under");
        let names = fs::read_dir(&again).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["under"]);
        let parent: Vec<_> = fs::read_dir(inner.join("dir"))
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().is_dir())
            .collect();
        assert_eq!(parent, [true]);
        fs::write(again.join("new"), "new").unwrap();
        place.unmount_all();
        nothing_left(&place);
        assert_eq!(fs::read_to_string(inner.join("new")).unwrap(), "new");
    }
}

#[test]
fn a_mount_over_its_own_source() {
    need_mounts!();
    let place = Place::new();
    fs::write(place.source().join("file"), "file").unwrap();
    let (source, point) = (place.source(), place.source());
    let output = run(FUSEX, &["mount", source.to_str().unwrap(), point.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(place.mounts().len(), 1);
    assert_eq!(fs::read_to_string(point.join("file")).unwrap(), "file");
    fs::write(point.join("new"), "new").unwrap();
    place.unmount_all();
    nothing_left(&place);
    assert_eq!(fs::read_to_string(source.join("new")).unwrap(), "new");
}

#[test]
fn a_mount_of_a_mount() {
    need_mounts!();
    let lower = Mount::new(DEFAULT);
    fs::write(lower.point().join("file"), "file").unwrap();
    let place = Place::new();
    let (source, point) = (lower.point(), place.point());
    let output = run(FUSEX, &["mount", source.to_str().unwrap(), point.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read_to_string(point.join("file")).unwrap(), "file");
    fs::write(point.join("new"), "new").unwrap();
    assert_eq!(fs::read_to_string(lower.source().join("new")).unwrap(), "new");
    drop(place);
}

/// Users who are not root mount through fusermount3. The device is for root alone on some
/// machines: the script has a namespace of its own with one for all.
const AS_USER: &str = r#"
set -e
mount -t tmpfs none "$3"
mknod "$3/fuse" c 10 229
chmod 666 "$3/fuse"
mount --bind "$3/fuse" /dev/fuse
user() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
line() { grep " $2 " /proc/self/mountinfo || true; }
echo served > "$1/file"
chown -R 65534:65534 "$1" "$2"
user "$0" mount $4 "$1" "$2"
line "$@"
user cat "$2/file"
user sh -c 'echo new > "$0/new"' "$2"
stat -c %u:%g "$1/new"
cat "$2/file" 2>&1 && echo "root got in"
user "$0" umount "$2"
line "$@"
if user "$0" mount -o allow_other "$1" "$2" 2>&1; then echo "allow_other"; fi
line "$@"
"#;

#[test]
fn as_a_user_through_fusermount3() {
    need_mounts!();
    if run("sh", &["-c", "command -v fusermount3 && command -v setpriv"]).status.code() != Some(0) {
        skip!("fusermount3 or setpriv is not installed");
    }
    if run("getent", &["passwd", "65534"]).status.code() != Some(0) {
        skip!("there is no user 65534, and fusermount3 wants a name");
    }
    if fs::read_to_string("/etc/fuse.conf").unwrap_or_default().contains("\nuser_allow_other") {
        skip!("/etc/fuse.conf has user_allow_other");
    }
    for options in ["", "-s", "-oauto_unmount", "-ofsname=X"] {
        let place = Place::new();
        let private = place.path("private");
        fs::create_dir(&private).unwrap();
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", AS_USER, FUSEX]);
        let output = finish(command.args([place.source(), place.point(), private]).arg(options));
        let said = text(&output.stdout);
        let lines: Vec<&str> = said.lines().collect();
        assert!(output.status.success() && lines.len() == 5, "{options}: {output:?}");
        let (label, fs_type) = match options {
            "-ofsname=X" => ("X".to_string(), "fuse"),
            _ => (place.source().display().to_string(), "fuse.fusex"),
        };
        assert!(lines[0].contains(&format!("- {fs_type} {label} rw,user_id=65534,group_id=65534")));
        assert!(lines[0].contains("nosuid,nodev"), "{}", lines[0]);
        assert_eq!(lines[1], "served");
        assert_eq!(lines[2], "65534:65534");
        assert!(lines[3].contains("Permission denied"), "root is kept out: {}", lines[3]);
        assert!(lines[4].contains("allow_other"), "{}", lines[4]);
        nothing_left(&place);
    }
}

#[test]
fn a_covered_directory_is_removed_without_asking_the_mount() {
    need_mounts!();
    // With few descriptors inodes are reached by handle, and a name is opened before it goes.
    let place = Place::new();
    for number in 0..300 {
        fs::create_dir(place.source().join(format!("dir-{number}"))).unwrap();
    }
    let inner = place.source().join("inner");
    fs::create_dir(&inner).unwrap();
    let mut command = Command::new("sh");
    command.arg("-c").arg("ulimit -n 184 && exec \"$0\" \"$@\"").arg(FUSEX);
    command.args(["mount", "-s", "-o", "attr_timeout=0"]).args([&place.source(), &inner]);
    let output = finish(&mut command);
    assert!(output.status.success(), "{output:?}");
    let listed: Vec<_> =
        fs::read_dir(&inner).unwrap().map(|entry| entry.unwrap().metadata().unwrap()).collect();
    assert_eq!(listed.len(), 301);
    let removed = fs::remove_dir(inner.join("inner")).map_err(crate::common::errno);
    assert_eq!(removed, Err(nix::errno::Errno::EBUSY), "it is mounted on");
}

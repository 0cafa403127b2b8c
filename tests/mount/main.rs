//! `fusex mount` and `fusex umount` on real mounts: what appears in the mount table, what ends a
//! server, and that nothing is left when something goes wrong.

#[path = "../common/mod.rs"]
mod common;
mod ends;
mod ways;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output};

use common::{DEFAULT, Mount, Place, SOON, USER, finish, wait_until};

const FUSEX: &str = env!("CARGO_BIN_EXE_fusex");

/// Runs a command to its end, which must come soon.
fn run(program: &str, arguments: &[&str]) -> Output {
    finish(Command::new(program).args(arguments))
}

/// `fusex mount` in the background, with what it has to end with.
fn mount(place: &Place, options: &[&str], code: i32) -> Output {
    let (source, point) = (place.source(), place.point());
    let mut arguments = vec!["mount"];
    arguments.extend(options);
    arguments.extend([source.to_str().unwrap(), point.to_str().unwrap()]);
    let output = run(FUSEX, &arguments);
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    output
}

fn umount(place: &Place, options: &[&str]) -> Output {
    let point = place.point();
    let mut arguments = vec!["umount"];
    arguments.extend(options);
    arguments.push(point.to_str().unwrap());
    run(FUSEX, &arguments)
}

fn nothing_left(place: &Place) {
    assert!(wait_until(SOON, || place.servers().is_empty()), "{:?}", place.servers());
    assert!(place.mounts().is_empty(), "{:?}", place.mounts());
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn in_the_background() {
    need_mounts!();
    for (options, processes) in [
        (&["--no-supervise"][..], 1),
        (&["--no-supervise", "-s"], 1),
        (&["--no-supervise", "-o", "allow_other"], 1),
        // Supervisor, worker, spare, standby and reserve.
        (&[], 5),
        (&["-s"], 5),
    ] {
        let place = Place::new();
        fs::write(place.source().join("file"), "served").unwrap();
        let output = mount(&place, options, 0);
        assert_eq!((text(&output.stdout), text(&output.stderr)), (String::new(), String::new()));
        // At once, without waiting for anything.
        assert_eq!(fs::read_to_string(place.point().join("file")).unwrap(), "served");
        // The standbys start when the mount can be used.
        assert!(wait_until(SOON, || place.servers().len() == processes), "{:?}", place.servers());
        let mut servers = place.servers();
        servers.sort();
        let process = format!("/proc/{}", servers[0]);
        assert_eq!(fs::read_link(format!("{process}/cwd")).unwrap(), Path::new("/"));
        for number in 0..3 {
            let target = fs::read_link(format!("{process}/fd/{number}")).unwrap();
            assert_eq!(target, Path::new("/dev/null"), "descriptor {number}");
        }
        let own = nix::unistd::getsid(None).unwrap();
        assert_ne!(nix::unistd::getsid(Some(servers[0])).unwrap(), own, "a session of its own");
        assert!(umount(&place, &[]).status.success());
        nothing_left(&place);
    }
}

#[test]
fn what_the_mount_table_shows() {
    need_mounts!();
    let source = |place: &Place| place.source().into_os_string().into_string().unwrap();
    for (options, fs_type, label) in [
        (&[][..], "fuse.fusex", None),
        (&["-o", "fsname=X"], "fuse", Some("X")),
        (&["-o", "fsname=X,subtype=Y"], "fuse.Y", Some("X")),
        (&["-o", "subtype=Y"], "fuse.Y", None),
        (&["-o", "fsname=one,fsname=two"], "fuse", Some("two")),
        (&["-o", "fsname=a\\,b c\\\\d"], "fuse", Some("a,b c\\d")),
    ] {
        let place = Place::new();
        mount(&place, options, 0);
        let entries = place.mounts();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].fs_type, fs_type, "{options:?}");
        let label = label.map_or_else(|| source(&place), str::to_string);
        assert_eq!(entries[0].source.to_str().unwrap(), label, "{options:?}");
        assert_eq!(entries[0].mount_point, place.point());
        let stat = fs::metadata(place.point()).unwrap();
        let minor = nix::sys::stat::minor(stat.dev());
        assert_eq!(minor, u64::from(entries[0].minor), "the connection's number");
    }
}

#[test]
fn flags_reach_the_mount() {
    need_mounts!();
    for (options, wanted) in [
        ("", &["rw", "nosuid", "nodev", "relatime"][..]),
        ("suid,dev", &["rw", "!nosuid", "!nodev"]),
        ("ro", &["ro"]),
        ("ro,rw", &["rw", "!ro"]),
        ("noexec,noatime", &["noexec", "noatime", "!relatime"]),
        ("noexec,exec", &["!noexec"]),
        ("nodiratime,strictatime", &["nodiratime", "!relatime"]),
        ("flags=1", &["ro", "!nosuid"]),
    ] {
        let place = Place::new();
        let options = if options.is_empty() { vec![] } else { vec!["-o", options] };
        mount(&place, &options, 0);
        let entry = place.mounts().remove(0);
        let flags: Vec<&str> = entry.options.split(',').collect();
        for flag in wanted {
            let (name, there) = flag.strip_prefix('!').map_or((*flag, true), |name| (name, false));
            assert_eq!(flags.contains(&name), there, "{options:?} {flag}: {flags:?}");
        }
    }
    let place = Place::new();
    mount(&place, &["-o", "sync,dirsync"], 0);
    let entry = place.mounts().remove(0);
    assert!(entry.super_options.contains("sync"), "{entry:?}");
}

#[test]
fn read_only_is_read_only() {
    need_mounts!();
    let mount = Mount::new(&["-o", "ro"]);
    fs::write(mount.source().join("file"), "x").unwrap();
    let path = mount.point().join("file");
    assert_eq!(fs::read(&path).unwrap(), b"x");
    let refused = [
        common::code(fs::write(&path, "y")),
        common::code(fs::remove_file(&path)),
        common::code(fs::create_dir(mount.point().join("dir"))),
        common::code(fs::set_permissions(&path, fs::Permissions::from_mode(0o000))),
    ];
    assert_eq!(refused, [Err(nix::errno::Errno::EROFS); 4]);
}

#[test]
fn verbose_prints_what_was_negotiated() {
    need_mounts!();
    let line = |report: &str, name: &str| {
        let found = report.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        found.unwrap_or_else(|| panic!("{name} in {report}")).to_string()
    };
    let plain = Mount::new(DEFAULT);
    let first = plain.report.lines().next().unwrap();
    let (source, point) = (plain.source(), plain.point());
    assert_eq!(first, format!("fusex: {} mounted on {}", source.display(), point.display()));
    assert!(line(&plain.report, "protocol").starts_with("7."));
    assert!(line(&plain.report, "flags").contains("FUSE_POSIX_LOCKS"));
    assert_eq!(line(&plain.report, "max_background"), "64");
    assert_eq!(line(&plain.report, "congestion_threshold"), "48");
    let tuned = Mount::new(&[
        "-o",
        "max_write=64K,max_readahead=8192,max_background=20,congestion_threshold=9,time_gran=1000",
    ]);
    for (name, value) in [
        ("max_write", "65536"),
        ("max_readahead", "8192"),
        ("max_background", "20"),
        ("congestion_threshold", "9"),
        ("time_gran", "1000"),
    ] {
        assert_eq!(line(&tuned.report, name), value);
    }
    let connection = tuned.connection();
    for (file, value) in [("max_background", "20"), ("congestion_threshold", "9")] {
        let path = format!("/sys/fs/fuse/connections/{connection}/{file}");
        // Only where the control file system is mounted.
        if let Ok(text) = fs::read_to_string(path) {
            assert_eq!(text.trim(), value, "the kernel's {file}");
        }
    }
    // In the background it is printed before the command ends.
    let place = Place::new();
    let output = mount(&place, &["-v"], 0);
    assert!(text(&output.stdout).contains("\nflags: "), "{output:?}");
}

#[test]
fn who_is_let_in() {
    need_mounts!();
    use nix::errno::Errno;
    for (options, user) in [
        (&[][..], Err(Errno::EACCES)),
        (&["-o", "allow_root"], Err(Errno::EACCES)),
        (&["-o", "allow_other"], Ok(())),
        (&["-o", "allow_root,allow_other"], Ok(())),
        (&["-o", "allow_other,allow_root"], Err(Errno::EACCES)),
    ] {
        let place = Place::new();
        mount(&place, options, 0);
        let path = place.point().join("file");
        fs::write(&path, "x").unwrap();
        let seen = USER.run(|| common::code(fs::read(&path)));
        assert_eq!(seen, user, "{options:?}");
        assert_eq!(fs::read(&path).unwrap(), b"x");
    }
}

#[test]
fn other_options() {
    need_mounts!();
    for options in [
        &["-c"][..],
        &["-m"],
        &["-t", "3"],
        &["-o", "max_threads=1"],
        &["-o", "max_write=4096,nopassthrough"],
        &["-o", "max_read=4096,nopassthrough"],
        &["-o", "entry_timeout=0,attr_timeout=0,negative_timeout=0.5"],
        &["-o", "blksize=65536"],
    ] {
        let place = Place::new();
        mount(&place, options, 0);
        let path = place.point().join("file");
        let data: Vec<u8> = (0..300_000u32).map(|i| ((i * 7) >> 3) as u8).collect();
        assert!(fs::metadata(&path).is_err());
        fs::write(&path, &data).unwrap();
        assert!(fs::read(&path).unwrap() == data, "{options:?}");
        if options.contains(&"blksize=65536") {
            assert_eq!(fs::metadata(&path).unwrap().blksize(), 65_536);
        }
    }
}

#[test]
fn debugging_logs_requests_and_stays_in_the_foreground() {
    need_mounts!();
    let mount = Mount::new(&["-d"]);
    assert!(fs::metadata(mount.point().join("a name to look up")).is_err());
    assert!(wait_until(SOON, || mount.log().contains("a name to look up")), "{}", mount.log());
}

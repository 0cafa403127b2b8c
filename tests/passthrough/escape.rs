//! No request leads out of the source, whatever is put in its way.
//!
//! The secret lies where only the server's path to the source reaches it: what a caller's own
//! path resolution makes of a symbolic link is not the server's doing.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::common::{Mode, Mount, Place, code};
use crate::need_mounts;

const SECRET: &str = "secret";
/// Names and attributes kept for long, and not at all.
const TIMEOUTS: &[Mode] = &[
    &["-o", "entry_timeout=1000,attr_timeout=1000"],
    &["-o", "entry_timeout=0,attr_timeout=0,nopassthrough"],
];

/// A mount of `source/served`, and beside that `source/outside`, not reached from the mount.
fn mount(mode: Mode) -> (Mount, PathBuf, PathBuf) {
    let place = Place::new();
    let (served, outside) = (place.source().join("served"), place.source().join("outside"));
    for dir in [&served, &outside] {
        fs::create_dir(dir).unwrap();
        fs::write(dir.join("file"), if *dir == outside { SECRET } else { "public" }).unwrap();
    }
    fs::write(outside.join("only-there"), SECRET).unwrap();
    (Mount::of(place, "source/served", mode, None), served, outside)
}

/// What reading comes to; never the secret.
fn read(path: &Path) -> Result<String, Errno> {
    let text = fs::read_to_string(path).map_err(crate::common::errno);
    assert_ne!(text.as_deref(), Ok(SECRET), "{}", path.display());
    text
}

#[test]
fn links_are_the_callers_to_resolve() {
    need_mounts!();
    for mode in TIMEOUTS {
        let (mount, served, _) = mount(mode);
        let point = mount.point();
        for (name, target) in [
            ("absolute", "/etc/passwd"),
            ("up", "../../../../../../../../../etc/passwd"),
            ("sibling", "../outside/file"),
            ("dir", "../outside"),
            ("loop", "loop"),
            ("root", "/"),
            ("inside", "./file"),
        ] {
            symlink(target, point.join(name)).unwrap();
            assert_eq!(fs::read_link(point.join(name)).unwrap(), Path::new(target));
            assert_eq!(fs::read_link(served.join(name)).unwrap(), Path::new(target));
        }
        // These the caller finds by itself, in its own tree.
        let passwd = fs::read("/etc/passwd").unwrap();
        assert_eq!(fs::read(point.join("absolute")).unwrap(), passwd);
        assert_eq!(fs::read(point.join("root/etc/passwd")).unwrap(), passwd);
        // Beside the mount point there is no such directory, beside the source there is.
        assert_eq!(read(&point.join("sibling")), Err(Errno::ENOENT));
        assert_eq!(read(&point.join("dir/file")), Err(Errno::ENOENT));
        assert_eq!(read(&point.join("dir/only-there")), Err(Errno::ENOENT));
        assert_eq!(code(fs::write(point.join("dir/new"), "")), Err(Errno::ENOENT));
        assert_eq!(read(&point.join("loop")), Err(Errno::ELOOP));
        assert_eq!(read(&point.join("inside")), Ok("public".into()));
        let beside = fs::canonicalize(point.join("..")).unwrap();
        assert_eq!(beside, point.parent().unwrap());
    }
}

#[test]
fn a_known_directory_becomes_a_link() {
    need_mounts!();
    for mode in TIMEOUTS {
        let (mount, served, outside) = mount(mode);
        let point = mount.point();
        fs::create_dir(served.join("dir")).unwrap();
        fs::write(served.join("dir/file"), "public").unwrap();
        let open = File::open(point.join("dir")).unwrap();
        assert_eq!(read(&point.join("dir/file")), Ok("public".into()));
        fs::rename(served.join("dir"), served.join("moved")).unwrap();
        symlink("../outside", served.join("dir")).unwrap();
        for name in ["file", "only-there"] {
            let _ = read(&point.join("dir").join(name));
            let _ =
                read(&crate::common::sys::proc_path(std::os::fd::AsFd::as_fd(&open)).join(name));
        }
        let _ = fs::write(point.join("dir/made"), "x");
        let _ = fs::rename(point.join("file"), point.join("dir/renamed"));
        let _ = fs::remove_file(point.join("dir/only-there"));
        let _ = fs::create_dir(point.join("dir/sub"));
        let _ = symlink("x", point.join("dir/link"));
        let left: Vec<_> =
            fs::read_dir(&outside).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "nothing was made, moved or removed outside: {left:?}");
    }
}

#[test]
fn a_known_file_becomes_a_link() {
    need_mounts!();
    for mode in TIMEOUTS {
        let (mount, served, outside) = mount(mode);
        let path = mount.point().join("file");
        assert_eq!(read(&path), Ok("public".into()));
        fs::remove_file(served.join("file")).unwrap();
        symlink("../outside/file", served.join("file")).unwrap();
        let _ = read(&path);
        let _ = fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .map(|mut file| std::io::Write::write_all(&mut file, b"appended"));
        let _ = fs::OpenOptions::new().write(true).truncate(true).open(&path);
        let _ = nix::unistd::truncate(&path, 0);
        let _ = fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o000));
        let _ = std::os::unix::fs::chown(&path, Some(1), Some(1));
        let stat = fs::metadata(outside.join("file")).unwrap();
        assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), SECRET);
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&stat), 0);
        assert_ne!(std::os::unix::fs::MetadataExt::mode(&stat) & 0o777, 0);
    }
}

#[test]
fn a_directory_moved_out_of_the_source() {
    need_mounts!();
    let (mount, served, outside) = mount(TIMEOUTS[0]);
    fs::create_dir(served.join("dir")).unwrap();
    let path = mount.point().join("dir");
    fs::metadata(&path).unwrap();
    fs::rename(served.join("dir"), outside.join("dir")).unwrap();
    // The kernel walks its own tree up: this is the mount's root, not `outside`.
    assert_eq!(read(&path.join("../only-there")), Err(Errno::ENOENT));
    assert_eq!(read(&path.join("../file")), Ok("public".into()));
}

#[test]
fn a_race_between_directory_and_link() {
    need_mounts!();
    for mode in TIMEOUTS {
        let (mount, served, _) = mount(mode);
        let path = mount.point().join("dir");
        fs::create_dir(served.join("dir")).unwrap();
        fs::write(served.join("dir/file"), "public").unwrap();
        symlink("../outside", served.join("other")).unwrap();
        let end = Instant::now() + Duration::from_millis(700);
        let mut found = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
                let (a, b) = (served.join("dir"), served.join("other"));
                while Instant::now() < end {
                    renameat2(AT_FDCWD, &a, AT_FDCWD, &b, RenameFlags::RENAME_EXCHANGE).unwrap();
                }
            });
            while Instant::now() < end {
                found += usize::from(read(&path.join("file")).is_ok());
                let _ = read(&path.join("only-there"));
                if let Ok(mut file) = File::open(path.join("file")) {
                    let mut text = String::new();
                    let _ = file.read_to_string(&mut text);
                    assert_ne!(text, SECRET);
                }
            }
        });
        // Where names are trusted for long, the first look may have found the link.
        let trusted = mode.iter().any(|option| option.contains("1000"));
        assert!(found > 0 || trusted, "the directory was there half of the time");
    }
}

//! Several file systems inside the source.

use std::fs;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::Path;

use nix::sys::statvfs::statvfs;

use crate::common::{DEFAULT, Mount, Place, SERVED, code};
use crate::need_mounts;

/// A source with two fresh file systems below it, alike to the inode numbers.
fn place() -> Place {
    let place = Place::new();
    for name in ["a", "b"] {
        let dir = place.source().join(name);
        fs::create_dir(&dir).unwrap();
        place.tmpfs(&dir, "size=1m");
        for file in ["one", "two"] {
            fs::write(dir.join(file), format!("{file} of {name}")).unwrap();
        }
    }
    place
}

fn ino(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

#[test]
fn equal_numbers_below_are_different_above() {
    need_mounts!();
    for mode in [DEFAULT, SERVED] {
        let mount = Mount::at(place(), mode, None);
        let (source, point) = (mount.source(), mount.point());
        for name in ["", "one", "two"] {
            let [a, b] = ["a", "b"].map(|dir| Path::new(dir).join(name));
            assert_eq!(ino(&source.join(&a)), ino(&source.join(&b)), "alike below");
            assert_ne!(ino(&point.join(&a)), ino(&point.join(&b)), "{name}");
        }
        for dir in ["a", "b"] {
            for entry in fs::read_dir(point.join(dir)).unwrap() {
                let entry = entry.unwrap();
                assert_eq!(entry.ino(), entry.metadata().unwrap().ino());
                let expected = format!("{} of {dir}", entry.file_name().to_string_lossy());
                assert_eq!(fs::read_to_string(entry.path()).unwrap(), expected);
            }
        }
        // The same through a name of each, changed alternately.
        fs::write(point.join("a/one"), "changed").unwrap();
        assert_eq!(fs::read_to_string(point.join("b/one")).unwrap(), "one of b");
        assert_eq!(fs::read_to_string(source.join("a/one")).unwrap(), "changed");
    }
}

#[test]
fn between_them_things_are_as_below() {
    need_mounts!();
    let mount = Mount::at(place(), DEFAULT, None);
    let across = |dir: &Path| {
        [
            code(fs::rename(dir.join("a/one"), dir.join("b/new"))),
            code(fs::hard_link(dir.join("a/one"), dir.join("b/new"))),
            code(fs::rename(dir.join("a/one"), dir.join("new"))),
            code(fs::rename(dir.join("a"), dir.join("c"))),
            code(fs::remove_dir(dir.join("a"))),
        ]
    };
    assert_eq!(across(&mount.point()), across(&mount.source()));
    let blocks = |dir: &Path| statvfs(dir).unwrap().blocks();
    assert_eq!(blocks(&mount.point().join("a")), blocks(&mount.source().join("a")));
    assert_ne!(blocks(&mount.point().join("a")), blocks(&mount.point()));
    let copied = fs::copy(mount.point().join("a/one"), mount.point().join("b/copy")).unwrap();
    assert_eq!(copied, 8);
    assert_eq!(fs::read_to_string(mount.source().join("b/copy")).unwrap(), "one of a");
}

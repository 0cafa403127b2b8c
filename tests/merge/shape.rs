//! What the tree looks like, and that nothing in it can be changed.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use fusex::fs::merge::server::ServerConfig;
use nix::errno::Errno;
use nix::sys::statvfs::statvfs;
use serde_json::json;

use crate::common::{USER, code};
use crate::need_mounts;
use crate::world::{World, file};

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn names_and_attributes() {
    need_mounts!();
    let mut world = World::new(ServerConfig::default());
    let mut one = file("dir/sub/one", [world.local("b", 1, Some(99))]);
    let two = file("dir/two", [world.local("a", 0, None), world.framed("one", 0, 5)]);
    let mut three = file("three", [world.framed("one", 0, 5)]);
    three.json["segments"][0]["length"] = (1_u64 << 40).into();
    for (field, value) in
        [("mode", json!("0640")), ("uid", json!(12)), ("gid", json!(34)), ("mtime", json!(-5))]
    {
        one.json[field] = value;
    }
    let mount = world.mount(&[&one, &two, &three], &[]);
    let point = mount.point();
    assert_eq!(names(&point), ["dir", "three"]);
    assert_eq!(names(&point.join("dir")), ["sub", "two"]);
    let stat = fs::metadata(point.join("dir/sub/one")).unwrap();
    assert_eq!((stat.mode(), stat.uid(), stat.gid()), (libc::S_IFREG | 0o640, 12, 34));
    assert_eq!((stat.mtime(), stat.len(), stat.nlink()), (-5, 99, 1));
    let lower = fs::metadata(mount.place().path("a")).unwrap();
    let stat = fs::metadata(point.join("dir/two")).unwrap();
    assert_eq!((stat.mode(), stat.uid()), (libc::S_IFREG | 0o444, 0));
    assert_eq!((stat.mtime(), stat.mtime_nsec()), (lower.mtime(), lower.mtime_nsec()));
    assert_eq!((stat.len(), stat.blocks()), (10_005, 20));
    assert_eq!(fs::metadata(point.join("three")).unwrap().len(), 1 << 40);
    let dir = fs::metadata(point.join("dir")).unwrap();
    assert_eq!((dir.mode(), dir.nlink(), dir.mtime()), (libc::S_IFDIR | 0o555, 3, lower.mtime()));
    assert_eq!(fs::metadata(point.join("dir/sub/..")).unwrap().ino(), dir.ino());
    assert_eq!(code(fs::metadata(point.join("none"))), Err(Errno::ENOENT));
    assert_eq!(code(fs::metadata(point.join("three/none"))), Err(Errno::ENOTDIR));
    let statfs = statvfs(&point).unwrap();
    assert_eq!((statfs.blocks_available(), statfs.files(), statfs.name_max()), (0, 6, 255));
    USER.run(|| {
        assert_eq!(code(File::open(point.join("dir/sub/one"))), Err(Errno::EACCES));
        assert_eq!(fs::read(point.join("dir/two")).unwrap(), two.expected);
    });
}

#[test]
fn nothing_can_be_changed() {
    need_mounts!();
    // Once with the kernel's own refusal, and once where only the file system stands in the way.
    for writable in [false, true] {
        let mut world = World::new(ServerConfig::default());
        let made = file("dir/file", [world.local("a", 0, None)]);
        let mount = world.mount(&[&made], &[]);
        let point = mount.point();
        if writable {
            let flags = nix::mount::MsFlags::MS_REMOUNT;
            let none = None::<&str>;
            nix::mount::mount(none, &point, none, flags, none).unwrap();
        }
        let (dir, path) = (point.join("dir"), point.join("dir/file"));
        let opened = |options: &OpenOptions| code(options.open(&path));
        let calls = [
            ("write", opened(OpenOptions::new().write(true))),
            ("append", opened(OpenOptions::new().append(true))),
            ("truncate", opened(OpenOptions::new().write(true).truncate(true))),
            ("create", code(File::create_new(dir.join("new")))),
            ("mkdir", code(fs::DirBuilder::new().mode(0o755).create(dir.join("new")))),
            ("symlink", code(symlink("x", dir.join("new")))),
            ("link", code(fs::hard_link(&path, dir.join("new")))),
            ("unlink", code(fs::remove_file(&path))),
            ("rmdir", code(fs::remove_dir(&dir))),
            ("rename", code(fs::rename(&path, dir.join("new")))),
            ("chmod", code(fs::set_permissions(&path, fs::Permissions::from_mode(0o600)))),
            ("chown", code(chown(&path, Some(1), None))),
            ("mknod", code(mkfifo(&dir.join("new")))),
            ("setxattr", set_xattr(&path)),
        ];
        for (name, result) in calls {
            assert_eq!(result, Err(Errno::EROFS), "{name}, writable: {writable}");
        }
        assert_eq!(fs::read(&path).unwrap(), made.expected);
        assert_eq!(names(&dir), ["file"]);
    }
}

fn mkfifo(path: &Path) -> std::io::Result<()> {
    Ok(nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU)?)
}

fn set_xattr(path: &Path) -> Result<(), Errno> {
    fusex::sys::xattr::set_of_path(path, c"user.x", b"y", 0)
}

#[test]
fn a_directory_of_many_names() {
    need_mounts!();
    let mut world = World::new(ServerConfig::default());
    let all: Vec<_> = (0..3000_usize)
        .map(|n| file(&format!("dir/{n:05}-{}", "n".repeat(n % 100)), [world.local("c", 0, None)]))
        .collect();
    let all: Vec<_> = all.iter().collect();
    let mount = world.mount(&all, &[]);
    let listed = names(&mount.point().join("dir"));
    let expected: Vec<_> =
        (0..3000_usize).map(|n| format!("{n:05}-{}", "n".repeat(n % 100))).collect();
    assert_eq!(listed, expected);
}

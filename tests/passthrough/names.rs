//! Names: renaming, links, lengths, and files that have lost theirs.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, RenameFlags, renameat2};
use nix::sys::stat::Mode as Permissions;
use nix::unistd::linkat;

use crate::common::{self, ALL, DEFAULT, Mount, SERVED, SINGLE, WRITEBACK, as_below, code, sys};
use crate::need_mounts;

/// A number of renameat2(2) that nix has no name for.
const WHITEOUT: RenameFlags = RenameFlags::from_bits_retain(libc::RENAME_WHITEOUT);

fn rename(dir: &Path, from: &str, to: &str, flags: RenameFlags) -> Result<(), Errno> {
    renameat2(AT_FDCWD, &dir.join(from), AT_FDCWD, &dir.join(to), flags)
}

/// The names in a directory with their contents, sorted.
fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let data = if entry.file_type().unwrap().is_file() {
                fs::read(entry.path()).unwrap()
            } else {
                Vec::new()
            };
            (entry.file_name().into_string().unwrap(), data)
        })
        .collect();
    all.sort();
    all
}

#[test]
fn rename_noreplace() {
    need_mounts!();
    as_below(&[DEFAULT, SINGLE], |dir| {
        fs::write(dir.join("a"), "a").unwrap();
        fs::write(dir.join("b"), "b").unwrap();
        let taken = rename(dir, "a", "b", RenameFlags::RENAME_NOREPLACE);
        assert_eq!(taken, Err(Errno::EEXIST));
        let free = rename(dir, "a", "c", RenameFlags::RENAME_NOREPLACE);
        assert_eq!(free, Ok(()));
        let gone = rename(dir, "a", "d", RenameFlags::RENAME_NOREPLACE);
        (contents(dir), gone)
    });
}

#[test]
fn rename_exchange() {
    need_mounts!();
    as_below(&[DEFAULT, SINGLE], |dir| {
        fs::write(dir.join("file"), "file").unwrap();
        fs::create_dir(dir.join("dir")).unwrap();
        fs::write(dir.join("dir/inner"), "inner").unwrap();
        let ino = |name: &str| fs::metadata(dir.join(name)).unwrap().ino();
        let before = (ino("file"), ino("dir"));
        assert_eq!(rename(dir, "file", "dir", RenameFlags::RENAME_EXCHANGE), Ok(()));
        assert_eq!((ino("dir"), ino("file")), before, "both are found by the other's name");
        assert_eq!(fs::read(dir.join("dir")).unwrap(), b"file");
        assert_eq!(fs::read(dir.join("file/inner")).unwrap(), b"inner");
        let missing = rename(dir, "file", "missing", RenameFlags::RENAME_EXCHANGE);
        assert_eq!(missing, Err(Errno::ENOENT));
        contents(dir)
    });
}

#[test]
fn rename_whiteout() {
    need_mounts!();
    as_below(&[DEFAULT], |dir| {
        fs::write(dir.join("a"), "a").unwrap();
        // ext4 and tmpfs can; elsewhere the same refusal is expected.
        let result = rename(dir, "a", "b", WHITEOUT);
        let left = fs::symlink_metadata(dir.join("a"));
        let left = left.map(|left| (left.file_type().is_char_device(), left.rdev()));
        (result, left.map_err(common::errno), fs::read(dir.join("b")).map_err(common::errno))
    });
}

#[test]
fn rename_over_others() {
    need_mounts!();
    as_below(&[DEFAULT], |dir| {
        fs::write(dir.join("file"), "file").unwrap();
        fs::create_dir(dir.join("empty")).unwrap();
        fs::create_dir_all(dir.join("full/inner")).unwrap();
        let plain = RenameFlags::empty();
        [
            rename(dir, "file", "empty", plain),
            rename(dir, "empty", "file", plain),
            rename(dir, "empty", "full", plain),
            rename(dir, "full", "full/inner/below", plain),
            rename(dir, "full", "empty", plain),
            rename(dir, "missing", "file", plain),
        ]
    });
}

#[test]
fn hard_links_share_their_inode() {
    need_mounts!();
    as_below(ALL, |dir| {
        fs::write(dir.join("a"), "one").unwrap();
        fs::hard_link(dir.join("a"), dir.join("b")).unwrap();
        let (a, b) = (fs::metadata(dir.join("a")).unwrap(), fs::metadata(dir.join("b")).unwrap());
        assert_eq!((a.ino(), a.dev(), a.nlink()), (b.ino(), b.dev(), 2));
        // Written by one name and read by the other.
        OpenOptions::new().append(true).open(dir.join("a")).unwrap().write_all(b" two").unwrap();
        assert_eq!(fs::read(dir.join("b")).unwrap(), b"one two");
        assert_eq!(fs::metadata(dir.join("b")).unwrap().len(), 7);
        fs::remove_file(dir.join("a")).unwrap();
        assert_eq!(fs::metadata(dir.join("b")).unwrap().nlink(), 1);
        assert_eq!(fs::read(dir.join("b")).unwrap(), b"one two");
        let again = code(fs::hard_link(dir.join("missing"), dir.join("c")));
        (again, code(fs::hard_link(dir, dir.join("d"))))
    });
}

#[test]
fn files_without_a_name_go_on() {
    need_mounts!();
    as_below(ALL, |dir| {
        let path = dir.join("f");
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        file.write_all(b"before").unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(file.metadata().unwrap().nlink(), 0);
        file.write_all(b" and after").unwrap();
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "before and after");
        file.set_len(3).unwrap();
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let now = file.metadata().unwrap();
        assert_eq!((now.len(), now.mode() & 0o7777, now.nlink()), (3, 0o600, 0));
        // Again, by the way of /proc.
        let again = fs::read(sys::proc_path(file.as_fd())).unwrap();
        assert_eq!(again, b"bef");
        code(fs::metadata(&path))
    });
}

#[test]
fn a_directory_without_a_name_is_still_somewhere() {
    need_mounts!();
    as_below(&[DEFAULT, SERVED], |dir| {
        let path = dir.join("d");
        fs::create_dir(&path).unwrap();
        // In a thread with a working directory of its own.
        common::ROOT.run(|| {
            std::env::set_current_dir(&path).unwrap();
            fs::remove_dir(&path).unwrap();
            let made = code(File::create("new"));
            let listed = fs::read_dir(".").map(Iterator::count).map_err(common::errno);
            let nlink = fs::metadata(".").map(|here| here.nlink()).map_err(common::errno);
            (made, listed, nlink, code(std::env::current_dir()))
        })
    });
}

#[test]
fn lengths_of_names() {
    need_mounts!();
    as_below(&[DEFAULT], |dir| {
        let (longest, too_long) = ("n".repeat(255), "n".repeat(256));
        fs::write(dir.join(&longest), "x").unwrap();
        assert_eq!(fs::read(dir.join(&longest)).unwrap(), b"x");
        assert_eq!(contents(dir)[0].0, longest);
        let other = dir.join("m".repeat(255));
        fs::rename(dir.join(&longest), &other).unwrap();
        fs::hard_link(&other, dir.join(&longest)).unwrap();
        fs::remove_file(&other).unwrap();
        fs::create_dir(&other).unwrap();
        let path = dir.join(too_long);
        let target = dir.join(longest);
        let results = [
            code(File::create(&path)),
            code(fs::metadata(&path)),
            code(fs::create_dir(&path)),
            code(fs::rename(&target, &path)),
            code(fs::hard_link(&target, &path)),
            code(std::os::unix::fs::symlink("x", &path)),
            code(fs::remove_file(&path)),
            code(fs::remove_dir(&path)),
        ];
        assert_eq!(results, [Err(Errno::ENAMETOOLONG); 8]);
        (contents(dir), sizes_of_links(dir))
    });
}

/// Which lengths of symbolic links are made and read again.
fn sizes_of_links(dir: &Path) -> Vec<(Result<(), Errno>, bool)> {
    let lengths = [1, 255, 4094, 4095, 4096];
    let try_one = |length: usize| {
        let (target, link) = ("t".repeat(length), dir.join(format!("link{length}")));
        let made = code(std::os::unix::fs::symlink(&target, &link));
        (made, fs::read_link(&link).is_ok_and(|read| read.as_os_str().len() == length))
    };
    lengths.into_iter().map(try_one).collect()
}

#[test]
fn unnamed_files_are_opened_and_linked() {
    need_mounts!();
    as_below(ALL, |dir| {
        let open = |flags: OFlag| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags((OFlag::O_TMPFILE | flags).bits())
                .mode(0o640)
                .open(dir)
        };
        let mut file = open(OFlag::empty()).unwrap();
        file.write_all(b"unnamed").unwrap();
        assert_eq!(file.metadata().unwrap().nlink(), 0);
        // The same inode opened once more, while the first is open.
        let path = sys::proc_path(file.as_fd());
        assert_eq!(fs::read(&path).unwrap(), b"unnamed");
        let mut second = OpenOptions::new().append(true).open(&path).unwrap();
        second.write_all(b" but known").unwrap();
        drop(second);
        linkat(AT_FDCWD, &path, AT_FDCWD, &dir.join("named"), AtFlags::AT_SYMLINK_FOLLOW).unwrap();
        assert_eq!(fs::read(dir.join("named")).unwrap(), b"unnamed but known");
        let (by_fd, by_name) = (file.metadata().unwrap(), fs::metadata(dir.join("named")).unwrap());
        assert_eq!((by_fd.ino(), by_fd.nlink()), (by_name.ino(), 1));
        // O_EXCL: never to be linked.
        let private = open(OFlag::O_EXCL).unwrap();
        let path = sys::proc_path(private.as_fd());
        let to = dir.join("private");
        let linked = linkat(AT_FDCWD, &path, AT_FDCWD, &to, AtFlags::AT_SYMLINK_FOLLOW);
        (linked, by_name.mode(), contents(dir))
    });
}

#[test]
fn what_is_made_is_what_was_asked_for() {
    need_mounts!();
    use nix::sys::stat::{SFlag, makedev, mknod};
    as_below(&[DEFAULT, SINGLE], |dir| {
        let mode = Permissions::from_bits_retain(0o640);
        let kinds = [
            ("fifo", SFlag::S_IFIFO, 0),
            ("socket", SFlag::S_IFSOCK, 0),
            ("char", SFlag::S_IFCHR, makedev(1, 3)),
            ("block", SFlag::S_IFBLK, makedev(7, 300)),
            ("file", SFlag::S_IFREG, 0),
        ];
        kinds.map(|(name, kind, device)| {
            let made = mknod(&dir.join(name), kind, mode, device);
            let stat = fs::symlink_metadata(dir.join(name)).unwrap();
            let again = mknod(&dir.join(name), kind, mode, device);
            (made, again, stat.mode(), stat.rdev(), stat.nlink())
        })
    });
}

#[test]
fn device_nodes_and_pipes_work() {
    need_mounts!();
    use nix::sys::stat::{SFlag, makedev, mknod};
    let mount = Mount::new(DEFAULT);
    let all = Permissions::from_bits_retain(0o666);
    let (null, pipe) = (mount.point().join("zero"), mount.point().join("pipe"));
    mknod(&null, SFlag::S_IFCHR, all, makedev(1, 5)).unwrap();
    let mut bytes = [1; 8];
    File::open(&null).unwrap().read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, [0; 8], "/dev/zero by another name");
    mknod(&pipe, SFlag::S_IFIFO, all, 0).unwrap();
    let writer = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::write(pipe, "through the pipe").unwrap()
    });
    assert_eq!(fs::read(&pipe).unwrap(), b"through the pipe");
    writer.join().unwrap();
}

#[test]
fn a_removed_and_remade_name_is_the_new_file() {
    need_mounts!();
    as_below(&[DEFAULT, WRITEBACK], |dir| {
        let path = dir.join("f");
        for round in 0..50 {
            fs::write(&path, format!("round {round}")).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("round {round}"));
            let open = File::open(&path).unwrap();
            fs::remove_file(&path).unwrap();
            assert_eq!(code(fs::metadata(&path)), Err(Errno::ENOENT));
            assert_eq!(open.metadata().unwrap().nlink(), 0);
        }
        contents(dir)
    });
}

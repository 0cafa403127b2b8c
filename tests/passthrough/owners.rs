//! Who owns what is made, with which permissions, and who may do what.

use std::ffi::CStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, mknod};

use crate::common::{Caller, DEFAULT, ROOT, SERVED, SINGLE, USER, WRITEBACK, as_below, code, sys};
use crate::need_mounts;

const ACCESS_ACL: &CStr = c"system.posix_acl_access";
const DEFAULT_ACL: &CStr = c"system.posix_acl_default";

/// An ACL as the attribute has it, from tags (with an id where they have one) and permissions.
fn acl(entries: &[(u16, u16, Option<u32>)]) -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.unwrap_or(u32::MAX).to_le_bytes());
    }
    bytes
}

const USER_OBJ: u16 = 1;
const NAMED_USER: u16 = 2;
const GROUP_OBJ: u16 = 4;
const MASK: u16 = 16;
const OTHER: u16 = 32;

/// What concerns us here of an inode.
fn seen(path: &Path) -> (u32, u32, String, Vec<String>, Option<Vec<u8>>) {
    let stat = fs::symlink_metadata(path).unwrap();
    let names = sys::list_xattrs(path).unwrap();
    let acl = sys::get_xattr(path, ACCESS_ACL, 1000).ok().map(|(_, value)| value);
    (stat.uid(), stat.gid(), format!("{:o}", stat.mode()), names, acl)
}

/// Makes one of each kind in `dir`.
fn make_all(dir: &Path) -> impl PartialEq + std::fmt::Debug + Send + use<> {
    let in_dir = |name: &str| dir.join(name);
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o666)
        .open(in_dir("file"))
        .unwrap();
    OpenOptions::new().write(true).create_new(true).mode(0o6775).open(in_dir("bits")).unwrap();
    fs::DirBuilder::new().mode(0o777).create(in_dir("dir")).unwrap();
    fs::DirBuilder::new().mode(0o777).create(in_dir("dir/inner")).unwrap();
    symlink("target", in_dir("link")).unwrap();
    mknod(&in_dir("fifo"), SFlag::S_IFIFO, Mode::from_bits_retain(0o666), 0).unwrap();
    mknod(&in_dir("node"), SFlag::S_IFREG, Mode::from_bits_retain(0o2777), 0).unwrap();
    let unnamed = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_TMPFILE)
        .mode(0o666)
        .open(dir)
        .unwrap()
        .metadata()
        .unwrap();
    let names = ["file", "bits", "dir", "dir/inner", "link", "fifo", "node"];
    (names.map(|name| seen(&in_dir(name))), unnamed.uid(), unnamed.gid(), unnamed.mode())
}

const MODES: &[crate::common::Mode] = &[DEFAULT, SERVED, WRITEBACK, SINGLE];

#[test]
fn new_files_are_the_callers() {
    need_mounts!();
    let masks = [0o022, 0o027, 0, 0o777].map(|umask| Caller { umask, ..USER });
    as_below(MODES, |dir| {
        let mut all = Vec::new();
        for caller in masks.iter().chain([&ROOT]) {
            let own = dir.join(format!("{}-{:o}", caller.uid, caller.umask));
            fs::create_dir(&own).unwrap();
            fs::set_permissions(&own, Permissions::from_mode(0o777)).unwrap();
            let made = caller.run(|| match caller.umask {
                // Nobody could make anything below a directory without permissions.
                0o777 => code(File::create(own.join("file"))),
                _ => Ok(()),
            });
            if caller.umask != 0o777 {
                all.push((made, Some(caller.run(|| make_all(&own)))));
                let stat = fs::metadata(own.join("file")).unwrap();
                assert_eq!((stat.uid(), stat.gid()), (caller.uid, caller.gid));
                assert_eq!(stat.mode() & 0o777, 0o666 & !caller.umask);
            } else {
                assert_eq!(fs::metadata(own.join("file")).unwrap().mode() & 0o777, 0);
                all.push((made, None));
            }
        }
        all
    });
}

#[test]
fn set_group_id_directories() {
    need_mounts!();
    // The directory's group is the caller's own, one more of the caller's, a foreign one.
    let groups = [USER.gid, USER.groups[0], 4567];
    as_below(MODES, |dir| {
        groups.map(|group| {
            let own = dir.join(group.to_string());
            fs::create_dir(&own).unwrap();
            std::os::unix::fs::chown(&own, None, Some(group)).unwrap();
            fs::set_permissions(&own, Permissions::from_mode(0o2777)).unwrap();
            let made = USER.run(|| make_all(&own));
            let stat = fs::metadata(own.join("dir")).unwrap();
            assert_eq!((stat.gid(), stat.mode() & 0o2000), (group, 0o2000), "it is handed down");
            // The bit on a file for others to run stays only for members of the group.
            let bit = fs::metadata(own.join("bits")).unwrap().mode() & 0o2000;
            assert_eq!(bit != 0, group != 4567, "group {group}");
            made
        })
    });
}

#[test]
fn default_acls_are_handed_down() {
    need_mounts!();
    let default = acl(&[
        (USER_OBJ, 7, None),
        (NAMED_USER, 6, Some(5678)),
        (GROUP_OBJ, 5, None),
        (MASK, 7, None),
        (OTHER, 4, None),
    ]);
    as_below(MODES, |dir| {
        let own = dir.join("acl");
        fs::create_dir(&own).unwrap();
        fs::set_permissions(&own, Permissions::from_mode(0o777)).unwrap();
        sys::set_xattr(&own, DEFAULT_ACL, &default, 0).unwrap();
        // With a default ACL the umask has no say.
        let made = Caller { umask: 0o077, ..USER }.run(|| make_all(&own));
        let file = seen(&own.join("file"));
        assert!(file.4.is_some_and(|acl| acl.len() == default.len()), "it has the entry as well");
        assert!(file.2.ends_with("664"), "the umask is not applied: {}", file.2);
        let inner = sys::get_xattr(&own.join("dir/inner"), DEFAULT_ACL, 1000).unwrap().1;
        assert_eq!(inner, default);
        made
    });
}

#[test]
fn acls_are_obeyed() {
    need_mounts!();
    let other = Caller { uid: 5678, gid: 5678, groups: &[], umask: 0o022 };
    as_below(MODES, |dir| {
        let file = dir.join("file");
        fs::write(&file, "secret").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        let read = |caller: &Caller| caller.run(|| code(fs::read(&file)));
        let write =
            |caller: &Caller| caller.run(|| code(OpenOptions::new().append(true).open(&file)));
        assert_eq!([read(&USER), read(&other)], [Err(Errno::EACCES); 2]);
        let list = [
            (USER_OBJ, 6, None),
            (NAMED_USER, 4, Some(other.uid)),
            (GROUP_OBJ, 0, None),
            (MASK, 4, None),
            (OTHER, 0, None),
        ];
        sys::set_xattr(&file, ACCESS_ACL, &acl(&list), 0).unwrap();
        assert_eq!([read(&USER), read(&other)], [Err(Errno::EACCES), Ok(())]);
        assert_eq!(write(&other), Err(Errno::EACCES));
        // chmod changes the mask, and the mode shows it.
        fs::set_permissions(&file, Permissions::from_mode(0o660)).unwrap();
        let after = (read(&other), write(&other), seen(&file));
        sys::remove_xattr(&file, ACCESS_ACL).unwrap();
        let bad = sys::set_xattr(&file, ACCESS_ACL, b"no ACL at all", 0);
        (after, read(&other), seen(&file), bad)
    });
}

#[test]
fn an_acl_of_a_stranger_to_the_group_clears_its_bit() {
    need_mounts!();
    as_below(MODES, |dir| {
        let file = dir.join("file");
        fs::write(&file, "").unwrap();
        std::os::unix::fs::chown(&file, Some(USER.uid), Some(4567)).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o2755)).unwrap();
        let list = [
            (USER_OBJ, 7, None),
            (NAMED_USER, 5, Some(5678)),
            (GROUP_OBJ, 5, None),
            (MASK, 5, None),
            (OTHER, 5, None),
        ];
        USER.run(|| sys::set_xattr(&file, ACCESS_ACL, &acl(&list), 0)).unwrap();
        seen(&file)
    });
}

#[test]
fn permissions_are_those_below() {
    need_mounts!();
    as_below(MODES, |dir| {
        let path = |name: &str| dir.join(name);
        let with_mode = |name: &str, mode: u32, uid: u32, gid: u32| {
            fs::write(path(name), name).unwrap();
            std::os::unix::fs::chown(path(name), Some(uid), Some(gid)).unwrap();
            fs::set_permissions(path(name), Permissions::from_mode(mode)).unwrap();
        };
        with_mode("own", 0o400, USER.uid, USER.gid);
        with_mode("group", 0o060, 0, USER.gid);
        with_mode("more", 0o040, 0, USER.groups[0]);
        with_mode("not-even-own", 0o077, USER.uid, 0);
        with_mode("foreign", 0o600, 0, 0);
        with_mode("program", 0o755, 0, 0);
        fs::create_dir(path("closed")).unwrap();
        fs::set_permissions(path("closed"), Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(path("no-entry")).unwrap();
        fs::write(path("no-entry/file"), "").unwrap();
        fs::set_permissions(path("no-entry"), Permissions::from_mode(0o744)).unwrap();
        fs::create_dir(path("sticky")).unwrap();
        fs::write(path("sticky/file"), "").unwrap();
        fs::set_permissions(path("sticky"), Permissions::from_mode(0o1777)).unwrap();
        let as_user = USER.run(|| {
            let open = |name: &str, write: bool| {
                code(OpenOptions::new().read(!write).append(write).open(path(name)))
            };
            let files = ["own", "group", "more", "not-even-own", "foreign"];
            let opened = files.map(|name| (open(name, false), open(name, true)));
            let changed = [
                code(File::create(path("closed/new"))),
                code(fs::create_dir(path("closed/new"))),
                code(fs::remove_dir(path("sticky"))),
                code(fs::remove_file(path("sticky/file"))),
                code(fs::rename(path("sticky/file"), path("mine"))),
                code(fs::metadata(path("no-entry/file"))),
                code(fs::read_dir(path("no-entry"))),
                code(fs::set_permissions(path("foreign"), Permissions::from_mode(0o777))),
                code(fs::set_permissions(path("own"), Permissions::from_mode(0o777))),
                code(std::os::unix::fs::chown(path("own"), Some(0), None)),
                code(std::os::unix::fs::chown(path("own"), None, Some(USER.groups[0]))),
                code(std::os::unix::fs::chown(path("own"), None, Some(4567))),
                code(fs::remove_file(path("foreign"))),
            ];
            (opened, changed)
        });
        assert_eq!(as_user.1[0], Err(Errno::EACCES));
        assert_eq!(as_user.1[3], Err(Errno::EPERM));
        let stat = fs::metadata(path("own")).unwrap();
        (as_user, stat.uid(), stat.gid(), stat.mode())
    });
}

//! Extended attributes.

use std::ffi::{CStr, CString};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, mknod};

use crate::common::sys::{get_xattr, list_xattrs, list_xattrs_into, remove_xattr, set_xattr};
use crate::common::{ALL, DEFAULT, Mount, NEVER, SERVED, USER, as_below};
use crate::need_mounts;

#[test]
fn set_get_list_and_remove() {
    need_mounts!();
    as_below(ALL, |dir| {
        fs::write(dir.join("file"), "").unwrap();
        fs::create_dir(dir.join("dir")).unwrap();
        ["file", "dir"].map(|name| {
            let path = dir.join(name);
            let mut results = vec![
                get_xattr(&path, c"user.none", 10).map(drop),
                set_xattr(&path, c"user.one", b"1", 0),
                set_xattr(&path, c"user.two", &[0, 255, 10, 0], libc::XATTR_CREATE),
                set_xattr(&path, c"user.two", b"again", libc::XATTR_CREATE),
                set_xattr(&path, c"user.three", b"", libc::XATTR_REPLACE),
                set_xattr(&path, c"user.three", b"", 0),
                set_xattr(&path, c"user.one", b"replaced", libc::XATTR_REPLACE),
                set_xattr(&path, c"user.", b"x", 0),
                set_xattr(&path, c"nonsense", b"x", 0),
                set_xattr(&path, c"", b"x", 0),
                set_xattr(&path, c"user.flags", b"x", 8),
                remove_xattr(&path, c"user.none"),
            ];
            assert_eq!(get_xattr(&path, c"user.one", 8), Ok((8, b"replaced".to_vec())));
            assert_eq!(get_xattr(&path, c"user.two", 10), Ok((4, vec![0, 255, 10, 0])));
            assert_eq!(get_xattr(&path, c"user.three", 10), Ok((0, vec![])));
            let before = list_xattrs(&path);
            results.push(remove_xattr(&path, c"user.two"));
            results.push(remove_xattr(&path, c"user.two"));
            (results, before, list_xattrs(&path))
        })
    });
}

#[test]
fn sizes() {
    need_mounts!();
    as_below(&[DEFAULT, NEVER], |dir| {
        let path = dir.join("file");
        fs::write(&path, "").unwrap();
        set_xattr(&path, c"user.ten", &[b'x'; 10], 0).unwrap();
        set_xattr(&path, c"user.other", b"y", 0).unwrap();
        let got = [0, 9, 10, 11].map(|room| get_xattr(&path, c"user.ten", room).map(|got| got.0));
        assert_eq!(got, [Ok(10), Err(Errno::ERANGE), Ok(10), Ok(10)]);
        let listed = [0, 1, 19, 20, 21].map(|room| list_xattrs_into(&path, room));
        assert_eq!(listed[..2], [Ok(20), Err(Errno::ERANGE)]);
        let set = [1000, 3000, 65_536, 65_537].map(|length| {
            let result = set_xattr(&path, c"user.big", &vec![b'b'; length], 0);
            (result, get_xattr(&path, c"user.big", 70_000).map(|(size, _)| size))
        });
        assert_eq!(set[3].0, Err(Errno::E2BIG));
        let name = |length: usize| CString::new(format!("user.{}", "n".repeat(length))).unwrap();
        let names = [250, 251].map(|length| set_xattr(&path, &name(length), b"x", 0));
        (got, listed, set, names)
    });
}

#[test]
fn what_others_see_and_may() {
    need_mounts!();
    as_below(&[DEFAULT, SERVED], |dir| {
        let path = dir.join("file");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let names = [c"user.seen", c"trusted.hidden", c"security.shown"];
        names.iter().for_each(|name| set_xattr(&path, name, b"value", 0).unwrap());
        let look = |path: &Path| {
            let values = names.map(|name| get_xattr(path, name, 100).map(|(_, value)| value));
            (list_xattrs(path), list_xattrs_into(path, 0), values)
        };
        let set = |path: &Path| names.map(|name: &CStr| set_xattr(path, name, b"new", 0));
        let as_root = look(&path);
        assert_eq!(as_root.0.as_ref().unwrap().len(), 3);
        let as_user = USER.run(|| (look(&path), set(&path)));
        let seen = as_user.0.0.clone().unwrap();
        assert!(!seen.contains(&"trusted.hidden".to_string()), "{seen:?}");
        // The owner may no more than set those of users.
        std::os::unix::fs::chown(&path, Some(USER.uid), None).unwrap();
        let as_owner = USER.run(|| (look(&path), set(&path)));
        (as_root, as_user, as_owner)
    });
}

#[test]
fn on_links_and_special_files() {
    need_mounts!();
    as_below(&[DEFAULT], |dir| {
        fs::write(dir.join("file"), "").unwrap();
        std::os::unix::fs::symlink("file", dir.join("link")).unwrap();
        let all = Mode::from_bits_retain(0o666);
        mknod(&dir.join("pipe"), SFlag::S_IFIFO, all, 0).unwrap();
        ["link", "pipe"].map(|name| {
            let path = dir.join(name);
            [c"user.x", c"trusted.x", c"security.x"].map(|attribute| {
                let set = set_xattr(&path, attribute, b"value", 0);
                (set, get_xattr(&path, attribute, 10), list_xattrs(&path))
            })
        })
    });
}

#[test]
fn they_are_those_below() {
    need_mounts!();
    let mount = Mount::new(DEFAULT);
    let (path, below) = (mount.point().join("file"), mount.source().join("file"));
    fs::write(&path, "").unwrap();
    set_xattr(&path, c"user.above", b"1", 0).unwrap();
    set_xattr(&below, c"user.below", b"2", 0).unwrap();
    assert_eq!(list_xattrs(&path), list_xattrs(&below));
    assert_eq!(get_xattr(&path, c"user.below", 10), Ok((1, b"2".to_vec())));
    // Of a file that has lost its name.
    let open = fs::File::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let by_fd = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open));
    let read = fs::read_link(&by_fd).unwrap();
    assert!(read.to_string_lossy().ends_with("(deleted)"));
}

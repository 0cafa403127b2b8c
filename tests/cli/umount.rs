//! `fusex umount`: what it refuses. None of it needs privilege: it is found out beforehand.

use crate::Place;

#[test]
fn nothing_to_unmount() {
    let place = Place::new();
    let missing = "the following required arguments were not provided: <MOUNTPOINT>: try 'fusex \
                   umount --help'";
    place.refused(&["umount"], 1, missing);
    let option = "unexpected argument '--lazzy' found: a similar argument exists: '--lazy'";
    place.refused(&["umount", "--lazzy", "@/point"], 1, option);
    for lazy in [&[][..], &["-l"], &["--lazy"]] {
        let with = |path| [&["umount"], lazy, &[path]].concat();
        let absent = "mount point @/no: No such file or directory: correct the path";
        place.refused(&with("@/no"), 32, absent);
        let plain = "@/point: not a mount point: 'findmnt' lists what is mounted";
        place.refused(&with("@/point"), 32, plain);
        let file = "@/file: not a mount point: 'findmnt' lists what is mounted";
        place.refused(&with("@/file"), 32, file);
    }
}

#[test]
fn what_is_not_fuse_is_left_alone() {
    // The root: it stays whatever is tried.
    let table = fusex::mount::mountinfo::read().unwrap();
    let root = fusex::mount::mountinfo::find(&table, "/".as_ref()).unwrap();
    let place = Place::new();
    let line = format!("/: {} is mounted there, not FUSE: use umount(8)", root.fs_type);
    std::os::unix::fs::symlink("/", place.path("link")).unwrap();
    for path in ["/", "/dev/..", "@/link", "@/link/"] {
        place.refused(&["umount", path], 32, &line);
    }
}

//! Tests of `nodes` and `budget`.

use super::*;
use std::ffi::CString;

fn open(path: &std::path::Path, flags: i32) -> OpFd {
    let path = CString::new(path.to_str().unwrap()).unwrap();
    file::openat(Fd::CWD, &path, flags, 0).unwrap()
}

/// Nodes over a new directory, for so many descriptors.
fn nodes(limit: u64) -> (tempfile::TempDir, Nodes) {
    let dir = tempfile::tempdir().unwrap();
    let root = open(dir.path(), libc::O_RDONLY).keep();
    let can = crate::sys::creds::Powers::of_thread().open_handles;
    (dir, Nodes::new(root, limit, can, None).unwrap())
}

fn look_up(nodes: &Nodes, path: &std::path::Path) -> NodeId {
    let fd = open(path, libc::O_PATH | libc::O_NOFOLLOW);
    let stat = file::fstatx(fd.get()).unwrap();
    nodes.remember(fd, &stat, |_| ()).unwrap().0
}

#[test]
fn hard_links_share_a_node_and_counts_add_up() {
    let (dir, nodes) = nodes(1000);
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    std::fs::write(&a, b"x").unwrap();
    std::fs::hard_link(&a, &b).unwrap();
    let id = look_up(&nodes, &a);
    assert_eq!(look_up(&nodes, &b), id);
    nodes.forget(id, 1);
    assert!(nodes.fd(id).is_ok());
    nodes.forget(id, 1);
    assert_eq!(nodes.fd(id).err(), Some(Errno::ESTALE));
    assert_ne!(look_up(&nodes, &a), id, "a forgotten id does not come back");
}

#[test]
fn the_root_is_not_forgotten() {
    let (_dir, nodes) = nodes(1000);
    nodes.forget(NodeId::ROOT, u64::MAX);
    assert!(nodes.fd(NodeId::ROOT).is_ok());
}

#[test]
fn past_the_budget_nodes_are_reached_by_handle() {
    let (dir, nodes) = nodes(0);
    if !nodes.can_open_handles {
        eprintln!("SKIP: file handles need CAP_DAC_READ_SEARCH");
        return;
    }
    let path = dir.path().join("f");
    std::fs::write(&path, b"hello").unwrap();
    let id = look_up(&nodes, &path);
    assert_eq!(nodes.by_handle.load(Ordering::Relaxed), 1);
    assert_eq!(file::fstatx(nodes.fd(id).unwrap().get()).unwrap().stx_size, 5);
    assert_eq!(look_up(&nodes, &path), id, "the same inode, the same node");
    // Kept alive, it outlives its name; without that it would be ESTALE.
    let root = nodes.fd(NodeId::ROOT).unwrap();
    nodes.keep_alive(|| file::openat(root.get(), c"f", libc::O_PATH, 0));
    std::fs::remove_file(&path).unwrap();
    let stat = file::fstatx(nodes.fd(id).unwrap().get()).unwrap();
    assert_eq!((stat.stx_size, stat.stx_nlink), (5, 0));
}

#[test]
fn a_number_used_again_is_another_node() {
    let (dir, nodes) = nodes(0);
    if !nodes.can_open_handles {
        eprintln!("SKIP: file handles need CAP_DAC_READ_SEARCH");
        return;
    }
    let path = dir.path().join("f");
    std::fs::write(&path, b"old").unwrap();
    let old = look_up(&nodes, &path);
    let ino = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).unwrap());
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, b"new!").unwrap();
    let again = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).unwrap());
    let new = look_up(&nodes, &path);
    assert_ne!(old, new);
    assert_eq!(file::fstatx(nodes.fd(new).unwrap().get()).unwrap().stx_size, 4);
    if ino == again {
        assert_eq!(nodes.fd(old).err(), Some(Errno::ESTALE), "the old file is gone");
    }
    nodes.forget(old, 1);
    assert_eq!(look_up(&nodes, &path), new, "forgetting the old one leaves the new one");
}

#[test]
fn numbers_of_other_devices_are_marked() {
    let (_dir, nodes) = nodes(1000);
    assert_eq!(nodes.number(nodes.home, 5), 5);
    let (a, b) = (nodes.number((99, 1), 5), nodes.number((99, 2), 5));
    assert!(a != 5 && b != 5 && a != b);
    assert_eq!(nodes.number((99, 1), 5), a);
}

#[test]
fn descriptors_are_given_up_but_not_those_in_use_or_without_a_name() {
    let (dir, nodes) = nodes(1000);
    if !nodes.can_open_handles {
        eprintln!("SKIP: file handles need CAP_DAC_READ_SEARCH");
        return;
    }
    let make = |name: &str| {
        std::fs::write(dir.path().join(name), name).unwrap();
        look_up(&nodes, &dir.path().join(name))
    };
    let (plain, used, unlinked) = (make("plain"), make("used"), make("unlinked"));
    let subdir = {
        std::fs::create_dir(dir.path().join("dir")).unwrap();
        look_up(&nodes, &dir.path().join("dir"))
    };
    std::fs::remove_file(dir.path().join("unlinked")).unwrap();
    let in_use = nodes.fd(used).unwrap();
    let is_kept = |id| matches!(nodes.lock(id).unwrap().place, Place::Kept(_));
    nodes.give_up(1);
    assert!(!is_kept(plain) && is_kept(subdir), "directories come last");
    nodes.give_up(100);
    assert!(!is_kept(subdir));
    assert!(is_kept(used) && is_kept(unlinked) && is_kept(NodeId::ROOT));
    assert_eq!(file::fstatx(in_use.get()).unwrap().stx_size, 4);
    drop(in_use);
    nodes.give_up(100);
    assert!(!is_kept(used));
    for (id, size) in [(plain, 5), (used, 4), (unlinked, 8)] {
        assert_eq!(file::fstatx(nodes.fd(id).unwrap().get()).unwrap().stx_size, size);
    }
}

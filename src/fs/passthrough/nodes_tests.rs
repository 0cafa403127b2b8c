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
    let arena = Arena::create().unwrap();
    (dir, Nodes::new(&arena, root, limit, can, &Config::default()).unwrap())
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
    assert_eq!(nodes.number(nodes.mounts.home_device(), 5), 5);
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
    let is_kept = |id| matches!(nodes.place(&nodes.lock(id).unwrap().record), Place::Kept(_));
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

/// A successor over the same arena and directory.
fn successor(arena: &Arena, dir: &std::path::Path) -> Nodes {
    let root = open(dir, libc::O_RDONLY).keep();
    let can = crate::sys::creds::Powers::of_thread().open_handles;
    let nodes = Nodes::new(arena, root, 1000, can, &Config::default()).unwrap();
    nodes.takeover(&arena.fds().counts());
    nodes
}

#[test]
fn a_successor_knows_the_nodes_and_their_counts() {
    let dir = tempfile::tempdir().unwrap();
    let arena = Arena::create().unwrap();
    let nodes = successor(&arena, dir.path());
    let paths: Vec<_> = (0..100).map(|n| dir.path().join(format!("f{n}"))).collect();
    let look = |nodes: &Nodes, path: &std::path::PathBuf| {
        std::fs::write(path, b"x").unwrap();
        look_up(nodes, path)
    };
    let ids: Vec<NodeId> = paths.iter().map(|path| look(&nodes, path)).collect();
    look_up(&nodes, &paths[3]);
    drop(nodes);

    let nodes = successor(&arena, dir.path());
    let again: Vec<NodeId> = paths.iter().map(|path| look_up(&nodes, path)).collect();
    assert_eq!(again, ids);
    nodes.forget(ids[3], 2);
    assert!(nodes.fd(ids[3]).is_ok(), "three lookups, two forgotten");
    ids.iter().for_each(|id| nodes.forget(*id, 2));
    assert!(ids.iter().all(|id| nodes.fd(*id).err() == Some(Errno::ESTALE)));
    assert_eq!(nodes.table.count(), 1, "the root");
}

#[test]
fn a_lookup_half_done_is_taken_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let arena = Arena::create().unwrap();
    let nodes = successor(&arena, dir.path());
    std::fs::write(dir.path().join("f"), b"x").unwrap();
    let slots = crate::recovery::slot::Slots::new(&arena, 1, 0).unwrap();
    let journal = slots.journal(0);
    journal.reset();
    journal::attach(Some(journal));
    // Counted twice, each time with no reply; the second time the worker died before the count.
    for happened in [true, false] {
        let id = look_up(&nodes, &dir.path().join("f"));
        let effect = journal.effect(0).unwrap();
        assert!(nodes.happened(&effect));
        let never = Effect { before: nodes.table.state(id.0).unwrap(), ..effect };
        assert!(!nodes.happened(&never));
        if happened {
            nodes.settle(&effect);
            assert!(nodes.fd(id).is_err(), "its only lookup is taken back");
            assert_eq!(journal.effect(0), None, "and off the record");
        }
        journal.reset();
    }
    journal::attach(None);
    let id = look_up(&nodes, &dir.path().join("f"));
    nodes.forget(id, 2);
    assert!(nodes.fd(id).is_err());
}

#[test]
fn a_node_half_removed_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let arena = Arena::create().unwrap();
    let nodes = successor(&arena, dir.path());
    std::fs::write(dir.path().join("f"), b"x").unwrap();
    let id = look_up(&nodes, &dir.path().join("f"));
    let before = nodes.table.state(id.0).unwrap();
    // As far as: counted down, descriptor closed.
    nodes.lock(id).unwrap().change(|record| record.nlookup = 0);
    let record = nodes.table.get(id.0).unwrap();
    assert!(nodes.fds.close_if(Fd::from_number(record.fd), Kind::Node, id.0 as u32));
    let (change, amount, progress) = (Change::Uncount, 1, 0);
    let effect = Effect { change, id: id.0, before, amount, progress };
    assert!(nodes.happened(&effect));
    nodes.settle(&effect);
    nodes.settle(&effect);
    assert_eq!(nodes.table.count(), 1, "the root");
    assert_ne!(look_up(&nodes, &dir.path().join("f")), id);
}

#[test]
fn a_damaged_node_is_stale_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let arena = Arena::create().unwrap();
    let nodes = successor(&arena, dir.path());
    let ids: Vec<NodeId> = (0..3)
        .map(|n| {
            let path = dir.path().join(format!("f{n}"));
            std::fs::write(&path, b"x").unwrap();
            look_up(&nodes, &path)
        })
        .collect();
    nodes.table.damage(ids[1].0);
    assert_eq!(nodes.fd(ids[1]).err(), Some(Errno::ESTALE));
    nodes.forget(ids[1], 1);
    assert!(nodes.fd(ids[0]).is_ok() && nodes.fd(ids[2]).is_ok());
    let again = look_up(&nodes, &dir.path().join("f1"));
    assert!(again != ids[1] && nodes.fd(again).is_ok(), "found anew");
}

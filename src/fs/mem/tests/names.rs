//! Making, linking, renaming and removing names; node lifetimes.

use super::*;

const NOREPLACE: u32 = libc::RENAME_NOREPLACE;
const EXCHANGE: u32 = libc::RENAME_EXCHANGE;
const WHITEOUT: u32 = libc::RENAME_WHITEOUT;

#[test]
fn the_root_is_there() {
    let attr = Fs::new().attr(ROOT).unwrap();
    assert_eq!((attr.mode, attr.nlink, attr.ino), (libc::S_IFDIR | 0o755, 2, 1));
}

#[test]
fn names_are_exclusive_and_limited() {
    let fs = Fs::new();
    let file = fs.create(ROOT, "a").unwrap();
    assert_eq!(fs.create(ROOT, "a"), Err(Errno::EEXIST));
    assert_eq!(fs.mkdir(ROOT, "a"), Err(Errno::EEXIST));
    assert_eq!(fs.symlink(ROOT, "a", "t"), Err(Errno::EEXIST));
    assert_eq!(fs.mknod(ROOT, "a", libc::S_IFREG, 0), Err(Errno::EEXIST));
    assert_eq!(fs.link(file, ROOT, "a"), Err(Errno::EEXIST));
    assert_eq!(fs.create(file, "b"), Err(Errno::ENOTDIR));
    assert_eq!(fs.lookup(file, "b"), Err(Errno::ENOTDIR));
    let (longest, longer) = ("n".repeat(255), "n".repeat(256));
    assert_eq!(fs.create(ROOT, &longer), Err(Errno::ENAMETOOLONG));
    assert_eq!(fs.lookup(ROOT, &longer), Err(Errno::ENAMETOOLONG));
    assert_eq!(fs.rename((ROOT, "a"), (ROOT, &longer), 0), Err(Errno::ENAMETOOLONG));
    assert_eq!(fs.link(file, ROOT, &longer), Err(Errno::ENAMETOOLONG));
    let node = fs.create(ROOT, &longest).unwrap();
    assert_eq!(fs.node(ROOT, &longest), Ok(node));
}

#[test]
fn create_without_excl_opens_what_is_there() {
    let fs = Fs::new();
    let file = fs.create(ROOT, "a").unwrap();
    fs.write(file, 0, b"text").unwrap();
    assert_eq!(fs.create_flags(ROOT, "a", libc::O_RDWR), Ok(file));
    assert_eq!(fs.attr(file).unwrap().size, 4);
    assert_eq!(fs.create_flags(ROOT, "a", libc::O_RDWR | libc::O_TRUNC), Ok(file));
    assert_eq!(fs.attr(file).unwrap().size, 0);
    fs.mkdir(ROOT, "d").unwrap();
    assert_eq!(fs.create_flags(ROOT, "d", libc::O_RDWR), Err(Errno::EISDIR));
}

#[test]
fn negative_entries_are_cached_only_when_asked_for() {
    let fs = Fs::new();
    let missing = c("none");
    let op = ops::Lookup { name: name(&missing) };
    let entry = fs.mem.lookup(&fs.cx, ROOT, &op).unwrap();
    assert_eq!((entry.node, entry.entry_valid), (NodeId(0), LONG));
    let config = MemConfig { negative_timeout: Duration::ZERO, ..MemConfig::default() };
    let arena = Arena::create().unwrap();
    let mem = Mem::new(config, &arena).unwrap();
    assert_eq!(mem.lookup(&fs.cx, ROOT, &op), Err(Errno::ENOENT));
    arena.fd().close();
}

#[test]
fn an_unlinked_file_lives_until_it_is_forgotten() {
    let fs = Fs::new();
    let before = fs.free();
    let file = fs.create(ROOT, "a").unwrap();
    fs.write(file, 0, b"text").unwrap();
    fs.lookup(ROOT, "a").unwrap();
    fs.unlink(ROOT, "a").unwrap();
    assert_eq!(fs.lookup(ROOT, "a"), Err(Errno::ENOENT));
    assert_eq!(fs.attr(file).unwrap().nlink, 0);
    fs.mem.forget(file, 1);
    assert_eq!(fs.read(file, 0, 10).unwrap(), b"text");
    assert_eq!(fs.link(file, ROOT, "b"), Err(Errno::ENOENT), "unlinked is unlinked");
    fs.mem.forget(file, 1);
    assert_eq!(fs.attr(file), Err(Errno::ESTALE));
    assert_eq!(fs.free(), before);
    fs.mem.forget(file, 1);
    let other = fs.create(ROOT, "a").unwrap();
    assert_ne!(other, file, "an id is not used again");
    assert_eq!(fs.attr(file), Err(Errno::ESTALE));
}

#[test]
fn a_forgotten_file_lives_while_it_has_a_name() {
    let fs = Fs::new();
    let before = fs.free();
    let file = fs.create(ROOT, "a").unwrap();
    fs.mem.forget(file, 1);
    assert_eq!(fs.node(ROOT, "a"), Ok(file));
    fs.unlink(ROOT, "a").unwrap();
    assert_eq!(fs.attr(file), Err(Errno::ESTALE), "nobody knows it");
    assert_eq!(fs.free(), before);
    fs.mem.forget(ROOT, u64::MAX);
    assert!(fs.attr(ROOT).is_ok());
}

#[test]
fn stale_ids_answer_estale() {
    let fs = Fs::new();
    for stale in [NodeId(0), NodeId(99), NodeId(1 << 32 | 1), NodeId(u64::MAX)] {
        assert_eq!(fs.attr(stale), Err(Errno::ESTALE));
        assert_eq!(fs.truncate(stale, 0), Err(Errno::ESTALE));
        assert_eq!(fs.lookup(stale, "a"), Err(Errno::ESTALE));
        assert_eq!(fs.create(stale, "a"), Err(Errno::ESTALE));
        assert_eq!(fs.tmpfile(stale, 0), Err(Errno::ESTALE));
        assert_eq!(fs.read(stale, 0, 1), Err(Errno::ESTALE));
        assert_eq!(fs.write(stale, 0, b"x"), Err(Errno::ESTALE));
        assert_eq!(fs.link(stale, ROOT, "a"), Err(Errno::ESTALE));
        assert_eq!(fs.unlink(stale, "a"), Err(Errno::ESTALE));
        assert_eq!(fs.rename((stale, "a"), (ROOT, "b"), 0), Err(Errno::ESTALE));
        assert_eq!(fs.copy((ROOT, 0), (stale, 0), 1), Err(Errno::ESTALE));
        fs.mem.forget(stale, 1);
    }
}

#[test]
fn hard_links_share_one_node() {
    let fs = Fs::new();
    let before = fs.free();
    let file = fs.create(ROOT, "a").unwrap();
    let dir = fs.mkdir(ROOT, "d").unwrap();
    assert_eq!(fs.link(file, dir, "b"), Ok(file));
    assert_eq!(fs.attr(file).unwrap().nlink, 2);
    assert_eq!(fs.link(dir, ROOT, "e"), Err(Errno::EPERM));
    fs.unlink(ROOT, "a").unwrap();
    assert_eq!((fs.node(dir, "b"), fs.attr(file).unwrap().nlink), (Ok(file), 1));
    fs.unlink(dir, "b").unwrap();
    fs.rmdir(ROOT, "d").unwrap();
    fs.mem.forget(file, 2);
    fs.mem.forget(dir, 1);
    assert_eq!(fs.free(), before, "each name's inode is given back");
}

#[test]
fn a_tmpfile_gets_a_name_by_link() {
    let fs = Fs::new();
    let before = fs.free();
    let file = fs.tmpfile(ROOT, libc::O_RDWR).unwrap();
    fs.write(file, 0, b"text").unwrap();
    assert_eq!(fs.attr(file).unwrap().nlink, 0);
    assert_eq!(fs.link(file, ROOT, "a"), Ok(file));
    assert_eq!(fs.attr(file).unwrap().nlink, 1);
    fs.mem.forget(file, 2);
    assert_eq!(fs.node(ROOT, "a"), Ok(file));
    fs.unlink(ROOT, "a").unwrap();
    let hidden = fs.tmpfile(ROOT, libc::O_RDWR | libc::O_EXCL).unwrap();
    assert_eq!(fs.link(hidden, ROOT, "b"), Err(Errno::ENOENT));
    fs.mem.forget(hidden, 1);
    assert_eq!(fs.free(), before);
}

#[test]
fn directories_are_counted_in_their_parent() {
    let fs = Fs::new();
    let a = fs.mkdir(ROOT, "a").unwrap();
    let b = fs.mkdir(a, "b").unwrap();
    let links = |node| fs.attr(node).unwrap().nlink;
    assert_eq!((links(ROOT), links(a), links(b)), (3, 3, 2));
    fs.create(a, "f").unwrap();
    assert_eq!(links(a), 3);
    fs.rename((a, "b"), (ROOT, "b"), 0).unwrap();
    assert_eq!((links(ROOT), links(a)), (4, 2));
    fs.rmdir(ROOT, "b").unwrap();
    assert_eq!((links(ROOT), links(b)), (3, 0));
    assert_eq!(fs.create(b, "x"), Err(Errno::ENOENT), "a removed directory takes nothing");
    assert_eq!(fs.tmpfile(b, 0), Err(Errno::ENOENT));
    assert_eq!(fs.rename((a, "f"), (b, "f"), 0), Err(Errno::ENOENT));
    let f = fs.node(a, "f").unwrap();
    assert_eq!(fs.link(f, b, "f"), Err(Errno::ENOENT));
}

#[test]
fn unlink_and_rmdir_look_at_the_type() {
    let fs = Fs::new();
    let dir = fs.mkdir(ROOT, "d").unwrap();
    fs.create(dir, "f").unwrap();
    assert_eq!(fs.unlink(ROOT, "d"), Err(Errno::EISDIR));
    assert_eq!(fs.rmdir(ROOT, "d"), Err(Errno::ENOTEMPTY));
    assert_eq!(fs.rmdir(dir, "f"), Err(Errno::ENOTDIR));
    assert_eq!(fs.rmdir(ROOT, "none"), Err(Errno::ENOENT));
    assert_eq!(fs.unlink(ROOT, "none"), Err(Errno::ENOENT));
    fs.unlink(dir, "f").unwrap();
    fs.rmdir(ROOT, "d").unwrap();
}

#[test]
fn rename_replaces_by_type() {
    let fs = Fs::new();
    let file = fs.create(ROOT, "f").unwrap();
    let other = fs.create(ROOT, "g").unwrap();
    let dir = fs.mkdir(ROOT, "d").unwrap();
    let full = fs.mkdir(ROOT, "full").unwrap();
    fs.create(full, "x").unwrap();
    let rename = |from, to, flags| fs.rename((ROOT, from), (ROOT, to), flags);
    assert_eq!(rename("none", "x", 0), Err(Errno::ENOENT));
    assert_eq!(rename("f", "d", 0), Err(Errno::EISDIR));
    assert_eq!(rename("d", "f", 0), Err(Errno::ENOTDIR));
    assert_eq!(rename("d", "full", 0), Err(Errno::ENOTEMPTY));
    assert_eq!(rename("f", "g", NOREPLACE), Err(Errno::EEXIST));
    assert_eq!(rename("f", "g", 0), Ok(()));
    assert_eq!((fs.node(ROOT, "g"), fs.node(ROOT, "f")), (Ok(file), Err(Errno::ENOENT)));
    assert_eq!(fs.attr(other).unwrap().nlink, 0);
    assert_eq!(rename("full", "d", 0), Ok(()));
    assert_eq!(fs.node(ROOT, "d"), Ok(full));
    assert_eq!((fs.attr(dir).unwrap().nlink, fs.attr(ROOT).unwrap().nlink), (0, 3));
    assert_eq!(rename("d", "e", NOREPLACE), Ok(()));
    assert_eq!(fs.node(ROOT, "e"), Ok(full));
}

#[test]
fn rename_between_links_of_one_file_does_nothing() {
    let fs = Fs::new();
    let file = fs.create(ROOT, "a").unwrap();
    fs.link(file, ROOT, "b").unwrap();
    fs.rename((ROOT, "a"), (ROOT, "b"), 0).unwrap();
    assert_eq!((fs.node(ROOT, "a"), fs.node(ROOT, "b")), (Ok(file), Ok(file)));
    assert_eq!(fs.attr(file).unwrap().nlink, 2);
}

#[test]
fn a_directory_does_not_move_into_itself() {
    let fs = Fs::new();
    let a = fs.mkdir(ROOT, "a").unwrap();
    let b = fs.mkdir(a, "b").unwrap();
    let other = fs.mkdir(ROOT, "c").unwrap();
    assert_eq!(fs.rename((ROOT, "a"), (a, "x"), 0), Err(Errno::EINVAL));
    assert_eq!(fs.rename((ROOT, "a"), (b, "x"), 0), Err(Errno::EINVAL));
    assert_eq!(fs.rename((a, "b"), (ROOT, "a"), EXCHANGE), Err(Errno::EINVAL));
    assert_eq!(fs.rename((a, "b"), (ROOT, "a"), 0), Err(Errno::ENOTEMPTY));
    fs.rename((a, "b"), (other, "b"), 0).unwrap();
    fs.rename((ROOT, "a"), (b, "a"), 0).unwrap();
    assert_eq!(fs.rename((ROOT, "c"), (a, "c"), 0), Err(Errno::EINVAL), "by its new place");
}

#[test]
fn rename_flags_are_checked() {
    let fs = Fs::new();
    fs.create(ROOT, "a").unwrap();
    for flags in [8, NOREPLACE | EXCHANGE, WHITEOUT | EXCHANGE, u32::MAX] {
        assert_eq!(fs.rename((ROOT, "a"), (ROOT, "b"), flags), Err(Errno::EINVAL));
    }
    assert_eq!(fs.rename((ROOT, "a"), (ROOT, "b"), EXCHANGE), Err(Errno::ENOENT));
}

#[test]
fn exchange_swaps_and_keeps_counts() {
    let fs = Fs::new();
    let a = fs.mkdir(ROOT, "a").unwrap();
    let file = fs.create(ROOT, "f").unwrap();
    let inner = fs.mkdir(a, "inner").unwrap();
    fs.rename((ROOT, "f"), (a, "inner"), EXCHANGE).unwrap();
    assert_eq!((fs.node(ROOT, "f"), fs.node(a, "inner")), (Ok(inner), Ok(file)));
    let links = |node| fs.attr(node).unwrap().nlink;
    assert_eq!((links(ROOT), links(a), links(inner), links(file)), (4, 2, 2, 1));
    fs.rename((ROOT, "a"), (ROOT, "f"), EXCHANGE).unwrap();
    assert_eq!((fs.node(ROOT, "f"), fs.node(ROOT, "a")), (Ok(a), Ok(inner)));
    assert_eq!(links(ROOT), 4);
}

#[test]
fn whiteout_leaves_a_device_behind() {
    let fs = Fs::new();
    let dir = fs.mkdir(ROOT, "d").unwrap();
    let file = fs.create(ROOT, "a").unwrap();
    let other = fs.create(ROOT, "b").unwrap();
    fs.rename((ROOT, "a"), (ROOT, "b"), WHITEOUT).unwrap();
    assert_eq!(fs.node(ROOT, "b"), Ok(file));
    let left = fs.attr(fs.node(ROOT, "a").unwrap()).unwrap();
    assert_eq!((left.mode, left.rdev, left.nlink), (libc::S_IFCHR, 0, 1));
    assert_eq!(fs.attr(other).unwrap().nlink, 0);
    fs.rename((ROOT, "b"), (dir, "b"), WHITEOUT | NOREPLACE).unwrap();
    assert_eq!(fs.node(dir, "b"), Ok(file));
    assert_eq!(fs.attr(fs.node(ROOT, "b").unwrap()).unwrap().mode, libc::S_IFCHR);
}

#[test]
fn inodes_run_out() {
    let fs = Fs::with_limit(4 * PAGE);
    let file = fs.create(ROOT, "a").unwrap();
    fs.create(ROOT, "b").unwrap();
    fs.link(file, ROOT, "c").unwrap();
    assert_eq!(fs.free().1, 0);
    assert_eq!(fs.create(ROOT, "d"), Err(Errno::ENOSPC));
    assert_eq!(fs.link(file, ROOT, "d"), Err(Errno::ENOSPC));
    assert_eq!(fs.attr(file).unwrap().nlink, 2);
    assert_eq!(fs.rename((ROOT, "a"), (ROOT, "d"), WHITEOUT), Err(Errno::ENOSPC));
    fs.rename((ROOT, "a"), (ROOT, "d"), 0).unwrap();
    fs.unlink(ROOT, "c").unwrap();
    fs.mkdir(ROOT, "e").unwrap();
}

//! Owners, modes, times, negotiation.

use super::*;
use crate::wire::Timestamp;
use crate::wire::flags::WriteFlags;
use crate::wire::ops::SetTime;

fn capability(fs: &Fs, node: NodeId) -> bool {
    fs.getxattr(node, "security.capability", &mut []).is_ok()
}

/// A file of mode 06777 with capabilities and some data.
fn privileged(fs: &Fs, text: &str) -> NodeId {
    let file = fs.create(ROOT, text).unwrap();
    fs.write(file, 0, b"text").unwrap();
    fs.set(file, |op| op.mode = Some(0o6777)).unwrap();
    fs.setxattr(file, "security.capability", b"caps", 0).unwrap();
    file
}

fn mode(fs: &Fs, node: NodeId) -> u32 {
    fs.attr(node).unwrap().mode & 0o7777
}

#[test]
fn new_nodes_belong_to_the_caller() {
    let fs = Fs::new();
    let file = fs.create(ROOT, "f").unwrap();
    let dir = fs.mkdir(ROOT, "d").unwrap();
    let link = fs.symlink(ROOT, "l", "target").unwrap();
    let device = fs.mknod(ROOT, "c", libc::S_IFCHR | 0o600, 0x105).unwrap();
    for node in [file, dir, link, device] {
        let attr = fs.attr(node).unwrap();
        assert_eq!((attr.uid, attr.gid), (1000, 100));
        assert!(attr.atime == attr.mtime && attr.mtime == attr.ctime && attr.mtime.secs > 0);
    }
    assert_eq!(fs.attr(file).unwrap().mode, libc::S_IFREG | 0o644, "the umask is the kernel's");
    assert_eq!((fs.attr(device).unwrap().rdev, mode(&fs, device)), (0x105, 0o600));
    assert_eq!((fs.attr(link).unwrap().size, mode(&fs, link)), (6, 0o777));
    let mut buf = [0; 10];
    assert_eq!(fs.mem.readlink(&fs.cx, link, &mut buf), Ok(6));
    assert_eq!(&buf[..6], b"target");
    assert_eq!(fs.mem.readlink(&fs.cx, file, &mut buf), Err(Errno::EINVAL));
    assert_eq!(fs.mknod(ROOT, "x", libc::S_IFDIR, 0), Err(Errno::EINVAL));
    assert_eq!(fs.symlink(ROOT, "m", ""), Err(Errno::ENOENT));
    assert_eq!(fs.symlink(ROOT, "m", &"t".repeat(4096)), Err(Errno::ENAMETOOLONG));
}

#[test]
fn a_setgid_directory_hands_its_group_down() {
    let fs = Fs::new();
    let dir = fs.mkdir_mode(ROOT, "d", 0o2755).unwrap();
    fs.set(dir, |op| op.gid = Some(55)).unwrap();
    assert_eq!(mode(&fs, dir), 0o2755, "a directory keeps setgid when its owner changes");
    let sub = fs.mkdir(dir, "sub").unwrap();
    let file = fs.create(dir, "f").unwrap();
    let hidden = fs.tmpfile(dir, 0).unwrap();
    let gid = |node| fs.attr(node).unwrap().gid;
    assert_eq!((gid(sub), mode(&fs, sub)), (55, 0o2755));
    assert_eq!((gid(file), mode(&fs, file), gid(hidden)), (55, 0o644, 55));
}

#[test]
fn chown_clears_privileges() {
    let fs = Fs::new();
    let file = privileged(&fs, "a");
    fs.set(file, |op| op.gid = Some(5)).unwrap();
    assert_eq!((mode(&fs, file), capability(&fs, file)), (0o777, false));
    let locking = fs.create(ROOT, "b").unwrap();
    fs.set(locking, |op| op.mode = Some(0o6745)).unwrap();
    fs.set(locking, |op| op.uid = Some(5)).unwrap();
    assert_eq!(mode(&fs, locking), 0o2745, "without group execution it is no privilege");
    assert_eq!((fs.attr(locking).unwrap().uid, fs.attr(locking).unwrap().gid), (5, 100));
}

#[test]
fn writing_clears_privileges_when_told() {
    let fs = Fs::new();
    let file = privileged(&fs, "a");
    fs.write(file, 0, b"").unwrap();
    assert!(capability(&fs, file), "nothing was written");
    fs.write(file, 0, b"x").unwrap();
    assert_eq!((mode(&fs, file), capability(&fs, file)), (0o6777, false));
    fs.write_flags(file, 0, b"x", WriteFlags::FUSE_WRITE_KILL_SUIDGID).unwrap();
    assert_eq!(mode(&fs, file), 0o777);
}

#[test]
fn truncating_clears_privileges_when_told() {
    let fs = Fs::new();
    let file = privileged(&fs, "a");
    fs.truncate(file, 2).unwrap();
    assert_eq!((mode(&fs, file), capability(&fs, file)), (0o6777, false));
    fs.set(file, |op| {
        op.size = Some(1);
        op.valid = SetattrValid::FATTR_KILL_SUIDGID;
    })
    .unwrap();
    assert_eq!(mode(&fs, file), 0o777);
    for (kill, left) in [(OpenInFlags::empty(), 0o6777), (OpenInFlags::all(), 0o777)] {
        fs.set(file, |op| op.mode = Some(0o6777)).unwrap();
        let op = ops::Open { flags: libc::O_TRUNC as u32, open_flags: kill };
        fs.mem.open(&fs.cx, file, &op).unwrap();
        assert_eq!((mode(&fs, file), fs.attr(file).unwrap().size), (left, 0));
    }
}

#[test]
fn allocating_and_copying_clear_privileges_of_users() {
    let mut fs = Fs::new();
    for (uid, left) in [(0, 0o6777), (1000, 0o777)] {
        fs.cx.uid = uid;
        let file = privileged(&fs, &format!("a{uid}"));
        fs.fallocate(file, 0, 0, 10).unwrap();
        assert_eq!((mode(&fs, file), capability(&fs, file)), (left, false));
        let file = privileged(&fs, &format!("b{uid}"));
        let source = fs.create(ROOT, &format!("c{uid}")).unwrap();
        fs.write(source, 0, b"x").unwrap();
        fs.copy((source, 0), (file, 0), 1).unwrap();
        assert_eq!((mode(&fs, file), capability(&fs, file)), (left, false));
    }
}

#[test]
fn chmod_keeps_the_type() {
    let fs = Fs::new();
    let file = fs.create(ROOT, "a").unwrap();
    let attr = fs.set(file, |op| op.mode = Some(libc::S_IFDIR | 0o1750)).unwrap();
    assert_eq!(attr.mode, libc::S_IFREG | 0o1750);
}

const OLD: Timestamp = Timestamp { secs: -5, nanos: 999_999_999 };

/// Sets all three times of `node` to [`OLD`].
fn age(fs: &Fs, node: NodeId) {
    let change = |op: &mut ops::Setattr| {
        (op.atime, op.mtime) = (Some(SetTime::At(OLD)), Some(SetTime::At(OLD)));
        op.ctime = Some(OLD);
    };
    let attr = fs.set(node, change).unwrap();
    assert_eq!((attr.atime, attr.mtime, attr.ctime), (OLD, OLD, OLD));
}

/// Which of atime, mtime, ctime have moved since [`age`].
fn moved(fs: &Fs, node: NodeId) -> (bool, bool, bool) {
    let attr = fs.attr(node).unwrap();
    (attr.atime != OLD, attr.mtime != OLD, attr.ctime != OLD)
}

/// Ages the nodes, does `act`, and tells which times of each have moved.
fn times<const N: usize, T>(
    fs: &Fs,
    nodes: [NodeId; N],
    act: impl FnOnce() -> Result<T>,
) -> [(bool, bool, bool); N] {
    nodes.iter().for_each(|node| age(fs, *node));
    assert!(act().is_ok());
    nodes.map(|node| moved(fs, node))
}

const NONE: (bool, bool, bool) = (false, false, false);
const ACCESS: (bool, bool, bool) = (true, false, false);
const CHANGE: (bool, bool, bool) = (false, false, true);
const MODIFY: (bool, bool, bool) = (false, true, true);

#[test]
fn times_of_a_file() {
    let fs = Fs::new();
    let f = fs.create(ROOT, "f").unwrap();
    fs.write(f, 0, b"text").unwrap();
    assert_eq!(times(&fs, [f], || fs.read(f, 0, 4)), [ACCESS]);
    assert_eq!(times(&fs, [f], || fs.write(f, 0, b"x")), [MODIFY]);
    assert_eq!(times(&fs, [f], || fs.write(f, 0, b"")), [NONE]);
    assert_eq!(times(&fs, [f], || fs.truncate(f, 4)), [MODIFY]);
    assert_eq!(times(&fs, [f], || fs.fallocate(f, 0, 0, 1)), [MODIFY]);
    assert_eq!(times(&fs, [f], || fs.setxattr(f, "user.a", b"", 0)), [CHANGE]);
    let chmod = || fs.set(f, |op| op.mode = Some(0o600));
    assert_eq!(times(&fs, [f], chmod), [CHANGE]);
    let touch = || fs.set(f, |op| op.mtime = Some(SetTime::Now));
    assert_eq!(times(&fs, [f], touch), [MODIFY]);
    let g = fs.create(ROOT, "g").unwrap();
    let copy = || fs.copy((f, 0), (g, 0), 1);
    assert_eq!(times(&fs, [f, g], copy), [ACCESS, MODIFY]);
}

#[test]
fn access_time_moves_as_under_relatime() {
    let fs = Fs::new();
    let f = fs.create(ROOT, "f").unwrap();
    fs.read(f, 0, 1).unwrap();
    let first = fs.attr(f).unwrap().atime;
    fs.read(f, 0, 1).unwrap();
    assert_eq!(fs.attr(f).unwrap().atime, first, "read since the last change");
    let yesterday = Timestamp { secs: first.secs - 25 * 3600, nanos: 0 };
    fs.set(f, |op| {
        op.atime = Some(SetTime::At(yesterday));
        op.mtime = Some(SetTime::At(OLD));
        op.ctime = Some(OLD);
    })
    .unwrap();
    fs.read(f, 0, 1).unwrap();
    assert!(fs.attr(f).unwrap().atime >= first, "a day old");
}

#[test]
fn times_of_directories_and_links() {
    let fs = Fs::new();
    let (d, e) = (fs.mkdir(ROOT, "d").unwrap(), fs.mkdir(ROOT, "e").unwrap());
    assert_eq!(times(&fs, [d], || fs.create(d, "f")), [MODIFY]);
    let f = fs.node(d, "f").unwrap();
    let listed = || fs.readdir(d, 0, 4096);
    assert_eq!(times(&fs, [d], listed), [ACCESS]);
    let link = || fs.link(f, e, "g");
    assert_eq!(times(&fs, [d, e, f], link), [NONE, MODIFY, CHANGE]);
    let unlink = || fs.unlink(e, "g");
    assert_eq!(times(&fs, [e, f], unlink), [MODIFY, CHANGE]);
    let rename = || fs.rename((d, "f"), (e, "f"), 0);
    assert_eq!(times(&fs, [d, e, f], rename), [MODIFY, MODIFY, CHANGE]);
    let g = fs.create(d, "g").unwrap();
    let replace = || fs.rename((d, "g"), (e, "f"), 0);
    assert_eq!(times(&fs, [d, e, f, g], replace), [MODIFY, MODIFY, CHANGE, CHANGE]);
    assert_eq!(times(&fs, [ROOT, d], || fs.rmdir(ROOT, "d")), [MODIFY, CHANGE]);
    let l = fs.symlink(ROOT, "l", "t").unwrap();
    let readlink = || fs.mem.readlink(&fs.cx, l, &mut [0; 8]);
    assert_eq!(times(&fs, [l], readlink), [ACCESS]);
}

#[test]
fn statx_knows_the_birth_time() {
    let fs = Fs::new();
    let f = fs.create(ROOT, "f").unwrap();
    let born = fs.attr(f).unwrap().ctime;
    age(&fs, f);
    let flags = GetattrFlags::empty();
    let op = ops::Statx { flags, fh: None, sx_flags: 0, sx_mask: libc::STATX_BTIME };
    let reply = fs.mem.statx(&fs.cx, f, &op).unwrap();
    assert_eq!((reply.btime, reply.attr), (born, fs.attr(f).unwrap()));
    assert_eq!(reply.mask, libc::STATX_BASIC_STATS | libc::STATX_BTIME);
}

fn negotiated(fs: &Fs, offered: InitFlags) -> InitFlags {
    let mut negotiation = Negotiation {
        minor: 45,
        offered,
        wanted: InitFlags::FUSE_AUTO_INVAL_DATA | InitFlags::FUSE_ATOMIC_O_TRUNC,
        max_write: 1 << 20,
        max_readahead: 1 << 17,
        max_background: 64,
        congestion_threshold: 48,
        time_gran: 1,
        max_stack_depth: 0,
    };
    fs.mem.init(&mut negotiation);
    negotiation.wanted
}

#[test]
fn opening_needs_no_file_system_where_the_kernel_allows_it() {
    let fs = Fs::new();
    let open = ops::Open { flags: 0, open_flags: OpenInFlags::empty() };
    let opendir = ops::Opendir { flags: 0, open_flags: OpenInFlags::empty() };
    let wanted = negotiated(&fs, InitFlags::all());
    assert_eq!(fs.mem.open(&fs.cx, ROOT, &open), Err(Errno::ENOSYS));
    assert_eq!(fs.mem.opendir(&fs.cx, ROOT, &opendir), Err(Errno::ENOSYS));
    let kept = wanted & (InitFlags::FUSE_AUTO_INVAL_DATA | InitFlags::FUSE_ATOMIC_O_TRUNC);
    assert!(kept.is_empty(), "{kept:?} would lose data or the cache");
    let locks = InitFlags::FUSE_POSIX_LOCKS | InitFlags::FUSE_FLOCK_LOCKS;
    assert!((wanted & (locks | InitFlags::FUSE_DONT_MASK)).is_empty());
    assert!(wanted.contains(InitFlags::FUSE_HANDLE_KILLPRIV_V2));
    negotiated(&fs, InitFlags::empty());
    let keep = OpenOutFlags::FOPEN_KEEP_CACHE;
    assert_eq!(fs.mem.open(&fs.cx, ROOT, &open), Ok(opened(keep)));
    let keep = keep | OpenOutFlags::FOPEN_CACHE_DIR;
    assert_eq!(fs.mem.opendir(&fs.cx, ROOT, &opendir), Ok(opened(keep)));
    let file = fs.create(ROOT, "f").unwrap();
    assert_eq!(fs.mem.opendir(&fs.cx, file, &opendir), Err(Errno::ENOTDIR));
    assert_eq!(fs.mem.open(&fs.cx, NodeId(99), &open), Err(Errno::ESTALE));
}

//! Extended attributes.

use super::*;

fn names(fs: &Fs, node: NodeId) -> Vec<u8> {
    let op = ops::Listxattr { size: 0 };
    let length = fs.mem.listxattr(&fs.cx, node, &op, &mut []).unwrap();
    let mut buf = vec![0; length];
    if length > 1 {
        let short = &mut vec![0; length - 1];
        assert_eq!(fs.mem.listxattr(&fs.cx, node, &op, short), Err(Errno::ERANGE));
    }
    assert_eq!(fs.mem.listxattr(&fs.cx, node, &op, &mut buf), Ok(length));
    buf
}

#[test]
fn set_get_list_remove() {
    let fs = Fs::new();
    let before = fs.mem.tree.read().unwrap().space().bytes().free();
    let file = fs.create(ROOT, "a").unwrap();
    let mut buf = [0; 8];
    assert_eq!(fs.getxattr(file, "user.a", &mut buf), Err(Errno::ENODATA));
    fs.setxattr(file, "user.a", b"one", 0).unwrap();
    fs.setxattr(file, "user.a", b"more", 0).unwrap();
    fs.setxattr(file, "security.x", b"", 0).unwrap();
    assert_eq!(fs.getxattr(file, "user.a", &mut []), Ok(4));
    assert_eq!(fs.getxattr(file, "user.a", &mut buf[..3]), Err(Errno::ERANGE));
    assert_eq!(fs.getxattr(file, "user.a", &mut buf), Ok(4));
    assert_eq!(&buf[..4], b"more");
    assert_eq!(fs.getxattr(file, "security.x", &mut buf), Ok(0));
    assert_eq!(names(&fs, file), b"security.x\0user.a\0");
    let key = c("user.a");
    fs.mem.removexattr(&fs.cx, file, &ops::Removexattr { name: &key }).unwrap();
    let again = fs.mem.removexattr(&fs.cx, file, &ops::Removexattr { name: &key });
    assert_eq!(again, Err(Errno::ENODATA));
    assert_eq!(names(&fs, file), b"security.x\0");
    fs.unlink(ROOT, "a").unwrap();
    fs.mem.forget(file, 1);
    assert_eq!(fs.mem.tree.read().unwrap().space().bytes().free(), before);
}

#[test]
fn create_and_replace() {
    let fs = Fs::new();
    let (create, replace) = (libc::XATTR_CREATE, libc::XATTR_REPLACE);
    assert_eq!(fs.setxattr(ROOT, "user.a", b"1", replace), Err(Errno::ENODATA));
    assert_eq!(fs.setxattr(ROOT, "user.a", b"1", create), Ok(()));
    assert_eq!(fs.setxattr(ROOT, "user.a", b"2", create), Err(Errno::EEXIST));
    assert_eq!(fs.setxattr(ROOT, "user.a", b"3", replace), Ok(()));
    let mut buf = [0; 1];
    assert_eq!((fs.getxattr(ROOT, "user.a", &mut buf), buf), (Ok(1), *b"3"));
}

#[test]
fn names_and_sizes_are_limited() {
    let fs = Fs::new();
    let set = |key: &str, value: &[u8]| fs.setxattr(ROOT, key, value, 0);
    assert_eq!(set("system.posix_acl_access", b"x"), Err(Errno::EOPNOTSUPP));
    assert_eq!(set("plain", b"x"), Err(Errno::EOPNOTSUPP));
    assert_eq!(set("user.", b"x"), Err(Errno::EINVAL));
    let longest = format!("user.{}", "n".repeat(250));
    assert_eq!(set(&longest, b"x"), Ok(()));
    assert_eq!(set(&(longest + "n"), b"x"), Err(Errno::ERANGE));
    let value = vec![7; (64 << 10) + 1];
    assert_eq!(set("user.v", &value), Err(Errno::E2BIG));
    assert_eq!(set("user.v", &value[1..]), Ok(()));
    let full = (0..1000).find_map(|n| set(&format!("user.{n:0250}"), b"").err());
    assert_eq!(full, Some(Errno::ENOSPC));
    assert!(names(&fs, ROOT).len() <= 64 << 10);
    let small = Fs::with_limit(PAGE);
    assert_eq!(small.setxattr(ROOT, "user.v", &value[..5000], 0), Err(Errno::ENOSPC));
}

#[test]
fn trusted_names_are_shown_to_root_alone() {
    let mut fs = Fs::new();
    fs.setxattr(ROOT, "trusted.t", b"1", 0).unwrap();
    fs.setxattr(ROOT, "user.u", b"1", 0).unwrap();
    assert_eq!(names(&fs, ROOT), b"user.u\0");
    fs.cx.uid = 0;
    assert_eq!(names(&fs, ROOT), b"trusted.t\0user.u\0");
}

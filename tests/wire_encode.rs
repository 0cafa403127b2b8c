//! Replies, byte for byte.

use std::sync::atomic::{AtomicU64, Ordering};

use std::time::Duration;

use fusex::Errno;
use fusex::wire::flags::{AttrFlags, InitFlags, OpenOutFlags};
use fusex::wire::ops::FileLock;
use fusex::wire::{
    Attr, AttrReply, DirBuffer, Entry, FileHandle, InitReply, LockReply, NodeId, Opened, Statfs,
    StatxReply, Timestamp, Unique, out_header, plus_nodes,
};
use zerocopy::IntoBytes;

/// Numbers in a row, as they stand in a struct.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn u16(mut self, values: &[u16]) -> Self {
        self.0.extend(values.iter().flat_map(|value| value.to_ne_bytes()));
        self
    }

    fn u32(mut self, values: &[u32]) -> Self {
        self.0.extend(values.iter().flat_map(|value| value.to_ne_bytes()));
        self
    }

    fn u64(mut self, values: &[u64]) -> Self {
        self.0.extend(values.iter().flat_map(|value| value.to_ne_bytes()));
        self
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
}

/// Every field another value; the access time lies before 1970.
const ATTR: Attr = Attr {
    ino: 11,
    size: 12,
    blocks: 13,
    atime: Timestamp { secs: -14, nanos: 17 },
    mtime: Timestamp { secs: 15, nanos: 18 },
    ctime: Timestamp { secs: 16, nanos: 19 },
    mode: 0o100644,
    nlink: 21,
    uid: 22,
    gid: 23,
    rdev: 0xabcd_ef12,
    blksize: 25,
    flags: AttrFlags::FUSE_ATTR_DAX,
};

fn attr_bytes() -> Vec<u8> {
    Bytes::default()
        .u64(&[11, 12, 13, (-14i64) as u64, 15, 16])
        .u32(&[17, 18, 19, 0o100644, 21, 22, 23, 0xabcd_ef12, 25, 2])
        .0
}

const ENTRY: Entry = Entry {
    node: NodeId(5),
    generation: 6,
    attr: ATTR,
    attr_valid: Duration::new(8, 10),
    entry_valid: Duration::new(7, 9),
};

fn entry_bytes() -> Vec<u8> {
    Bytes::default().u64(&[5, 6, 7, 8]).u32(&[9, 10]).raw(&attr_bytes()).0
}

#[test]
fn header() {
    let expected = Bytes::default().u32(&[116, 0]).u64(&[0x8000_0000_0000_0007]).0;
    assert_eq!(out_header(Unique(0x8000_0000_0000_0007), None, 100).as_bytes(), expected);
    let expected = Bytes::default().u32(&[16, -2i32 as u32]).u64(&[7]).0;
    assert_eq!(out_header(Unique(7), Some(Errno::ENOENT), 0).as_bytes(), expected);
}

#[test]
fn attributes() {
    assert_eq!(ATTR.to_wire().as_bytes(), attr_bytes());
    let reply = AttrReply { attr: ATTR, valid: Duration::new(1, 500_000_000) };
    let expected = Bytes::default().u64(&[1]).u32(&[500_000_000, 0]).raw(&attr_bytes()).0;
    assert_eq!(reply.to_wire().as_bytes(), expected);
}

#[test]
fn entries() {
    assert_eq!(ENTRY.to_wire().as_bytes(), entry_bytes());
    let negative = Entry::negative(Duration::from_millis(2500)).to_wire();
    let expected = Bytes::default().u64(&[0, 0, 2, 0]).u32(&[500_000_000, 0]).raw(&[0; 88]).0;
    assert_eq!(negative.as_bytes(), expected);
}

#[test]
fn opened() {
    let open_flags = OpenOutFlags::FOPEN_PASSTHROUGH | OpenOutFlags::FOPEN_KEEP_CACHE;
    let reply = Opened { fh: FileHandle(9), open_flags, backing_id: -3 };
    let expected = Bytes::default().u64(&[9]).u32(&[0x82, -3i32 as u32]).0;
    assert_eq!(reply.to_wire().as_bytes(), expected);
}

#[test]
fn statfs() {
    let reply = Statfs {
        blocks: 1,
        bfree: 2,
        bavail: 3,
        files: 4,
        ffree: 5,
        bsize: 6,
        namelen: 7,
        frsize: 8,
    };
    let expected = Bytes::default().u64(&[1, 2, 3, 4, 5]).u32(&[6, 7, 8, 0]).raw(&[0; 24]).0;
    assert_eq!(reply.to_wire().as_bytes(), expected);
}

#[test]
fn lock() {
    let reply = LockReply { lk: FileLock { start: 1, end: 2, typ: 3, pid: 4 } };
    assert_eq!(reply.to_wire().as_bytes(), Bytes::default().u64(&[1, 2]).u32(&[3, 4]).0);
}

#[test]
fn init_is_cut_to_what_the_kernel_knows() {
    let mut reply = InitReply {
        minor: 45,
        max_readahead: 2,
        flags: InitFlags::FUSE_ASYNC_READ
            | InitFlags::FUSE_INIT_EXT
            | InitFlags::FUSE_PASSTHROUGH
            | InitFlags::FUSE_REQUEST_TIMEOUT,
        max_background: 5,
        congestion_threshold: 6,
        max_write: 7,
        time_gran: 8,
        max_pages: 9,
        map_alignment: 10,
        max_stack_depth: 11,
        request_timeout: 12,
    };
    let whole = Bytes::default()
        .u32(&[7, 45, 2, 0x4000_0001])
        .u16(&[5, 6])
        .u32(&[7, 8])
        .u16(&[9, 10])
        .u32(&[0x420, 11])
        .u16(&[12])
        .raw(&[0; 22])
        .0;
    assert_eq!(reply.to_wire().as_bytes(), whole);
    for (minor, len) in [(23, 64), (22, 24), (5, 24), (4, 8)] {
        reply.minor = minor;
        let mut expected = whole[..len].to_vec();
        expected[4..8].copy_from_slice(&minor.to_ne_bytes());
        assert_eq!(reply.to_wire().as_bytes(), expected, "7.{minor}");
    }
}

#[test]
fn statx() {
    let reply = StatxReply {
        valid: Duration::new(1, 2),
        attr: ATTR,
        btime: Timestamp { secs: 31, nanos: 32 },
        mask: 33,
        attributes: 34,
        attributes_mask: 35,
        dev_major: 36,
        dev_minor: 37,
    };
    let expected = Bytes::default()
        .u64(&[1])
        .u32(&[2, 0])
        .u64(&[0, 0])
        .u32(&[33, 25])
        .u64(&[34])
        .u32(&[21, 22, 23])
        .u16(&[0o100644, 0])
        .u64(&[11, 12, 13, 35])
        .u64(&[(-14i64) as u64])
        .u32(&[17, 0])
        .u64(&[31])
        .u32(&[32, 0])
        .u64(&[16])
        .u32(&[19, 0])
        .u64(&[15])
        .u32(&[18, 0])
        // 0xabcdef12: the major number is def, the minor number abc12.
        .u32(&[0xdef, 0xabc12, 36, 37])
        .raw(&[0; 112])
        .0;
    assert_eq!(reply.to_wire().as_bytes(), expected);
}

fn dirent(ino: u64, off: u64, typ: u32, name: &[u8]) -> Vec<u8> {
    Bytes::default().u64(&[ino, off]).u32(&[name.len() as u32, typ]).raw(name).0
}

#[test]
fn directory_entries_are_padded_to_8_bytes() {
    let published = AtomicU64::new(0);
    // What was there before is not seen.
    let mut buf = [7; 32 + 32 + 40];
    let mut dir = DirBuffer::publishing(&mut buf, &published);
    assert!(dir.push(2, 1, 4, b"a"));
    assert!(dir.push(3, 2, 8, b"12345678"));
    assert!(dir.push(4, 3, 8, b"123456789"));
    assert!(!dir.push(5, 4, 8, b"x"));
    let length = dir.length();
    assert_eq!(published.load(Ordering::Relaxed), length as u64);
    let expected = Bytes::default()
        .raw(&dirent(2, 1, 4, b"a"))
        .raw(&[0; 7])
        .raw(&dirent(3, 2, 8, b"12345678"))
        .raw(&dirent(4, 3, 8, b"123456789"))
        .raw(&[0; 7])
        .0;
    assert_eq!(buf[..length], expected);
}

#[test]
fn an_entry_that_does_not_fit_leaves_nothing() {
    let mut buf = [7; 31];
    let mut dir = DirBuffer::new(&mut buf);
    assert!(!dir.push(2, 1, 4, b"a"));
    assert!(!dir.push_plus(&ENTRY, 1, 4, b"a"));
    assert_eq!((dir.length(), buf), (0, [7; 31]));
}

#[test]
fn looked_up_entries_come_first() {
    let mut buf = [0; 2 * 160];
    let mut dir = DirBuffer::new(&mut buf);
    assert!(dir.push_plus(&ENTRY, 1, 8, b"name"));
    // The inode number of a node that was not looked up still reaches readdir(3).
    let unknown = Entry { node: NodeId(0), ..ENTRY };
    assert!(dir.push_plus(&unknown, 2, 4, b".."));
    assert!(!dir.push_plus(&ENTRY, 3, 8, b"x"));
    let expected = Bytes(entry_bytes())
        .raw(&dirent(11, 1, 8, b"name"))
        .raw(&[0; 4])
        .raw(&[0; 128])
        .raw(&dirent(11, 2, 4, b".."))
        .raw(&[0; 6])
        .0;
    assert_eq!(buf[..], expected);
}

#[test]
fn the_nodes_of_an_answer_are_found_again() {
    let mut buf = [0; 4096];
    let mut dir = DirBuffer::new(&mut buf);
    for (node, name) in [(5, &b"name"[..]), (0, b".."), (6, b"12345678"), (7, b"x")] {
        assert!(dir.push_plus(&Entry { node: NodeId(node), ..ENTRY }, 1, 8, name));
    }
    let length = dir.length();
    let nodes: Vec<_> = plus_nodes(&buf[..length]).collect();
    assert_eq!(nodes, [NodeId(5), NodeId(6), NodeId(7)]);
    // An answer that is cut in the middle of an entry names only whole ones.
    assert_eq!(plus_nodes(&buf[..length - 1]).count(), 2);
}

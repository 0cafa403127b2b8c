//! File contents: sparse, limited, reserved, copied.

use super::*;
use crate::fs::mem::data::MAX_SIZE;

const KEEP: i32 = libc::FALLOC_FL_KEEP_SIZE;
const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | KEEP;
const ZERO: i32 = libc::FALLOC_FL_ZERO_RANGE;

fn file() -> (Fs, NodeId) {
    let fs = Fs::new();
    let file = fs.create(ROOT, "f").unwrap();
    (fs, file)
}

fn blocks(fs: &Fs, node: NodeId) -> u64 {
    fs.attr(node).unwrap().blocks
}

#[test]
fn writes_are_read_back_across_pages() {
    let (fs, f) = file();
    let text: Vec<u8> = (0..20_000).map(|n| (n % 251) as u8).collect();
    assert_eq!(fs.write(f, 3000, &text), Ok(20_000));
    assert_eq!(fs.attr(f).unwrap().size, 23_000);
    assert_eq!(fs.read(f, 0, 3000).unwrap(), vec![0; 3000]);
    assert_eq!(fs.read(f, 3000, 30_000).unwrap(), text);
    assert_eq!(fs.read(f, 22_990, 100).unwrap(), text[19_990..]);
    assert_eq!(fs.read(f, 23_000, 1).unwrap(), b"");
    assert_eq!(fs.read(f, u64::MAX, 1).unwrap(), b"");
    assert_eq!(fs.write(f, 1 << 40, b""), Ok(0));
    assert_eq!(fs.attr(f).unwrap().size, 23_000, "an empty write changes nothing");
    assert_eq!(fs.write(ROOT, 0, b"x"), Err(Errno::EISDIR));
    let fifo = fs.mknod(ROOT, "p", libc::S_IFIFO | 0o600, 0).unwrap();
    assert_eq!(fs.read(fifo, 0, 1), Err(Errno::EINVAL));
}

#[test]
fn size_costs_nothing() {
    let (fs, f) = file();
    let before = fs.free();
    assert_eq!(fs.truncate(f, 1 << 40).unwrap().size, 1 << 40);
    assert_eq!((blocks(&fs, f), fs.free()), (0, before));
    assert_eq!(fs.read(f, (1 << 40) - 5, 10).unwrap(), [0; 5]);
    assert_eq!(fs.truncate(f, MAX_SIZE).unwrap().size, MAX_SIZE);
    assert_eq!(fs.truncate(f, MAX_SIZE + 1), Err(Errno::EFBIG));
    assert_eq!(fs.write(f, MAX_SIZE - 2, b"text"), Ok(2));
    assert_eq!(fs.write(f, MAX_SIZE, b"text"), Err(Errno::EFBIG));
    assert_eq!(fs.write(f, u64::MAX, b"text"), Err(Errno::EFBIG));
    assert_eq!(fs.read(f, MAX_SIZE - 3, 10).unwrap(), b"\0te");
    assert_eq!(fs.seek(f, libc::SEEK_DATA, 0), Ok(MAX_SIZE - 4095));
    assert_eq!(fs.seek(f, libc::SEEK_HOLE, MAX_SIZE - 2), Ok(MAX_SIZE));
    assert_eq!(fs.truncate(ROOT, 0), Err(Errno::EISDIR));
}

#[test]
fn what_was_cut_off_does_not_come_back() {
    let (fs, f) = file();
    fs.write(f, 0, &[1; 10_000]).unwrap();
    fs.truncate(f, 5000).unwrap();
    assert_eq!(blocks(&fs, f), 16);
    fs.truncate(f, 10_000).unwrap();
    assert_eq!(fs.read(f, 4990, 20).unwrap(), [[1; 10], [0; 10]].concat());
    fs.write(f, 9999, &[2]).unwrap();
    assert_eq!(fs.read(f, 5000, 4999).unwrap(), vec![0; 4999]);
    fs.truncate(f, 0).unwrap();
    assert_eq!(blocks(&fs, f), 0);
}

#[test]
fn space_runs_out_with_a_short_write() {
    let fs = Fs::with_limit(8 * PAGE);
    let f = fs.create(ROOT, "f").unwrap();
    let page = PAGE as usize;
    assert_eq!(fs.write(f, 0, &vec![1; 10 * page]), Ok(8 * PAGE as u32));
    assert_eq!(fs.attr(f).unwrap().size, 8 * PAGE);
    assert_eq!(fs.write(f, 8 * PAGE, b"x"), Err(Errno::ENOSPC));
    assert_eq!(fs.write(f, 10, b"overwriting needs no space"), Ok(26));
    assert_eq!((fs.statfs().blocks, fs.statfs().bfree), (8, 0));
    fs.fallocate(f, PUNCH, 0, PAGE).unwrap();
    assert_eq!(fs.write(f, 8 * PAGE, b"x"), Ok(1));
    assert_eq!(fs.write(f, 0, b"x"), Err(Errno::ENOSPC));
    fs.truncate(f, 0).unwrap();
    assert_eq!(fs.statfs().bfree, 8);
}

#[test]
fn allocated_space_is_reserved() {
    let fs = Fs::with_limit(8 * PAGE);
    let f = fs.create(ROOT, "f").unwrap();
    let other = fs.create(ROOT, "g").unwrap();
    fs.write(f, 0, b"head").unwrap();
    fs.fallocate(f, 0, 0, 7 * PAGE - 1).unwrap();
    assert_eq!((fs.attr(f).unwrap().size, blocks(&fs, f)), (7 * PAGE - 1, 56));
    assert_eq!(fs.read(f, 0, 6).unwrap(), b"head\0\0");
    assert_eq!(fs.seek(f, libc::SEEK_HOLE, 0), Ok(PAGE), "reserved is no data");
    assert_eq!(fs.write(other, 0, &[1; 8192]), Ok(PAGE as u32));
    assert_eq!(fs.write(f, 6 * PAGE, b"there is room"), Ok(13));
    assert_eq!(fs.fallocate(f, 0, 0, 8 * PAGE), Err(Errno::ENOSPC));
    assert_eq!(fs.fallocate(f, 0, 0, 1 << 62), Err(Errno::ENOSPC));
    assert_eq!(blocks(&fs, f), 56, "all or nothing");
    fs.unlink(ROOT, "f").unwrap();
    fs.mem.forget(f, 1);
    assert_eq!(fs.statfs().bfree, 7);
}

#[test]
fn keep_size_reserves_behind_the_end() {
    let (fs, f) = file();
    fs.fallocate(f, KEEP, 0, 2 * PAGE).unwrap();
    assert_eq!((fs.attr(f).unwrap().size, blocks(&fs, f)), (0, 16));
    fs.truncate(f, 100).unwrap();
    assert_eq!(blocks(&fs, f), 16, "growing keeps the reservation");
    fs.truncate(f, 100).unwrap();
    assert_eq!(blocks(&fs, f), 8, "cutting does not");
}

#[test]
fn punching_makes_holes() {
    let (fs, f) = file();
    fs.write(f, 0, &[1; 5 * PAGE as usize]).unwrap();
    fs.fallocate(f, PUNCH, PAGE - 10, 2 * PAGE + 20).unwrap();
    assert_eq!((fs.attr(f).unwrap().size, blocks(&fs, f)), (5 * PAGE, 24));
    let mut expected = vec![1; 5 * PAGE as usize];
    expected[PAGE as usize - 10..3 * PAGE as usize + 10].fill(0);
    assert_eq!(fs.read(f, 0, 5 * PAGE as usize).unwrap(), expected);
    assert_eq!(fs.seek(f, libc::SEEK_HOLE, 0), Ok(PAGE));
    assert_eq!(fs.seek(f, libc::SEEK_DATA, PAGE + 5), Ok(3 * PAGE));
    fs.fallocate(f, PUNCH, 4 * PAGE + 1, 10).unwrap();
    expected[4 * PAGE as usize + 1..4 * PAGE as usize + 11].fill(0);
    assert_eq!(fs.read(f, 0, 5 * PAGE as usize).unwrap(), expected);
    fs.fallocate(f, PUNCH, 0, 1 << 40).unwrap();
    assert_eq!((fs.attr(f).unwrap().size, blocks(&fs, f)), (5 * PAGE, 0));
}

#[test]
fn zeroing_keeps_the_space() {
    let (fs, f) = file();
    fs.write(f, 0, &[1; 3 * PAGE as usize]).unwrap();
    fs.fallocate(f, ZERO | KEEP, 100, 4 * PAGE).unwrap();
    assert_eq!((fs.attr(f).unwrap().size, blocks(&fs, f)), (3 * PAGE, 40));
    assert_eq!(fs.read(f, 90, 20).unwrap(), [[1; 10], [0; 10]].concat());
    assert_eq!(fs.read(f, 100, 4 * PAGE as usize).unwrap(), vec![0; 3 * PAGE as usize - 100]);
    fs.fallocate(f, ZERO, 0, 6 * PAGE).unwrap();
    assert_eq!((fs.attr(f).unwrap().size, blocks(&fs, f)), (6 * PAGE, 48));
    assert_eq!(fs.seek(f, libc::SEEK_DATA, 0), Err(Errno::ENXIO));
}

#[test]
fn other_modes_are_refused() {
    let (fs, f) = file();
    for mode in [libc::FALLOC_FL_COLLAPSE_RANGE, libc::FALLOC_FL_INSERT_RANGE, PUNCH & !KEEP] {
        assert_eq!(fs.fallocate(f, mode, 0, PAGE), Err(Errno::EOPNOTSUPP));
    }
    assert_eq!(fs.fallocate(f, 0, 0, 0), Err(Errno::EINVAL));
    assert_eq!(fs.fallocate(f, 0, MAX_SIZE, 1), Err(Errno::EFBIG));
    assert_eq!(fs.fallocate(f, 0, u64::MAX, 2), Err(Errno::EFBIG));
    assert_eq!(fs.fallocate(ROOT, 0, 0, 1), Err(Errno::EISDIR));
}

#[test]
fn seeking_finds_data_and_holes() {
    let (fs, f) = file();
    fs.write(f, PAGE, &[1; PAGE as usize]).unwrap();
    fs.write(f, 4 * PAGE, &[1; 100]).unwrap();
    fs.truncate(f, 6 * PAGE).unwrap();
    let data = |at| fs.seek(f, libc::SEEK_DATA, at);
    let hole = |at| fs.seek(f, libc::SEEK_HOLE, at);
    assert_eq!((data(0), data(PAGE + 7), data(2 * PAGE)), (Ok(PAGE), Ok(PAGE + 7), Ok(4 * PAGE)));
    assert_eq!((hole(0), hole(PAGE), hole(4 * PAGE)), (Ok(0), Ok(2 * PAGE), Ok(5 * PAGE)));
    assert_eq!((data(5 * PAGE), hole(5 * PAGE)), (Err(Errno::ENXIO), Ok(5 * PAGE)));
    assert_eq!((data(6 * PAGE), hole(6 * PAGE)), (Err(Errno::ENXIO), Err(Errno::ENXIO)));
    assert_eq!(fs.seek(f, libc::SEEK_SET, 0), Err(Errno::EINVAL));
    fs.truncate(f, 4 * PAGE + 50).unwrap();
    assert_eq!(hole(4 * PAGE), Ok(4 * PAGE + 50), "the end is a hole");
}

#[test]
fn copying_keeps_holes() {
    let (fs, f) = file();
    let g = fs.create(ROOT, "g").unwrap();
    fs.write(f, 0, b"head").unwrap();
    fs.write(f, 9 * PAGE, b"tail").unwrap();
    fs.write(g, 0, &[9; 12 * PAGE as usize]).unwrap();
    assert_eq!(fs.copy((f, 0), (g, PAGE), u64::MAX), Ok(9 * PAGE + 4));
    assert_eq!(fs.read(g, PAGE, 5).unwrap(), b"head\0");
    assert_eq!(fs.read(g, 10 * PAGE, 5).unwrap(), b"tail\x09");
    assert_eq!((fs.attr(g).unwrap().size, blocks(&fs, g)), (12 * PAGE, 32));
    let h = fs.create(ROOT, "h").unwrap();
    assert_eq!(fs.copy((f, 9 * PAGE - 3), (h, 100), 5), Ok(5));
    assert_eq!(fs.read(h, 99, 10).unwrap(), b"\0\0\0\0ta");
    assert_eq!(fs.copy((f, 20 * PAGE), (h, 0), 5), Ok(0));
    assert_eq!(fs.copy((ROOT, 0), (h, 0), 5), Err(Errno::EISDIR));
    assert_eq!(fs.copy((f, 0), (ROOT, 0), 5), Err(Errno::EISDIR));
    assert_eq!(fs.copy((f, 0), (h, MAX_SIZE), 5), Err(Errno::EFBIG));
    assert_eq!(fs.copy((f, 0), (h, MAX_SIZE - 1), 5), Ok(1));
}

#[test]
fn copying_inside_a_file_must_not_overlap() {
    let (fs, f) = file();
    fs.write(f, 0, b"0123456789").unwrap();
    assert_eq!(fs.copy((f, 0), (f, 4), 5), Err(Errno::EINVAL));
    assert_eq!(fs.copy((f, 4), (f, 0), 5), Err(Errno::EINVAL));
    assert_eq!(fs.copy((f, 0), (f, 5), 5), Ok(5));
    assert_eq!(fs.read(f, 0, 20).unwrap(), b"0123401234");
    assert_eq!(fs.copy((f, 8), (f, 10), 100), Ok(2), "cut at the end, it does not overlap");
    assert_eq!(fs.read(f, 0, 20).unwrap(), b"012340123434");
}

#[test]
fn a_large_copy_goes_in_pieces() {
    let (fs, f) = file();
    let g = fs.create(ROOT, "g").unwrap();
    let text: Vec<u8> = (0..3_000_000u32).map(|n| (n % 249) as u8).collect();
    fs.write(f, 0, &text).unwrap();
    assert_eq!(fs.copy((f, 0), (g, 0), 1 << 40), Ok(3_000_000));
    assert!(fs.read(g, 0, 4_000_000).unwrap() == text);
}

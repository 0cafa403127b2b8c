//! READDIR and READDIRPLUS.

use super::*;

/// An entry as the kernel reads it out of the reply.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Listed {
    pub(super) ino: u64,
    pub(super) offset: u64,
    pub(super) kind: u32,
    pub(super) name: String,
}

const ENTRY_OUT: usize = 128;

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn parse(mut bytes: &[u8], skip: usize) -> Vec<Listed> {
    let mut listed = Vec::new();
    while !bytes.is_empty() {
        let entry = &bytes[skip..];
        let length = number(&entry[16..20]) as usize;
        listed.push(Listed {
            ino: number(&entry[..8]),
            offset: number(&entry[8..16]),
            kind: number(&entry[20..24]) as u32,
            name: String::from_utf8(entry[24..24 + length].to_vec()).unwrap(),
        });
        bytes = &bytes[(skip + 24 + length).next_multiple_of(8)..];
    }
    listed
}

impl Fs {
    pub(super) fn readdir(&self, node: NodeId, offset: u64, size: usize) -> Result<Vec<Listed>> {
        let mut buf = vec![0; size];
        let op = ops::Readdir { fh: FileHandle(0), offset, size: size as u32, flags: 0 };
        let mut out = DirBuffer::new(&mut buf);
        self.mem.readdir(&self.cx, node, &op, &mut out)?;
        let length = out.length();
        Ok(parse(&buf[..length], 0))
    }

    fn readdirplus(&self, node: NodeId, offset: u64, size: usize) -> Result<Vec<Listed>> {
        let mut buf = vec![0; size];
        let op = ops::Readdirplus { fh: FileHandle(0), offset, size: size as u32, flags: 0 };
        let mut out = DirBuffer::new(&mut buf);
        self.mem.readdirplus(&self.cx, node, &op, &mut out)?;
        let length = out.length();
        Ok(parse(&buf[..length], ENTRY_OUT))
    }

    fn names_from(&self, node: NodeId, offset: u64) -> Vec<String> {
        let listed = self.readdir(node, offset, 1 << 20).unwrap();
        listed.into_iter().map(|entry| entry.name).collect()
    }
}

#[test]
fn dots_come_first() {
    let fs = Fs::new();
    let dir = fs.mkdir(ROOT, "d").unwrap();
    let file = fs.create(dir, "f").unwrap();
    let listed = fs.readdir(dir, 0, 4096).unwrap();
    let seen: Vec<_> = listed.iter().map(|e| (e.name.as_str(), e.ino, e.kind)).collect();
    assert_eq!(seen, [(".", dir.0, 4), ("..", ROOT.0, 4), ("f", file.0, 8)]);
    assert_eq!(fs.readdir(file, 0, 4096), Err(Errno::ENOTDIR));
    assert_eq!(fs.readdir(dir, listed[2].offset, 4096), Ok(vec![]));
    let other = fs.mkdir(ROOT, "e").unwrap();
    fs.rename((ROOT, "d"), (other, "d"), 0).unwrap();
    assert_eq!(fs.readdir(dir, 1, 4096).unwrap()[0].ino, other.0, "dot dot follows a move");
}

#[test]
fn a_small_buffer_is_filled_piece_by_piece() {
    let fs = Fs::new();
    let made: Vec<String> = (0..100).map(|n| format!("file-{n}")).collect();
    assert!(made.iter().all(|name| fs.create(ROOT, name).is_ok()));
    assert_eq!(fs.readdir(ROOT, 0, 16), Err(Errno::EINVAL));
    let (mut seen, mut offset) = (Vec::new(), 0);
    loop {
        let part = fs.readdir(ROOT, offset, 200).unwrap();
        let Some(last) = part.last() else { break };
        offset = last.offset;
        seen.extend(part.into_iter().map(|entry| entry.name));
    }
    assert_eq!(seen[2..], made);
}

#[test]
fn offsets_stay_good_while_names_come_and_go() {
    let fs = Fs::new();
    for n in 0..6 {
        fs.create(ROOT, &format!("{n}")).unwrap();
    }
    let third = fs.readdir(ROOT, 0, 1 << 20).unwrap()[4].clone();
    assert_eq!(third.name, "2");
    fs.unlink(ROOT, "0").unwrap();
    fs.unlink(ROOT, "2").unwrap();
    fs.unlink(ROOT, "4").unwrap();
    fs.create(ROOT, "new").unwrap();
    assert_eq!(fs.names_from(ROOT, third.offset), ["3", "5", "new"]);
    fs.create(ROOT, "2").unwrap();
    assert_eq!(fs.names_from(ROOT, third.offset), ["3", "5", "new", "2"]);
}

#[test]
fn a_rename_keeps_the_place_of_a_name() {
    let fs = Fs::new();
    for name in ["a", "b", "c"] {
        fs.create(ROOT, name).unwrap();
    }
    let offset = fs.readdir(ROOT, 0, 4096).unwrap()[2].offset;
    fs.rename((ROOT, "a"), (ROOT, "z"), 0).unwrap();
    assert_eq!(fs.names_from(ROOT, offset), ["b", "c"], "a is not seen twice");
    fs.rename((ROOT, "z"), (ROOT, "c"), 0).unwrap();
    assert_eq!(fs.names_from(ROOT, offset), ["b", "c"], "c was there all the time");
    fs.rename((ROOT, "b"), (ROOT, "c"), libc::RENAME_EXCHANGE).unwrap();
    assert_eq!(fs.names_from(ROOT, offset), ["b", "c"]);
}

#[test]
fn readdirplus_counts_what_it_gives_out() {
    let fs = Fs::new();
    let before = fs.free();
    let file = fs.create(ROOT, "f").unwrap();
    fs.mem.forget(file, 1);
    let room = 2 * 160;
    assert_eq!(fs.readdirplus(ROOT, 0, room).unwrap().len(), 2, "dots, and no room for f");
    let listed = fs.readdirplus(ROOT, 0, 4096).unwrap();
    assert_eq!((listed.len(), listed[2].ino, listed[2].kind), (3, file.0, 8));
    fs.unlink(ROOT, "f").unwrap();
    assert!(fs.attr(file).is_ok(), "given out once");
    fs.mem.forget(file, 1);
    assert_eq!(fs.attr(file), Err(Errno::ESTALE), "and only once");
    assert_eq!(fs.free(), before);
}

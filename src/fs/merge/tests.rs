//! READ answered with segments: what a session would move is what is read.

use std::io::Write;

use super::frame::{Checksum, Shape};
use super::server::{Sending, Server, ServerConfig, pattern_file};
use super::*;
use crate::buffer::{BufVec, Memory, Pipe, Sink, Stopped};
use crate::fs::{Context, Filesystem};
use crate::sys::file;
use crate::wire::flags::ReadFlags;
use crate::wire::{FileHandle, NodeId, Unique, ops};

const CX: Context = Context { unique: Unique(1), uid: 0, gid: 0, pid: 0 };
/// The file: 1000 bytes of a local file, 300,000 framed, and 500 local.
const SIZE: u64 = 301_500;

fn start(dir: &Path, checksum: Checksum) -> (Server, Merge) {
    let mut bytes = vec![0; 1500];
    server::pattern(7, 0, &mut bytes);
    std::fs::File::create(dir.join("part")).unwrap().write_all(&bytes).unwrap();
    let shape = Shape { header: 102, footer: 102, checksum };
    let (packet, align, sending) = (50_000, 4096, Sending::Sendfile);
    let config = ServerConfig { shape, packet, align, sending, fragment: 0 };
    let address = address::Address::Unix(dir.join("socket"));
    let server = Server::start(&address, config).unwrap();
    server.add("one", pattern_file(1, 500_000).unwrap());
    let manifest = serde_json::json!({ "schema": 1, "timeout": 1, "files": [{
        "path": "file", "segments": [
            { "file": "part", "length": 1000 },
            { "source": "unix:socket", "name": "one", "offset": 100, "length": 300_000,
              "header": 102, "footer": 102, "checksum": checksum },
            { "file": "part", "offset": 1000 },
        ] }] });
    std::fs::write(dir.join("manifest"), manifest.to_string()).unwrap();
    let arena = Arena::create().unwrap();
    let fs = Merge::new(&dir.join("manifest"), MergeConfig::default(), &arena).unwrap();
    (server, fs)
}

fn expected() -> Vec<u8> {
    let (mut local, mut framed) = (vec![0; 1500], vec![0; 300_000]);
    server::pattern(7, 0, &mut local);
    server::pattern(1, 100, &mut framed);
    [&local[..1000], &framed, &local[1000..]].concat()
}

fn asked(offset: u64, size: u32) -> ops::Read {
    let (fh, read_flags) = (FileHandle(0), ReadFlags::empty());
    ops::Read { fh, offset, size, read_flags, lock_owner: None, flags: 0 }
}

/// All bytes of a vector; framed ones through `pipe` as far as they go there, if one is given.
fn collect(vector: BufVec<'_>, pipe: Option<Pipe>) -> Result<Vec<u8>, Errno> {
    let mut all = Vec::new();
    for buf in vector.bufs {
        let mut part = vec![0; buf.size];
        match (buf.packets, buf.mem) {
            (Some(mut packets), _) => {
                let mut done = 0;
                if let Some(pipe) = pipe.filter(|_| !packets.wants_memory()) {
                    done = match packets.take(part.len(), Sink::Pipe(pipe)) {
                        Ok(moved) | Err(Stopped::Full { moved }) => moved,
                        Err(Stopped::Failed(errno)) => return Err(errno),
                    };
                    let mut at = 0;
                    while at < done {
                        at += file::read(pipe.read, &mut part[at..done])?;
                    }
                }
                match packets.take(part.len() - done, Sink::Memory(&mut part[done..])) {
                    Ok(taken) => assert_eq!(taken, part.len() - done),
                    Err(Stopped::Failed(errno)) => return Err(errno),
                    Err(full) => panic!("{full:?}"),
                }
            }
            (None, Memory::Shared(bytes)) => part.copy_from_slice(bytes),
            (None, Memory::Unique(room)) => {
                assert_eq!(
                    (room.len(), file::pread(buf.fd, &mut part, buf.pos)),
                    (part.len(), Ok(part.len()))
                );
            }
            (None, mem) => panic!("{mem:?}"),
        }
        all.extend(part);
    }
    Ok(all)
}

#[test]
fn segments_are_what_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let expected = expected();
    for checksum in [Checksum::None, Checksum::Header, Checksum::Payload] {
        let (server, fs) = start(dir.path(), checksum);
        let node = fs.tree.child(NodeId::ROOT, b"file").unwrap();
        // One that holds all, one that is soon full, and none.
        for room in [Some(1 << 20), Some(4096), None] {
            let pipe = room.map(|room| Pipe::create(room).unwrap());
            for (offset, size) in [
                (0, SIZE),
                (0, 1000),
                (999, 2),
                (1000, 300_000),
                (5000, 100),
                (300_990, 20),
                (SIZE - 1, 10),
                (SIZE, 10),
            ] {
                let mut memory = vec![0; size as usize];
                let vector = fs.read_buf(&CX, node, &asked(offset, size as u32), &mut memory);
                let seen = collect(vector.unwrap(), pipe).unwrap();
                let end = (offset + size).min(SIZE) as usize;
                assert!(seen == expected[offset as usize..end], "{size} from {offset}");
            }
            if let Some(pipe) = pipe {
                assert_eq!(pipe.content(), Ok(0));
                pipe.close();
            }
        }
        assert_eq!(server.connections(), 1, "{checksum:?}");
    }
}

#[test]
fn what_is_not_taken_is_not_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let (server, fs) = start(dir.path(), Checksum::Header);
    let node = fs.tree.child(NodeId::ROOT, b"file").unwrap();
    let mut memory = vec![0; 200_000];
    drop(fs.read_buf(&CX, node, &asked(0, 200_000), &mut memory).unwrap());
    let vector = fs.read_buf(&CX, node, &asked(0, 200_000), &mut memory).unwrap();
    assert!(collect(vector, None).unwrap() == expected()[..200_000]);
    assert_eq!(server.connections(), 2);
}

#[test]
fn of_what_a_dead_worker_had_only_idle_connections_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (server, fs) = start(dir.path(), Checksum::Header);
    let node = fs.tree.child(NodeId::ROOT, b"file").unwrap();
    let mut memory = [vec![0; 200_000], vec![0; 200_000]];
    let [one, two] = &mut memory;
    let idle = fs.read_buf(&CX, node, &asked(1000, 200_000), one).unwrap();
    let busy = fs.read_buf(&CX, node, &asked(1000, 200_000), two).unwrap();
    collect(idle, None).unwrap();
    std::mem::forget(busy);
    let records: Vec<_> = fs.sources.connections().collect();
    assert_eq!(records.len(), 2);
    assert!(records.iter().all(|(index, fd)| fs.holds(
        crate::recovery::fds::Kind::Own,
        *index,
        *fd
    )));
    // As a successor finds it: nothing in private memory.
    fs.sources.forget_idle();
    fs.takeover(&Default::default());
    assert_eq!(fs.sources.connections().count(), 1);
    let vector = fs.read_buf(&CX, node, &asked(0, 200_000), &mut memory[0]).unwrap();
    assert!(collect(vector, None).unwrap() == expected()[..200_000]);
    assert_eq!(server.connections(), 2);
}

use std::io::Write;
use std::os::fd::AsRawFd;

use super::*;
use crate::buffer::Memory;
use crate::sys::Fd;

const HEAD: &[u8] = b"sixteen bytes...";

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 % 251) as u8).collect()
}

fn file_with(content: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file
}

fn fd(file: &std::fs::File) -> Fd {
    Fd::from_number(file.as_raw_fd())
}

/// Payload in memory, a given number of bytes at a time, each in a buffer of its own.
struct Fragments {
    data: Vec<u8>,
    at: usize,
    size: usize,
    examined: bool,
    fails: bool,
}

impl crate::buffer::Packets for Fragments {
    fn take(&mut self, want: usize, sink: Sink<'_>) -> Result<usize, Stopped> {
        if self.fails {
            return Err(Stopped::Failed(Errno::EACCES));
        }
        let left = &self.data[self.at..];
        let part = &left[..left.len().min(want)];
        let moved = match sink {
            Sink::Memory(room) => {
                room[..part.len()].copy_from_slice(part);
                part.len()
            }
            Sink::Pipe(pipe) => {
                let mut moved = 0;
                for piece in part.chunks(self.size) {
                    // A page at a time of a file is a buffer of its own.
                    let file = file_with(piece);
                    match pipe::splice(fd(&file), Some(0), pipe.write, None, piece.len()) {
                        Ok(length) => moved += length,
                        Err(_) => {
                            self.at += moved;
                            return Err(Stopped::Full { moved });
                        }
                    }
                }
                moved
            }
        };
        self.at += moved;
        Ok(moved)
    }

    fn wants_memory(&self) -> bool {
        self.examined
    }
}

fn fragments(data: &[u8], size: usize) -> Fragments {
    Fragments { data: data.to_vec(), at: 0, size, examined: false, fails: false }
}

fn read_out(pipe: Pipe) -> Vec<u8> {
    let mut bytes = vec![0; pipe.content().unwrap()];
    pipe.read_exact(&mut bytes).unwrap();
    bytes
}

fn flat(vec: &BufVec<'_>, length: usize) -> Vec<u8> {
    vec.slices(length).iter().flat_map(|part| part.to_vec()).collect()
}

#[test]
fn segments_of_each_kind_lie_in_the_pipe_in_order() {
    let (data, pipe) = (pattern(300_000), Pipe::create(1 << 20).unwrap());
    let file = file_with(&data);
    let mut rooms = [vec![0; 100_001], vec![0; 50_000]];
    let [first, second] = &mut rooms;
    let packets = fragments(&data[200_000..250_000], 1000);
    let mut vec = BufVec::new(vec![
        Buf::shared(b"begin"),
        Buf::file(fd(&file), 99, 100_001, Memory::Unique(first)),
        Buf::section(Box::new(packets), second),
        Buf::shared(b"end"),
    ]);
    assert_eq!(vec.put_into(HEAD, pipe), Ok(Ok(())));
    let expected = [HEAD, b"begin", &data[99..100_100], &data[200_000..250_000], b"end"].concat();
    assert!(read_out(pipe) == expected);
    pipe.close();
}

/// Puts the vector into the pipe, which does not go well, and then into memory.
fn falls_back(mut vec: BufVec<'_>, pipe: Pipe, why: Fallback, expected: &[u8]) {
    assert_eq!(vec.put_into(HEAD, pipe), Ok(Err(why)));
    assert_eq!(pipe.content(), Ok(0), "the pipe is empty again");
    let length = vec.gather().unwrap();
    assert!(flat(&vec, length) == expected, "{length} bytes");
    pipe.close();
}

#[test]
fn a_file_that_is_shorter_than_was_said() {
    let data = pattern(70_000);
    let file = file_with(&data);
    let mut rooms = [vec![0; 80_000], vec![0; 10]];
    let [first, second] = &mut rooms;
    let vec = BufVec::new(vec![
        Buf::shared(b"x"),
        Buf::file(fd(&file), 0, 80_000, Memory::Unique(first)),
        Buf::file(fd(&file), 0, 10, Memory::Unique(second)),
    ]);
    // What comes behind the end is not moved up.
    let expected = [b"x", &data[..]].concat();
    falls_back(vec, Pipe::create(1 << 20).unwrap(), Fallback::Short, &expected);
}

#[test]
fn a_stream_that_ends_early() {
    let data = pattern(7000);
    let mut room = vec![0; 9000];
    let vec = BufVec::new(vec![Buf::section(Box::new(fragments(&data, 500)), &mut room)]);
    falls_back(vec, Pipe::create(1 << 20).unwrap(), Fallback::Short, &data);
}

#[test]
fn sixteen_buffers_are_full_of_small_fragments_and_no_byte_is_lost() {
    let data = pattern(40_000);
    for size in [100, 1000, 2400, 4096] {
        let (read, write) = pipe::create().unwrap();
        let pipe = Pipe::of(read, write).unwrap();
        assert_eq!(pipe.slots(), 16);
        let file = file_with(&data);
        let mut rooms = [vec![0; 5000], vec![0; 30_000], vec![0; 50]];
        let [first, second, third] = &mut rooms;
        let vec = BufVec::new(vec![
            Buf::file(fd(&file), 0, 5000, Memory::Unique(first)),
            Buf::section(Box::new(fragments(&data[5000..35_000], size)), second),
            Buf::file(fd(&file), 35_000, 50, Memory::Unique(third)),
        ]);
        let expected = &data[..35_050];
        if size == 4096 {
            let mut vec = vec;
            assert_eq!(vec.put_into(HEAD, pipe), Ok(Ok(())));
            assert!(read_out(pipe)[HEAD.len()..] == *expected);
            pipe.close();
        } else {
            falls_back(vec, pipe, Fallback::Full, expected);
        }
    }
}

#[test]
fn more_pages_than_buffers_are_not_begun_with() {
    let (read, write) = pipe::create().unwrap();
    let data = pattern(16 * PAGE);
    let (file, mut room) = (file_with(&data), vec![0; 16 * PAGE]);
    let vec = BufVec::new(vec![Buf::file(fd(&file), 0, 16 * PAGE, Memory::Unique(&mut room))]);
    falls_back(vec, Pipe::of(read, write).unwrap(), Fallback::Full, &data);
}

#[test]
fn what_has_to_be_looked_at_is_copied() {
    let data = pattern(10_000);
    let mut room = vec![0; 10_000];
    let packets = Fragments { examined: true, ..fragments(&data, 4096) };
    let vec = BufVec::new(vec![Buf::shared(b"y"), Buf::section(Box::new(packets), &mut room)]);
    let expected = [b"y", &data[..]].concat();
    falls_back(vec, Pipe::create(1 << 20).unwrap(), Fallback::Examined, &expected);
}

#[test]
fn what_was_refused_is_an_error_either_way() {
    let pipe = Pipe::create(1 << 20).unwrap();
    for _ in 0..2 {
        let mut room = vec![0; 100];
        let packets = Fragments { fails: true, ..fragments(b"", 1) };
        let mut vec = BufVec::new(vec![Buf::section(Box::new(packets), &mut room)]);
        assert_eq!(vec.put_into(HEAD, pipe), Err(Errno::EACCES));
        let mut room = vec![0; 100];
        let packets = Fragments { fails: true, ..fragments(b"", 1) };
        let mut vec = BufVec::new(vec![Buf::section(Box::new(packets), &mut room)]);
        assert_eq!(vec.gather(), Err(Errno::EACCES));
    }
    pipe.close();
}

#[test]
fn a_segment_without_room_cannot_be_copied() {
    let file = file_with(b"0123");
    let mut vec = BufVec::new(vec![Buf::file(fd(&file), 0, 4, Memory::None)]);
    assert_eq!(vec.gather(), Err(Errno::EIO));
}

#[test]
fn what_cannot_be_spliced_is_copied() {
    // A file of /proc with a read method alone.
    let file = std::fs::File::open("/proc/self/auxv").unwrap();
    let mut expected = vec![0; 48];
    let length = file::pread(fd(&file), &mut expected, 0).unwrap();
    let mut room = vec![0; 48];
    let vec = BufVec::new(vec![Buf::file(fd(&file), 0, length, Memory::Unique(&mut room))]);
    falls_back(vec, Pipe::create(4096).unwrap(), Fallback::Unsupported, &expected[..length]);
}

//! Copies between vectors, and packets from sockets, compared with simple models: random lists of
//! segments, random fragments, full pipes, and peers that are up to no good.

mod copy;
mod frames;
mod hostile;
mod packets;
mod streams;

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};

use fusex::buffer::Pipe;
use fusex::sys::Fd;

/// The number of something that stays open meanwhile.
fn number(owner: &impl AsRawFd) -> Fd {
    Fd::from_number(owner.as_raw_fd())
}

/// A non-blocking pipe of so many buffers, with its owners.
struct Tube {
    read: OwnedFd,
    write: OwnedFd,
    size: usize,
}

impl Tube {
    fn new(slots: usize) -> Tube {
        let (read, write) = fusex::sys::pipe::create().unwrap();
        let size = fusex::sys::pipe::set_size(write, slots * 4096).unwrap();
        Tube { read: read.into_owned(), write: write.into_owned(), size }
    }

    fn pipe(&self) -> Pipe {
        Pipe { read: number(&self.read), write: number(&self.write), size: self.size }
    }

    /// What is in it.
    fn drain(&self) -> Vec<u8> {
        drain(File::from(self.read.try_clone().unwrap()))
    }
}

/// All that can be read without waiting, or until the end.
fn drain(mut from: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut room = [0; 4096];
    loop {
        match from.read(&mut room) {
            Ok(0) => return bytes,
            Ok(n) => bytes.extend(&room[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return bytes,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Bytes of which none is like its neighbours; `seed` tells one run of them from another.
fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(next).collect()
}

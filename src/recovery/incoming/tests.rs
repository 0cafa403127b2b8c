//! A pipe stands in for the device: what is in it is one request.

use super::*;
use crate::recovery::arena::Arena;
use crate::recovery::slot::Slots;

const DATA: usize = 5000;

/// A request of so many bytes, data included.
fn request(opcode: Opcode, length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..length).map(|at| (at * 7 % 251) as u8).collect();
    bytes[..4].copy_from_slice(&(length as u32).to_ne_bytes());
    bytes[4..8].copy_from_slice(&(opcode as u32).to_ne_bytes());
    bytes[8..16].copy_from_slice(&77_u64.to_ne_bytes());
    bytes
}

fn slots() -> (Arena, Slots) {
    let arena = Arena::create().unwrap();
    let slots = Slots::new(&arena, 1, 1 << 16).unwrap();
    (arena, slots)
}

/// A slot that has read `bytes` through the pipe, which is returned; whether data stayed there.
fn received(slots: &Slots, bytes: &[u8]) -> (Slot, Pipe, bool) {
    let (device, pipe) = (Pipe::create(1 << 16).unwrap(), Pipe::create(1 << 16).unwrap());
    assert_eq!(nix::unistd::write(device.write, bytes), Ok(bytes.len()));
    let mut slot = slots.take(0).unwrap();
    let (length, stays) = slot.receive_by(device.read, pipe).unwrap();
    assert_eq!(length, bytes.len());
    device.close();
    (slot, pipe, stays)
}

/// Two takeovers in a row bring the request back, as it was.
fn comes_back(slot: &mut Slot, pipe: Pipe, bytes: &[u8], written: Option<u64>) {
    for round in 0..2 {
        slot.restore(Some(pipe)).unwrap();
        assert_eq!(slot.left(), Some(bytes.len()), "round {round}");
        let first = WRITE_HEAD + written.unwrap_or(0) as usize;
        let got = slot.parts(bytes.len()).0;
        assert!(got[..WRITE_HEAD] == bytes[..WRITE_HEAD] && got[first..] == bytes[first..]);
        assert_eq!(slot.journal().written(), written);
        assert_eq!(pipe.content(), Ok(0));
    }
    pipe.close();
}

#[test]
fn data_of_a_write_stays_in_the_pipe_and_nothing_else_does() {
    let (_arena, slots) = slots();
    let bytes = request(Opcode::FUSE_WRITE, WRITE_HEAD + DATA);
    let (mut slot, pipe, stays) = received(&slots, &bytes);
    assert!(stays && pipe.content() == Ok(DATA));
    comes_back(&mut slot, pipe, &bytes, None);
    for (opcode, length) in [
        (Opcode::FUSE_WRITE, WRITE_HEAD),
        (Opcode::FUSE_LOOKUP, 50),
        (Opcode::FUSE_SETXATTR, WRITE_HEAD + DATA),
    ] {
        slots.give_all_back();
        let bytes = request(opcode, length);
        let (mut slot, pipe, stays) = received(&slots, &bytes);
        assert!(!stays && pipe.content() == Ok(0), "{opcode:?}");
        assert!(slot.parts(length).0 == bytes);
        assert_eq!(slot.journal().incoming(), Incoming::Slot);
        slot.restore(Some(pipe)).unwrap();
        assert!(slot.parts(length).0 == bytes);
        pipe.close();
    }
}

#[test]
fn a_death_before_the_header_was_read() {
    let (_arena, slots) = slots();
    for (opcode, length) in [(Opcode::FUSE_WRITE, WRITE_HEAD + DATA), (Opcode::FUSE_LOOKUP, 50)] {
        slots.give_all_back();
        let (mut slot, pipe) = (slots.take(0).unwrap(), Pipe::create(1 << 16).unwrap());
        slot.clear();
        slot.journal().reset();
        slot.journal().set_incoming(Incoming::Pipe);
        assert_eq!(slot.restore(Some(pipe)), Ok(()), "nothing was read");
        assert_eq!(slot.left(), None);
        slot.journal().set_incoming(Incoming::Pipe);
        let bytes = request(opcode, length);
        nix::unistd::write(pipe.write, &bytes).unwrap();
        slot.restore(Some(pipe)).unwrap();
        assert_eq!(slot.left(), Some(length), "{opcode:?}");
        assert!(slot.parts(length).0 == bytes);
        pipe.close();
    }
}

#[test]
fn a_death_while_another_request_was_read() {
    for (length, read) in [(WRITE_HEAD + DATA, DATA), (WRITE_HEAD + DATA, 0), (50, 0)] {
        let (_arena, slots) = slots();
        let (mut slot, pipe) = (slots.take(0).unwrap(), Pipe::create(1 << 16).unwrap());
        let bytes = request(Opcode::FUSE_SETXATTR, length);
        let there = bytes.len().min(WRITE_HEAD) + read;
        slot.clear();
        slot.journal().reset();
        slot.journal().set_incoming(Incoming::Pipe);
        slot.bytes_mut()[..there].copy_from_slice(&bytes[..there]);
        slot.halves_mut().1.fill(0xff);
        nix::unistd::write(pipe.write, &bytes[there..]).unwrap();
        slot.restore(Some(pipe)).unwrap();
        assert!(slot.parts(length).0 == bytes, "{length} {read}");
        assert_eq!((slot.left(), pipe.content()), (Some(length), Ok(0)));
        pipe.close();
    }
}

#[test]
fn what_is_answered_needs_no_data() {
    let (_arena, slots) = slots();
    let bytes = request(Opcode::FUSE_WRITE, WRITE_HEAD + DATA);
    let (mut slot, pipe, _) = received(&slots, &bytes);
    slot.journal().begin();
    assert!(slot.journal().done(&[b"reply"]));
    assert_eq!(slot.restore(None), Ok(()));
    assert_eq!((slot.left(), slot.journal().incoming()), (Some(bytes.len()), Incoming::Slot));
    pipe.close();
}

#[test]
fn no_more_is_read_than_the_slot_holds() {
    let (_arena, slots) = slots();
    let (device, pipe) = (Pipe::create(1 << 20).unwrap(), Pipe::create(1 << 20).unwrap());
    let bytes = request(Opcode::FUSE_BATCH_FORGET, 100_000);
    assert_eq!(nix::unistd::write(device.write, &bytes), Ok(bytes.len()));
    let mut slot = slots.take(0).unwrap();
    let (length, _) = slot.receive_by(device.read, pipe).unwrap();
    assert!(length <= slot.bytes_mut().len(), "{length}");
    device.close();
    pipe.close();
}

#[test]
fn a_death_while_data_was_copied_into_the_slot() {
    for copied in [0, 1, 4096, DATA] {
        let (_arena, slots) = slots();
        let bytes = request(Opcode::FUSE_WRITE, WRITE_HEAD + DATA);
        let (mut slot, pipe, _) = received(&slots, &bytes);
        pipe.read_exact(&mut slot.parts(0).1[..copied]).unwrap();
        comes_back(&mut slot, pipe, &bytes, None);
    }
}

#[test]
fn a_death_while_data_went_to_the_file() {
    for moved in [0, 1, 4096, DATA] {
        let (_arena, slots) = slots();
        let bytes = request(Opcode::FUSE_WRITE, WRITE_HEAD + DATA);
        let (mut slot, pipe, _) = received(&slots, &bytes);
        slot.journal().set_incoming(Incoming::File);
        pipe.read_exact(&mut vec![0; moved]).unwrap();
        // The first takeover dies when some of the rest is in the slot.
        if moved == 4096 {
            slot.journal().set_written(4096);
            pipe.read_exact(&mut slot.parts(0).1[..100]).unwrap();
        }
        comes_back(&mut slot, pipe, &bytes, Some(moved as u64));
    }
}

#[test]
fn data_that_is_gone_is_an_error() {
    let (_arena, slots) = slots();
    let bytes = request(Opcode::FUSE_WRITE, WRITE_HEAD + DATA);
    let (mut slot, pipe, _) = received(&slots, &bytes);
    assert_eq!(slot.restore(None), Err(Errno::EIO));
    // More than the header says: somebody else's.
    nix::unistd::write(pipe.write, b"more").unwrap();
    assert_eq!(slot.restore(Some(pipe)), Err(Errno::EIO));
    pipe.close();
}

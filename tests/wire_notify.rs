//! Notifications, byte for byte: header, struct, and the payload's length in the header.

use fusex::wire::flags::ExpireFlags;
use fusex::wire::notify::{self, Notice};
use fusex::wire::{Name, NodeId};
use zerocopy::{Immutable, IntoBytes};

const PARENT: NodeId = NodeId(0x11);

/// Checks a notification against its code, its struct and its payload's length.
fn check<T: IntoBytes + Immutable>(notice: &Notice<T>, code: i32, body: &[u64], payload: usize) {
    let body: Vec<u8> = body.iter().flat_map(|value| value.to_ne_bytes()).collect();
    let len = (16 + body.len() + payload) as u32;
    let header = [&len.to_ne_bytes()[..], &code.to_ne_bytes(), &[0; 8]].concat();
    assert_eq!(notice.parts(), [&header[..], &body[..]]);
}

/// Two 32-bit fields as the 64 bits they fill.
fn pair(first: u32, second: u32) -> u64 {
    let bytes = [first.to_ne_bytes(), second.to_ne_bytes()].concat();
    u64::from_ne_bytes(bytes.try_into().unwrap())
}

#[test]
fn nodes_and_data() {
    check(&notify::poll(7), 1, &[7], 0);
    let all = notify::inval_inode(NodeId(5), -1, 4096);
    check(&all, 2, &[5, u64::MAX, 4096], 0);
    check(&notify::store(NodeId(5), 8192, 100), 4, &[5, 8192, pair(100, 0)], 100);
    check(&notify::retrieve(77, NodeId(5), 8192, 100), 5, &[77, 5, 8192, pair(100, 0)], 0);
    check(&notify::prune(3), 9, &[pair(3, 0), 0], 24);
}

#[test]
fn the_nul_of_a_name_is_sent_and_not_counted() {
    let name = Name::new(c"file").unwrap();
    let invalid = notify::inval_entry(PARENT, name, ExpireFlags::empty());
    check(&invalid, 3, &[0x11, pair(4, 0)], 5);
    let expired = notify::inval_entry(PARENT, name, ExpireFlags::FUSE_EXPIRE_ONLY);
    check(&expired, 3, &[0x11, pair(4, 1)], 5);
    check(&notify::delete(PARENT, NodeId(0x22), name), 6, &[0x11, 0x22, pair(4, 0)], 5);
}

#[test]
fn some_are_only_a_header() {
    check(&notify::resend(), 7, &[], 0);
    check(&notify::inc_epoch(), 8, &[], 0);
}

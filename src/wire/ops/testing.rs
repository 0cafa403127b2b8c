//! What the tests of the operations share.

use super::super::reader::Reader;
use super::super::testing::fixture;
use super::super::{DecodeError, Extensions, Opcode, Operation, Protocol, Unique, decode};
use crate::wire::flags::InitFlags;

/// The operation in the bytes of a request, nothing negotiated.
pub(crate) fn operation(bytes: &[u8]) -> Operation<'_> {
    decode(bytes, &Protocol::default()).expect("a request").operation
}

/// What is wrong with the fixture `name` when it has this body instead of its own.
pub(crate) fn body_error(name: &str, body: &[u8]) -> Option<DecodeError> {
    let mut bytes = fixture(name);
    bytes.truncate(40);
    bytes.extend_from_slice(body);
    let len = u32::try_from(bytes.len()).expect("a short body");
    bytes[..4].copy_from_slice(&len.to_ne_bytes());
    decode(&bytes, &Protocol::default()).err()
}

/// What the fixtures that have extensions carry.
pub(crate) fn extensions() -> Extensions<'static> {
    const BYTES: &[u8] = b"\x28\0\0\0\x01\0\0\0\x05\0\0\0\0\0\0\0security.test\0label\0\0\0\0\0\
        \x10\0\0\0\x20\0\0\0\x01\0\0\0\xd0\x07\0\0";
    let p = Protocol { minor: 38, flags: InitFlags::empty() };
    let mut reader = Reader::new(&[], BYTES, Opcode::FUSE_CREATE, Unique(1));
    Extensions::decode(&mut reader, &p).expect("extensions")
}

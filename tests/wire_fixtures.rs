//! One fixture an opcode: each decodes, and no shorter one does. (What is in them is checked field
//! by field next to each operation.)

#[path = "../src/wire/testing.rs"]
mod testing;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use fusex::wire::opcode::TABLE;
use fusex::wire::{DecodeError, Opcode, Protocol, decode};

const HEADER: usize = 40;

fn fixture(opcode: Opcode) -> Vec<u8> {
    testing::fixture(&opcode.info().name.to_lowercase())
}

#[test]
fn every_opcode_has_its_fixture_and_no_other_is_there() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wire");
    let found: BTreeSet<String> = fs::read_dir(directory)
        .unwrap()
        .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let expected = TABLE.iter().map(|row| row.name.to_lowercase()).collect();
    assert_eq!(found, expected);
}

#[test]
fn every_fixture_is_a_request_of_its_opcode() {
    for row in TABLE {
        let bytes = fixture(row.opcode);
        let request = decode(&bytes, &Protocol::default())
            .unwrap_or_else(|error| panic!("{}: {error}", row.name));
        assert_eq!(request.operation.opcode(), row.opcode);
        assert_eq!(request.header.opcode, row.opcode as u32);
        assert_eq!(request.header.unique.0, 0x1000 + row.opcode as u64);
        assert_eq!(request.header.len as usize, bytes.len());
    }
}

#[test]
fn a_shorter_request_is_an_error_at_every_length() {
    for row in TABLE {
        let whole = fixture(row.opcode);
        for len in 0..whole.len() {
            let error = decode(&whole[..len], &Protocol::default()).expect_err(row.name);
            let expected = if len < HEADER {
                matches!(error, DecodeError::ShortHeader { read } if read == len)
            } else {
                matches!(error, DecodeError::LengthMismatch { read, .. } if read == len)
            };
            assert!(expected, "{} at {len}: {error}", row.name);
        }
    }
}

#[test]
fn a_shorter_body_is_an_error_at_every_length() {
    for row in TABLE {
        let whole = fixture(row.opcode);
        for len in HEADER..whole.len() {
            let mut bytes = whole[..len].to_vec();
            bytes[..4].copy_from_slice(&(len as u32).to_ne_bytes());
            let error = decode(&bytes, &Protocol::default()).expect_err(row.name);
            assert!(matches!(error, DecodeError::BadBody { .. }), "{} at {len}: {error}", row.name);
        }
    }
}

/// A newer kernel may send more than is known today; only where a body ends with counted data (or
/// with extensions, which are found from the end) more bytes are a contradiction.
#[test]
fn more_bytes_are_left_alone() {
    use Opcode::{FUSE_CREATE, FUSE_IOCTL, FUSE_NOTIFY_REPLY, FUSE_SETXATTR, FUSE_WRITE};
    for row in TABLE {
        let whole = fixture(row.opcode);
        let mut longer = whole.clone();
        longer.extend_from_slice(&[0; 8]);
        let len = longer.len() as u32;
        longer[..4].copy_from_slice(&len.to_ne_bytes());
        let found = decode(&longer, &Protocol::default()).map(|request| request.operation);
        match row.opcode {
            FUSE_CREATE | FUSE_IOCTL | FUSE_NOTIFY_REPLY | FUSE_SETXATTR | FUSE_WRITE => {
                assert!(found.is_err(), "{}", row.name);
            }
            _ => {
                let plain = decode(&whole, &Protocol::default()).unwrap().operation;
                assert_eq!(found, Ok(plain), "{}", row.name);
            }
        }
    }
}

//! Decoding is total: any bytes at any address give a request or an error, and the same ones.

#[path = "../src/wire/testing.rs"]
mod testing;

use fusex::wire::flags::InitFlags;
use fusex::wire::opcode::TABLE;
use fusex::wire::{Extensions, Operation, Protocol, decode};
use proptest::collection::vec;
use proptest::prelude::*;

/// Decodes `bytes` at every alignment, walks what it finds, and demands the same result each time.
fn decodes_alike_everywhere(bytes: &[u8], p: &Protocol) -> Result<(), TestCaseError> {
    let mut space = vec![0; bytes.len() + 8];
    let first = decode(bytes, p);
    for shift in 0..8 {
        space[shift..shift + bytes.len()].copy_from_slice(bytes);
        let found = decode(&space[shift..shift + bytes.len()], p);
        if let Ok(request) = found {
            prop_assert!(walked(&request.operation) <= bytes.len());
        }
        prop_assert_eq!(found, first);
    }
    Ok(())
}

/// How many items the iterators of an operation give.
fn walked(operation: &Operation<'_>) -> usize {
    let items = |ext: &Extensions<'_>| ext.security_contexts().count() + ext.groups.iter().count();
    match operation {
        Operation::BatchForget(batch) => batch.iter().count(),
        Operation::Removemapping(parts) => parts.iter().count(),
        Operation::Create(create) => items(&create.ext),
        Operation::Tmpfile(tmpfile) => items(&tmpfile.ext),
        Operation::Mkdir(mkdir) => items(&mkdir.ext),
        Operation::Mknod(mknod) => items(&mknod.ext),
        Operation::Symlink(symlink) => items(&symlink.ext),
        _ => 0,
    }
}

fn protocol() -> impl Strategy<Value = Protocol> {
    let flags = prop_oneof![
        Just(InitFlags::empty()),
        Just(InitFlags::FUSE_SETXATTR_EXT),
        Just(InitFlags::FUSE_SECURITY_CTX),
        Just(InitFlags::all()),
    ];
    (31..46u32, flags).prop_map(|(minor, flags)| Protocol { minor, flags })
}

/// A header that is right about opcode, length and extensions, in front of any body.
fn right_header() -> impl Strategy<Value = Vec<u8>> {
    (0..TABLE.len(), 0..6u16, vec(any::<u8>(), 0..200)).prop_map(|(row, extlen, body)| {
        let mut bytes = vec![0; 40];
        bytes[..4].copy_from_slice(&(40 + body.len() as u32).to_ne_bytes());
        bytes[4..8].copy_from_slice(&(TABLE[row].opcode as u32).to_ne_bytes());
        bytes[36..38].copy_from_slice(&extlen.to_ne_bytes());
        bytes.extend_from_slice(&body);
        bytes
    })
}

/// A fixture with some bytes overwritten, cut anywhere, its length put right again.
fn mutated_fixture() -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (0..TABLE.len(), changes, any::<Option<prop::sample::Index>>()).prop_map(
        |(row, changes, cut)| {
            let mut bytes = testing::fixture(&TABLE[row].name.to_lowercase());
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(40 + cut.index(bytes.len() - 39));
            }
            let len = bytes.len() as u32;
            bytes[..4].copy_from_slice(&len.to_ne_bytes());
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..200), p in protocol()) {
        decodes_alike_everywhere(&bytes, &p)?;
    }

    #[test]
    fn any_body_after_a_right_header(bytes in right_header(), p in protocol()) {
        decodes_alike_everywhere(&bytes, &p)?;
    }

    #[test]
    fn mutated_fixtures(bytes in mutated_fixture(), p in protocol()) {
        decodes_alike_everywhere(&bytes, &p)?;
    }
}

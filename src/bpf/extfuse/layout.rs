//! What `bpf/extfuse.h` lays out, byte by byte.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::wire::abi::fuse_attr;

/// A name with its zero.
pub(super) const NAME: usize = 256;
/// Bytes of a value that is kept.
pub(super) const VALUE: usize = 256;
/// A time to live: as long as the server says.
pub(super) const AS_SERVED: u64 = u64::MAX;

/// Places of what was changed when, for the whole mount and for nodes and names.
pub(super) const CHANGES: u64 = 16384;
pub(super) const CHANGE_ALL: u64 = 0;
pub(super) const CHANGE_ROOM: u64 = 1;
pub(super) const CHANGE_WHOLE_MOUNT: u64 = 8;
pub(super) const CHANGE_ATTR: u64 = 8;
pub(super) const CHANGE_XATTRS: u64 = 9;
pub(super) const CHANGE_NODE: u64 = 10;
pub(super) const CHANGE_ENTRY: u64 = 11;

#[derive(Clone, Copy, FromBytes)]
#[repr(C)]
pub(super) struct Life {
    pub(super) since: u64,
    pub(super) expires: u64,
    pub(super) valid_ns: u64,
}

#[derive(FromBytes)]
#[repr(C)]
pub(super) struct NameKey {
    pub(super) node: u64,
    pub(super) name: [u8; NAME],
}

#[derive(FromBytes)]
#[repr(C)]
pub(super) struct Entry {
    pub(super) life: Life,
    pub(super) node: u64,
    pub(super) generation: u64,
}

#[derive(FromBytes)]
#[repr(C)]
pub(super) struct Attr {
    pub(super) life: Life,
    pub(super) generation: u64,
    pub(super) is_known: u64,
    pub(super) attr: fuse_attr,
}

#[derive(FromBytes)]
#[repr(C)]
pub(super) struct Value {
    pub(super) life: Life,
    pub(super) error: i32,
    pub(super) size: u32,
    pub(super) bytes: [u8; VALUE],
}

#[derive(FromBytes)]
#[repr(C)]
pub(super) struct OtherKey {
    pub(super) node: u64,
    pub(super) opcode: u32,
    pub(super) mask: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) pid: u32,
    unused: u32,
}

#[derive(FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub(super) struct Handler {
    pub(super) ttl_ns: u64,
    pub(super) negative_ttl_ns: u64,
    pub(super) is_on: u64,
}

#[derive(FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub(super) struct Prefix {
    pub(super) length: u32,
    pub(super) name: [u8; NAME],
}

#[derive(FromBytes)]
#[repr(C)]
pub(super) struct Count {
    pub(super) served: u64,
    pub(super) passed_up: u64,
}

/// The place of a change; `of` is 0, or the hash of a name.
pub(super) fn place_of(change: u64, node: u64, of: u64) -> u32 {
    if change < CHANGE_WHOLE_MOUNT {
        return change as u32;
    }
    let hash = node
        .wrapping_add(of)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(change.wrapping_mul(0xc2b2_ae3d_27d4_eb4f));
    let hash = (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (CHANGE_WHOLE_MOUNT + (hash >> 32) % (CHANGES - CHANGE_WHOLE_MOUNT)) as u32
}

impl NameKey {
    pub(super) fn hash(&self) -> u64 {
        self.name.as_chunks().0.iter().fold(self.node, |hash, word| {
            (hash ^ u64::from_ne_bytes(*word)).wrapping_mul(0x0000_0100_0000_01b3) ^ hash >> 29
        })
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::super::super::skeleton::extfuse::types;
    use super::*;

    #[test]
    fn as_the_programs_have_it() {
        assert_eq!(size_of::<NameKey>(), size_of::<types::extfuse_name_key>());
        assert_eq!(size_of::<Entry>(), size_of::<types::extfuse_entry>());
        assert_eq!(size_of::<Attr>(), size_of::<types::extfuse_attr>());
        assert_eq!(size_of::<Value>(), size_of::<types::extfuse_value>());
        assert_eq!(size_of::<OtherKey>(), size_of::<types::extfuse_other_key>());
        assert_eq!(size_of::<Handler>(), size_of::<types::extfuse_handler>());
        assert_eq!(size_of::<Prefix>(), size_of::<types::extfuse_prefix>());
        assert_eq!(size_of::<Count>(), size_of::<types::extfuse_count>());
        assert_eq!(offset_of!(Attr, attr), offset_of!(types::extfuse_attr, attr));
        assert_eq!(offset_of!(Value, bytes), offset_of!(types::extfuse_value, bytes));
    }

    /// The same numbers as in tests/fixtures/extfuse/main.c.
    #[test]
    fn places_as_the_programs_have_them() {
        let mut name = [0; NAME];
        name[..5].copy_from_slice(b"a.txt");
        let hash = NameKey { node: 2, name }.hash();
        let places = [place_of(CHANGE_ATTR, 10, 0), place_of(CHANGE_ENTRY, 2, hash)];
        assert_eq!(places, [13899, 11363]);
        assert_eq!(place_of(CHANGE_ROOM, 7, 0), 1);
    }
}

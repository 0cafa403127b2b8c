//! SETXATTR: set an extended attribute.
//!
//! The fixed part is 8 bytes, or 16 if FUSE_SETXATTR_EXT was negotiated (7.33).

use std::ffi::CStr;

use crate::wire::abi::{FUSE_COMPAT_SETXATTR_IN_SIZE, fuse_setxattr_in};
use crate::wire::flags::{InitFlags, SetxattrFlags};
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, Protocol};

/// Answered without data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setxattr<'a> {
    /// XATTR_CREATE or XATTR_REPLACE.
    pub flags: u32,
    /// The protocol's own; empty without FUSE_SETXATTR_EXT.
    pub setxattr_flags: SetxattrFlags,
    /// Name of the attribute.
    pub name: &'a CStr,
    /// Its value.
    pub value: &'a [u8],
}

impl<'a> Setxattr<'a> {
    pub(crate) fn decode(r: &mut Reader<'a>, p: &Protocol) -> Result<Self, DecodeError> {
        let raw: fuse_setxattr_in = if p.flags.contains(InitFlags::FUSE_SETXATTR_EXT) {
            r.take()?
        } else {
            let [size, flags] = r.take::<[u32; FUSE_COMPAT_SETXATTR_IN_SIZE / 4]>()?;
            fuse_setxattr_in { size, flags, ..Default::default() }
        };
        Ok(Self {
            flags: raw.flags,
            setxattr_flags: SetxattrFlags::from_bits_retain(raw.setxattr_flags),
            name: r.cstr()?,
            value: r.data(raw.size)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Operation;
    use crate::wire::decode;
    use crate::wire::ops::testing::operation;
    use crate::wire::testing::fixture;

    #[test]
    fn fixture_decodes() {
        let bytes = fixture("setxattr");
        let expected = Setxattr {
            flags: 1,
            setxattr_flags: SetxattrFlags::empty(),
            name: c"user.colour",
            value: b"blue",
        };
        assert_eq!(operation(&bytes), Operation::Setxattr(expected));
    }

    #[test]
    fn the_long_form_if_negotiated() {
        let mut bytes = fixture("setxattr");
        let middle = [1u32, 0].map(u32::to_ne_bytes).concat();
        bytes.splice(48..48, middle);
        bytes[0] += 8;
        let flags = InitFlags::FUSE_SETXATTR_EXT;
        let request = decode(&bytes, &Protocol { minor: 33, flags }).unwrap();
        let expected = Setxattr {
            flags: 1,
            setxattr_flags: SetxattrFlags::FUSE_SETXATTR_ACL_KILL_SGID,
            name: c"user.colour",
            value: b"blue",
        };
        assert_eq!(request.operation, Operation::Setxattr(expected));
    }
}

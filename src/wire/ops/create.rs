//! CREATE: make a file if it is not there, and open it.

use crate::wire::abi::fuse_create_in;
use crate::wire::flags::OpenInFlags;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, Extensions, Name, Protocol};

/// Answered with an entry and a handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Create<'a> {
    /// `O_*` of open(2).
    pub flags: u32,
    /// Type and permissions.
    pub mode: u32,
    /// The caller's umask.
    pub umask: u32,
    /// The protocol's own.
    pub open_flags: OpenInFlags,
    /// The name in the node of the header.
    pub name: Name<'a>,
    /// What comes along.
    pub ext: Extensions<'a>,
}

impl<'a> Create<'a> {
    pub(crate) fn decode(r: &mut Reader<'a>, p: &Protocol) -> Result<Self, DecodeError> {
        let raw: fuse_create_in = r.take()?;
        Ok(Self {
            flags: raw.flags,
            mode: raw.mode,
            umask: raw.umask,
            open_flags: OpenInFlags::from_bits_retain(raw.open_flags),
            name: r.name()?,
            ext: Extensions::decode(r, p)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ops::testing::extensions;
    use crate::wire::ops::testing::operation;
    use crate::wire::testing::fixture;
    use crate::wire::{Operation, SecurityContext};

    #[test]
    fn fixture_decodes() {
        let bytes = fixture("create");
        let expected = Create {
            flags: 0x80c1,
            mode: 0o100644,
            umask: 0o022,
            open_flags: OpenInFlags::empty(),
            name: Name::new(c"new").unwrap(),
            ext: extensions(),
        };
        assert_eq!(operation(&bytes), Operation::Create(expected));
    }

    #[test]
    fn what_comes_along() {
        let bytes = fixture("create");
        let Operation::Create(create) = operation(&bytes) else { panic!("another operation") };
        let secctx = SecurityContext { name: c"security.test", value: b"label" };
        assert_eq!(create.ext.secctx, Some(secctx));
        assert_eq!(create.ext.groups.iter().collect::<Vec<_>>(), [2000]);
    }
}

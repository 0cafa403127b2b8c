//! TMPFILE: make a file without a name, and open it (O_TMPFILE, 7.37).
//!
//! The kernel sends a name because its dentry has one; it means nothing.

use crate::wire::abi::fuse_create_in;
use crate::wire::flags::OpenInFlags;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, Extensions, Protocol};

/// Answered with an entry and a handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tmpfile<'a> {
    /// `O_*` of open(2).
    pub flags: u32,
    /// Type and permissions.
    pub mode: u32,
    /// The caller's umask.
    pub umask: u32,
    /// The protocol's own.
    pub open_flags: OpenInFlags,
    /// What comes along.
    pub ext: Extensions<'a>,
}

impl<'a> Tmpfile<'a> {
    pub(crate) fn decode(r: &mut Reader<'a>, p: &Protocol) -> Result<Self, DecodeError> {
        let raw: fuse_create_in = r.take()?;
        r.cstr()?;
        Ok(Self {
            flags: raw.flags,
            mode: raw.mode,
            umask: raw.umask,
            open_flags: OpenInFlags::from_bits_retain(raw.open_flags),
            ext: Extensions::decode(r, p)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Operation;
    use crate::wire::ops::testing::operation;
    use crate::wire::testing::fixture;

    #[test]
    fn fixture_decodes() {
        let bytes = fixture("tmpfile");
        let expected = Tmpfile {
            flags: 0x41_8002,
            mode: 0o100600,
            umask: 0o022,
            open_flags: OpenInFlags::empty(),
            ext: Extensions::default(),
        };
        assert_eq!(operation(&bytes), Operation::Tmpfile(expected));
    }
}

//! MKDIR: make a directory.

use crate::wire::abi::fuse_mkdir_in;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, Extensions, Name, Protocol};

/// Answered with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mkdir<'a> {
    /// Permissions.
    pub mode: u32,
    /// The caller's umask.
    pub umask: u32,
    /// The name in the node of the header.
    pub name: Name<'a>,
    /// What comes along.
    pub ext: Extensions<'a>,
}

impl<'a> Mkdir<'a> {
    pub(crate) fn decode(r: &mut Reader<'a>, p: &Protocol) -> Result<Self, DecodeError> {
        let raw: fuse_mkdir_in = r.take()?;
        let name = r.name()?;
        Ok(Self { mode: raw.mode, umask: raw.umask, name, ext: Extensions::decode(r, p)? })
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
        let bytes = fixture("mkdir");
        let expected = Mkdir {
            mode: 0o750,
            umask: 0o022,
            name: Name::new(c"sub").unwrap(),
            ext: Extensions::default(),
        };
        assert_eq!(operation(&bytes), Operation::Mkdir(expected));
    }
}

//! MKNOD: make a file, device, FIFO or socket.

use crate::wire::abi::fuse_mknod_in;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, Extensions, Name, Protocol};

/// Answered with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mknod<'a> {
    /// Type and permissions.
    pub mode: u32,
    /// Device number, in the kernel's `new_encode_dev` form.
    pub rdev: u32,
    /// The caller's umask.
    pub umask: u32,
    /// The name in the node of the header.
    pub name: Name<'a>,
    /// What comes along.
    pub ext: Extensions<'a>,
}

impl<'a> Mknod<'a> {
    pub(crate) fn decode(r: &mut Reader<'a>, p: &Protocol) -> Result<Self, DecodeError> {
        let raw: fuse_mknod_in = r.take()?;
        let name = r.name()?;
        let ext = Extensions::decode(r, p)?;
        Ok(Self { mode: raw.mode, rdev: raw.rdev, umask: raw.umask, name, ext })
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
        let bytes = fixture("mknod");
        let expected = Mknod {
            mode: 0o020660,
            rdev: 0x501,
            umask: 0o027,
            name: Name::new(c"tty").unwrap(),
            ext: Extensions::default(),
        };
        assert_eq!(operation(&bytes), Operation::Mknod(expected));
    }
}

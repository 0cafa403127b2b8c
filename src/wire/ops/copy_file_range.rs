//! COPY_FILE_RANGE: copy between two open files.

use crate::wire::abi::fuse_copy_file_range_in;
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, FileHandle, NodeId, Protocol};

/// Answered with `fuse_write_out`: so never more than 4 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyFileRange {
    /// The file to copy from: the node of the header.
    pub fh_in: FileHandle,
    /// Where in it, in bytes.
    pub off_in: u64,
    /// The node to copy to.
    pub node_out: NodeId,
    /// Its open file.
    pub fh_out: FileHandle,
    /// Where in it, in bytes.
    pub off_out: u64,
    /// Most bytes to copy.
    pub len: u64,
    /// Flags of copy_file_range(2), 0 today.
    pub flags: u64,
}

impl CopyFileRange {
    pub(crate) fn decode(r: &mut Reader<'_>, _p: &Protocol) -> Result<Self, DecodeError> {
        let raw: fuse_copy_file_range_in = r.take()?;
        Ok(Self {
            fh_in: FileHandle(raw.fh_in),
            off_in: raw.off_in,
            node_out: NodeId(raw.nodeid_out),
            fh_out: FileHandle(raw.fh_out),
            off_out: raw.off_out,
            len: raw.len,
            flags: raw.flags,
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
        let bytes = fixture("copy_file_range");
        let expected = CopyFileRange {
            fh_in: FileHandle(9),
            off_in: 100,
            node_out: NodeId(6),
            fh_out: FileHandle(10),
            off_out: 200,
            len: 0x1_0000_0000,
            flags: 0,
        };
        assert_eq!(operation(&bytes), Operation::CopyFileRange(expected));
    }
}

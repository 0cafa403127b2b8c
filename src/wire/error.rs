//! Why bytes are no request.

use nix::errno::Errno;

use super::{Opcode, Unique};

/// Bytes that are no request this crate understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not even a header; there is nothing that a reply could name.
    #[error("request of {read} bytes has no whole header")]
    ShortHeader {
        /// Bytes read.
        read: usize,
    },
    /// The header's length is not the number of bytes read.
    #[error("request {unique} says {header} bytes, read were {read}")]
    LengthMismatch {
        /// What the header says, in bytes.
        header: u32,
        /// Bytes read.
        read: usize,
        /// The request.
        unique: Unique,
    },
    /// An opcode of a newer kernel.
    #[error("request {unique} has the unknown opcode {opcode}")]
    UnknownOpcode {
        /// The number.
        opcode: u32,
        /// The request.
        unique: Unique,
    },
    /// A body that is too short or contradicts itself.
    #[error("request {unique}, {opcode}: {what}")]
    BadBody {
        /// What the header says the body is.
        opcode: Opcode,
        /// The request.
        unique: Unique,
        /// What is wrong.
        what: &'static str,
    },
    /// From [`Name::new`](super::Name::new): no path component.
    #[error("{what}")]
    BadName {
        /// What is wrong.
        what: &'static str,
    },
}

impl DecodeError {
    /// The request to answer, if that much could be read.
    pub const fn unique(&self) -> Option<Unique> {
        match self {
            Self::LengthMismatch { unique, .. }
            | Self::UnknownOpcode { unique, .. }
            | Self::BadBody { unique, .. } => Some(*unique),
            Self::ShortHeader { .. } | Self::BadName { .. } => None,
        }
    }

    /// What to answer: ENOSYS to an unknown opcode (the kernel then stops asking), EIO otherwise.
    pub const fn errno(&self) -> Errno {
        match self {
            Self::UnknownOpcode { .. } => Errno::ENOSYS,
            _ => Errno::EIO,
        }
    }
}

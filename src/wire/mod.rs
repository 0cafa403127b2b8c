//! The FUSE protocol: pure, no I/O, no unsafe.
//!
//! [`decode()`] turns the bytes of one request into a [`Request`] that borrows from them;
//! `encode` and [`notify`] turn answers into the kernel's structs ([`abi`]). Knows FUSE 7.45
//! (Linux 6.18) and everything older down to 7.31 (Linux 5.4).
//!
//! Whatever the bytes, decoding neither panics nor reads past their end. Bytes after the end of a
//! body are left alone: a newer kernel may have put fields there.
//!
//! The requests are listed in [`opcode`], the notifications in [`notify`].

pub mod abi;
mod attr;
pub mod decode;
mod dir;
pub mod encode;
mod error;
mod ext;
pub mod flags;
mod ids;
mod name;
pub mod notify;
pub mod opcode;
pub mod ops;
mod reader;
#[cfg(test)]
mod testing;

pub use attr::{Attr, StatxReply, Timestamp};
pub use decode::{Operation, Protocol, Request, RequestHeader, decode};
pub use dir::plus_nodes;
pub use encode::{
    AttrReply, DirBuffer, Entry, InitOut, InitReply, LockReply, Opened, Statfs, out_header,
};
pub use error::DecodeError;
pub use ext::{Extensions, Groups, SecurityContext, SecurityContexts};
pub use ids::{FileHandle, LockOwner, NodeId, Unique};
pub use name::Name;
pub use opcode::Opcode;

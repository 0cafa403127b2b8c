//! System calls: the only place with `unsafe`.
//!
//! Descriptors are passed as [`Fd`], a plain index into the process's fd table that
//! owns nothing: the table is meant to be shared with a supervisor, where closing is
//! a decision of the tables and never of a destructor. What nix wraps is used from
//! nix; the rest goes to libc, each block with the invariant that makes it right.
#![allow(unsafe_code)]

pub mod clock;
pub mod clone;
pub mod confine;
pub mod creds;
pub mod device;
pub mod dir;
pub mod fault;
pub mod fd;
pub mod file;
pub mod handle;
pub mod lock;
pub mod map;
pub mod memory;
pub mod mount;
pub mod path;
pub mod pipe;
pub mod process;
pub mod sched;
pub mod stream;
pub mod uring;
pub mod xattr;

pub use fd::{Fd, OpFd};

use crate::Errno;

/// A system call's result: -1 becomes the thread's errno.
fn check<T: nix::errno::ErrnoSentinel + PartialEq>(result: T) -> Result<T, Errno> {
    Errno::result(result)
}

/// The same for calls whose result is a length.
fn length(result: isize) -> Result<usize, Errno> {
    check(result).map(|n| n as usize)
}

//! The BPF programs and what they found out: the only place that knows how they are laid out.
//!
//! `bpf/NAME.bpf.c` are the programs, `bpf/stats.h` is what they share with `layout`,
//! `attach` loads and attaches what this machine lets it, `read` reads it all. [`extfuse`] loads the
//! programs that answer requests, and has what they share with user space.
//!
//! What can be had is found by trying, never by the kernel's version: a trial loads and attaches
//! a program, and takes it away again. Needs BTF (`CONFIG_DEBUG_INFO_BTF`), and root or CAP_BPF
//! with CAP_PERFMON.

mod attach;
pub mod extfuse;
mod layout;
mod read;
mod reads;
mod skeleton;

pub(crate) use attach::{Attached, Purpose, attach, probe};
pub(crate) use layout::{Party, text};
pub(crate) use read::{Counted, Listed, Looked, Pending};

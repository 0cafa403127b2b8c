//! FUSE mounts that do not go down, that are fast, and that can be seen into.
//!
//! `fusex` speaks the kernel's FUSE protocol itself; there is no libfuse below it.
//! Linux only: FUSE 7.31 (Linux 5.4) at the least, 7.45 (Linux 6.18) at the best.
//!
//! # The way of a request
//!
//! ```text
//! /dev/fuse clone --read into slot--> wire::decode --> session::dispatch
//!     --> fs (passthrough | mem | yours)  --> wire::encode (header + payload)
//!     --> one writev --> slot cleared
//! ```
//!
//! One direction, no callbacks back up. `fusex bpf-stats` looks at all mounts from beside: the
//! kernel's counts ([`bpf`]) and tables ([`stats`]) become reports ([`output`]).
//!
//! # Map
//!
//! | module | what for |
//! | --- | --- |
//! | [`wire`] | the protocol: pure, no I/O, no unsafe |
//! | [`buffer`] | data in memory and behind descriptors, and its way to the reader |
//! | [`channel`] | `/dev/fuse`: open, clone, read, reply, notify |
//! | [`mount`] | mount(2), fusermount3, the `-o` grammar, mountinfo |
//! | [`session`] | INIT, dispatch, serving threads, interrupts |
//! | [`fs`] | the [`fs::Filesystem`] trait; passthrough, mem, merge |
//! | [`recovery`] | request slots (the arena and the journal join them) |
//! | [`bpf`] | BPF programs: loading, attaching, what they count, what they answer |
//! | [`cli`], [`commands`] | the command line and what each subcommand does |
//! | [`crash`] | crash tests: kill points, workload with oracle, verdict |
//! | [`doctor`] | what a machine can do |
//! | [`exit`] | exit codes |
//! | [`output`] | what is printed, in each of its forms |
//! | [`splicing`] | how bytes travel on this machine, measured |
//! | [`stats`] | what every FUSE mount of the machine is doing |
//! | [`sys`] | system calls: the only place with `unsafe` |

pub mod bpf;
pub mod buffer;
pub mod channel;
pub mod cli;
pub mod commands;
pub mod crash;
pub mod doctor;
pub mod exit;
pub mod fs;
pub mod mount;
pub mod output;
pub mod recovery;
pub mod session;
pub mod splicing;
pub mod stats;
pub mod supervise;
pub mod sys;
pub mod wire;

/// What a file system answers when it cannot do a thing: the kernel's error number.
pub use nix::errno::Errno;

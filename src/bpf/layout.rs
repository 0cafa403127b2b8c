//! What `bpf/stats.h` lays out, byte by byte.

use zerocopy::{FromBytes, IntoBytes};

use crate::stats::histogram::BUCKETS;

/// Places for pairs of a connection and an operation, at the least.
pub(super) const OPERATIONS_MIN: u32 = 512;
/// Marks a place whose connection is gone.
pub(super) const OPERATION_DEAD: u64 = 1 << 63;
/// An age that is not known.
pub(super) const NOT_KNOWN: u64 = u64::MAX;

/// Kinds of [`Seen`].
pub(super) const SEEN_SERVER: u32 = 1;
pub(super) const SEEN_REQUEST: u32 = 2;
pub(super) const SEEN_FILE: u32 = 3;

/// Kinds of what was lost.
pub(super) const LOST_OPERATIONS: u32 = 0;
pub(super) const LOST_REQUESTS: u32 = 1;
pub(super) const LOST_EARLIER: u32 = 2;
pub(super) const LOST_EVENTS: u32 = 3;

#[derive(FromBytes)]
#[repr(C)]
pub(super) struct Times {
    pub(super) sum_ns: u64,
    pub(super) max_ns: [u64; 2],
    pub(super) interval: [u32; 2],
    pub(super) buckets: [u64; BUCKETS],
}

#[derive(FromBytes)]
#[repr(C)]
pub(super) struct Operation {
    pub(super) count: u64,
    pub(super) bytes: u64,
    pub(super) answered_ns: u64,
    pub(super) server: u32,
    pub(super) unanswered: u32,
    pub(super) queue: Times,
    pub(super) service: Times,
    pub(super) total: Times,
}

#[derive(FromBytes)]
#[repr(C)]
pub(super) struct ErrorKey {
    pub(super) dev: u32,
    pub(super) opcode: u32,
    pub(super) error: u32,
}

#[derive(FromBytes)]
#[repr(C)]
pub(super) struct Flight {
    pub(super) request: u64,
    pub(super) sent_ns: u64,
    pub(super) read_ns: u64,
    pub(super) node: u64,
    pub(super) dev: u32,
    pub(super) opcode: u32,
    pub(super) pid: u32,
    pub(super) tid: u32,
    unused: [u64; 2],
}

#[derive(FromBytes)]
#[repr(C)]
pub(super) struct Arrival {
    pub(super) unique: u64,
    pub(super) read_ns: u64,
    pub(super) dev: u32,
    unused: u32,
}

#[derive(FromBytes)]
#[repr(C)]
pub(super) struct PartyKey {
    pub(super) id: u64,
    pub(super) dev: u32,
    unused: u32,
}

#[derive(FromBytes)]
#[repr(C)]
pub(crate) struct Party {
    pub(crate) count: u64,
    pub(crate) total_ns: u64,
    pub(crate) command: [u8; 16],
}

#[derive(FromBytes)]
#[repr(C)]
pub(super) struct Slow {
    pub(super) unique: u64,
    pub(super) at_ns: u64,
    pub(super) total_ns: u64,
    pub(super) queue_ns: u64,
    pub(super) node: u64,
    pub(super) dev: u32,
    pub(super) opcode: u32,
    pub(super) pid: u32,
    pub(super) tid: u32,
    pub(super) error: i32,
    unused: u32,
    pub(super) command: [u8; 16],
    pub(super) name: [u8; 64],
}

#[derive(FromBytes)]
#[repr(C)]
pub(super) struct Seen {
    pub(super) kind: u32,
    pub(super) dev: u32,
    pub(super) pid: u32,
    pub(super) tid: u32,
    pub(super) request: u64,
    pub(super) unique: u64,
    pub(super) node: u64,
    pub(super) age_ticks: u64,
    pub(super) opcode: u32,
    pub(super) read: u32,
    pub(super) text: [u8; 256],
}

#[derive(FromBytes, IntoBytes)]
#[repr(C)]
pub(super) struct Drop {
    pub(super) request: u64,
    pub(super) sent_ns: u64,
    pub(super) at: u32,
    pub(super) unused: u32,
}

/// A text that ends with a zero or with its field.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::super::skeleton::stats::types;
    use super::*;

    #[test]
    fn as_the_programs_have_it() {
        assert_eq!(size_of::<Times>(), size_of::<types::times>());
        assert_eq!(size_of::<Operation>(), size_of::<types::operation>());
        assert_eq!(size_of::<ErrorKey>(), size_of::<types::error_key>());
        assert_eq!(size_of::<Flight>(), size_of::<types::flight>());
        assert_eq!(size_of::<Arrival>(), size_of::<types::arrival>());
        assert_eq!(size_of::<PartyKey>(), size_of::<types::party_key>());
        assert_eq!(size_of::<Party>(), size_of::<types::party>());
        assert_eq!(size_of::<Seen>(), size_of::<types::seen>());
        assert_eq!(size_of::<Drop>(), size_of::<types::drop>());
        assert_eq!(offset_of!(Times, buckets), offset_of!(types::times, buckets));
        assert_eq!(offset_of!(Operation, queue), offset_of!(types::operation, queue));
        assert_eq!(offset_of!(Operation, unanswered), offset_of!(types::operation, unanswered));
        assert_eq!(offset_of!(Flight, tid), offset_of!(types::flight, tid));
        assert_eq!(offset_of!(Seen, age_ticks), offset_of!(types::seen, age_ticks));
        assert_eq!(offset_of!(Seen, text), offset_of!(types::seen, text));
        assert_eq!(offset_of!(Drop, at), offset_of!(types::drop, at));
    }

    #[test]
    fn texts_end_with_a_zero_or_with_their_field() {
        assert_eq!(text(b"a\0b"), "a");
        assert_eq!(text(b"abc"), "abc");
        assert_eq!(text(b""), "");
    }
}

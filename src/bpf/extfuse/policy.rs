//! What is answered in the kernel, and for how long.

use std::time::Duration;

use super::layout::{AS_SERVED, Handler, NAME, Prefix};
use crate::wire::opcode::Opcode;

/// What can be answered, and what is unless the policy says otherwise: not ACCESS, as a request does
/// not say in which groups its caller is.
pub const OPCODES: [(Opcode, bool); 7] = [
    (Opcode::FUSE_LOOKUP, true),
    (Opcode::FUSE_GETATTR, true),
    (Opcode::FUSE_GETXATTR, true),
    (Opcode::FUSE_LISTXATTR, true),
    (Opcode::FUSE_STATFS, true),
    (Opcode::FUSE_READLINK, true),
    (Opcode::FUSE_ACCESS, false),
];

/// How many names, nodes and values are kept, each.
pub const ENTRIES: u32 = 16384;
/// For what the server says no time of: extended attributes, statfs.
const TTL: Duration = Duration::from_secs(1);

/// What is answered in the kernel, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long an answer may be given. `None`: names and attributes as long as the server says,
    /// all else for a second.
    pub ttl: Option<Duration>,
    /// The same for what is not there.
    pub negative_ttl: Option<Duration>,
    /// Which operations.
    pub opcodes: Vec<Opcode>,
    /// Which extended attributes: names, or with `*` at the end what they begin with.
    pub xattrs: Vec<String>,
    /// How many names, nodes and values are kept, each.
    pub entries: u32,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            ttl: None,
            negative_ttl: None,
            opcodes: OPCODES.iter().filter(|(_, on)| *on).map(|(opcode, _)| *opcode).collect(),
            xattrs: vec!["*".to_string()],
            entries: ENTRIES,
        }
    }
}

impl Policy {
    /// Rows of the map `handlers`.
    pub(super) fn handlers(&self) -> impl Iterator<Item = (u32, Handler)> {
        self.opcodes.iter().map(|opcode| {
            let is_timed = matches!(opcode, Opcode::FUSE_LOOKUP | Opcode::FUSE_GETATTR);
            let unsaid = if is_timed { AS_SERVED } else { nanoseconds(TTL) };
            let handler = Handler {
                ttl_ns: self.ttl.map_or(unsaid, nanoseconds),
                negative_ttl_ns: self.negative_ttl.map_or(unsaid, nanoseconds),
                is_on: 1,
            };
            (*opcode as u32, handler)
        })
    }

    /// Keys of the map `xattr_names`.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = Prefix> {
        self.xattrs.iter().map(|given| {
            let (text, zero) = match given.strip_suffix('*') {
                Some(start) => (start, 0),
                None => (given.as_str(), 1),
            };
            let mut name = [0; NAME];
            let length = text.len().min(NAME - 1);
            name[..length].copy_from_slice(&text.as_bytes()[..length]);
            Prefix { length: 8 * (length + zero) as u32, name }
        })
    }
}

/// As a program has it; past what it can count it is for ever.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).min(AS_SERVED - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_nobody_gave() {
        let handlers: Vec<_> = Policy::default().handlers().collect();
        let of = |wanted: Opcode| {
            let found = handlers.iter().find(|(opcode, _)| *opcode == wanted as u32);
            found.map(|(_, handler)| (handler.ttl_ns, handler.negative_ttl_ns))
        };
        assert_eq!(of(Opcode::FUSE_LOOKUP), Some((AS_SERVED, AS_SERVED)));
        assert_eq!(of(Opcode::FUSE_GETXATTR), Some((1_000_000_000, 1_000_000_000)));
        assert_eq!(of(Opcode::FUSE_ACCESS), None);
        let given = Policy { ttl: Some(Duration::MAX), ..Policy::default() };
        assert!(given.handlers().all(|(_, handler)| handler.ttl_ns == AS_SERVED - 1));
    }

    #[test]
    fn names_and_beginnings() {
        let xattrs = ["user.a".to_string(), "security.*".to_string(), "*".to_string()];
        let policy = Policy { xattrs: xattrs.into(), ..Policy::default() };
        let bits: Vec<u32> = policy.prefixes().map(|prefix| prefix.length).collect();
        // A whole name ends with its zero.
        assert_eq!(bits, [7 * 8, 9 * 8, 0]);
        assert!(
            policy.prefixes().next().is_some_and(|prefix| prefix.name.starts_with(b"user.a\0"))
        );
    }
}

//! Extensions at the end of CREATE, MKDIR, MKNOD, SYMLINK and TMPFILE.
//!
//! Since 7.38 the header's `total_extlen` says how many units of 8 bytes they fill; 7.36 and 7.37
//! know only security contexts and put them after the names. Each extension starts with its size
//! and its type; a type up to FUSE_MAX_NR_SECCTX is the number of security contexts that follow.
//! Unknown types are skipped.

use std::ffi::CStr;
use std::fmt;

use zerocopy::FromBytes;

use super::abi::{
    FUSE_EXT_GROUPS, FUSE_MAX_NR_SECCTX, fuse_ext_header, fuse_secctx, fuse_supp_groups,
};
use super::flags::InitFlags;
use super::reader::Reader;
use super::{DecodeError, Protocol};

/// What comes along with a request that makes a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions<'a> {
    /// The first security context (FUSE_SECURITY_CTX, 7.36).
    pub secctx: Option<SecurityContext<'a>>,
    /// The caller's supplementary groups (FUSE_CREATE_SUPP_GROUP, 7.38). The kernel sends one:
    /// that of the parent directory, if the caller is in it.
    pub groups: Groups<'a>,
    contexts: SecurityContexts<'a>,
}

impl<'a> Extensions<'a> {
    /// All security contexts, the first included.
    pub const fn security_contexts(&self) -> SecurityContexts<'a> {
        self.contexts
    }

    pub(crate) fn decode(r: &mut Reader<'a>, p: &Protocol) -> Result<Self, DecodeError> {
        let mut bytes = r.extension_bytes(p.flags.contains(InitFlags::FUSE_SECURITY_CTX));
        let mut found = Self::default();
        while !bytes.is_empty() {
            let (head, _) = fuse_ext_header::read_from_prefix(bytes)
                .map_err(|_| r.bad("extension header is cut off"))?;
            let (this, rest) =
                split(bytes, head.size).ok_or_else(|| r.bad("bad extension size"))?;
            let body = this
                .get(size_of::<fuse_ext_header>()..)
                .ok_or_else(|| r.bad("bad extension size"))?;
            match head.r#type {
                count @ 0..=FUSE_MAX_NR_SECCTX => {
                    found.contexts = SecurityContexts::checked(body, count)
                        .ok_or_else(|| r.bad("bad security context"))?;
                }
                FUSE_EXT_GROUPS => {
                    found.groups =
                        Groups::checked(body).ok_or_else(|| r.bad("bad supplementary groups"))?;
                }
                _ => {}
            }
            bytes = rest;
        }
        found.secctx = found.contexts.next_context();
        Ok(found)
    }
}

/// Cuts `size` bytes off, and the padding to a multiple of 8 with them.
fn split(bytes: &[u8], size: u32) -> Option<(&[u8], &[u8])> {
    let size = usize::try_from(size).ok()?;
    let this = bytes.get(..size)?;
    let rest = bytes.get(size.checked_next_multiple_of(8)?..).unwrap_or_default();
    Some((this, rest))
}

/// A security context: the extended attribute that the new node gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecurityContext<'a> {
    /// Name of the attribute, such as `security.selinux`.
    pub name: &'a CStr,
    /// Its value.
    pub value: &'a [u8],
}

/// The security contexts of one request, in the kernel's order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SecurityContexts<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> SecurityContexts<'a> {
    /// `None` if fewer than `count` whole contexts are there.
    fn checked(body: &'a [u8], count: u32) -> Option<Self> {
        let contexts = Self { rest: body, left: count };
        (contexts.count() == count as usize).then_some(contexts)
    }

    fn next_context(mut self) -> Option<SecurityContext<'a>> {
        self.next()
    }
}

impl<'a> Iterator for SecurityContexts<'a> {
    type Item = SecurityContext<'a>;

    fn next(&mut self) -> Option<SecurityContext<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (head, after) = fuse_secctx::read_from_prefix(self.rest).ok()?;
        let name = CStr::from_bytes_until_nul(after).ok()?;
        let value_at = name.count_bytes() + 1;
        let value_end = value_at.checked_add(usize::try_from(head.size).ok()?)?;
        let value = after.get(value_at..value_end)?;
        let end = (size_of::<fuse_secctx>() + value_end).checked_next_multiple_of(8)?;
        self.rest = self.rest.get(end..).unwrap_or_default();
        Some(SecurityContext { name, value })
    }
}

/// Group ids, at any alignment.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Groups<'a>(&'a [u8]);

impl<'a> Groups<'a> {
    /// `None` if fewer ids are there than announced.
    fn checked(body: &'a [u8]) -> Option<Self> {
        let (head, ids) = fuse_supp_groups::read_from_prefix(body).ok()?;
        let len = usize::try_from(head.nr_groups).ok()?.checked_mul(4)?;
        Some(Self(ids.get(..len)?))
    }

    /// How many.
    pub const fn len(&self) -> usize {
        self.0.len() / 4
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ids, in the kernel's order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.0.chunks_exact(4).map(|id| u32::from_ne_bytes([id[0], id[1], id[2], id[3]]))
    }
}

impl fmt::Debug for Groups<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Opcode, Unique};

    const NOTHING: Protocol = Protocol { minor: 38, flags: InitFlags::empty() };

    /// An extension: size, type, body, padding to 8 bytes.
    fn extension(kind: u32, body: &[u8]) -> Vec<u8> {
        let size = 8 + u32::try_from(body.len()).unwrap();
        let mut bytes = [size.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(body);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn context(name: &CStr, value: &[u8]) -> Vec<u8> {
        let size = u32::try_from(value.len()).unwrap();
        let mut bytes = [size.to_ne_bytes(), [0; 4]].concat();
        bytes.extend_from_slice(name.to_bytes_with_nul());
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn group_list(announced: u32, ids: &[u32]) -> Vec<u8> {
        let ids = ids.iter().flat_map(|id| id.to_ne_bytes());
        announced.to_ne_bytes().into_iter().chain(ids).collect()
    }

    fn decode<'a>(
        rest: &'a [u8],
        bytes: &'a [u8],
        p: &Protocol,
    ) -> Result<Extensions<'a>, DecodeError> {
        let mut reader = Reader::new(rest, bytes, Opcode::FUSE_MKDIR, Unique(1));
        Extensions::decode(&mut reader, p)
    }

    #[test]
    fn contexts_groups_and_an_unknown_type() {
        let contexts = [context(c"security.a", b"one"), context(c"security.b", b"")].concat();
        let bytes = [
            extension(2, &contexts),
            extension(99, b"from the future"),
            extension(FUSE_EXT_GROUPS, &group_list(2, &[2000, 3000])),
        ]
        .concat();
        let found = decode(&[], &bytes, &NOTHING).unwrap();
        let one = SecurityContext { name: c"security.a", value: b"one" };
        let two = SecurityContext { name: c"security.b", value: b"" };
        assert_eq!(found.secctx, Some(one));
        assert_eq!(found.security_contexts().collect::<Vec<_>>(), [one, two]);
        assert_eq!(found.groups.iter().collect::<Vec<_>>(), [2000, 3000]);
        assert_eq!((found.groups.len(), found.groups.is_empty()), (2, false));
        assert_eq!(format!("{:?}", found.groups), "[2000, 3000]");
    }

    #[test]
    fn a_request_without_context_has_an_empty_extension() {
        let bytes = extension(0, b"");
        assert_eq!(decode(&[], &bytes, &NOTHING).unwrap(), Extensions::default());
    }

    #[test]
    fn before_7_38_the_context_follows_the_names() {
        let bytes = extension(1, &context(c"security.a", b"one"));
        let negotiated = Protocol { minor: 36, flags: InitFlags::FUSE_SECURITY_CTX };
        let found = decode(&bytes, &[], &negotiated).unwrap();
        assert_eq!(found.secctx.unwrap().value, b"one");
        assert_eq!(decode(&bytes, &[], &NOTHING).unwrap().secctx, None);
    }

    #[test]
    fn contradictions_are_errors() {
        let short = extension(FUSE_EXT_GROUPS, &group_list(1, &[2000]));
        let mut huge = short.clone();
        huge[..4].copy_from_slice(&u32::MAX.to_ne_bytes());
        let mut tiny = short.clone();
        tiny[..4].copy_from_slice(&7u32.to_ne_bytes());
        let mut value_too_long = context(c"security.a", b"one");
        value_too_long[..4].copy_from_slice(&1000u32.to_ne_bytes());
        for bad in [
            short[..4].to_vec(),
            short[..15].to_vec(),
            huge,
            tiny,
            extension(FUSE_EXT_GROUPS, b""),
            extension(FUSE_EXT_GROUPS, &group_list(3, &[1, 2])),
            extension(FUSE_EXT_GROUPS, &group_list(u32::MAX, &[1, 2])),
            extension(2, &context(c"security.a", b"one")),
            extension(FUSE_MAX_NR_SECCTX, b""),
            extension(1, &value_too_long),
            extension(1, &[0; 8]),
        ] {
            assert!(decode(&[], &bad, &NOTHING).is_err(), "{bad:?}");
        }
    }
}

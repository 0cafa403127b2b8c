//! What the maps hold.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use anyhow::Result;
use libbpf_rs::{MapCore, MapFlags, MapHandle};
use zerocopy::IntoBytes;

use super::layout::{self, *};
use super::pinned::Loaded;
use crate::bpf::read::{Entries, read};
use crate::sys::clock::monotonic_ns;
use crate::wire::opcode::Opcode;

/// An answer that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The node that it is about.
    pub node: u64,
    /// What it says.
    pub what: What,
    /// For how long it may still be given, in ns; `None` when it may not be any more: its time is
    /// over, or something was changed.
    pub left_ns: Option<u64>,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// What a name in the directory stands for; no node when there is no such name.
    Entry {
        /// The name.
        name: OsString,
        /// The node.
        to: Option<u64>,
    },
    /// The node's attributes.
    Attr {
        /// Type and permissions.
        mode: u32,
        /// Bytes.
        size: u64,
    },
    /// An extended attribute; no value when there is none.
    Xattr {
        /// The name; empty for the list of all names.
        name: OsString,
        /// The value.
        value: Option<Vec<u8>>,
    },
    /// The answer to another operation.
    Other {
        /// The kernel's number of the operation.
        opcode: u32,
        /// 0, or an errno (positive).
        errno: i32,
    },
}

impl Loaded {
    /// What the maps hold, by node.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn kept(&self) -> Result<Vec<Kept>> {
        let changes = Changes { map: self.map("changes")?, now: monotonic_ns() };
        let mut all = Vec::new();
        for (key, value) in self.map("entry_map")?.all()? {
            let (key, value): (NameKey, Entry) =
                (read(&key, "entry_map")?, read(&value, "entry_map")?);
            let to = (value.node != 0).then_some(value.node);
            let places = [
                place_of(CHANGE_NODE, key.node, 0),
                place_of(CHANGE_ENTRY, key.node, key.hash()),
                to.map_or(0, |node| place_of(CHANGE_NODE, node, 0)),
            ];
            let left_ns = changes.left(&value.life, &places)?;
            all.push(Kept { node: key.node, what: What::Entry { name: name(&key), to }, left_ns });
        }
        for (key, value) in self.map("attr_map")?.all()? {
            let (node, value): (u64, Attr) = (read(&key, "attr_map")?, read(&value, "attr_map")?);
            let left_ns = changes.left(&value.life, &attr_places(node))?;
            let what = What::Attr { mode: value.attr.mode, size: value.attr.size };
            all.push(Kept { node, what, left_ns });
        }
        for (key, value) in self.map("xattr_map")?.all()? {
            let (key, value): (NameKey, Value) =
                (read(&key, "xattr_map")?, read(&value, "xattr_map")?);
            let bytes = value.bytes.get(..value.size as usize).unwrap_or_default().to_vec();
            let value_there = (value.error == 0).then_some(bytes);
            let left_ns = changes.left(&value.life, &xattr_places(key.node))?;
            let what = What::Xattr { name: name(&key), value: value_there };
            all.push(Kept { node: key.node, what, left_ns });
        }
        for (key, value) in self.map("other_map")?.all()? {
            let (key, value): (OtherKey, Value) =
                (read(&key, "other_map")?, read(&value, "other_map")?);
            let left_ns = changes.left(&value.life, &other_places(&key))?;
            let what = What::Other { opcode: key.opcode, errno: -value.error };
            all.push(Kept { node: key.node, what, left_ns });
        }
        all.sort_by_key(|kept| kept.node);
        Ok(all)
    }
}

/// When something was last changed, and now.
struct Changes {
    map: MapHandle,
    now: u64,
}

impl Changes {
    /// How long an answer may still be given, by the places that tell of its changes.
    fn left(&self, life: &Life, places: &[u32]) -> Result<Option<u64>> {
        for place in [CHANGE_ALL as u32].iter().chain(places) {
            let changed = self.map.lookup(place.as_bytes(), MapFlags::ANY)?.unwrap_or_default();
            if life.since < read::<u64>(&changed, "changes")? {
                return Ok(None);
            }
        }
        Ok(life.expires.checked_sub(self.now).filter(|left| *left > 0))
    }
}

fn attr_places(node: u64) -> [u32; 2] {
    [CHANGE_NODE, CHANGE_ATTR].map(|change| place_of(change, node, 0))
}

fn xattr_places(node: u64) -> [u32; 2] {
    [CHANGE_NODE, CHANGE_XATTRS].map(|change| place_of(change, node, 0))
}

fn other_places(key: &OtherKey) -> Vec<u32> {
    match Opcode::from_u32(key.opcode) {
        Some(Opcode::FUSE_STATFS) => vec![CHANGE_ROOM as u32],
        Some(Opcode::FUSE_ACCESS) => [attr_places(key.node), xattr_places(key.node)].concat(),
        _ => vec![place_of(CHANGE_NODE, key.node, 0)],
    }
}

/// A name without its zeros.
fn name(key: &layout::NameKey) -> OsString {
    OsString::from_vec(key.name.split(|byte| *byte == 0).next().unwrap_or_default().to_vec())
}

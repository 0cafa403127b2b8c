//! A file in memory, shared with what is written to it.

use std::fs::File;
use std::path::Path;

use nix::sys::uio::pwrite;

use crate::check::{Checked, fine, same, same_bytes};
use crate::common::sys::Map;
use crate::oracle::{Actor, open};

/// Its length, which stays.
const LENGTH: usize = 64 << 10;

/// The file, open and mapped all the time.
pub(crate) struct Mapped {
    file: File,
    map: Map,
    /// What has to be in it.
    pub(crate) bytes: Vec<u8>,
}

impl Mapped {
    /// Makes the file in `fixed`.
    pub(crate) fn start(fixed: &Path) -> Checked<Mapped> {
        let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
        let file = fine(open(&fixed.join("mapped"), flags, 0o600))?;
        let bytes = vec![b'.'; LENGTH];
        same(pwrite(&file, &bytes, 0), Ok(LENGTH))?;
        let map = fine(Map::new(&file, LENGTH, false, true))?;
        Ok(Mapped { file, map, bytes })
    }
}

pub(crate) fn write(actor: &mut Actor) -> Checked {
    let length = 1 + actor.random.below(6000);
    let at = actor.random.below(LENGTH - length);
    let bytes = actor.random.bytes(length);
    actor.begin(format!("pwrite of the mapped file at {at}, {length} bytes"));
    let mapped = &mut actor.mapped;
    same(pwrite(&mapped.file, &bytes, at as i64), Ok(length))?;
    mapped.bytes[at..at + length].copy_from_slice(&bytes);
    // At once, through the mapping that was there before.
    same_bytes(&mapped.map.read(at, length), &bytes)
}

pub(crate) fn read(actor: &mut Actor) -> Checked {
    let renew = actor.random.once_in(2);
    actor.begin(format!("all of the mapped file (new mapping: {renew})"));
    let mapped = &mut actor.mapped;
    if renew {
        mapped.map = fine(Map::new(&mapped.file, LENGTH, false, true))?;
    }
    same_bytes(&mapped.map.read(0, LENGTH), &mapped.bytes)
}

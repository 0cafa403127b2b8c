//! Files in memory: one shared with what calls write to it, one written through memory.

use std::fs::File;
use std::path::Path;

use nix::sys::uio::{pread, pwrite};

use super::actor::{Actor, open};
use super::check::{Checked, fine, same, same_bytes};
use crate::sys::map::Map;

/// Its length, which stays.
const LENGTH: usize = 64 << 10;

/// The files, open and mapped all the time.
pub(crate) struct Mapped {
    file: File,
    map: Map,
    /// What has to be in the one that is written by calls.
    pub(crate) bytes: Vec<u8>,
    other: File,
    other_map: Map,
    /// What has to be in the one that is written through memory.
    pub(crate) stored: Vec<u8>,
}

impl Mapped {
    /// Makes the files in `fixed`.
    pub(crate) fn start(fixed: &Path) -> Checked<Mapped> {
        let bytes = vec![b'.'; LENGTH];
        let make = |name: &str, write: bool| {
            let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
            let file = fine(open(&fixed.join(name), flags, 0o600))?;
            same(pwrite(&file, &bytes, 0), Ok(LENGTH))?;
            let map = fine(Map::new(&file, LENGTH, write, true))?;
            Ok((file, map))
        };
        let ((file, map), (other, other_map)) = (make("mapped", false)?, make("stored", true)?);
        Ok(Mapped { file, map, stored: bytes.clone(), bytes, other, other_map })
    }

    /// Writes what is in memory only. A failure shows in what is compared then.
    pub(crate) fn write_back(&self) {
        let _ = self.other_map.sync();
    }
}

pub(crate) fn write(actor: &mut Actor) -> Checked {
    let length = 1 + actor.random.below(6000);
    let at = actor.random.below(LENGTH - length);
    let bytes = actor.random.bytes(length);
    actor.begin_fixed("mapped", format!("pwrite of the mapped file at {at}, {length} bytes"));
    let Some(mapped) = &mut actor.mapped else { return Ok(()) };
    same(pwrite(&mapped.file, &bytes, at as i64), Ok(length))?;
    mapped.bytes[at..at + length].copy_from_slice(&bytes);
    // At once, through the mapping that was there before.
    same_bytes(&fine(mapped.map.read(at, length))?, &bytes)
}

/// Writes through memory; now and then it is written back, and read by a call.
pub(crate) fn store(actor: &mut Actor) -> Checked {
    let length = 1 + actor.random.below(6000);
    let at = actor.random.below(LENGTH - length);
    let (bytes, sync) = (actor.random.bytes(length), actor.random.once_in(4));
    let what = format!("store to the mapped file at {at}, {length} bytes (msync: {sync})");
    actor.begin_fixed("stored", what);
    let Some(mapped) = &mut actor.mapped else { return Ok(()) };
    fine(mapped.other_map.write(at, &bytes))?;
    mapped.stored[at..at + length].copy_from_slice(&bytes);
    if !sync {
        return same_bytes(&fine(mapped.other_map.read(at, length))?, &bytes);
    }
    fine(mapped.other_map.sync())?;
    let mut got = vec![0; LENGTH];
    same(pread(&mapped.other, &mut got, 0), Ok(LENGTH))?;
    same_bytes(&got, &mapped.stored)
}

pub(crate) fn read(actor: &mut Actor) -> Checked {
    let renew = actor.random.once_in(2);
    actor.begin_fixed("mapped", format!("all of the mapped file (new mapping: {renew})"));
    let Some(mapped) = &mut actor.mapped else { return Ok(()) };
    if renew {
        mapped.map = fine(Map::new(&mapped.file, LENGTH, false, true))?;
    }
    same_bytes(&fine(mapped.map.read(0, LENGTH))?, &mapped.bytes)
}

//! Capability sets of a thread, for a process that gives them up for good.

use super::check;
use crate::Errno;

const VERSION_3: u32 = 0x2008_0522;
const CAP_SETPCAP: u32 = 8;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// Effective, permitted and inheritable: the low words, then the high ones.
type Sets = [[u32; 3]; 2];

fn get() -> Result<Sets, Errno> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut sets = Sets::default();
    // SAFETY: version 3 reads a header and writes two structs of three words, as given.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, &raw mut sets) })?;
    Ok(sets)
}

/// The calling thread's permitted capabilities, a bit each.
pub fn permitted() -> Result<u64, Errno> {
    let sets = get()?;
    Ok(u64::from(sets[0][1]) | u64::from(sets[1][1]) << 32)
}

/// Takes every capability that is not in `keep` out of the calling thread's sets, the bounding
/// and the ambient one included. Nothing is gained that was not there.
///
/// The bounding set can only be cut with CAP_SETPCAP; who has not got it has nothing to cut that
/// an exec could bring back under no_new_privs.
pub fn keep_capabilities(keep: u64) -> Result<(), Errno> {
    let mut sets = get()?;
    if sets[0][0] & 1 << CAP_SETPCAP != 0 {
        cut_bounding_set(keep)?;
    }
    for (word, bits) in sets.iter_mut().zip([keep as u32, (keep >> 32) as u32]) {
        word.iter_mut().for_each(|set| *set &= bits);
    }
    let mut header = Header { version: VERSION_3, pid: 0 };
    // SAFETY: version 3 reads a header and two structs of three words, as given. What leaves the
    // permitted or the inheritable set leaves the ambient set with it (capabilities(7)).
    check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, &raw const sets) }).map(drop)
}

fn cut_bounding_set(keep: u64) -> Result<(), Errno> {
    for capability in (0..64u32).filter(|capability| keep >> capability & 1 == 0) {
        // SAFETY: no memory is passed.
        match check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) }) {
            // The first number that this kernel does not know.
            Err(Errno::EINVAL) => return Ok(()),
            other => other.map(drop)?,
        }
    }
    Ok(())
}

/// Whether the process may make a system call that this kernel has, seen by making it with every
/// argument -1: for calls only that take no such number, address or flag.
pub fn is_there(call: libc::c_long) -> bool {
    // SAFETY: no address is passed that anything could be written to.
    let result = check(unsafe { libc::syscall(call, -1, -1, -1, -1, -1, -1) });
    !matches!(result, Err(Errno::ENOSYS | Errno::EPERM))
}

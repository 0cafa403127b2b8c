//! Reading what is behind a descriptor of this machine, for a request.

use super::Result;
use crate::Errno;
use crate::session::about_to_block;
use crate::sys::{Fd, file};

/// Reads until `buf` is full or the file ends; returns how many bytes.
///
/// What is in memory is read at once; for the disk another thread takes over meanwhile.
pub(super) fn read(fd: Fd, buf: &mut [u8], offset: u64) -> Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match file::pread_cached(fd, &mut buf[done..], offset + done as u64) {
            Ok(0) => return Ok(done),
            Ok(length) => done += length,
            // It cannot tell: should it be slow, the watcher finds this thread asleep.
            Err(Errno::EOPNOTSUPP) => break,
            Err(_) => {
                about_to_block();
                break;
            }
        }
    }
    Ok(done + file::pread(fd, &mut buf[done..], offset + done as u64)?)
}

//! Sparse file contents: a memfd, its size and the pages that it holds.
//!
//! Pages behind the file's end or reserved by fallocate are charged too, but are a hole to
//! SEEK_DATA, as the kernel has it for a memfd. Every change here is absolute: done again after a
//! crash in its middle, it comes to the same. The size is the memfd's own.
//!
//! How many pages a change will take cannot be asked beforehand. So the most that it can take is
//! charged, and what was not taken is released; where that much is not free, it goes on page by
//! page.

use super::space::Space;
use crate::Errno;
use crate::fs::Result;
use crate::recovery::points::{self, Point};
use crate::sys::{Fd, file};

/// Bytes a page.
pub(super) const PAGE: u64 = 4096;
/// The largest size and end offset: what `off_t` can say.
pub(super) const MAX_SIZE: u64 = i64::MAX as u64;
/// The most that one [`Data::extract`] copies.
const EXTRACT: u64 = 1 << 20;
/// The last page that a file can have. It counts as data, whatever is in it: there the kernel's
/// SEEK_DATA and SEEK_HOLE run over the end of their numbers (measured on Linux 6.18).
const LAST: u64 = MAX_SIZE / PAGE * PAGE;

const KEEP: u32 = libc::FALLOC_FL_KEEP_SIZE as u32;
const PUNCH: u32 = libc::FALLOC_FL_PUNCH_HOLE as u32 | KEEP;

#[derive(Debug, Default)]
pub(super) struct Data {
    /// `None`: nothing was ever written, the file is empty.
    fd: Option<Fd>,
    size: u64,
    pages: u64,
}

/// A piece taken out of a file to be put into another.
pub(super) enum Extract {
    Hole(u64),
    Bytes(Vec<u8>),
}

/// What a failed change of a memfd means to the caller.
fn full(errno: Errno) -> Errno {
    if errno == Errno::ENOMEM { Errno::ENOSPC } else { errno }
}

fn fallocate(fd: Fd, mode: u32, offset: u64, end: u64) -> Result<()> {
    loop {
        match file::fallocate(fd, mode, offset, end - offset) {
            Err(Errno::EINTR) => {}
            result => return result.map_err(full),
        }
    }
}

/// Pages that `[offset, end)` touches.
fn span(offset: u64, end: u64) -> std::ops::Range<u64> {
    offset / PAGE..end.div_ceil(PAGE)
}

impl Data {
    /// What is in the memfd of a file.
    pub(super) fn of(fd: Option<Fd>) -> Data {
        let mut data = Data { fd, ..Data::default() };
        data.measure();
        data
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Pages held or reserved.
    pub(super) fn pages(&self) -> u64 {
        self.pages
    }

    pub(super) fn is_attached(&self) -> bool {
        self.fd.is_some()
    }

    /// From here on the contents are in `fd`, which is empty.
    pub(super) fn attach(&mut self, fd: Fd) {
        self.fd = Some(fd);
    }

    fn fd(&self) -> Result<Fd> {
        self.fd.ok_or(Errno::EIO)
    }

    /// Asks the memfd how long it is and what it holds.
    fn measure(&mut self) {
        // Fails only where there is no memfd: then nothing can be read either.
        let known = self.fd.and_then(|fd| file::fstatx(fd).ok());
        let known = known.map(|stat| (stat.stx_size, stat.stx_blocks * 512 / PAGE));
        (self.size, self.pages) = known.unwrap_or_default();
    }

    /// Behind a change for which `charged` pages were charged: settles what it took.
    fn settle(&mut self, space: &Space, charged: u64) {
        points::reach(Point::Called);
        let before = self.pages + charged;
        self.measure();
        space.bytes().release(before.saturating_sub(self.pages) * PAGE);
        space.bytes().force(self.pages.saturating_sub(before) * PAGE);
    }

    /// Reads at `offset`; fewer bytes than `buf` holds only at the end.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        if self.size <= offset {
            return Ok(0);
        }
        let (fd, length) = self.place(offset, buf.len())?;
        file::pread(fd, &mut buf[..length], offset)
    }

    /// The memfd, and how many of `length` bytes there are at `offset`.
    pub(super) fn place(&self, offset: u64, length: usize) -> Result<(Fd, usize)> {
        let length = self.size.saturating_sub(offset).min(length as u64) as usize;
        Ok((self.fd()?, length))
    }

    /// Writes at `offset`. Short when space or the largest size is reached on the way,
    /// ENOSPC or EFBIG when not one byte fits.
    pub(super) fn write(&mut self, space: &Space, offset: u64, data: &[u8]) -> Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        if offset >= MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        let length = (MAX_SIZE - offset).min(data.len() as u64);
        let pages = span(offset, offset + length);
        let most = pages.end - pages.start;
        let fd = self.fd()?;
        if space.bytes().charge(most * PAGE).is_ok() {
            let result = file::pwrite(fd, &data[..length as usize], offset);
            self.settle(space, most);
            return result.map_err(full);
        }
        let mut done = 0;
        for page in pages {
            if let Err(error) = self.hold(space, page) {
                return if done == 0 { Err(error) } else { Ok(done) };
            }
            let to = ((page + 1).saturating_mul(PAGE) - offset).min(length) as usize;
            done += file::pwrite(fd, &data[done..to], offset + done as u64).map_err(full)?;
        }
        self.settle(space, 0);
        Ok(done)
    }

    /// Sees to it that a page is held, and charged; true when it was not.
    fn hold(&mut self, space: &Space, page: u64) -> Result<bool> {
        let (start, end) = (page * PAGE, ((page + 1) * PAGE).min(MAX_SIZE));
        let (fd, before) = (self.fd()?, self.pages);
        fallocate(fd, KEEP, start, end)?;
        self.measure();
        let taken = self.pages.saturating_sub(before);
        if taken == 0 {
            return Ok(false);
        }
        if let Err(error) = space.bytes().charge(taken * PAGE) {
            fallocate(fd, PUNCH, start, end)?;
            self.measure();
            return Err(error);
        }
        Ok(true)
    }

    /// Cuts or grows to `size`. Cutting drops reservations behind it too.
    pub(super) fn resize(&mut self, space: &Space, size: u64) -> Result<()> {
        if size > MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        if self.fd.is_none() && size == 0 {
            return Ok(());
        }
        let result = file::ftruncate(self.fd()?, size).map_err(full);
        self.settle(space, 0);
        result
    }

    /// Makes the file at least `size` long.
    pub(super) fn grow(&mut self, space: &Space, size: u64) -> Result<()> {
        if size > self.size { self.resize(space, size) } else { Ok(()) }
    }

    /// Reserves `[offset, end)`: a later write there finds space. All or nothing.
    pub(super) fn reserve(&mut self, space: &Space, offset: u64, end: u64) -> Result<()> {
        if end > MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        let pages = span(offset, end);
        let most = pages.end - pages.start;
        // Refused here when it cannot fit, before the pages of a huge range are counted.
        if most > space.bytes().limit() / PAGE {
            return Err(Errno::ENOSPC);
        }
        if space.bytes().charge(most * PAGE).is_ok() {
            let result = fallocate(self.fd()?, KEEP, offset, end);
            self.settle(space, most);
            return result;
        }
        let mut taken = Vec::new();
        for page in pages {
            match self.hold(space, page) {
                Ok(true) => taken.push(page),
                Ok(false) => {}
                Err(error) => {
                    let punch = |page: &u64| {
                        self.punch(space, page * PAGE, ((page + 1) * PAGE).min(MAX_SIZE))
                    };
                    taken.iter().try_for_each(punch)?;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Makes `[offset, end)` a hole; pages that it covers in part are cleared in part.
    pub(super) fn punch(&mut self, space: &Space, offset: u64, end: u64) -> Result<()> {
        let Some(fd) = self.fd else { return Ok(()) };
        let result = fallocate(fd, PUNCH, offset, end);
        self.settle(space, 0);
        result
    }

    /// Makes `[offset, end)` zero and reserved.
    pub(super) fn zero(&mut self, space: &Space, offset: u64, end: u64) -> Result<()> {
        self.reserve(space, offset, end)?;
        // What the hole gives back stays charged until it is taken again.
        let fd = self.fd()?;
        let result = fallocate(fd, PUNCH, offset, end);
        let result = result.and_then(|()| fallocate(fd, KEEP, offset, end));
        self.settle(space, 0);
        result
    }

    /// SEEK_DATA: the first byte at or behind `offset` that is not in a hole.
    pub(super) fn seek_data(&self, offset: u64) -> Result<u64> {
        self.seek(offset, libc::SEEK_DATA)
    }

    /// SEEK_HOLE: the first byte at or behind `offset` in a hole; the end counts as one.
    pub(super) fn seek_hole(&self, offset: u64) -> Result<u64> {
        self.seek(offset, libc::SEEK_HOLE)
    }

    fn seek(&self, offset: u64, whence: i32) -> Result<u64> {
        if offset >= self.size {
            return Err(Errno::ENXIO);
        }
        if offset >= LAST {
            return Ok(if whence == libc::SEEK_DATA { offset } else { self.size });
        }
        match file::lseek(self.fd()?, offset, whence.cast_unsigned()) {
            Ok(at) if at < LAST => Ok(at),
            Err(errno) if errno != Errno::ENXIO || self.size <= LAST => Err(errno),
            _ => Ok(if whence == libc::SEEK_DATA { LAST } else { self.size }),
        }
    }

    /// Takes out up to `max` bytes at `offset`: a hole, or data of at most 1 MiB.
    /// `None` at the end of the file.
    pub(super) fn extract(&self, offset: u64, max: u64) -> Result<Option<Extract>> {
        let left = self.size.saturating_sub(offset).min(max);
        if left == 0 {
            return Ok(None);
        }
        let data = self.seek_data(offset).unwrap_or(self.size);
        if data > offset {
            return Ok(Some(Extract::Hole(left.min(data - offset))));
        }
        let run = self.seek_hole(offset).unwrap_or(self.size).saturating_sub(offset);
        let mut bytes = vec![0; left.min(run.max(1)).min(EXTRACT) as usize];
        self.read(offset, &mut bytes)?;
        Ok(Some(Extract::Bytes(bytes)))
    }

    /// Puts `piece` at `offset`; returns how many bytes that was.
    pub(super) fn put(&mut self, space: &Space, offset: u64, piece: &Extract) -> Result<u64> {
        match piece {
            Extract::Bytes(bytes) => Ok(self.write(space, offset, bytes)? as u64),
            Extract::Hole(length) => {
                self.punch(space, offset, offset + length)?;
                self.grow(space, offset + length)?;
                Ok(*length)
            }
        }
    }
}

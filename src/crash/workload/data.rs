//! Operations on what is in open files.

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, copy_file_range, fallocate};
use nix::sys::uio::{pread, pwrite};
use nix::unistd::{Whence, fdatasync, fsync, ftruncate, lseek};

use super::abilities::Ability;
use super::actor::Actor;
use super::check::{Checked, fine, same, same_bytes, wrong};
use super::model::{Changed, Id};

/// The longest file.
const LONGEST: usize = 200_000;

impl Actor {
    /// An offset and a length; short ones more often.
    fn some_range(&mut self) -> (usize, usize) {
        let longest = self.random.pick(&[100, 5000, 5000, 40_000]);
        let length = 1 + self.random.below(longest);
        let within = self.random.pick(&[1, 9000, LONGEST - 40_000]);
        (self.random.below(within), length)
    }

    /// Makes a file longer or shorter.
    pub(crate) fn resize(&mut self, id: Id, length: usize) {
        let now = self.now();
        let data = self.model.data(id);
        // Where the length is the same already, the time of change may stay.
        let changed = if data.len() == length { Changed::Perhaps } else { now };
        data.resize(length, 0);
        self.model.get_mut(id).mtime = changed;
    }

    /// Puts bytes into a file.
    fn put(&mut self, id: Id, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        let data = self.model.data(id);
        if data.len() < end {
            data.resize(end, 0);
        }
        data[offset..end].copy_from_slice(bytes);
        self.model.get_mut(id).mtime = self.now();
    }

    /// What is in a range of a file.
    fn part(&mut self, id: Id, offset: usize, length: usize) -> &[u8] {
        let data = self.model.data(id);
        let start = offset.min(data.len());
        &data[start..(offset + length).clamp(start, data.len())]
    }
}

pub(crate) fn read(actor: &mut Actor) -> Checked {
    let Some(which) = actor.an_open() else { return Ok(()) };
    let (offset, length) = actor.some_range();
    let (id, reads) = (actor.open[which].id, actor.open[which].reads);
    actor.begin_open(which, format!("pread {id} at {offset}, {length} bytes"));
    let mut got = vec![0; length];
    let done = pread(&actor.open[which].file, &mut got, offset as i64);
    if !reads {
        return same(done, Err(Errno::EBADF));
    }
    same_bytes(&got[..fine(done)?], actor.part(id, offset, length))
}

pub(crate) fn read_on(actor: &mut Actor) -> Checked {
    let Some(which) = actor.an_open() else { return Ok(()) };
    let (_, length) = actor.some_range();
    let (id, reads) = (actor.open[which].id, actor.open[which].reads);
    let offset = actor.open[which].position;
    actor.begin_open(which, format!("read {id} from {offset} on, {length} bytes"));
    let mut got = vec![0; length];
    let done = nix::unistd::read(&actor.open[which].file, &mut got);
    if !reads {
        return same(done, Err(Errno::EBADF));
    }
    let done = fine(done)?;
    actor.open[which].position += done;
    same_bytes(&got[..done], actor.part(id, offset, length))
}

pub(crate) fn write(actor: &mut Actor) -> Checked {
    let Some(which) = actor.an_open() else { return Ok(()) };
    let (offset, length) = actor.some_range();
    let id = actor.open[which].id;
    let (writes, appends) = (actor.open[which].writes, actor.open[which].appends);
    // Linux: an open for appending appends, whatever the offset.
    let at = if appends { actor.model.data(id).len() } else { offset };
    if at + length > LONGEST {
        return Ok(());
    }
    let bytes = actor.random.bytes(length);
    actor.begin_open(which, format!("pwrite {id} at {at} (appends: {appends}), {length} bytes"));
    let done = pwrite(&actor.open[which].file, &bytes, offset as i64);
    if !writes {
        return same(done, Err(Errno::EBADF));
    }
    same(done, Ok(length))?;
    actor.put(id, at, &bytes);
    Ok(())
}

pub(crate) fn write_on(actor: &mut Actor) -> Checked {
    let Some(which) = actor.an_open() else { return Ok(()) };
    let (_, length) = actor.some_range();
    let id = actor.open[which].id;
    let (writes, appends) = (actor.open[which].writes, actor.open[which].appends);
    let end = actor.model.data(id).len();
    let at = if appends { end } else { actor.open[which].position };
    if at + length > LONGEST {
        return Ok(());
    }
    let bytes = actor.random.bytes(length);
    actor.begin_open(which, format!("write {id} at {at} (appends: {appends}), {length} bytes"));
    let done = nix::unistd::write(&actor.open[which].file, &bytes);
    if !writes {
        return same(done, Err(Errno::EBADF));
    }
    same(done, Ok(length))?;
    actor.open[which].position = at + length;
    actor.put(id, at, &bytes);
    Ok(())
}

pub(crate) fn seek(actor: &mut Actor) -> Checked {
    let Some(which) = actor.an_open() else { return Ok(()) };
    let (offset, _) = actor.some_range();
    let (id, position) = (actor.open[which].id, actor.open[which].position);
    let size = actor.model.data(id).len();
    let (how, start) = actor.random.pick(&[
        (Whence::SeekSet, 0),
        (Whence::SeekCur, position),
        (Whence::SeekEnd, size),
    ]);
    let offset = offset % 100_000;
    actor.begin_open(which, format!("lseek {id} {how:?} {offset}"));
    same(lseek(&actor.open[which].file, offset as i64, how), Ok((start + offset) as i64))?;
    actor.open[which].position = start + offset;
    Ok(())
}

/// What is no data has to be zeros; more cannot be known.
pub(crate) fn holes(actor: &mut Actor) -> Checked {
    let Some(which) = actor.an_open() else { return Ok(()) };
    let (offset, _) = actor.some_range();
    let for_data = actor.random.once_in(2);
    let how = if for_data { Whence::SeekData } else { Whence::SeekHole };
    let id = actor.open[which].id;
    actor.begin_open(which, format!("lseek {id} {how:?} {offset}"));
    let got = lseek(&actor.open[which].file, offset as i64, how);
    let data = actor.model.data(id);
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let fits = match got {
        _ if offset >= data.len() => got == Err(Errno::ENXIO),
        Err(Errno::ENXIO) => for_data && is_zero(&data[offset..]),
        Err(_) => false,
        Ok(at) if at < offset as i64 || at > data.len() as i64 => false,
        Ok(at) if for_data => is_zero(&data[offset..at as usize]),
        Ok(at) => data.get(at as usize).is_none_or(|byte| *byte == 0),
    };
    if !fits {
        return wrong((how, got), format!("fits the {} bytes", data.len()));
    }
    if let Ok(at) = got {
        actor.open[which].position = at as usize;
    }
    Ok(())
}

pub(crate) fn truncate(actor: &mut Actor) -> Checked {
    let (offset, _) = actor.some_range();
    if actor.random.once_in(3) {
        let Some(place) = actor.a_file() else { return Ok(()) };
        let path = actor.model.path(&place);
        actor.begin(&path, format!("truncate {path:?} to {offset}"));
        fine(nix::unistd::truncate(&path, offset as i64))?;
        place.id.into_iter().for_each(|id| actor.resize(id, offset));
        return Ok(());
    }
    let Some(which) = actor.an_open() else { return Ok(()) };
    let id = actor.open[which].id;
    actor.begin_open(which, format!("ftruncate {id} to {offset}"));
    let got = ftruncate(&actor.open[which].file, offset as i64);
    if !actor.open[which].writes {
        return same(got, Err(Errno::EINVAL));
    }
    fine(got)?;
    actor.resize(id, offset);
    Ok(())
}

pub(crate) fn allocate(actor: &mut Actor) -> Checked {
    let Some(which) = actor.an_open() else { return Ok(()) };
    let (offset, length) = actor.some_range();
    let id = actor.open[which].id;
    let keep = FallocateFlags::FALLOC_FL_KEEP_SIZE;
    let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | keep;
    let mode = actor.random.pick(&[FallocateFlags::empty(), keep, punch]);
    if mode == punch && !actor.model.can(Ability::Punch) {
        return Ok(());
    }
    actor.begin_open(which, format!("fallocate {id} {mode:?} at {offset}, {length} bytes"));
    let got = fallocate(&actor.open[which].file, mode, offset as i64, length as i64);
    if !actor.open[which].writes {
        return same(got, Err(Errno::EBADF));
    }
    fine(got)?;
    let data = actor.model.data(id);
    let size = data.len();
    if mode.is_empty() {
        data.resize(size.max(offset + length), 0);
    } else if mode == punch {
        data[offset.min(size)..(offset + length).min(size)].fill(0);
    }
    // Whether the time changes where nothing else does, each file system sees in its own way.
    actor.model.get_mut(id).mtime = Changed::Perhaps;
    Ok(())
}

pub(crate) fn copy(actor: &mut Actor) -> Checked {
    let (Some(from), Some(to)) = (actor.an_open(), actor.an_open()) else { return Ok(()) };
    let ((start, length), (to_start, _)) = (actor.some_range(), actor.some_range());
    let (source, target) = (actor.open[from].id, actor.open[to].id);
    let bytes = actor.part(source, start, length).to_vec();
    let overlap =
        source == target && to_start + bytes.len() > start && to_start < start + bytes.len();
    let allowed = actor.open[from].reads && actor.open[to].writes && !actor.open[to].appends;
    let what = format!("{} bytes of {source} at {start} to {target} at {to_start}", bytes.len());
    actor.begin_open(from, format!("copy_file_range {what}"));
    // No more than there is: what is written to the same file may be behind the bytes read.
    let asked = if bytes.is_empty() { length } else { bytes.len() };
    let (mut at, mut to_at, mut left) = (start as i64, to_start as i64, asked);
    loop {
        let (input, output) = (&actor.open[from].file, &actor.open[to].file);
        let got = copy_file_range(input, Some(&mut at), output, Some(&mut to_at), left);
        if !allowed {
            return same(got, Err(Errno::EBADF));
        }
        if overlap {
            return same(got, Err(Errno::EINVAL));
        }
        // It may stop early, at any place.
        left -= fine(got)?.min(left);
        if got == Ok(0) || left == 0 {
            break;
        }
    }
    let done = [at - start as i64, to_at - to_start as i64];
    same(done, [bytes.len() as i64; 2])?;
    if !bytes.is_empty() {
        actor.put(target, to_start, &bytes);
    }
    Ok(())
}

pub(crate) fn sync(actor: &mut Actor) -> Checked {
    let Some(which) = actor.an_open() else { return Ok(()) };
    let data_only = actor.random.once_in(2);
    actor.begin_open(which, format!("fsync {} (data only: {data_only})", actor.open[which].id));
    let file = &actor.open[which].file;
    fine(if data_only { fdatasync(file) } else { fsync(file) })
}

//! Opening, closing, and reading whole files.

use std::path::Path;

use nix::errno::Errno;
use nix::unistd::read;

use super::actor::{Actor, open as open_at};
use super::check::{Checked, fine, same, same_bytes};
use super::model::{Id, Kind};
use crate::sys::map::Map;

pub(crate) fn open(actor: &mut Actor) -> Checked {
    let place = actor.a_name();
    let path = actor.model.path(&place);
    let access = actor.random.pick(&[
        libc::O_RDONLY,
        libc::O_WRONLY,
        libc::O_RDWR,
        libc::O_RDWR | libc::O_APPEND,
        libc::O_WRONLY | libc::O_APPEND,
    ]);
    let expected = match place.id.map(|id| &actor.model.get(id).kind) {
        None => Err(Errno::ENOENT),
        Some(Kind::File(_)) => Ok(()),
        Some(Kind::Dir(..)) if access != libc::O_RDONLY => Err(Errno::EISDIR),
        Some(Kind::Symlink(_)) => Err(Errno::ELOOP),
        // Nothing to be done with a directory here; a fifo would talk to nobody.
        Some(Kind::Dir(..) | Kind::Fifo) => return Ok(()),
    };
    actor.begin(&path, format!("open {path:?} {access:#x}"));
    let got = open_at(&path, access | libc::O_NOFOLLOW, 0);
    same(got.as_ref().map(drop).map_err(|error| *error), expected)?;
    if let (Ok(file), Some(id)) = (got, place.id) {
        actor.keep_open(file, &path, id, access);
    }
    Ok(())
}

pub(crate) fn close(actor: &mut Actor) -> Checked {
    let Some(which) = actor.an_open() else { return Ok(()) };
    actor.begin_open(which, format!("close {}", actor.open[which].id));
    actor.close(which);
    Ok(())
}

/// By another open, with read(2) or through memory.
pub(crate) fn read_whole(actor: &mut Actor) -> Checked {
    let Some(place) = actor.a_file() else { return Ok(()) };
    let Some(id) = place.id else { return Ok(()) };
    let path = actor.model.path(&place);
    let through_memory = actor.random.once_in(2);
    actor.begin(
        &path,
        format!("all of {path:?} {}", if through_memory { "mapped" } else { "read" }),
    );
    actor.same_content(&path, id, through_memory)
}

impl Actor {
    /// Compares what is in a file.
    pub(crate) fn same_content(&mut self, path: &Path, id: Id, through_memory: bool) -> Checked {
        let file = fine(open_at(path, libc::O_RDONLY | libc::O_NOFOLLOW, 0))?;
        let expected = self.model.data(id);
        if through_memory && !expected.is_empty() {
            let map = fine(Map::new(&file, expected.len(), false, true))?;
            return same_bytes(&fine(map.read(0, expected.len()))?, expected);
        }
        // One byte more: to see the end.
        let mut got = vec![0; expected.len() + 1];
        let mut done = 0;
        loop {
            match fine(read(&file, &mut got[done..]))? {
                0 => break,
                some => done += some,
            }
        }
        same_bytes(&got[..done], expected)
    }
}

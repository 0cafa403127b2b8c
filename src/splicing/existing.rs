//! A mount of somebody else: one of its files is read, or one of ours that is put there.
//!
//! A file that is there already has bytes that nobody knows: what its first reading gave is what
//! every other has to give.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::local::Window;
use super::mounted;
use super::pattern::{Pattern, same};
use super::report::Sample;
use super::{BenchError, Cell, Result};
use crate::mount::mountinfo;

/// What is read there.
pub(super) struct Existing {
    path: PathBuf,
    expected: Vec<u8>,
    /// It goes with this.
    _own: Option<NamedTempFile>,
}

impl Existing {
    /// `path` is a file with as many bytes as are measured, or a directory, in which a file with
    /// the pattern is made.
    pub(super) fn new(path: &Path, pattern: &Pattern) -> Result<Existing> {
        let shown = path.display();
        let failed = || BenchError::io(format!("--mount: {shown}"));
        let meta = path.metadata().map_err(failed())?;
        if !is_fuse(&meta).map_err(failed())? {
            let message = format!("--mount: {shown}: not on a FUSE mount: give a path on one");
            return Err(BenchError::Failed(message));
        }
        let length = pattern.source().len();
        if meta.is_dir() {
            let own = tempfile::Builder::new().prefix(".fusex-splice-").tempfile_in(path);
            let mut own = own.map_err(failed())?;
            own.write_all(pattern.source()).map_err(failed())?;
            own.as_file().sync_all().map_err(failed())?;
            let path = own.path().to_path_buf();
            return Ok(Existing { path, expected: pattern.source().to_vec(), _own: Some(own) });
        }
        if !meta.is_file() || meta.len() < length as u64 {
            let message = format!(
                "--mount: {shown}: no file of {length} bytes or more: give a larger one, a \
                 directory, or a smaller --bytes"
            );
            return Err(BenchError::Failed(message));
        }
        let mut expected = vec![0; length];
        File::open(path).and_then(|it| it.read_exact_at(&mut expected, 0)).map_err(failed())?;
        Ok(Existing { path: path.into(), expected, _own: None })
    }

    /// Reads `blocks` blocks, and compares them. Who serves them is not known.
    pub(super) fn measure(&self, window: &mut Window, cell: Cell, blocks: usize) -> Result<Sample> {
        let (sample, arrived) = mounted::read(&self.path, window, cell, blocks, &|| Ok(None))?;
        same(&self.expected[..arrived.len()], arrived, 0, &cell.to_string())?;
        Ok(Sample { peer: None, ..sample })
    }
}

fn is_fuse(meta: &std::fs::Metadata) -> std::io::Result<bool> {
    let device = meta.dev();
    let number = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let entries = mountinfo::read()?;
    let mut alike = entries.iter().filter(|it| (it.major.into(), it.minor.into()) == number);
    Ok(alike.any(|entry| entry.is_fuse()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_no_fuse_mount_is_refused() {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let error = Existing::new(dir.path(), &Pattern::new(10, None)).err().unwrap().to_string();
        assert!(error.ends_with(": not on a FUSE mount: give a path on one"), "{error}");
        let error = Existing::new(&dir.path().join("x"), &Pattern::new(10, None)).err().unwrap();
        assert!(error.to_string().ends_with("/x: No such file or directory"), "{error}");
    }
}

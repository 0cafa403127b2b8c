//! Many files: made in the lower directory, looked up through the mount.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::ensure;

use crate::mount::check_stopped;

/// Files in a directory.
const DIRECTORY: usize = 1_000;

/// The name of file number `index` in a tree.
pub(crate) fn name(index: usize) -> PathBuf {
    PathBuf::from(format!("d{:04}/f{:03}", index / DIRECTORY, index % DIRECTORY))
}

/// Makes empty files, 1,000 a directory.
pub(crate) fn make(lower: &Path, files: usize) -> anyhow::Result<()> {
    for index in 0..files {
        let path = lower.join(name(index));
        if index % DIRECTORY == 0 {
            check_stopped()?;
            path.parent().map_or(Ok(()), std::fs::create_dir)?;
        }
        File::create_new(path)?;
    }
    Ok(())
}

/// Looks at each file through the mount, as `ls -lR` does; returns how many there are.
pub(crate) fn look(point: &Path) -> anyhow::Result<usize> {
    let mut files = 0;
    for directory in std::fs::read_dir(point)? {
        check_stopped()?;
        for file in std::fs::read_dir(directory?.path())? {
            ensure!(file?.metadata()?.nlink() == 1, "a file with other links than it has");
            files += 1;
        }
    }
    Ok(files)
}

/// Opens the first files.
pub(crate) fn open(point: &Path, files: usize) -> anyhow::Result<Vec<File>> {
    let open = |index| OpenOptions::new().read(true).open(point.join(name(index)));
    Ok((0..files).map(open).collect::<Result<_, _>>()?)
}

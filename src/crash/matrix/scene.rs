//! Where a step plays: a fresh directory, or files made of pieces, as they are; files that stay open;
//! and what was seen.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use nix::fcntl::OFlag;
use nix::unistd::{Whence, lseek};
use xxhash_rust::xxh3::xxh3_64;

use crate::Errno;
use crate::crash::pieces::Pieces;
use crate::crash::target::Target;
use crate::sys::Fd;

/// One scene.
pub(super) struct Scene {
    /// Its directory, through the mount.
    pub(super) dir: PathBuf,
    /// The same directory below the mount; `None` where that is nothing alike.
    pub(super) lower: Option<PathBuf>,
    /// What is mounted is made of these, and nothing can be changed.
    pub(super) pieces: Option<Arc<Pieces>>,
    /// Stay open to the end.
    pub(super) files: Vec<File>,
    /// Ends by itself soon: who lets go of a lock and the like.
    pub(super) helper: Option<JoinHandle<Option<File>>>,
    /// What was seen.
    pub(super) said: Vec<String>,
    /// What is wrong whatever was seen at other times.
    pub(super) fault: Option<String>,
}

impl Scene {
    pub(super) fn new(target: &Target, name: &str) -> Scene {
        let (point, pieces) = (target.point(), target.pieces());
        Scene {
            dir: if pieces.is_some() { point } else { point.join(name) },
            lower: target.lower().map(|lower| lower.join(name)),
            pieces,
            files: Vec::new(),
            helper: None,
            said: Vec::new(),
            fault: None,
        }
    }

    /// Makes the directory.
    pub(super) fn set(&self) -> io::Result<()> {
        if self.pieces.is_none() { std::fs::create_dir(&self.dir) } else { Ok(()) }
    }

    /// Takes it away.
    pub(super) fn strike(&self) -> io::Result<()> {
        if self.pieces.is_none() { std::fs::remove_dir_all(&self.dir) } else { Ok(()) }
    }

    /// Notes what is wrong.
    pub(super) fn fault(&mut self, what: String) {
        self.fault.get_or_insert(what);
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Notes what a call came to.
    pub(super) fn say<T: Debug, E: Into<io::Error>>(&mut self, what: &str, result: Result<T, E>) {
        let line = match result {
            Ok(value) => format!("{what}: {value:?}"),
            Err(error) => format!("{what}: {}", errno(&error.into())),
        };
        self.said.push(line);
    }

    /// The same for a call that opens a file, which stays open.
    pub(super) fn keep<E: Into<io::Error>>(&mut self, what: &str, result: Result<File, E>) {
        match result {
            Ok(file) => {
                self.files.push(file);
                self.said.push(format!("{what}: open"));
            }
            Err(error) => self.said.push(format!("{what}: {}", errno(&error.into()))),
        }
    }

    /// Opens a file that stays open; O_RDWR and O_CREAT are up to the caller.
    pub(super) fn open(&mut self, name: &str, flags: OFlag) -> io::Result<()> {
        let file = open(&self.path(name), flags)?;
        self.files.push(file);
        Ok(())
    }

    /// A new file with this content, closed again.
    pub(super) fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        std::fs::write(self.path(name), content)
    }

    /// The descriptor of a file that is kept.
    pub(super) fn fd(&self, which: usize) -> Fd {
        Fd::from_number(self.files.get(which).map_or(-1, |file| file.as_raw_fd()))
    }

    /// What the open files show: position, size, links and content.
    pub(super) fn look_at_files(&mut self) {
        for (number, file) in self.files.iter().enumerate() {
            let line = look(file).unwrap_or_else(|error| errno(&error));
            self.said.push(format!("open file {number}: {line}"));
        }
    }
}

fn look(file: &File) -> io::Result<String> {
    let meta = file.metadata()?;
    let position = lseek(file, 0, Whence::SeekCur)?;
    let mut line = format!("{:o} links {} at {position}", meta.mode(), meta.nlink());
    let readable = nix::fcntl::fcntl(file, nix::fcntl::FcntlArg::F_GETFL)?;
    let writes_only = OFlag::from_bits_retain(readable) & OFlag::O_ACCMODE == OFlag::O_WRONLY;
    if meta.is_file() && !writes_only {
        let mut content = vec![0; meta.len() as usize];
        let read = file.read_exact_at(&mut content, 0).map(|()| xxh3_64(&content))?;
        line.push_str(&format!(" size {} hash {read:x}", meta.len()));
    }
    Ok(line)
}

pub(super) fn errno(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => format!("{:?}", Errno::from_raw(number)),
        None => error.to_string(),
    }
}

/// open(2), close-on-exec.
pub(super) fn open(path: &Path, flags: OFlag) -> io::Result<File> {
    let access = flags & OFlag::O_ACCMODE;
    let mut options = File::options();
    options.read(access != OFlag::O_WRONLY).write(access != OFlag::O_RDONLY);
    // Said by hand: the standard library wants to know better which of them go together.
    options.custom_flags((flags - OFlag::O_ACCMODE).bits()).mode(0o640).open(path)
}

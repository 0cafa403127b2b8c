//! What a caller can be told to do.
//!
//! | line | what it does |
//! | --- | --- |
//! | `open N PATH`, `make N PATH` | opens for reading and writing, as N; `make`: a new file; `create`: an empty one |
//! | `read N LENGTH`, `write N TEXT` | at the file's position; the text has no blanks |
//! | `seek N POSITION`, `cut N LENGTH`, `position N`, `size N`, `links N`, `close N` | |
//! | `put PATH TEXT`, `get PATH` | a new file with this content; the content |
//! | `append PATH TEXT` | with O_APPEND |
//! | `mkdir`, `rmdir`, `unlink PATH`, `rename`, `link FROM TO` | |
//! | `names PATH` | how many names a directory has |
//! | `list N PATH`, `next N COUNT` | opens a directory; the next names |
//! | `posix N r\|w\|u START LENGTH` | F_SETLK; `posixw`: F_SETLKW; `ofd`, `ofdw`: OFD locks |
//! | `flock N sh\|ex\|un` | without waiting; `flockw`: waiting |
//! | `load PATH` | works there, see [`Load`]; `unload`: ends that, with the rounds |

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

use crate::common::sys::Stream;
use crate::common::{errno, sys};
use crate::load::Load;

type Done = Result<String, Errno>;

/// The open files of a caller.
pub(crate) struct Deeds {
    directory: PathBuf,
    files: HashMap<String, File>,
    streams: HashMap<String, Stream>,
    load: Option<Load>,
}

fn done<T>(result: std::io::Result<T>) -> Done {
    result.map(|_| String::new()).map_err(errno)
}

impl Deeds {
    pub(crate) fn new(directory: PathBuf) -> Deeds {
        Deeds { directory, files: HashMap::new(), streams: HashMap::new(), load: None }
    }

    pub(crate) fn obey(&mut self, words: &[&str]) -> Done {
        match words {
            [
                "open" | "make" | "create" | "list" | "load" | "put" | "append" | "link" | "rename",
                ..,
            ] => self.with_paths(words),
            [what, path] if ["get", "mkdir", "rmdir", "unlink", "names"].contains(what) => {
                self.at_path(what, path)
            }
            ["next", name, count] => self.next(name, count.parse().unwrap()),
            ["close", name] => {
                done(self.files.remove(*name).ok_or(std::io::ErrorKind::NotFound.into()))
            }
            ["unload"] => Ok(self.load.take().unwrap().end()),
            [what, name, rest @ ..] => match self.files.get_mut(*name) {
                Some(file) => with_file(file, what, rest),
                None => panic!("{words:?}: not open"),
            },
            _ => panic!("unknown: {words:?}"),
        }
    }

    fn with_paths(&mut self, words: &[&str]) -> Done {
        let path = |path: &&str| self.directory.join(path);
        let mut both = OpenOptions::new();
        both.read(true).write(true);
        match words {
            ["open", name, at] => {
                self.files.insert(name.to_string(), both.open(path(at)).map_err(errno)?);
            }
            ["make", name, at] => {
                let file = both.create_new(true).open(path(at)).map_err(errno)?;
                self.files.insert(name.to_string(), file);
            }
            ["create", name, at] => {
                let file = both.create(true).truncate(true).open(path(at)).map_err(errno)?;
                self.files.insert(name.to_string(), file);
            }
            ["list", name, at] => {
                self.streams.insert(name.to_string(), Stream::open(&path(at))?);
            }
            ["load", at] => self.load = Some(Load::start(&path(at))),
            ["put", at, text] => {
                let mut file = File::create_new(path(at)).map_err(errno)?;
                return done(file.write_all(text.as_bytes()));
            }
            ["append", at, text] => {
                let mut file = OpenOptions::new().append(true).open(path(at)).map_err(errno)?;
                return done(file.write_all(text.as_bytes()));
            }
            ["link", from, to] => return done(fs::hard_link(path(from), path(to))),
            ["rename", from, to] => return done(fs::rename(path(from), path(to))),
            _ => panic!("unknown: {words:?}"),
        }
        Ok(String::new())
    }

    fn at_path(&self, what: &str, path: &str) -> Done {
        let path = self.directory.join(path);
        match what {
            "get" => fs::read_to_string(path).map_err(errno),
            "mkdir" => done(fs::create_dir(path)),
            "rmdir" => done(fs::remove_dir(path)),
            "unlink" => done(fs::remove_file(path)),
            _ => fs::read_dir(path).map(|names| names.count().to_string()).map_err(errno),
        }
    }

    fn next(&mut self, name: &str, count: usize) -> Done {
        let stream = self.streams.get_mut(name).unwrap();
        let mut names = Vec::new();
        while names.len() < count {
            let Some((name, _)) = stream.entry()? else { break };
            names.push(name.to_string_lossy().into_owned());
        }
        Ok(names.join(" "))
    }
}

fn with_file(file: &mut File, what: &str, rest: &[&str]) -> Done {
    match (what, rest) {
        ("read", [length]) => {
            let mut bytes = vec![0; length.parse().unwrap()];
            let length = file.read(&mut bytes).map_err(errno)?;
            Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
        }
        ("write", [text]) => done(file.write_all(text.as_bytes())),
        ("seek", [position]) => done(file.seek(SeekFrom::Start(position.parse().unwrap()))),
        ("cut", [length]) => done(file.set_len(length.parse().unwrap())),
        ("position", []) => file.stream_position().map(|at| at.to_string()).map_err(errno),
        ("size", []) => file.metadata().map(|it| it.len().to_string()).map_err(errno),
        ("links", []) => file.metadata().map(|it| it.nlink().to_string()).map_err(errno),
        ("flock", [how]) => {
            sys::flock(file, flock_kind(how) | libc::LOCK_NB).map(|()| String::new())
        }
        ("flockw", [how]) => sys::flock(file, flock_kind(how)).map(|()| String::new()),
        (_, [kind, start, length]) => lock(file, what, kind, start, length),
        _ => panic!("unknown: {what} {rest:?}"),
    }
}

fn lock(file: &File, what: &str, kind: &str, start: &str, length: &str) -> Done {
    let l_type = match kind {
        "r" => libc::F_RDLCK,
        "w" => libc::F_WRLCK,
        "u" => libc::F_UNLCK,
        _ => panic!("unknown: {kind}"),
    };
    let range = libc::flock {
        l_type: l_type as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: start.parse().unwrap(),
        l_len: length.parse().unwrap(),
        l_pid: 0,
    };
    let argument = match what {
        "posix" => FcntlArg::F_SETLK(&range),
        "posixw" => FcntlArg::F_SETLKW(&range),
        "ofd" => FcntlArg::F_OFD_SETLK(&range),
        "ofdw" => FcntlArg::F_OFD_SETLKW(&range),
        _ => panic!("unknown: {what}"),
    };
    fcntl(file, argument).map(|_| String::new())
}

fn flock_kind(word: &str) -> i32 {
    match word {
        "sh" => libc::LOCK_SH,
        "ex" => libc::LOCK_EX,
        "un" => libc::LOCK_UN,
        _ => panic!("unknown: {word}"),
    }
}

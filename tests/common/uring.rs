//! Mounts whose requests come over io_uring.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;

use nix::fcntl::{Flock, FlockArg};

use super::Mode;

/// Requests over io_uring.
pub(crate) const URING: Mode = &["--no-supervise", "--transport", "uring"];

const PARAMETER: &str = "/sys/module/fuse/parameters/enable_uring";

/// Why a mount with these arguments is not possible, if it is not.
pub(crate) fn why_not(mode: Mode) -> Option<String> {
    if !mode.contains(&"uring") {
        return None;
    }
    let parameter = OpenOptions::new().write(true).open(PARAMETER);
    parameter.err().map(|error| format!("no FUSE over io_uring: {PARAMETER}: {error}"))
}

/// The kernel offers io_uring to the mounts that are made as long as this is there, one at a time.
pub(crate) struct Offered {
    parameter: Flock<File>,
    before: String,
}

impl Offered {
    pub(crate) fn new() -> Offered {
        let file = OpenOptions::new().read(true).write(true).open(PARAMETER).unwrap();
        let parameter = Flock::lock(file, FlockArg::LockExclusive).unwrap();
        let mut before = String::new();
        (&*parameter).read_to_string(&mut before).unwrap();
        parameter.write_all_at(b"Y", 0).unwrap();
        Offered { parameter, before }
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        self.parameter.write_all_at(self.before.as_bytes(), 0).unwrap();
    }
}

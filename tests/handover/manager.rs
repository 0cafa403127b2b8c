//! A stand-in for the service manager: it hears what a service says, keeps the descriptors that
//! it is given, and has them ready for the next start.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fusex::sys::Fd;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg, setsockopt, sockopt,
};

use crate::common::{SOON, wait_until};

/// How long the thread waits for a message before it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// One line of a message, with its sender's process id.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) at: Instant,
    pub(crate) pid: i32,
    pub(crate) line: String,
}

/// A descriptor that is kept, and its name.
type Stored = (String, OwnedFd);

#[derive(Default)]
struct Known {
    heard: Vec<Heard>,
    store: Vec<Stored>,
}

/// The manager of one service.
pub(crate) struct Manager {
    pub(crate) socket: PathBuf,
    known: Arc<Mutex<Known>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Manager {
    /// Listens at `path`.
    pub(crate) fn new(path: &Path) -> Manager {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(LOOK)).unwrap();
        setsockopt(&socket, sockopt::PassCred, &true).unwrap();
        let (known, over) = (Arc::<Mutex<Known>>::default(), Arc::new(AtomicBool::new(false)));
        let (kept, ended) = (known.clone(), over.clone());
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                if let Some((pid, text, fd)) = receive(&socket) {
                    kept.lock().unwrap().hear(pid, &text, fd);
                }
            }
        });
        Manager { socket: path.to_path_buf(), known, over, thread: Some(thread) }
    }

    /// Everything that was heard since the last [`Manager::forget_heard`].
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.known.lock().unwrap().heard.clone()
    }

    pub(crate) fn forget_heard(&self) {
        self.known.lock().unwrap().heard.clear();
    }

    /// Waits until `line` was heard; returns the process that sent it first.
    pub(crate) fn wait_for(&self, line: &str) -> i32 {
        let mut sender = None;
        wait_until(SOON, || {
            sender = self.heard().iter().find(|it| it.line == line).map(|it| it.pid);
            sender.is_some()
        });
        sender.unwrap_or_else(|| panic!("no {line}: {:?}", self.heard()))
    }

    /// The names of what is kept, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let known = self.known.lock().unwrap();
        let mut names: Vec<_> = known.store.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    /// Copies of what is kept.
    pub(crate) fn stored(&self) -> Vec<Stored> {
        let known = self.known.lock().unwrap();
        known.store.iter().map(|(name, fd)| (name.clone(), fd.try_clone().unwrap())).collect()
    }

    /// A copy of what is kept under `name`.
    pub(crate) fn kept(&self, name: &str) -> OwnedFd {
        let mut stored = self.stored();
        let place = stored.iter().position(|(given, _)| given == name);
        stored.remove(place.unwrap_or_else(|| panic!("no {name}: {:?}", self.names()))).1
    }

    /// Closes all that is kept.
    pub(crate) fn forget_stored(&self) {
        self.known.lock().unwrap().store.clear();
    }
}

impl Known {
    /// A real manager keeps the older one of two descriptors of the same open file. Here the new
    /// one takes its place, which shows that it is as good.
    fn hear(&mut self, pid: i32, text: &str, fd: Option<OwnedFd>) {
        let at = Instant::now();
        let lines: Vec<&str> = text.lines().collect();
        self.heard.extend(lines.iter().map(|line| Heard { at, pid, line: line.to_string() }));
        let name = lines.iter().find_map(|line| line.strip_prefix("FDNAME="));
        let Some(name) = name.map(str::to_string) else { return };
        if lines.contains(&"FDSTORE=1") || lines.contains(&"FDSTOREREMOVE=1") {
            self.store.retain(|(given, _)| *given != name);
            self.store.extend(fd.map(|fd| (name, fd)));
        }
    }
}

/// The next message, its sender and the descriptor that came with it. `None`: nothing for a moment.
fn receive(socket: &UnixDatagram) -> Option<(i32, String, Option<OwnedFd>)> {
    let mut bytes = [0; 4096];
    let mut space = nix::cmsg_space!([i32; 4], UnixCredentials);
    let (mut pid, mut fd) = (0, None);
    let length = {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message =
            recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags).ok()?;
        for control in message.cmsgs().unwrap() {
            match control {
                ControlMessageOwned::ScmRights(numbers) => {
                    assert_eq!(numbers.len(), 1, "one at a time");
                    fd = Some(Fd::from_number(numbers[0]).into_owned());
                }
                ControlMessageOwned::ScmCredentials(sender) => pid = sender.pid(),
                _ => {}
            }
        }
        message.bytes
    };
    Some((pid, String::from_utf8_lossy(&bytes[..length]).into_owned(), fd))
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // A manager that has panicked has told so already.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

//! A private directory, and the promise that nothing is left of what was mounted below it.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use fusex::mount::mountinfo;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::{SOON, wait_until};

/// How long one test may take with its mounts.
const TEST_LIMIT: Duration = Duration::from_secs(120);

/// A directory with `source`, `point` and `plain` in it.
pub(crate) struct Place {
    root: PathBuf,
    /// Dropped, the watchdog goes.
    watchdog: Option<Sender<()>>,
    _dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        open_to_all(&root, 0o755);
        for name in ["source", "point", "plain"] {
            std::fs::create_dir(root.join(name)).unwrap();
            open_to_all(&root.join(name), 0o777);
        }
        let (watchdog, ended) = channel::<()>();
        let watched = root.clone();
        std::thread::spawn(move || {
            if ended.recv_timeout(TEST_LIMIT) == Err(RecvTimeoutError::Timeout) {
                eprintln!("no end after {TEST_LIMIT:?}: ending the servers of the test");
                end_all(&watched);
            }
        });
        Place { root, watchdog: Some(watchdog), _dir: dir }
    }

    /// The path of something in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// What is served.
    pub(crate) fn source(&self) -> PathBuf {
        self.path("source")
    }

    /// Where it is mounted.
    pub(crate) fn point(&self) -> PathBuf {
        self.path("point")
    }

    /// A directory like the source, for comparison.
    pub(crate) fn plain(&self) -> PathBuf {
        self.path("plain")
    }

    /// Mounts an empty tmpfs on `at`, open to all.
    pub(crate) fn tmpfs(&self, at: &Path, options: &str) {
        let (kind, data) = (Some("tmpfs"), Some(options));
        mount(kind, at, kind, MsFlags::empty(), data).unwrap();
        open_to_all(at, 0o777);
    }

    /// The mounts below it, in the order of the kernel's table.
    pub(crate) fn mounts(&self) -> Vec<mountinfo::Entry> {
        let mut table = mountinfo::read().unwrap();
        table.retain(|entry| entry.mount_point.starts_with(&self.root));
        table
    }

    /// The processes that have a path of this place as an argument.
    pub(crate) fn servers(&self) -> Vec<Pid> {
        servers(&self.root)
    }

    /// Takes away whatever is mounted below, whoever uses it.
    pub(crate) fn unmount_all(&self) {
        for entry in self.mounts().iter().rev() {
            if umount2(&entry.mount_point, MntFlags::empty()).is_err() {
                // Gone meanwhile, or in use: then it disappears now and ends with the last user.
                let _ = umount2(&entry.mount_point, MntFlags::MNT_DETACH);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.unmount_all();
        let ended = wait_until(SOON, || self.servers().is_empty());
        let left = self.servers();
        end_all(&self.root);
        self.watchdog = None;
        let mounts = self.mounts();
        if !std::thread::panicking() {
            assert!(ended, "processes left: {left:?}");
            assert!(mounts.is_empty(), "mounts left: {mounts:?}");
        }
    }
}

fn servers(root: &Path) -> Vec<Pid> {
    let needle = root.as_os_str().as_encoded_bytes();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter(|pid: &i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.windows(needle.len()).any(|part| part == needle)
        })
        .map(Pid::from_raw)
        .collect()
}

/// Ends them all, and those that take the place of others meanwhile.
fn end_all(root: &Path) {
    wait_until(SOON, || {
        let left = servers(root);
        for pid in &left {
            // Ended by itself meanwhile.
            let _ = kill(*pid, Signal::SIGKILL);
        }
        left.is_empty()
    });
}

fn open_to_all(path: &Path, mode: u32) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(path, mode).unwrap();
}

//! What is left of a storm: nothing. Once all is removed and closed, a mount of ours has as many
//! inodes, open files, descriptors and locks, and about as much memory, as at its start.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::StormConfig;
use super::course::Course;
use super::killer::are_all_there;
use crate::Errno;
use crate::crash::CrashError;
use crate::crash::target::{SOON, Target, wait_until};
use crate::recovery::board::Cell;
use crate::recovery::fds::FIRST;
use crate::supervise::client;
use crate::supervise::protocol::{Request, Status};
use crate::sys::{Fd, lock};

/// Memory of the supervisor that may be used for other reasons, in KiB.
const MORE_KIB: u64 = 4096;
/// What is closed by itself is closed by then.
const MOMENT: Duration = Duration::from_secs(2);
/// Serving threads where no other number is given.
const THREADS: usize = 16;

/// What a mount has before anybody uses it.
pub(super) struct Before {
    inodes: u64,
    open_files: u64,
    has: Has,
}

/// What the processes of a mount have.
struct Has {
    /// What is open, and how often, without the devices: each serving thread has one.
    descriptors: BTreeMap<String, usize>,
    devices: usize,
    /// Memory of the supervisor alone.
    memory_kib: u64,
}

impl Before {
    /// Of a mount that nobody uses yet.
    pub(super) fn of(target: &Target) -> Result<Before, CrashError> {
        wait_until(SOON, || are_all_there(target));
        let status = status(target).map_err(CrashError::Failed)?;
        let has = has(target).map_err(CrashError::io("/proc"))?;
        Ok(Before { inodes: status.inodes, open_files: status.open_files, has })
    }

    /// Compares with what is there behind the storm, and empties the mount.
    pub(super) fn compare(&self, target: &Target, config: &StormConfig, course: &Course) {
        if !wait_until(SOON, || are_all_there(target)) {
            let log = super::last_lines(&target.log());
            return course.find("behind the storm", "all five processes", log);
        }
        let locked = locked(&target.point());
        if !locked.is_empty() {
            course.find("lock behind the storm", "no lock is left", locked.join("; "));
        }
        if let Err(error) = empty(&target.point()) {
            course.find("remove everything", "success", error.to_string());
        }
        self.compare_counts(target, course);
        self.compare_processes(target, course);
        deaths(target, config, course);
        let log = target.log();
        if let Some(line) = log.lines().find(|line| line.contains("panicked at")) {
            course.find("the server's log", "no panic", line.to_string());
        }
    }

    fn compare_counts(&self, target: &Target, course: &Course) {
        let leaked = target.board().get(Cell::LeakedLookups);
        let mut last = Err(String::new());
        // What the kernel lets go reaches the server a moment later.
        let at_rest = wait_until(SOON, || {
            last = status(target);
            let few =
                |it: &Status| it.inodes <= self.inodes + leaked && it.open_files == self.open_files;
            last.as_ref().is_ok_and(few)
        });
        if !at_rest {
            let expected = format!("{} inodes, {} open files", self.inodes, self.open_files);
            let got = match last {
                Ok(it) => format!(
                    "{} inodes ({leaked} lookup counts known to leak), {} open files",
                    it.inodes, it.open_files
                ),
                Err(error) => error,
            };
            course.find("behind the storm, the mount empty", &expected, got);
        }
        for (cell, what) in [(Cell::Poisoned, "poisoned"), (Cell::Damaged, "damaged records")] {
            let count = target.board().get(cell);
            if count != 0 {
                course.find(what, "0", count.to_string());
            }
        }
    }

    fn compare_processes(&self, target: &Target, course: &Course) {
        let threads = threads(target.arguments());
        let (mut left, mut now) = (BTreeMap::new(), None);
        let mut look = |limit| {
            wait_until(limit, || {
                let Ok(has) = has(target) else { return false };
                left = more(&has.descriptors, &self.has.descriptors);
                // Each slot keeps a pipe, once it has needed one.
                left.retain(|kind, more| kind != "pipe" || *more > 2 * threads);
                let devices = has.devices <= self.has.devices.max(threads + 1);
                now = Some(has);
                left.is_empty() && devices
            })
        };
        // What a supervisor had open for a moment when it was killed, the next takeover closes.
        let same = look(MOMENT) || (restart(target) && look(SOON));
        let Some(now) = now else { return };
        if !same {
            let got = format!("{} devices; more than before: {left:?}", now.devices);
            course.find("descriptors behind the storm", "as before", got);
        }
        if now.memory_kib > self.has.memory_kib + MORE_KIB {
            let expected = format!("about {} KiB", self.has.memory_kib);
            course.find("memory of the supervisor", &expected, format!("{} KiB", now.memory_kib));
        }
    }
}

/// Workers that died though nobody killed them.
fn deaths(target: &Target, config: &StormConfig, course: &Course) {
    let get = |cell| target.board().get(cell);
    let killed = course.worker_deaths.load(Ordering::Acquire);
    // A worker that is not whole yet dies with its supervisor.
    let with_supervisors = course.supervisor_deaths.load(Ordering::Acquire);
    let all = get(Cell::DeathsKilled) + get(Cell::DeathsSignal) + get(Cell::DeathsExit);
    let hung = get(Cell::DeathsTimeout);
    let log = || super::last_lines(&target.log());
    if all > killed + with_supervisors {
        course.find("deaths of workers", &killed.to_string(), format!("{all}: {}", log()));
    }
    if hung > 0 {
        let expected = "none was killed as it hung";
        course.find("deaths of workers", expected, format!("{hung}: {}", log()));
    }
    let sent = |signal| config.signals.contains(&signal);
    if !sent(nix::sys::signal::Signal::SIGTERM) && get(Cell::DeathsExit) > 0 {
        let exits = get(Cell::DeathsExit);
        course.find("deaths of workers", "none exits", format!("{exits}: {}", log()));
    }
}

fn status(target: &Target) -> Result<Status, String> {
    let socket = client::find(&target.point()).map_err(|failure| failure.message)?;
    client::ask(&socket, Request::Status).map_err(|failure| failure.message)
}

/// Has the worker replaced.
fn restart(target: &Target) -> bool {
    let asked = client::find(&target.point()).and_then(|it| client::ask(&it, Request::Restart));
    asked.is_ok() && wait_until(SOON, || are_all_there(target))
}

fn has(target: &Target) -> std::io::Result<Has> {
    let pid = target.board().get(Cell::SupervisorPid);
    let (mut descriptors, mut devices) = (BTreeMap::new(), 0);
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))?.flatten() {
        // Those of the supervisor are placed, not opened: they grow no more, and what is behind
        // them changes with each death.
        let number = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        if number.is_some_and(|number| number < FIRST) {
            continue;
        }
        // Closed meanwhile.
        let Ok(link) = fs::read_link(entry.path()) else { continue };
        if link == Path::new("/dev/fuse") {
            devices += 1;
            continue;
        }
        *descriptors.entry(kind_of(&link.to_string_lossy())).or_default() += 1;
    }
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let value = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    Ok(Has { descriptors, devices, memory_kib: value.unwrap_or(0) })
}

/// Sockets and pipes of later supervisors have other numbers.
fn kind_of(link: &str) -> String {
    let kind = link.split_once(":[").map(|(kind, _)| kind);
    kind.filter(|kind| ["socket", "pipe"].contains(kind)).unwrap_or(link).to_string()
}

/// What is there more often than before.
fn more(
    now: &BTreeMap<String, usize>,
    before: &BTreeMap<String, usize>,
) -> BTreeMap<String, usize> {
    let more = |(name, count): (&String, &usize)| {
        let over = count.saturating_sub(before.get(name).copied().unwrap_or(0));
        (over > 0).then(|| (name.clone(), over))
    };
    now.iter().filter_map(more).collect()
}

/// How many threads a mount with these arguments may have.
fn threads(arguments: &[String]) -> usize {
    let values = arguments.iter().flat_map(|argument| argument.split(','));
    let given = values.filter_map(|it| it.strip_prefix("max_threads=")?.parse().ok());
    given.max().unwrap_or(THREADS)
}

fn empty(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

/// The files that somebody has a lock on.
fn locked(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else { return found };
    for entry in entries.flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(locked(&path)),
            Ok(kind) if kind.is_file() => {
                found.extend(lock_left(&path).map(|why| format!("{}: {why}", path.display())));
            }
            _ => {}
        }
    }
    found
}

fn lock_left(path: &Path) -> Option<String> {
    let mut options = File::options();
    let opened = options.read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) => return Some(format!("open: {error}")),
    };
    let fd = Fd::from_number(file.as_raw_fd());
    let mut left = None;
    // The end of an open file is known a moment after close(2) has returned.
    wait_until(SOON, || {
        left = flock_left(fd).or_else(|| range_left(fd));
        left.is_none()
    });
    left
}

fn flock_left(fd: Fd) -> Option<String> {
    match lock::flock(fd, libc::LOCK_EX | libc::LOCK_NB) {
        Ok(()) => None,
        Err(Errno::EWOULDBLOCK) => Some("flock is held".into()),
        Err(errno) => Some(format!("flock: {errno}")),
    }
}

fn range_left(fd: Fd) -> Option<String> {
    match lock::get(fd, libc::F_WRLCK as u32, 0, u64::MAX) {
        Ok(None) => None,
        Ok(Some((_, start, end))) => Some(format!("bytes {start} to {end} are locked")),
        Err(errno) => Some(format!("F_OFD_GETLK: {errno}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub");
        fs::create_dir(&path).unwrap();
        let file = File::create(path.join("file")).unwrap();
        assert_eq!(locked(dir.path()), Vec::<String>::new());
        let fd = Fd::from_number(file.as_raw_fd());
        assert!(flock_left(fd).is_none(), "this one has it now");
        let other = File::options().write(true).open(path.join("file")).unwrap();
        let other = Fd::from_number(other.as_raw_fd());
        assert!(flock_left(other).unwrap().contains("held"));
        lock::set(fd, libc::F_WRLCK as u32, 5, 9, false).unwrap();
        assert!(range_left(other).unwrap().contains("5 to 9"));
    }

    #[test]
    fn what_is_more_is_told() {
        let map = |list: &[(&str, usize)]| {
            list.iter().map(|(name, count)| (name.to_string(), *count)).collect()
        };
        let before = map(&[("a", 2), ("b", 1)]);
        assert_eq!(more(&map(&[("a", 1), ("b", 1)]), &before), map(&[]));
        assert_eq!(more(&map(&[("a", 3), ("c", 1)]), &before), map(&[("a", 1), ("c", 1)]));
        assert_eq!(kind_of("socket:[123]"), "socket");
        assert_eq!(kind_of("anon_inode:[pidfd]"), "anon_inode:[pidfd]");
    }

    #[test]
    fn threads_are_those_of_the_mount() {
        let of = |list: &[&str]| threads(&list.iter().map(|it| it.to_string()).collect::<Vec<_>>());
        assert_eq!(of(&["mount", "-o", "nopassthrough"]), 16);
        assert_eq!(of(&["mount", "-o", "nopassthrough,max_threads=40"]), 40);
    }
}

//! Who serves a connection: the processes that have `/dev/fuse` open, and which of them answers.
//!
//! Linux 6.18 says in `/proc/PID/fdinfo` which connection an open `/dev/fuse` belongs to. On an
//! older kernel, or where the other processes cannot be looked at, nobody is found.
//!
//! To look at every open file of every process is slow, so it is done for a connection that has
//! no known server, and for the others only now and then; in between the descriptor that was
//! found is looked at alone.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Server;
use super::process::{self, Commands};

/// A server that was found is looked for again after this: another one may have taken over.
const AGAIN: Duration = Duration::from_secs(60);
/// A connection whose server was not found is looked for again after this.
const RETRY: Duration = Duration::from_secs(10);
/// Servers open the device early: these descriptors of all processes are looked at first.
const NEAR: Range<usize> = 0..256;
/// Then so many files in all, for the connections that are left.
const FAR_FILES: usize = 200_000;
/// Threads of a process that are looked at.
const THREADS: usize = 64;

/// What is known of who serves what.
#[derive(Debug)]
pub(super) struct Servers {
    proc: PathBuf,
    known: HashMap<u32, Known>,
    commands: Commands,
    /// A `/dev/fuse` was seen of which the kernel does not say what it belongs to.
    pub(super) nameless: bool,
}

/// What a search found for a connection.
#[derive(Debug)]
struct Known {
    holder: Option<Holder>,
    searched: Instant,
}

/// A process that has a connection's device open.
#[derive(Clone, Debug)]
struct Holder {
    pid: u32,
    start: u64,
    /// The descriptor's number.
    fd: String,
}

/// What the kernel says of one open file.
enum Device {
    Connection(u32),
    Nameless,
    Other,
}

impl Servers {
    /// With the directory where procfs is mounted.
    pub(super) fn new(proc: &Path) -> Servers {
        let (known, commands) = (HashMap::new(), Commands::default());
        Servers { proc: proc.into(), known, commands, nameless: false }
    }

    /// A process by its id: its command line and threads; none when it is gone.
    pub(super) fn process(&mut self, pid: u32) -> Option<Server> {
        let stat = process::stat(&self.directory(pid))?;
        Some(self.commands.server(&self.proc, pid, &stat))
    }

    /// Who serves each of `connections`, as far as that can be found out.
    pub(super) fn of(&mut self, connections: &[u32]) -> BTreeMap<u32, Server> {
        self.known.retain(|id, _| connections.contains(id));
        let unsure: Vec<u32> =
            connections.iter().copied().filter(|id| self.is_unsure(*id)).collect();
        if !unsure.is_empty() {
            self.search(&unsure);
        }
        let holders = connections
            .iter()
            .filter_map(|id| Some((*id, self.known.get(id)?.holder.as_ref()?.pid)));
        let pids: Vec<(u32, u32)> = holders.collect();
        pids.into_iter().filter_map(|(id, pid)| Some((id, self.process(pid)?))).collect()
    }

    fn is_unsure(&self, id: u32) -> bool {
        match self.known.get(&id) {
            None => true,
            Some(Known { holder: None, searched }) => searched.elapsed() >= RETRY,
            Some(Known { holder: Some(holder), searched }) => {
                searched.elapsed() >= AGAIN || !self.still_holds(holder, id)
            }
        }
    }

    fn still_holds(&self, holder: &Holder, id: u32) -> bool {
        let directory = self.directory(holder.pid);
        let same = process::stat(&directory).is_some_and(|stat| stat.start == holder.start);
        same && matches!(device(&directory, &holder.fd), Device::Connection(of) if of == id)
    }

    /// Looks at all processes.
    fn search(&mut self, ids: &[u32]) {
        self.nameless = false;
        let mut holders: BTreeMap<u32, Vec<Holder>> = BTreeMap::new();
        let pids = self.pids();
        for pid in &pids {
            self.holders(*pid, NEAR, &mut holders);
        }
        let mut files = FAR_FILES;
        for pid in pids {
            if files == 0 || ids.iter().all(|id| holders.contains_key(id)) {
                break;
            }
            files -= self.holders(pid, NEAR.end..NEAR.end + files, &mut holders);
        }
        let searched = Instant::now();
        for id in ids {
            let holder = self.likeliest(holders.remove(id).unwrap_or_default());
            self.known.insert(*id, Known { holder, searched });
        }
    }

    fn pids(&self) -> Vec<u32> {
        let entries = fs::read_dir(&self.proc).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// Adds what a process holds among those of its descriptors that come at the places `which`;
    /// returns how many it looked at.
    fn holders(
        &mut self,
        pid: u32,
        which: Range<usize>,
        holders: &mut BTreeMap<u32, Vec<Holder>>,
    ) -> usize {
        let directory = self.directory(pid);
        let files = fs::read_dir(directory.join("fd")).into_iter().flatten().flatten();
        let mut looked = 0;
        for file in files.skip(which.start).take(which.len()) {
            looked += 1;
            let fd = file.file_name().to_string_lossy().into_owned();
            let id = match device(&directory, &fd) {
                Device::Connection(id) => id,
                Device::Nameless => {
                    self.nameless = true;
                    continue;
                }
                Device::Other => continue,
            };
            let of = holders.entry(id).or_default();
            if of.iter().all(|holder| holder.pid != pid)
                && let Some(stat) = process::stat(&directory)
            {
                of.push(Holder { pid, start: stat.start, fd });
            }
        }
        looked
    }

    /// Which of several processes answers. All of a supervised mount share their descriptors,
    /// and systemd keeps some for its services.
    fn likeliest(&self, mut holders: Vec<Holder>) -> Option<Holder> {
        if holders.len() < 2 {
            return holders.pop();
        }
        holders.into_iter().max_by_key(|holder| {
            let directory = self.directory(holder.pid);
            let stat = process::stat(&directory);
            let is_worker = stat.as_ref().is_some_and(|stat| stat.name == "fusex-worker");
            let cpu = stat.map_or(0, |stat| stat.cpu);
            (waits_for_requests(&directory), is_worker, holder.pid != 1, cpu, holder.start)
        })
    }

    fn directory(&self, pid: u32) -> PathBuf {
        self.proc.join(pid.to_string())
    }
}

/// What a process' descriptor is.
fn device(process: &Path, fd: &str) -> Device {
    let target = fs::read_link(process.join("fd").join(fd)).unwrap_or_default();
    // In a mount namespace of its own the path may be another one.
    if !target.as_os_str().as_bytes().ends_with(b"/fuse") {
        return Device::Other;
    }
    let info = fs::read_to_string(process.join("fdinfo").join(fd)).unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("fuse_connection:"));
    match line.and_then(|id| id.trim().parse().ok()) {
        Some(id) => Device::Connection(id),
        None if target == Path::new("/dev/fuse") => Device::Nameless,
        None => Device::Other,
    }
}

/// Whether a thread of it sleeps in a read of the device.
fn waits_for_requests(process: &Path) -> bool {
    let threads = fs::read_dir(process.join("task")).into_iter().flatten().flatten();
    threads.take(THREADS).any(|thread| {
        let place = fs::read_to_string(thread.path().join("wchan")).unwrap_or_default();
        place.starts_with("fuse_dev_")
    })
}

//! What every FUSE mount of this machine is doing: the model that is filled from the kernel and
//! that `output::stats` prints.
//!
//! A [`Snapshot`] is what was true at one moment, with counts since the measurement began.
//! [`Snapshot::since`] makes of two of them what happened in between. Nothing here asks a FUSE
//! file system anything: a mount whose server hangs can be looked at like any other.

pub mod collect;
pub mod histogram;
pub mod machine;
mod process;
mod servers;
pub mod tier;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

pub use histogram::Histogram;

use crate::wire::opcode::Opcode;

/// What was seen of all connections at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// When, in ns of `CLOCK_MONOTONIC`.
    pub taken_ns: u64,
    /// When, by the wall clock.
    pub wall: SystemTime,
    /// What the counts cover, in ns: since the measurement began, or since the earlier snapshot.
    /// 0 where nothing is counted.
    pub covers_ns: u64,
    /// By mount point.
    pub connections: Vec<Connection>,
    /// What the measurement did not see.
    pub lost: Lost,
    /// Bytes of kernel memory that the measurement's maps and programs take.
    pub memory_bytes: u64,
}

/// One FUSE connection: a mounted file system and its server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Connection {
    /// The kernel's id: the minor number of `st_dev`, the directory's name in
    /// `/sys/fs/fuse/connections`.
    pub id: u32,
    /// Which of the connections that had this id one after the other, as far as that was seen.
    pub generation: u32,
    /// Where it is mounted; none when it is mounted only in other mount namespaces.
    pub mount_point: Option<PathBuf>,
    /// Further mount points of the same file system (bind mounts).
    pub other_mount_points: Vec<PathBuf>,
    /// `fuse`, `fuse.sshfs`, `fuseblk`; empty when unknown.
    pub fs_type: String,
    /// What was mounted; empty when unknown.
    pub source: String,
    /// Who serves it, where that could be found out.
    pub server: Option<Server>,
    /// Requests that wait or are being served, of all kinds (`waiting` of the connection).
    pub waiting: Option<u64>,
    /// How many background requests may be with the server at once.
    pub max_background: Option<u64>,
    /// From how many background requests on the mount counts as congested.
    pub congestion_threshold: Option<u64>,
    /// Requests that were sent and not yet answered; none where nobody counts them.
    pub in_flight: Option<u64>,
    /// Those of them that were looked at, oldest first; at most [`PENDING_MAX`].
    pub pending: Vec<Request>,
    /// Where queue and service time are told apart.
    pub split: Split,
    /// By opcode; only those that were called.
    pub operations: Vec<Operation>,
    /// Who caused the most requests, most first.
    pub callers: Vec<Caller>,
    /// Which nodes most requests were about, most first.
    pub nodes: Vec<Node>,
    /// Requests that ended without a reply: their caller was killed before the server read them.
    pub unanswered: u64,
}

/// How many requests in flight a [`Connection`] lists.
pub const PENDING_MAX: usize = 256;

/// The process that serves a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its process id.
    pub pid: u32,
    /// Its command line, or its name in brackets where that cannot be read.
    pub command: String,
    /// How many threads it has.
    pub threads: Option<u64>,
}

/// From where it is known when the server read a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Split {
    /// The kernel's own tracepoint `fuse_request_sent`.
    Sent,
    /// The end of the kernel's function that reads from the device.
    DeviceRead,
    /// The end of the server's read system call.
    Syscall,
    /// Not known: only the total.
    #[default]
    None,
}

impl Split {
    /// As it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Split::Sent => "fuse_request_sent",
            Split::DeviceRead => "device-read",
            Split::Syscall => "read-syscall",
            Split::None => "none",
        }
    }
}

/// All requests of one kind on one connection.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Operation {
    /// The kernel's number.
    pub opcode: u32,
    /// How many were answered, well or with an error.
    pub count: u64,
    /// Of these, how many with which errno (positive).
    pub errors: BTreeMap<i32, u64>,
    /// Bytes of data: what READ, READDIR, READDIRPLUS, READLINK, GETXATTR and LISTXATTR returned,
    /// what WRITE and SETXATTR brought, without the fixed headers. 0 for all others.
    pub bytes: u64,
    /// From sent to read by the server, in ns; empty without a split.
    pub queue: Histogram,
    /// From read by the server to answered, in ns; empty without a split.
    pub service: Histogram,
    /// From sent to answered, in ns.
    pub total: Histogram,
}

impl Operation {
    /// The kernel's name without `FUSE_`: `LOOKUP`; `OPCODE_N` for one that is not known.
    pub fn name(&self) -> String {
        opcode_name(self.opcode)
    }

    /// How many ended with an error.
    pub fn error_count(&self) -> u64 {
        self.errors.values().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

/// The kernel's name of an opcode without `FUSE_`; `OPCODE_N` for one that is not known.
pub fn opcode_name(opcode: u32) -> String {
    match Opcode::from_u32(opcode) {
        Some(known) => known.info().name.to_owned(),
        None => format!("OPCODE_{opcode}"),
    }
}

/// A request that is under way, or that was slow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The kernel's number for it on its connection; 0 as long as it has none.
    pub unique: u64,
    /// The kernel's number of the operation.
    pub opcode: u32,
    /// The node that it is about.
    pub node: u64,
    /// That node's path, or the name that is looked up below it, where either is known.
    pub path: Option<String>,
    /// Who asked.
    pub caller: Process,
    /// ns since it was sent, or from sent to answered.
    pub age_ns: u64,
    /// ns from sent to read by the server; none where it was not read, or no split is known.
    pub queue_ns: Option<u64>,
    /// Whether the server has read it, where that is known.
    pub read: Option<bool>,
    /// Sent before the measurement began: the age is at least that.
    pub older: bool,
}

/// A request that took longer than the limit, as it was answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slow {
    /// Its connection's id.
    pub connection: u32,
    /// When it was answered, in ns of `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// The request; its age is the total time.
    pub request: Request,
    /// With which errno it ended (positive); 0 for none.
    pub errno: i32,
}

/// Who made a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Process id (thread group); 0 for the kernel.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// The thread's name, at most 15 bytes.
    pub command: String,
}

/// A process and what it caused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Process id.
    pub pid: u32,
    /// Its name.
    pub command: String,
    /// Requests answered.
    pub count: u64,
    /// Sum of their total times, in ns.
    pub total_ns: u64,
}

/// A node and what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The server's number for it.
    pub id: u64,
    /// Its path, where a process has it open.
    pub path: Option<String>,
    /// Requests answered.
    pub count: u64,
    /// Sum of their total times, in ns.
    pub total_ns: u64,
}

impl Snapshot {
    /// Leaves each connection the first `top` of its callers and nodes.
    pub fn keep_top(&mut self, top: usize) {
        for connection in &mut self.connections {
            connection.callers.truncate(top);
            connection.nodes.truncate(top);
        }
    }

    /// What happened since `earlier`, a snapshot of the same measurement. What is now (requests
    /// in flight, the server, …) stays; a connection that is new has all of its counts.
    pub fn since(&self, earlier: &Snapshot) -> Snapshot {
        let mut since = self.clone();
        since.covers_ns = self.covers_ns.saturating_sub(earlier.covers_ns);
        for connection in &mut since.connections {
            let before = earlier.connections.iter().find(|old| connection.continues(old));
            if let Some(before) = before {
                connection.subtract(before);
            }
        }
        since.lost = self.lost.since(&earlier.lost);
        since
    }
}

impl Connection {
    /// Whether this is `earlier` later on, and not another one that got the same id.
    fn continues(&self, earlier: &Connection) -> bool {
        self.id == earlier.id && self.generation == earlier.generation
    }

    fn subtract(&mut self, before: &Connection) {
        self.unanswered = self.unanswered.saturating_sub(before.unanswered);
        for operation in &mut self.operations {
            let same = |old: &&Operation| old.opcode == operation.opcode;
            if let Some(old) = before.operations.iter().find(same) {
                operation.subtract(old);
            }
        }
        self.operations.retain(|operation| operation.count > 0);
        for caller in &mut self.callers {
            if let Some(old) = before.callers.iter().find(|old| old.pid == caller.pid) {
                caller.count = caller.count.saturating_sub(old.count);
                caller.total_ns = caller.total_ns.saturating_sub(old.total_ns);
            }
        }
        for node in &mut self.nodes {
            if let Some(old) = before.nodes.iter().find(|old| old.id == node.id) {
                node.count = node.count.saturating_sub(old.count);
                node.total_ns = node.total_ns.saturating_sub(old.total_ns);
            }
        }
        self.sort_parties();
    }

    /// Brings callers and nodes into their order, and leaves out those that did nothing.
    fn sort_parties(&mut self) {
        self.callers.retain(|caller| caller.count > 0);
        self.callers.sort_by_key(|caller| (Reverse(caller.count), caller.pid));
        self.nodes.retain(|node| node.count > 0);
        self.nodes.sort_by_key(|node| (Reverse(node.count), node.id));
    }
}

impl Operation {
    fn subtract(&mut self, before: &Operation) {
        self.count = self.count.saturating_sub(before.count);
        self.bytes = self.bytes.saturating_sub(before.bytes);
        for (errno, count) in &mut self.errors {
            *count = count.saturating_sub(before.errors.get(errno).copied().unwrap_or(0));
        }
        self.errors.retain(|_, count| *count > 0);
        self.queue = self.queue.since(&before.queue);
        self.service = self.service.since(&before.service);
        self.total = self.total.since(&before.total);
    }
}

/// What the measurement did not see; all zero when it saw all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Requests that were answered and not counted: no room for their connection and operation.
    pub operations: u64,
    /// Requests without times: no room for them among those in flight.
    pub requests: u64,
    /// Requests that were sent before the measurement began and answered since: not counted.
    pub earlier: u64,
    /// Slow requests that were not reported: the ring buffer was full.
    pub events: u64,
}

impl Lost {
    fn since(&self, earlier: &Lost) -> Lost {
        Lost {
            operations: self.operations.saturating_sub(earlier.operations),
            requests: self.requests.saturating_sub(earlier.requests),
            earlier: self.earlier.saturating_sub(earlier.earlier),
            events: self.events.saturating_sub(earlier.events),
        }
    }

    /// Whether anything was lost.
    pub fn any(&self) -> bool {
        self.operations + self.requests + self.events > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(taken_ns: u64, generation: u32, lookups: u64, absent: u64) -> Snapshot {
        let mut total = Histogram::default();
        (0..lookups).for_each(|_| total.add(1000));
        let operation = Operation {
            opcode: Opcode::FUSE_LOOKUP as u32,
            count: lookups,
            errors: [(libc::ENOENT, absent)].into(),
            total,
            ..Operation::default()
        };
        let connection =
            Connection { id: 40, generation, operations: vec![operation], ..Connection::default() };
        Snapshot {
            taken_ns,
            wall: SystemTime::UNIX_EPOCH,
            covers_ns: taken_ns,
            connections: vec![connection],
            lost: Lost { events: lookups, ..Lost::default() },
            memory_bytes: 0,
        }
    }

    #[test]
    fn an_interval_has_what_came_in_it() {
        let since = snapshot(3000, 0, 7, 2).since(&snapshot(1000, 0, 4, 2));
        assert_eq!((since.covers_ns, since.lost.events), (2000, 3));
        let lookup = &since.connections[0].operations[0];
        assert_eq!((lookup.count, lookup.total.count()), (3, 3));
        assert!(lookup.errors.is_empty());
        let quiet = snapshot(3000, 0, 7, 2).since(&snapshot(1000, 0, 7, 2));
        assert!(quiet.connections[0].operations.is_empty());
    }

    #[test]
    fn a_connection_with_a_reused_id_is_a_new_one() {
        let since = snapshot(3000, 1, 7, 2).since(&snapshot(1000, 0, 4, 2));
        assert_eq!(since.connections[0].operations[0].count, 7);
    }

    #[test]
    fn names() {
        assert_eq!((opcode_name(1), opcode_name(9999)), ("LOOKUP".into(), "OPCODE_9999".into()));
    }
}

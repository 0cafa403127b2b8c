//! Made-up measurements for the tests of this directory.

use std::time::SystemTime;

use crate::stats::tier::{Source, Tier};
use crate::stats::{
    Caller, Connection, Histogram, Lost, Node, Operation, Process, Request, Server, Snapshot, Split,
};

const SECOND: u64 = 1_000_000_000;

/// A machine where everything can be seen.
pub(super) fn tier() -> Tier {
    Tier { source: Source::Tracepoints, split: Split::DeviceRead, missing: Vec::new() }
}

/// `count` requests that took `ns` each, a quarter of it waiting for the server.
pub(super) fn operation(opcode: u32, count: u64, ns: u64) -> Operation {
    let times = |ns: u64| {
        let mut times = Histogram::default();
        (0..count).for_each(|_| times.add(ns));
        times
    };
    let (queue, service, total) = (times(ns / 4), times(ns - ns / 4), times(ns));
    Operation { opcode, count, queue, service, total, ..Operation::default() }
}

pub(super) fn connection(id: u32, mount_point: &str, operations: Vec<Operation>) -> Connection {
    Connection {
        id,
        mount_point: Some(mount_point.into()),
        fs_type: "fuse.test".into(),
        split: Split::DeviceRead,
        operations,
        ..Connection::default()
    }
}

/// What was counted until a second.
pub(super) fn snapshot(second: u64, connections: Vec<Connection>) -> Snapshot {
    Snapshot {
        taken_ns: second * SECOND,
        wall: SystemTime::UNIX_EPOCH,
        covers_ns: second * SECOND,
        connections,
        lost: Lost::default(),
        memory_bytes: 0,
    }
}

/// A machine with three mounts, one of them with a server that hangs, after so many seconds.
pub(super) fn machine(second: u64) -> Snapshot {
    let mut lookups = operation(1, 400 * second, 40_000);
    lookups.total.merge(&operation(1, second, 3_000_000).total);
    lookups.errors = [(libc::ENOENT, 25 * second)].into();
    let mut reads = operation(15, 90 * second, 900_000);
    reads.bytes = 90 * 131_072 * second;
    let mut sshfs = connection(41, "/mnt/far", vec![lookups, reads, operation(3, second, 60_000)]);
    sshfs.fs_type = "fuse.sshfs".into();
    sshfs.server = Some(Server { pid: 812, command: "sshfs far:/ /mnt/far".into(), threads: None });
    (sshfs.in_flight, sshfs.waiting, sshfs.max_background) = (Some(2), Some(2), Some(12));
    let caller = |pid, command: &str, n| Caller {
        pid,
        command: command.into(),
        count: n * second,
        total_ns: n * second * 40_000,
    };
    sshfs.callers = vec![caller(1200, "git", 380), caller(1300, "rsync", 111)];
    let node = |id, path: Option<&str>, n| Node {
        id,
        path: path.map(Into::into),
        count: n * second,
        total_ns: n * second * 50_000,
    };
    sshfs.nodes = vec![node(1, Some("/"), 300), node(77, None, 20)];

    let mut dead = connection(42, "/srv/data/with/a/long/name/that/ends/here", Vec::new());
    dead.fs_type = "fuse.rclone".into();
    let command = "rclone mount remote: /srv/data".to_string();
    dead.server = Some(Server { pid: 99_812, command, threads: Some(14) });
    (dead.in_flight, dead.waiting, dead.max_background) = (Some(3), Some(3), Some(12));
    let caller = Process { pid: 4321, tid: 4322, command: "ls".into() };
    let path = Some("dir\x1b[31m/name\n".to_string());
    dead.pending = vec![Request {
        unique: 6,
        opcode: 28,
        node: 5,
        path,
        caller,
        age_ns: 12 * SECOND + second * SECOND,
        queue_ns: Some(20_000),
        read: Some(true),
        older: false,
    }];
    let idle = connection(43, "/run/user/0/doc", Vec::new());
    snapshot(second, vec![sshfs, idle, dead])
}

//! Made-up measurements for the tests of exporters.

use std::time::{Duration, SystemTime};

use crate::stats::tier::{Missing, Source, Tier};
use crate::stats::{
    Caller, Connection, Histogram, Lost, Node, Operation, Process, Request, Server, Slow, Snapshot,
    Split,
};
use crate::wire::opcode::Opcode;

/// Times, in us.
pub(crate) fn times(us: &[u64]) -> Histogram {
    let mut times = Histogram::default();
    us.iter().for_each(|us| times.add(us * 1000));
    times
}

pub(crate) fn pending() -> Request {
    Request {
        unique: 8,
        opcode: Opcode::FUSE_LOOKUP as u32,
        node: 12,
        path: Some("a\n\"b\"".into()),
        caller: Process { pid: 77, tid: 78, command: "cat".into() },
        age_ns: 1_200_000_000,
        queue_ns: Some(3000),
        read: Some(true),
        older: false,
    }
}

pub(crate) fn slow() -> Slow {
    Slow { connection: 42, at_ns: 9_500_000_000, request: pending(), errno: libc::ENOENT }
}

fn sshfs() -> Connection {
    let lookup = Operation {
        opcode: Opcode::FUSE_LOOKUP as u32,
        count: 4,
        errors: [(libc::ENOENT, 2), (libc::EACCES, 1)].into(),
        bytes: 0,
        queue: times(&[1, 1, 2, 3]),
        service: times(&[100, 200, 200, 800]),
        total: times(&[101, 201, 202, 803]),
    };
    let read = Operation {
        opcode: Opcode::FUSE_READ as u32,
        count: 2,
        bytes: 3 << 20,
        queue: times(&[5, 6]),
        service: times(&[2000, 3000]),
        total: times(&[2005, 3006]),
        ..Operation::default()
    };
    Connection {
        id: 42,
        mount_point: Some("/mnt/data".into()),
        other_mount_points: vec!["/home/x".into()],
        fs_type: "fuse.sshfs".into(),
        source: "me@host:/srv".into(),
        server: Some(Server { pid: 1234, command: "sshfs me@host:/srv".into(), threads: Some(3) }),
        waiting: Some(2),
        max_background: Some(12),
        congestion_threshold: Some(9),
        in_flight: Some(1),
        pending: vec![pending()],
        split: Split::Sent,
        operations: vec![lookup, read],
        callers: vec![Caller { pid: 77, command: "cat".into(), count: 6, total_ns: 6_318_000 }],
        nodes: vec![
            Node { id: 12, path: Some("a/b".into()), count: 4, total_ns: 1_307_000 },
            Node { id: 13, path: None, count: 2, total_ns: 5_011_000 },
        ],
        unanswered: 3,
        ..Connection::default()
    }
}

/// Mounted in another mount namespace; only the total, nothing asked.
fn other() -> Connection {
    Connection { id: 43, waiting: Some(0), in_flight: Some(0), ..Connection::default() }
}

/// Two seconds of two connections.
pub(crate) fn snapshot() -> Snapshot {
    Snapshot {
        taken_ns: 10_000_000_000,
        wall: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_262_400_250),
        covers_ns: 2_000_000_000,
        connections: vec![sshfs(), other()],
        lost: Lost::default(),
        memory_bytes: 1_258_291,
    }
}

pub(crate) fn tier() -> Tier {
    let missing = Missing {
        what: "callers",
        why: "the kernel has no task storage".into(),
        cure: "Linux 5.11 has it".into(),
    };
    Tier { source: Source::Tracepoints, split: Split::Sent, missing: vec![missing] }
}

/// Without BPF: nobody counts.
pub(crate) fn uncounted() -> (Snapshot, Tier) {
    let why = "bpf(2): EPERM".to_string();
    let missing = Missing { what: "counts and times", why, cure: "run as root".into() };
    let mut snapshot = snapshot();
    snapshot.covers_ns = 0;
    snapshot.memory_bytes = 0;
    for connection in &mut snapshot.connections {
        connection.in_flight = None;
        connection.pending.clear();
        connection.split = Split::None;
        connection.operations.clear();
        connection.callers.clear();
        connection.nodes.clear();
        connection.unanswered = 0;
    }
    (snapshot, Tier { missing: vec![missing], ..Tier::default() })
}

//! What a server of libfuse says with `-d`: each request that it read and how it answered, which
//! knows nothing of what the kernel counts.
//!
//! ```text
//! unique: 12, opcode: LOOKUP (1), nodeid: 1, insize: 47, pid: 20578
//!    unique: 12, error: -2 (No such file or directory), outsize: 16
//! unique: 18, opcode: READ (15), nodeid: 4, insize: 80, pid: 20579
//!    unique: 18, success, outsize: 22
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use fusex::wire::opcode::Opcode;
use nix::errno::Errno;

use crate::common::{SOON, wait_until};
use crate::watch::Counts;

/// A request, as its server saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) unique: u64,
    pub(crate) opcode: u32,
    pub(crate) node: u64,
    pub(crate) pid: u32,
    in_size: u64,
    answer: Option<Answer>,
}

#[derive(Clone, Copy, Debug)]
struct Answer {
    errno: i32,
    out_size: u64,
}

/// All requests of one server, in the order in which it read them.
pub(crate) struct Said(pub(crate) Vec<Asked>);

impl Said {
    /// Reads the log until all is answered and nothing comes any more.
    pub(crate) fn when_quiet(log: impl Fn() -> String) -> Said {
        let (mut before, mut said) = (0, Said(Vec::new()));
        let quiet = wait_until(SOON, || {
            let text = log();
            let same = text.len() == before;
            (before, said) = (text.len(), Said::parse(&text));
            let answered = said.replied().all(|asked| asked.answer.is_some());
            if !(same && answered) {
                // What a RELEASE needs to come behind its close.
                std::thread::sleep(Duration::from_millis(50));
            }
            same && answered
        });
        assert!(quiet, "the server is not done: {}", log());
        said
    }

    fn parse(text: &str) -> Said {
        let mut all: Vec<Asked> = Vec::new();
        for line in text.lines() {
            if let Some(asked) = line.strip_prefix("unique: ").and_then(request) {
                all.push(asked);
            } else if let Some((unique, answer)) = line.strip_prefix("   unique: ").and_then(answer)
            {
                let of = all.iter_mut().rev().find(|asked| asked.unique == unique);
                of.unwrap_or_else(|| panic!("answered, not asked: {line}")).answer = Some(answer);
            }
        }
        Said(all)
    }

    /// Those that have an answer: no FORGET.
    pub(crate) fn replied(&self) -> impl Iterator<Item = &Asked> {
        let forgets = [Opcode::FUSE_FORGET as u32, Opcode::FUSE_BATCH_FORGET as u32];
        self.0.iter().filter(move |asked| !forgets.contains(&asked.opcode))
    }

    /// What came behind the first `known` requests.
    pub(crate) fn behind(&self, known: &Said) -> Said {
        Said(self.0[known.0.len()..].to_vec())
    }

    /// As bpf-stats has to count it.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::new();
        for asked in self.replied() {
            let count = counts.entry(asked.opcode).or_default();
            let answer = asked.answer.expect("quiet");
            count.count += 1;
            count.bytes += asked.bytes(answer);
            if answer.errno != 0 {
                *count.errors.entry(format!("{:?}", Errno::from_raw(answer.errno))).or_default() +=
                    1;
            }
        }
        counts
    }

    /// How many requests each `key` has.
    pub(crate) fn by(&self, key: impl Fn(&Asked) -> u64) -> BTreeMap<u64, u64> {
        let mut counts = BTreeMap::new();
        for asked in self.replied() {
            *counts.entry(key(asked)).or_default() += 1;
        }
        counts
    }
}

/// Bytes of a request's and an answer's fixed headers.
const IN_HEADER: u64 = 40;
const OUT_HEADER: u64 = 16;

impl Asked {
    /// Bytes of data, without the fixed headers.
    fn bytes(&self, answer: Answer) -> u64 {
        use Opcode::*;
        let out = answer.out_size - OUT_HEADER;
        match Opcode::from_u32(self.opcode) {
            // fuse_write_in.
            Some(FUSE_WRITE) => self.in_size - IN_HEADER - 40,
            // A caller that asked for the size alone: fuse_getxattr_out.
            Some(FUSE_GETXATTR | FUSE_LISTXATTR) if out == 8 => 0,
            Some(
                FUSE_READ | FUSE_READDIR | FUSE_READDIRPLUS | FUSE_READLINK | FUSE_GETXATTR
                | FUSE_LISTXATTR,
            ) => out,
            _ => 0,
        }
    }
}

fn request(rest: &str) -> Option<Asked> {
    let (unique, rest) = rest.split_once(", opcode: ")?;
    let (_, rest) = rest.split_once('(')?;
    let (opcode, rest) = rest.split_once("), nodeid: ")?;
    let (node, rest) = rest.split_once(", insize: ")?;
    let (in_size, pid) = rest.split_once(", pid: ")?;
    Some(Asked {
        unique: unique.parse().ok()?,
        opcode: opcode.parse().ok()?,
        node: node.parse().ok()?,
        pid: pid.parse().ok()?,
        in_size: in_size.parse().ok()?,
        answer: None,
    })
}

fn answer(rest: &str) -> Option<(u64, Answer)> {
    let (unique, rest) = rest.split_once(", ")?;
    let (ended, out_size) = rest.rsplit_once(", outsize: ")?;
    let errno = match ended.strip_prefix("error: -") {
        None => 0,
        Some(error) => error.split(' ').next()?.parse().ok()?,
    };
    Some((unique.parse().ok()?, Answer { errno, out_size: out_size.parse().ok()? }))
}

#[test]
fn what_is_read_of_a_log() {
    let said = Said::parse(
        "unique: 12, opcode: LOOKUP (1), nodeid: 1, insize: 47, pid: 20578\nLOOKUP /absent\n   \
         unique: 12, error: -2 (No such file or directory), outsize: 16\n\
         unique: 14, opcode: READ (15), nodeid: 4, insize: 80, pid: 20579\n\
         unique: 16, opcode: ??? (52), nodeid: 4, insize: 64, pid: 9\n   \
         unique: 14, success, outsize: 22\n   \
         unique: 16, error: -38 (Function not implemented), outsize: 16\n\
         unique: 18, opcode: WRITE (16), nodeid: 4, insize: 83, pid: 0\n   \
         unique: 18, success, outsize: 24\n\
         unique: 20, opcode: FORGET (2), nodeid: 4, insize: 48, pid: 0\n",
    );
    let one = |errno: Option<&str>, bytes| crate::watch::Count {
        count: 1,
        errors: errno.into_iter().map(|errno| (errno.to_string(), 1)).collect(),
        bytes,
    };
    let expected = [
        (1, one(Some("ENOENT"), 0)),
        (15, one(None, 6)),
        (16, one(None, 3)),
        (52, one(Some("ENOSYS"), 0)),
    ];
    assert_eq!(said.counts(), expected.into());
    assert_eq!(said.by(|asked| asked.node), [(1, 1), (4, 3)].into());
}

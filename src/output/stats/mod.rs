//! What FUSE mounts are doing, in every form in which it is given out.
//!
//! | file | what |
//! | --- | --- |
//! | this one | what all forms have in common |
//! | `text` | a report for a terminal |
//! | `table` | its tables: what has no room is left out |
//! | `histogram` | times by powers of two, as bars |
//! | `line` | a line for each slow or stuck request |
//! | `json` | for programs |
//! | `openmetrics` | for Prometheus and the like |

mod histogram;
#[cfg(test)]
mod hostile_tests;
pub mod json;
pub mod line;
pub mod openmetrics;
mod table;
#[cfg(test)]
pub(crate) mod testing;
mod text;

pub use text::{View, text, tier_text};

use nix::errno::Errno;

use super::plain;
use crate::stats::{Connection, Request};

/// The name of an errno: `ENOENT`; `ERRNO_511` for one that has none.
pub fn errno_name(errno: i32) -> String {
    match Errno::from_raw(errno) {
        Errno::UnknownErrno => format!("ERRNO_{errno}"),
        known => format!("{known:?}"),
    }
}

/// How many a second; none where no time has passed.
pub fn rate(count: u64, covers_ns: u64) -> Option<f64> {
    (covers_ns > 0).then(|| count as f64 / (covers_ns as f64 / 1e9))
}

/// A rate with the digits that say something.
pub fn per_s(rate: f64) -> String {
    let decimals = match rate {
        ..0.95 if rate > 0.0 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{rate:.decimals$}")
}

/// What a connection is called: where it is mounted, else its number.
pub fn title(connection: &Connection) -> String {
    match &connection.mount_point {
        Some(path) => plain(&path.to_string_lossy()),
        None => format!("connection {}", connection.id),
    }
}

/// What a request is about and who made it: `LOOKUP of a/b by 12 cat`.
pub fn request(request: &Request) -> String {
    let about = match &request.path {
        Some(path) => plain(path),
        None => format!("node {}", request.node),
    };
    let operation = crate::stats::opcode_name(request.opcode);
    format!("{operation} of {about} by {}", caller(request.caller.pid, &request.caller.command))
}

/// Where a request in flight is, if that is known.
pub fn place(request: &Request) -> Option<&'static str> {
    request.read.map(|read| if read { "with the server" } else { "queued" })
}

/// A process: `12 cat`, or `the kernel`.
fn caller(pid: u32, command: &str) -> String {
    if pid == 0 { "the kernel".into() } else { format!("{pid} {}", plain(command)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_errors() {
        assert_eq!(errno_name(libc::ENOENT), "ENOENT");
        assert_eq!((errno_name(511), errno_name(-1)), ("ERRNO_511".into(), "ERRNO_-1".into()));
    }

    #[test]
    fn rates() {
        assert_eq!((rate(10, 0), rate(10, 500_000_000)), (None, Some(20.0)));
        let expected = [
            (0.0, "0.0"),
            (0.02, "0.02"),
            (0.94, "0.94"),
            (0.95, "0.9"),
            (1.0, "1.0"),
            (99.9, "99.9"),
        ];
        for (number, text) in expected {
            assert_eq!(per_s(number), text);
        }
        assert_eq!((per_s(99.96), per_s(123_456.7)), ("100".into(), "123457".into()));
    }

    #[test]
    fn a_request_is_named() {
        let mut seen = testing::pending();
        assert_eq!(request(&seen), "LOOKUP of a\\n\"b\" by 77 cat");
        seen.path = None;
        seen.caller.pid = 0;
        assert_eq!(request(&seen), "LOOKUP of node 12 by the kernel");
    }
}

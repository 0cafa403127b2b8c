//! Bytes that nobody who means well sends to the control socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

use crate::common::{Mount, SERVED, SOON, wait_until};
use crate::leaks::descriptors;
use crate::line::{number, socket, status, stop};
use crate::load::under_load;
use crate::need_mounts;
use fusex::crash::workload::Random;

const CONNECTIONS: usize = 3000;

/// Sends `bytes` and reads what comes.
pub(crate) fn say(socket: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(SOON)).unwrap();
    // The other end may have heard enough, and be closed with bytes left.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

/// An error in one line.
fn is_refusal(answer: &str) -> bool {
    let value: Value = serde_json::from_str(answer).unwrap_or_default();
    let error = value["error"].as_str().unwrap_or_default();
    error.starts_with("not a request") && !error.contains('\n') && answer.ends_with('\n')
}

/// Runs `body` on a mount's socket under load: the same processes are there afterwards, with the
/// same descriptors, and nothing was carried out.
fn harmless(body: impl FnOnce(&Path)) {
    let mount = Mount::new(SERVED);
    let (point, socket) = (mount.point(), socket(mount.connection()));
    let pids = |status: &Value| {
        ["worker_pid", "supervisor_pid", "standby_pid", "reserve_pid"].map(|it| number(status, it))
    };
    let all = || pids(&status(&point)).iter().all(|pid| *pid != 0);
    assert!(wait_until(SOON, all));
    let (before, open) = (status(&point), descriptors(&mount));
    under_load(&point, || body(&socket));
    let after = status(&point);
    assert_eq!(pids(&after), pids(&before), "{}", mount.log());
    assert_eq!((number(&after, "generation"), number(&after, "restarts")), (0, 0));
    let same = || descriptors(&mount) == open;
    // What the callers had open is forgotten by and by.
    let rest = wait_until(SOON, || {
        std::fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
        same()
    });
    assert!(rest, "before {open:?}, after {:?}", descriptors(&mount));
    assert!(!mount.log().contains("panicked"), "{}", mount.log());
    stop(&mount);
}

#[test]
fn bytes_that_are_no_request() {
    need_mounts!();
    harmless(|socket| {
        let mut random = Random::new(crate::common::seed(8));
        let long = [&vec![b'x'; 1 << 20][..], b"\n"].concat();
        let nested = [&b"["[..].repeat(4000)[..], b"\n"].concat();
        let fixed: [&[u8]; 7] = [
            b"\n",
            b"\0\0\0\0\n",
            b"{\"request\":\"format\"}\n",
            b"{\"request\":[\"stop\"]}\n",
            b"\xff\xfe{\"request\":\"stop\"}\n",
            &nested,
            &vec![b'y'; 4096],
        ];
        for bytes in fixed {
            let answer = say(socket, bytes);
            assert!(is_refusal(&answer), "{:?}: {answer}", String::from_utf8_lossy(bytes));
        }
        // Its answer may be lost: the rest of the line is on its way when it is refused.
        say(socket, &long);
        for _ in 0..200 {
            let length = 1 + random.below(300);
            let mut bytes = random.bytes(length);
            bytes.push(b'\n');
            let answer = say(socket, &bytes);
            assert!(is_refusal(&answer), "{bytes:?}: {answer}");
        }
    });
}

#[test]
fn half_a_line_and_more_than_one() {
    need_mounts!();
    harmless(|socket| {
        // Dropped after a moment, without an answer.
        let mut half = UnixStream::connect(socket).unwrap();
        half.write_all(b"{\"request\":").unwrap();
        half.set_read_timeout(Some(SOON)).unwrap();
        let mut answer = String::new();
        let _ = half.read_to_string(&mut answer);
        assert_eq!(answer, "");
        let mut gone = UnixStream::connect(socket).unwrap();
        gone.write_all(b"{\"request\":\"sto").unwrap();
        drop(gone);
        // One talk is one request.
        let answer = say(socket, b"{\"request\":\"status\"}\n{\"request\":\"stop\"}\n");
        assert!(answer.starts_with("{\"ok\":{\"schema\":1,"), "{answer}");
        assert_eq!(answer.lines().count(), 1);
    });
}

#[test]
fn thousands_of_connections() {
    need_mounts!();
    harmless(|socket| {
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for number in 0..CONNECTIONS / 3 {
                        let mut stream = UnixStream::connect(socket).unwrap();
                        if number % 3 == 0 {
                            // It may have been dropped already.
                            let _ = stream.write_all(b"\x80\x81");
                        }
                    }
                });
            }
        });
        // More silent ones than there are places for.
        let silent: Vec<_> = (0..20).map(|_| UnixStream::connect(socket).unwrap()).collect();
        assert!(say(socket, b"{\"request\":\"status\"}\n").starts_with("{\"ok\":"));
        drop(silent);
    });
}

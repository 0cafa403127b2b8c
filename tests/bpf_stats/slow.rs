//! Lines for slow requests.

use std::time::Duration;

use std::collections::BTreeMap;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::caller::Caller;
use crate::need;
use crate::need_counts;
use crate::servers::{TRUSTED, bindfs};
use crate::watch::Watch;
use crate::{SAMPLE, is_sampled, skip, why_no_split};

/// How long the server is stopped, and what is slow.
const STOPPED: Duration = Duration::from_millis(600);
const SLOW_MS: u64 = 500;

#[test]
fn a_slow_request_has_a_line() {
    need_counts!();
    let served = need!(bindfs(TRUSTED));
    let point = served.point();
    std::fs::create_dir(served.source().join("dir")).unwrap();
    assert!(point.join("dir").exists());
    let mut watch = Watch::start(&["--slow", &SLOW_MS.to_string(), "-i", "0.1"]);
    // None of these is slow.
    for number in 0..20 {
        assert!(!point.join(format!("quick-{number}")).exists());
    }
    served.pause();
    let mut caller = Caller::stat([point.join("dir/absent name")]);
    std::thread::sleep(STOPPED);
    served.signal(Signal::SIGCONT);
    caller.wait();
    let said = served.said();
    let asked = said.0.iter().rfind(|asked| asked.pid == caller.pid()).unwrap();

    // Of all mounts: other tests have slow ones too.
    let of_ours = |line: &serde_json::Value| line["slow"]["mount_point"].as_str() == point.to_str();
    let line = loop {
        let line = watch.line();
        if of_ours(&line) {
            break line;
        }
    };
    let slow = &line["slow"];
    assert_eq!(slow["connection"], served.connection(), "{line}");
    assert_eq!(slow["opcode"], "LOOKUP", "{line}");
    assert_eq!(slow["unique"], asked.unique, "{line}");
    assert_eq!(slow["node"], asked.node, "{line}");
    assert_eq!(slow["caller_pid"], caller.pid(), "{line}");
    assert_eq!(slow["caller_command"], "stat", "{line}");
    assert_eq!((&slow["errno"], &slow["error"]), (&2.into(), &"ENOENT".into()), "{line}");
    assert!(slow["path"].as_str().unwrap().ends_with("absent name"), "{line}");
    let total = slow["total_ns"].as_u64().unwrap();
    assert!(total >= SLOW_MS * 1_000_000, "{line}");
    // No other one, of 21.
    for _ in 0..5 {
        assert!(!of_ours(&watch.line()));
    }
    if let Some(reason) = why_no_split() {
        skip!(reason);
    }
    let Some(queue) = slow["queue_ns"].as_u64() else {
        assert!(is_sampled(), "{line}");
        skip!(SAMPLE);
    };
    // It was the server that did not come to read it.
    assert_eq!(queue + slow["service_ns"].as_u64().unwrap(), total, "{line}");
    assert!(queue >= SLOW_MS * 1_000_000, "{line}");
}

#[test]
fn each_of_two_at_once_keeps_its_caller() {
    need_counts!();
    let served = need!(bindfs(TRUSTED));
    // Lookups in one directory may wait for each other.
    for dir in ["one", "two"] {
        std::fs::create_dir(served.source().join(dir)).unwrap();
        assert!(served.point().join(dir).exists());
    }
    let mut watch = Watch::start(&["--slow", &SLOW_MS.to_string(), "-i", "0.1"]);
    served.pause();
    let absent = |name: &str| served.point().join(name);
    let ls = Caller::run(Command::new("ls").arg(absent("two/absent")));
    let mut callers = [Caller::stat([absent("one/absent")]), ls];
    std::thread::sleep(STOPPED);
    served.signal(Signal::SIGCONT);
    callers.iter_mut().for_each(Caller::wait);
    let mut commands = BTreeMap::new();
    // More lines than the two, for there are reports and other mounts, too.
    for _ in 0..30 {
        let line = watch.line();
        let slow = &line["slow"];
        if slow["mount_point"].as_str() == served.point().to_str() {
            let (pid, command) = (slow["caller_pid"].as_u64(), slow["caller_command"].as_str());
            commands.insert(pid.unwrap() as u32, command.unwrap().to_string());
        }
    }
    let [stat, ls] = callers.map(|caller| caller.pid());
    assert_eq!(commands, BTreeMap::from([(stat, "stat".into()), (ls, "ls".into())]));
}

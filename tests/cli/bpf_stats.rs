//! `fusex bpf-stats`: its command line, its forms of output, its exit codes, and what it says
//! where nothing can be measured.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::common::{Mount, SOON, finish, wait_until};
use crate::{Place, fusex, need_mounts};

/// The same as `Place::refused`, with what all of these have in common.
fn refused(place: &Place, arguments: &str, line: &str) {
    let words: Vec<&str> = std::iter::once("bpf-stats").chain(arguments.split(' ')).collect();
    place.refused(&words, 2, line);
}

#[test]
fn what_is_wrong_is_said_in_a_line() {
    let place = Place::new();
    let help = "try 'fusex bpf-stats --help'";
    for (arguments, what) in [
        ("--nonsense", "unexpected argument '--nonsense' found"),
        ("-i 0", "invalid value '0' for '--interval <SECONDS>': give 0.01 or more"),
        (
            "-i x",
            "invalid value 'x' for '--interval <SECONDS>': give a number of seconds, such as 60 or 0.5",
        ),
        ("-c 0", "invalid value '0' for '--count <COUNT>': 0 is not in 1..18446744073709551615"),
        ("--top 1001", "invalid value '1001' for '--top <N>': 1001 is not in 0..=1000"),
        (
            "--slow 5ms",
            "invalid value '5ms' for '--slow <MS>': give a number of milliseconds, such as 10 or 0.5",
        ),
        ("--stuck 0", "invalid value '0' for '--stuck <SECONDS>': give more than 0"),
        (
            "--openmetrics --listen nowhere",
            "invalid value 'nowhere' for '--listen [<ADDR>]': give an address and a port, such as \
             127.0.0.1:9857 or [::1]:9857",
        ),
    ] {
        refused(&place, arguments, &format!("{what}: {help}"));
    }
    let reports = "prints no reports: give -i too";
    refused(&place, "--slow 5 -c 3", &format!("--count: --slow {reports}"));
    refused(&place, "--stuck 5 --histogram", &format!("--histogram: --stuck {reports}"));
    let absent = "No such file or directory: correct the path";
    refused(&place, "@/absent", &format!("@/absent: {absent}"));
    refused(&place, "@/point", "@/point: not a mount point: see findmnt(8)");
    refused(&place, "/", &format!("/: {} is mounted there, not FUSE: see findmnt(8)", root_type()));
    refused(
        &place,
        "--live",
        "--live: stdout is not a terminal: leave out --live for reports as text, or use --json for \
         programs",
    );
}

fn root_type() -> String {
    let table = fusex::mount::mountinfo::read().unwrap();
    fusex::mount::mountinfo::find(&table, Path::new("/")).unwrap().fs_type.clone()
}

#[test]
fn what_excludes_each_other() {
    let place = Place::new();
    let help = "try 'fusex bpf-stats --help'";
    for (arguments, one, other) in [
        ("--json --openmetrics", "--json", "--openmetrics"),
        ("--live --json", "--live", "--json"),
        ("--live --slow 5", "--live", "--slow <MS>"),
        ("--live --once", "--live", "--once"),
        ("--live --histogram", "--live", "--histogram"),
        ("--openmetrics --stuck 5", "--openmetrics", "--stuck <SECONDS>"),
        ("--once -c 5", "--once", "--count <COUNT>"),
        ("--openmetrics --listen -i 5", "--listen [<ADDR>]", "--interval <SECONDS>"),
        ("--probe --live", "--probe", "--live"),
        ("--probe /a", "--probe", "[MOUNTPOINT]..."),
    ] {
        let what = format!("the argument '{one}' cannot be used with '{other}'");
        refused(&place, arguments, &format!("{what}: {help}"));
    }
    let line = "the following required arguments were not provided: --openmetrics";
    refused(&place, "--listen", &format!("{line}: {help}"));
}

#[test]
fn what_can_be_measured() {
    let text = fusex(&["bpf-stats", "--probe"]).assert().code(0).stderr("");
    let text = String::from_utf8(text.get_output().stdout.clone()).unwrap();
    let json = fusex(&["bpf-stats", "--probe", "--json"]).assert().code(0).stderr("");
    let json: Value = serde_json::from_slice(&json.get_output().stdout).unwrap();
    assert_eq!(json["schema"], 1);
    let tier = &json["tier"];
    assert!(text.contains(&format!("tier:      {}\n", tier["name"].as_str().unwrap())), "{text}");
    let missing = tier["missing"].as_array().unwrap();
    assert_eq!(text.matches("not there: ").count(), missing.len(), "{text}");
    for part in missing {
        assert!(text.contains(part["why"].as_str().unwrap()), "{part}: {text}");
    }
}

/// One report on a mount, in JSON.
fn report(command: &mut Command) -> Value {
    let output = finish(command);
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn bpf_stats(mount: &Mount, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fusex"));
    command.arg("bpf-stats").args(arguments).arg(mount.point());
    command
}

#[test]
fn the_keys_of_a_report() {
    need_mounts!();
    let mount = Mount::new(&["--no-supervise"]);
    let report = report(&mut bpf_stats(&mount, &["--once", "--json", "-i", "0.1"]));
    for key in ["time_unix_s", "interval_s", "tier", "lost", "memory_bytes"] {
        assert!(!report[key].is_null(), "{key}: {report}");
    }
    assert_eq!(report["schema"], 1);
    let [connection] = &report["connections"].as_array().unwrap()[..] else {
        panic!("one was asked for: {report}")
    };
    assert_eq!(connection["connection"], mount.connection());
    assert_eq!(connection["mount_point"], mount.point().to_str().unwrap());
    let keys = "connection mount_point other_mount_points fs_type source server_pid \
                server_command server_threads waiting max_background congestion_threshold \
                in_flight oldest_s split unanswered operations callers nodes in_flight_requests";
    for key in keys.split_whitespace() {
        assert!(connection.get(key).is_some(), "{key}: {connection}");
    }
}

#[test]
fn somebody_without_any_privilege() {
    need_mounts!();
    let mount = Mount::new(&["--no-supervise"]);
    // The program itself may lie where only root gets.
    let program = mount.place().path("fusex");
    std::fs::copy(env!("CARGO_BIN_EXE_fusex"), &program).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
    command.args(["bpf-stats", "--once", "--json"]).arg(mount.point());
    let report = report(&mut command);
    assert_eq!(report["tier"]["name"], "none");
    let missing = report["tier"]["missing"].as_array().unwrap();
    assert!(missing.iter().any(|part| part["cure"].as_str().unwrap().contains("root")), "{report}");
    let connection = &report["connections"][0];
    assert_eq!(connection["mount_point"], mount.point().to_str().unwrap());
    for key in ["server_pid", "waiting", "max_background", "in_flight"] {
        assert!(connection[key].is_null(), "{key}: {connection}");
    }
    command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
    let output = finish(command.args(["bpf-stats", "--slow", "5"]));
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(line.starts_with("fusex: --slow: no request can be seen here: "), "{line}");
}

#[test]
fn a_mount_that_hangs_can_be_named() {
    need_mounts!();
    let mount = Mount::new(&["--no-supervise", "-o", "cache=never"]);
    let server = Pid::from_raw(mount.pid() as i32);
    kill(server, Signal::SIGSTOP).unwrap();
    let output = finish(&mut bpf_stats(&mount, &["--once", "--json", "-i", "0.1"]));
    let mut inside = Command::new(env!("CARGO_BIN_EXE_fusex"));
    let inside = finish(inside.arg("bpf-stats").arg(mount.point().join("x")));
    kill(server, Signal::SIGCONT).unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let line = String::from_utf8(inside.stderr).unwrap();
    assert!(line.ends_with(&format!("give {}\n", mount.point().display())), "{line}");
}

#[test]
fn a_connection_of_another_mount_namespace() {
    need_mounts!();
    let mount = Mount::new(&["--no-supervise"]);
    let script = "mount -t fusectl fusectl /sys/fs/fuse/connections 2>/dev/null\n\
                  umount \"$1\" && exec \"$0\" bpf-stats --once --json -i 0.1";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script]);
    let report = report(command.arg(env!("CARGO_BIN_EXE_fusex")).arg(mount.point()));
    let of_it = |it: &&Value| it["connection"] == mount.connection();
    let connection = report["connections"].as_array().unwrap().iter().find(of_it).unwrap();
    assert!(connection["mount_point"].is_null(), "{connection}");
    assert_eq!(connection["server_pid"], mount.pid());
    for key in ["waiting", "max_background", "congestion_threshold"] {
        assert!(connection[key].is_u64(), "{key}: {connection}");
    }
}

/// Reports each tenth of a second.
fn start(mount: &Mount) -> (Child, BufReader<impl Read + use<>>) {
    let mut command = bpf_stats(mount, &["--json", "-i", "0.1"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert!(line.starts_with("{\"schema\":1,"), "{line}");
    (child, lines)
}

#[test]
fn a_signal_and_a_closed_pipe_end_it_well() {
    need_mounts!();
    let mount = Mount::new(&["--no-supervise"]);
    for signal in [Some(Signal::SIGINT), Some(Signal::SIGTERM), None] {
        let (mut child, lines) = start(&mount);
        match signal {
            Some(signal) => kill(Pid::from_raw(child.id() as i32), signal).unwrap(),
            None => drop(lines),
        }
        let ended = wait_until(SOON, || child.try_wait().unwrap().is_some());
        if !ended {
            child.kill().unwrap();
        }
        let status = child.wait().unwrap();
        assert!(ended && status.code() == Some(0), "{signal:?}: {status}");
    }
    // Nobody has to write anything to see that nobody reads.
    let mut command = bpf_stats(&mount, &["-i", "3600"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ended = wait_until(SOON, || child.try_wait().unwrap().is_some());
    if !ended {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(ended, "it waits for an hour");
}

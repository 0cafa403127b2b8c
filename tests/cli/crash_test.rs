//! `fusex crash-test`: its command line, its forms of output, and its exit codes.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use crate::{Place, fusex, is_root, program};

/// The same as `Place::refused`, with what all of these have in common.
fn refused(place: &Place, arguments: &str, line: &str) {
    let words: Vec<&str> = std::iter::once("crash-test").chain(arguments.split(' ')).collect();
    place.refused(&words, 2, line);
}

#[test]
fn what_is_wrong_is_said_in_a_line() {
    let place = Place::new();
    let line = "no test: give --matrix, --kill-worker, --kill-supervisor, --mount, --replay, \
                --hang, --poison, --oom, --core or --list-points";
    place.refused(&["crash-test"], 2, line);
    refused(&place, "--json", line);
    refused(&place, "--seed 1 -t mem", line);
    let help = "try 'fusex crash-test --help'";
    for (arguments, what) in [
        ("--nonsense", "unexpected argument '--nonsense' found"),
        (
            "--kill-worker=0",
            "invalid value '0' for '--kill-worker[=<N>]': 0 is not in 1..18446744073709551615",
        ),
        (
            "--kill-worker=x",
            "invalid value 'x' for '--kill-worker[=<N>]': invalid digit found in string",
        ),
        ("--kill-worker 5", "unexpected argument '5' found"),
        (
            "--kill-worker --every 0",
            "invalid value '0' for '--every <MS>': 0 is not in 1..=3600000",
        ),
        (
            "--kill-worker --duration 0",
            "invalid value '0' for '--duration <SECONDS>': give more than 0",
        ),
        (
            "--kill-worker --duration=-1",
            "invalid value '-1' for '--duration <SECONDS>': give a number of seconds, such as 60 or 0.5",
        ),
        ("--kill-worker --threads 0", "invalid value '0' for '--threads <N>': 0 is not in 1..=256"),
        (
            "--kill-worker --inodes 10000001",
            "invalid value '10000001' for '--inodes <N>': 10000001 is not in 0..=10000000",
        ),
        ("--kill-worker --seed -1", "unexpected argument '-1' found"),
        (
            "--kill-worker --seed=-1",
            "invalid value '-1' for '--seed <N>': invalid digit found in string",
        ),
        (
            "--kill-worker --signal CONT",
            "invalid value 'CONT' for '--signal <SIGNAL>': give random or one of KILL, SEGV, BUS, \
             ABRT, FPE, TERM",
        ),
        (
            "--matrix -t tmpfs",
            "invalid value 'tmpfs' for '--type <TYPE>' [possible values: dir, mem, merge]",
        ),
        (
            "--matrix --point nope",
            "invalid value 'nope' for '--point <NAME>...': no such point: '--list-points' lists them",
        ),
        (
            "--matrix --without x",
            "invalid value 'x' for '--without <PROTECTION>': give one of journal, slots, \
             forget-progress, append, backing, prefault, busy",
        ),
        ("--mount @ --pid 1", "invalid value '1' for '--pid <PID>': 1 is not in 2..=2147483647"),
    ] {
        refused(&place, arguments, &format!("{what}: {help}"));
    }
    refused(&place, "--kill-worker -o nosuch", "option 'nosuch': unknown: did you mean 'nosuid'?");
    let line = "--without: one at a time with --matrix";
    refused(&place, "--matrix --without journal --without slots", line);
}

#[test]
fn what_excludes_or_wants_each_other() {
    let place = Place::new();
    let help = "try 'fusex crash-test --help'";
    for (arguments, one, other) in [
        ("--list-points --matrix", "--list-points", "--matrix"),
        ("--list-points --report @/x", "--list-points", "--report <FILE>"),
        ("--replay @/x --matrix", "--replay <FILE>", "--matrix"),
        ("--replay @/x -t mem", "--replay <FILE>", "--type <TYPE>"),
        ("--matrix -o ro", "--matrix", "-o <OPTIONS>"),
        ("--mount @ --pid 5 --hang", "--mount <MOUNTPOINT>", "--hang"),
        ("--mount @ --pid 5 --kill-supervisor", "--mount <MOUNTPOINT>", "--kill-supervisor[=<N>]"),
        ("--mount @ --pid 5 --trace @/x", "--mount <MOUNTPOINT>", "--trace <FILE>"),
        ("--mount @ --pid 5 --pid-command x", "--pid <PID>", "--pid-command <COMMAND>"),
    ] {
        let words: Vec<String> = place.fill(&arguments.split(' ').collect::<Vec<_>>());
        let output = fusex(&[&["crash-test".to_string()][..], &words].concat()).output().unwrap();
        let line = String::from_utf8(output.stderr).unwrap();
        let either = [(one, other), (other, one)].map(|(one, other)| {
            format!("fusex: the argument '{one}' cannot be used with '{other}': {help}\n")
        });
        assert!(either.contains(&line), "{arguments}: {line}");
        assert_eq!(output.status.code(), Some(2), "{arguments}");
    }
    let output = fusex(&["crash-test", "--kill-worker", "-t", "merge"]).output().unwrap();
    let line = "fusex: -t merge: nothing can be changed there: --matrix alone tests it\n";
    assert_eq!((output.status.code(), &*String::from_utf8_lossy(&output.stderr)), (Some(2), line));
    let storm = "<--kill-worker[=<N>]|--kill-supervisor[=<N>]|--mount <MOUNTPOINT>>";
    for (arguments, wanted) in [
        ("--short", "--matrix"),
        ("--operation MKDIR", "--matrix"),
        ("--point read", "--matrix"),
        ("--every 5", storm),
        ("--duration 5", storm),
        ("--matrix --threads 2", storm),
        ("--inodes 5", storm),
        ("--signal KILL", storm),
        ("--pid 5", "--mount <MOUNTPOINT>"),
        ("--mount @", "<--pid <PID>|--pid-command <COMMAND>>"),
    ] {
        let line = format!("the following required arguments were not provided: {wanted}: {help}");
        refused(&place, arguments, &line);
    }
    let line = "--trace: nothing to trace: give --kill-worker or --kill-supervisor";
    refused(&place, "--matrix --trace @/x", line);
}

#[test]
fn a_file_that_cannot_be_written_is_found_out_at_once() {
    if !is_root("a_file_that_cannot_be_written_is_found_out_at_once") {
        return;
    }
    let place = Place::new();
    for (arguments, line) in [
        ("--kill-worker --report @/none/x", "--report: @/none/x: No such file or directory"),
        ("--kill-worker --report @/file/x", "--report: @/file/x: Not a directory"),
        (
            "--kill-worker --report @/point",
            "--report: @/point: there is something else than a file",
        ),
        ("--kill-worker --trace @/none/x", "--trace: @/none/x: No such file or directory"),
        ("--replay @/none --trace @/none/x", "--trace: @/none/x: No such file or directory"),
    ] {
        refused(&place, arguments, line);
    }
    let names = std::fs::read_dir(place.path("")).unwrap();
    assert_eq!(names.count(), 3, "nothing is left behind");
}

#[test]
fn points_are_listed() {
    let output = fusex(&["crash-test", "--list-points"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]));
    let first = "read            request      the request lies in the slot";
    assert_eq!(text.lines().next(), Some(first));
    let output = fusex(&["crash-test", "--list-points", "--json"]).output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["schema"], 1);
    let points = json["points"].as_array().unwrap();
    let lines: Vec<String> = points
        .iter()
        .map(|point| {
            let part = |key: &str| point[key].as_str().unwrap();
            format!("{:<15} {:<12} {}", part("name"), part("part"), part("what"))
        })
        .collect();
    assert_eq!(text.lines().collect::<Vec<_>>(), lines);
    for part in ["request", "takeover", "replacement", "promotion", "upgrade"] {
        assert!(points.iter().any(|point| point["part"] == part), "{part}");
    }
}

/// What it prints to a terminal of 80 columns.
fn on_terminal(arguments: &str, no_color: Option<&str>) -> String {
    let line = format!("stty cols 80; {} crash-test {arguments}", env!("CARGO_BIN_EXE_fusex"));
    let mut command = Command::new("timeout");
    command.args(["60", "script", "-qec", &line, "/dev/null"]).env("TERM", "xterm");
    command.env_remove("NO_COLOR").envs(no_color.map(|value| ("NO_COLOR", value)));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn colours_are_for_terminals_and_can_be_refused() {
    assert!(on_terminal("--list-points", None).contains("\x1b[1m"));
    assert!(on_terminal("--list-points", Some("")).contains("\x1b[1m"), "an empty one is none");
    assert!(!on_terminal("--list-points", Some("1")).contains('\x1b'));
}

#[test]
fn who_may_not_is_told_why() {
    if !is_root("who_may_not_is_told_why") {
        return;
    }
    let place = Place::new();
    // Where everybody can execute it.
    let everybody = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(place.path(""), everybody).unwrap();
    let copy = place.path("fusex");
    std::fs::copy(env!("CARGO_BIN_EXE_fusex"), &copy).unwrap();
    let copy = copy.to_str().unwrap();
    let user = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let line = "crash-test needs root: it mounts, and kills who serves";
    let powerless = ["--bounding-set", "-sys_admin"];
    let cure = "give the container CAP_SYS_ADMIN, or run as another user";
    let test = ["--kill-worker=1", "--trace", "/tmp/fusex-not-made"];
    for (how, line) in [
        (&user[..], line.to_string()),
        (&powerless[..], format!("mount: root without CAP_SYS_ADMIN: {cure}")),
    ] {
        let words = [how, &[copy, "crash-test"], &test].concat();
        place.refused_command(&mut program("setpriv".as_ref(), &words), 77, &line);
    }
}

#[test]
fn a_storm() {
    if let Some(reason) = crate::common::why_no_mounts() {
        crate::skip!(reason);
    }
    let place = Place::new();
    let words = "crash-test --kill-worker=5 --kill-supervisor=1 --seed 9 --inodes 10 --threads 2 \
                 --json --trace @/trace --report @/page";
    let words = place.fill(&words.split_whitespace().collect::<Vec<_>>());
    let output = fusex(&words).timeout(std::time::Duration::from_secs(100)).output().unwrap();
    assert!(output.stderr.is_empty(), "no progress bar: {output:?}");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = [
        ("schema", 1),
        ("worker_deaths", 5),
        ("supervisor_deaths", 1),
        ("anomalies", 0),
        ("seed", 9),
    ];
    for (key, number) in expected {
        assert_eq!(json[key], number, "{key}: {json}");
    }
    for key in ["operations", "pause_p50_ns", "pause_p90_ns", "pause_p99_ns", "pause_max_ns"] {
        assert!(json[key].as_u64().unwrap() > 0, "{key}: {json}");
    }
    assert_eq!(json["anomaly_list"], Value::Array(Vec::new()));
    assert!(!place.path("trace").exists(), "there is nothing to replay");
    let page = std::fs::read_to_string(place.path("page")).unwrap();
    assert!(page.contains("no anomaly") && page.contains("<svg"), "{page}");
    assert!(page.contains("crash-test --kill-worker=5 --kill-supervisor=1 --seed 9"), "{page}");
    place.nothing_is_mounted();
}

#[test]
fn a_bar_for_a_terminal() {
    if let Some(reason) = crate::common::why_no_mounts() {
        crate::skip!(reason);
    }
    let shown =
        on_terminal("--kill-worker --duration 1 --seed 3 --trace /tmp/fusex-not-made", Some("1"));
    for part in ["storm", "ops/s", " deaths, 0 anomalies", "no anomaly\r\n", "█"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn a_part_of_the_matrix() {
    if let Some(reason) = crate::common::why_no_mounts() {
        crate::skip!(reason);
    }
    let place = Place::new();
    let words = "crash-test --matrix --short --operation MKDIR --point after-call -t dir -s --no-resend \
                 --seed 1 --json";
    let run = |more: &[&str]| {
        let words: Vec<&str> = words.split_whitespace().chain(more.iter().copied()).collect();
        let output = fusex(&words).timeout(std::time::Duration::from_secs(100)).output().unwrap();
        (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).unwrap())
    };
    let (code, json) = run(&[]);
    assert_eq!(code, Some(0), "{json}");
    let cells = json["cell_list"].as_array().unwrap();
    assert_eq!(
        (json["schema"].as_u64(), json["cells"].as_u64()),
        (Some(1), Some(cells.len() as u64))
    );
    assert!(!cells.is_empty());
    assert_eq!(
        (&json["ok"], &json["wrong"], &json["unreached"]),
        (&json["cells"], &0.into(), &0.into())
    );
    let (code, json) = run(&["--without", "slots"]);
    assert_eq!(code, Some(1), "{json}");
    assert!(json["wrong"].as_u64() > Some(0), "{json}");
    place.nothing_is_mounted();
}

#[test]
fn a_trace_that_is_none() {
    if let Some(reason) = crate::common::why_no_mounts() {
        crate::skip!(reason);
    }
    let place = Place::new();
    let words = place.fill(&["crash-test", "--replay", "@/file"]);
    let output = fusex(&words).output().unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{line}");
    assert!(line.starts_with(&format!("fusex: {}", place.path("file").display())), "{line}");
    assert_eq!(line.lines().count(), 1);
}

#[test]
fn the_help_has_its_own_codes() {
    let help = fusex(&["crash-test", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("  77  no privilege or no kernel support"), "{help}");
    assert!(!help.contains("mount or the unmount failed") && !help.contains("--without"), "{help}");
}

//! `fusex splice-bench` as a whole: every combination has figures or a reason, a wrong byte is
//! found whichever way it takes, and nothing is left behind however it ends.

#[path = "common/mod.rs"]
mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use common::{Mount, Place, SERVED, SOON, wait_until};

const SOURCES: [&str; 3] = ["file", "unix", "tcp"];
const SINKS: [&str; 5] = ["null", "pipe", "file", "mount-direct", "mount-cached"];
const MODES: [&str; 6] = ["copy", "iovec", "splice", "fallback", "passthrough", "uring"];
/// The figures of a row, null where they are not known.
const FIGURES: [&str; 5] = [
    "gib_per_s",
    "request_us",
    "server_cpu_s_per_gib",
    "client_cpu_s_per_gib",
    "peer_cpu_s_per_gib",
];

/// Runs it in the place with these arguments: its exit code, stdout and stderr.
fn run(place: &Place, arguments: &[&str]) -> (i32, String, String) {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_fusex"));
    command.args(["splice-bench", "--dir"]).arg(place.path("plain")).args(arguments);
    let output = command.env_remove("RUST_LOG").timeout(SOON * 3).output().unwrap();
    nothing_is_left(place);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// The report of a run that has to succeed.
fn report(place: &Place, arguments: &[&str]) -> Value {
    let (code, stdout, stderr) = run(place, &[arguments, &["--json"]].concat());
    assert_eq!((code, stderr.as_str()), (0, ""), "{arguments:?}");
    serde_json::from_str(&stdout).unwrap()
}

fn nothing_is_left(place: &Place) {
    let dir = place.path("plain");
    let left: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|it| it.unwrap().path()).collect();
    assert!(left.is_empty(), "left: {left:?}");
    assert_eq!(mounts_below(&dir), 0);
    let needle = dir.to_str().unwrap();
    assert!(
        wait_until(SOON, || processes_with(needle).is_empty()),
        "left: {:?}",
        processes_with(needle)
    );
}

fn mounts_below(dir: &Path) -> usize {
    let table = fusex::mount::mountinfo::read().unwrap();
    table.iter().filter(|it| it.mount_point.starts_with(dir)).count()
}

fn processes_with(needle: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|it| std::fs::read(it.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(needle)).collect()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect()
}

#[test]
fn every_combination_has_figures_or_a_reason() {
    let place = Place::new();
    let found = report(&place, &["--quick", "--rounds", "2", "--bytes", "256K"]);
    assert_eq!((&found["schema"], &found["rounds"]), (&1.into(), &2.into()));
    let sizes = [4096, 131_072, 1 << 20];
    let rows = found["rows"].as_array().unwrap();
    let mut seen = BTreeSet::new();
    for row in rows {
        let key = ["source", "sink", "mode"].map(|it| row[it].as_str().unwrap().to_string());
        assert!(seen.insert((key, row["size_bytes"].as_u64())), "twice: {row}");
        check_row(row);
    }
    let left_out = found["left_out"].as_array().unwrap();
    for (source, sink, mode) in combinations() {
        let key = [source, sink, mode].map(String::from);
        let measured = sizes.iter().filter(|it| seen.contains(&(key.clone(), Some(**it)))).count();
        let reasons = left_out.iter().filter(|it| {
            it["mode"] == mode
                && strings(&it["sources"]).contains(&source)
                && strings(&it["sinks"]).contains(&sink)
        });
        let reasons: Vec<&str> = reasons.map(|it| it["reason"].as_str().unwrap()).collect();
        let fits = match measured {
            0 => reasons.len() == 1 && !reasons[0].is_empty(),
            _ => measured == sizes.len() && reasons.is_empty(),
        };
        assert!(fits, "{source} to {sink} by {mode}: {measured} rows, {reasons:?}");
    }
    let local = rows.iter().filter(|it| !it["sink"].as_str().unwrap().starts_with("mount"));
    assert_eq!(local.count(), (3 * 3 + 2 * 3 * 4) * sizes.len(), "those need no rights");
    let verdicts = found["verdicts"].as_array().unwrap();
    let sources: Vec<&Value> = verdicts.iter().map(|it| &it["source"]).collect();
    assert_eq!(sources, SOURCES);
    if common::why_no_mounts().is_none() {
        let mounted = |it: &&Value| it["sink"] == "mount-direct" && it["mode"] == "passthrough";
        assert!(rows.iter().any(|it| mounted(&it)), "passthrough on a mount: {left_out:?}");
    }
}

fn combinations() -> Vec<(&'static str, &'static str, &'static str)> {
    let of =
        |source| SINKS.into_iter().flat_map(move |sink| MODES.map(|mode| (source, sink, mode)));
    SOURCES.into_iter().flat_map(of).collect()
}

/// What has to hold of any row.
fn check_row(row: &Value) {
    for (name, figure) in FIGURES.map(|it| (it, &row[it])) {
        if figure.is_null() {
            continue;
        }
        let parts = ["min", "median", "max"].map(|it| figure[it].as_f64().unwrap());
        assert!(parts.is_sorted() && parts[0] >= 0.0, "{row}");
        let may_be_nothing = name == "server_cpu_s_per_gib" && row["mode"] == "passthrough";
        assert!(parts[2] > 0.0 || may_be_nothing, "{name}: {row}");
    }
    let (mode, source) = (row["mode"].as_str().unwrap(), row["source"].as_str().unwrap());
    let local = !row["sink"].as_str().unwrap().starts_with("mount");
    assert_eq!(row["peer_cpu_s_per_gib"].is_null(), source == "file", "{row}");
    assert_eq!(
        row["client_cpu_s_per_gib"].is_null(),
        ["null", "file"].iter().any(|it| row["sink"] == *it)
    );
    assert!(!row["server_cpu_s_per_gib"].is_null(), "{row}");
    if mode == "copy" {
        assert_eq!(row["ratio_to_copy"]["gib_per_s"], 1.0, "{row}");
        assert_eq!(row["ratio_to_copy"]["server_cpu"], 1.0, "{row}");
    }
    let (requests, pages) = (row["requests"].as_u64(), row["size_bytes"].as_u64().unwrap() / 4096);
    assert_eq!(requests, Some(2 * (64 / pages).max(1)), "{row}");
    let is_piped = local && ["splice", "fallback"].contains(&mode);
    let counted = is_piped || mode == "splice";
    for name in ["pipe_bytes", "splices_per_request", "fallbacks"] {
        assert_eq!(row[name].is_null(), !counted, "{name}: {row}");
    }
    if counted && !local {
        let blocks: u64 = row["fallbacks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["blocks"].as_u64().unwrap())
            .sum();
        assert!(row["splices_per_request"].as_f64() > Some(0.0) || blocks > 0, "{row}");
        assert!(row["pipe_bytes"].as_u64() >= Some(4096) && row["pipe_slots"].is_null(), "{row}");
    }
    if is_piped {
        let fallbacks = row["fallbacks"].as_array().unwrap();
        let blocks: u64 = fallbacks.iter().map(|it| it["blocks"].as_u64().unwrap()).sum();
        assert!(fallbacks.iter().all(|it| it["reason"] == "the pipe is full"), "{row}");
        match mode {
            "fallback" => assert_eq!(Some(blocks), requests, "each was made to fall back: {row}"),
            _ if source == "file" => {
                assert_eq!(row["pipe_slots"]["max"], pages, "a page a slot: {row}");
                assert_eq!(row["splices_per_request"], 2.0, "in and out: {row}");
            }
            _ => assert!(row["splices_per_request"].as_f64() >= Some(1.0) || blocks > 0, "{row}"),
        }
    }
}

#[test]
fn a_wrong_byte_is_found_wherever_it_goes() {
    let place = Place::new();
    for sink in SINKS {
        if sink.starts_with("mount")
            && let Some(why) = common::why_no_mounts()
        {
            common::log_skip("a_wrong_byte_is_found_wherever_it_goes: mounts", &why);
            continue;
        }
        let (code, stdout, stderr) = run(
            &place,
            &[
                &["--quick", "--size", "64K", "--bytes", "256K", "--rounds", "1", "--json"][..],
                &["--source", "file", "--mode", "copy", "--sink", sink, "--corrupt", "100001"],
            ]
            .concat(),
        );
        assert_eq!((code, stdout.as_str()), (1, ""), "{sink}: {stderr}");
        assert!(stderr.starts_with("fusex: a wrong byte: file to "), "{sink}: {stderr}");
        assert!(stderr.contains(" by copy, 64 KiB: at 100001: sent 0x"), "{sink}: {stderr}");
    }
    // The position is behind what is moved: the same bytes pass.
    let few = ["--quick", "--size", "4K", "--bytes", "4K", "--sink", "pipe", "--corrupt", "4096"];
    report(&place, &few);
}

#[test]
fn a_signal_leaves_nothing() {
    need_mounts!();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let place = Place::new();
        let mut child = Command::new(env!("CARGO_BIN_EXE_fusex"))
            .args(["splice-bench", "--quick", "--rounds", "1000", "--source", "file", "--dir"])
            .arg(place.path("plain"))
            .args(["--sink", "mount-direct,mount-cached"])
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        assert!(wait_until(SOON, || mounts_below(&place.path("plain")) >= 2), "no mounts");
        // Anywhere in a measurement.
        std::thread::sleep(Duration::from_millis(50));
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
        let ended = wait_until(SOON, || child.try_wait().unwrap().is_some());
        if !ended {
            child.kill().unwrap();
        }
        let output = child.wait_with_output().unwrap();
        assert!(ended, "{signal}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), stderr.as_str()), (Some(2), "fusex: interrupted\n"));
        nothing_is_left(&place);
    }
}

#[test]
fn a_mount_of_somebody_else() {
    need_mounts!();
    let (mount, place) = (Mount::new(SERVED), Place::new());
    std::fs::write(mount.source().join("large"), vec![7; 2 << 20]).unwrap();
    let chosen = ["--quick", "--size", "64K", "--bytes", "1M", "--rounds", "2", "--source", "file"];
    for path in [mount.point(), mount.point().join("large")] {
        let given = ["--mode", "copy", "--mount", path.to_str().unwrap()];
        let found = report(&place, &[&chosen[..], &given].concat());
        let rows = found["rows"].as_array().unwrap();
        let existing: Vec<&Value> = rows.iter().filter(|it| it["mode"] == "existing").collect();
        let sinks: Vec<&Value> = existing.iter().map(|it| &it["sink"]).collect();
        assert_eq!(sinks, ["mount-direct", "mount-cached"]);
        for row in existing {
            assert!(row["server_cpu_s_per_gib"].is_null(), "whose it is nobody knows: {row}");
            assert!(row["ratio_to_copy"]["gib_per_s"].as_f64() > Some(0.0), "{row}");
        }
    }
    let left: Vec<_> =
        std::fs::read_dir(mount.point()).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left, ["large"]);
    std::fs::write(mount.source().join("small"), "too short").unwrap();
    let small = mount.point().join("small");
    let (code, _, stderr) = run(&place, &["--quick", "--mount", small.to_str().unwrap()]);
    let line = format!(
        "fusex: --mount: {}: no file of 2097152 bytes or more: give a larger one, a directory, or \
         a smaller --bytes\n",
        small.display()
    );
    assert_eq!((code, stderr), (2, line));
}

#[test]
fn the_forms_agree() {
    let place = Place::new();
    let chosen = ["--quick", "--size", "4K,64K", "--bytes", "64K", "--rounds", "1"];
    let chosen = [&chosen[..], &["--source", "unix", "--sink", "null,pipe"]].concat();
    let rows = report(&place, &chosen)["rows"].as_array().unwrap().len();
    assert_eq!(rows, 2 * 2 * 4);
    for (form, lines) in [("--csv", rows + 1), ("--chart", 0)] {
        let (code, stdout, stderr) = run(&place, &[&chosen[..], &[form]].concat());
        assert_eq!((code, stderr.as_str()), (0, ""), "{form}");
        assert!(!stdout.contains('\x1b'), "no terminal, no colours");
        assert!(lines == 0 || stdout.lines().count() == lines, "{form}: {stdout}");
    }
    let (_, table, _) = run(&place, &chosen);
    let shown = table.lines().filter(|line| line.trim_start().starts_with(['4', '6']));
    assert_eq!(shown.count(), rows, "{table}");
    assert!(table.contains("wake-up round trip") && table.contains("not measured:"), "{table}");
}

#[test]
fn pinned_to_cpus() {
    let place = Place::new();
    let chosen = ["--quick", "--size", "4K", "--bytes", "64K", "--rounds", "1", "--sink", "pipe"];
    let cpus = report(&place, &chosen)["machine"]["cpus"].as_u64().unwrap();
    let same = report(&place, &[&chosen[..], &["--pin", "same"]].concat());
    assert_eq!(same["pin"], "same");
    let (code, _, stderr) = run(&place, &[&chosen[..], &["--pin", "cross"]].concat());
    match cpus {
        1 => assert_eq!(stderr, "fusex: --pin cross: only one CPU is allowed: use --pin same\n"),
        _ => assert_eq!((code, stderr.as_str()), (0, "")),
    }
}

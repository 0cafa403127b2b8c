//! All processes of a mount are killed together, and the next start goes on.

use std::time::Duration;

use fusex::recovery::arena::{Arena, Origin};
use fusex::recovery::points::{Action, Armed, Point, Points};
use fusex::supervise::handover::STORED_ARENA;
use fusex::sys::Fd;
use fusex::wire::Opcode;

use crate::caller::Caller;
use crate::common::{Mode, NEVER, SERVED, SOON, SPLICED, WRITEBACK, wait_until};
use crate::need_mounts;
use crate::unit::Unit;

/// Data straight to the lower file, through the server, and gathered in the kernel.
const WAYS: [Mode; 3] = [&[], SERVED, WRITEBACK];

#[test]
fn calls_that_wait_go_on() {
    need_mounts!();
    for way in WAYS {
        let mut unit = Unit::managed(way, None);
        let mut first = unit.caller();
        first.all(&["put old text", "put moved text", "put gone text", "mkdir empty"]);
        unit.kill_all();
        let waiting = [
            ("put new other", "ok"),
            ("put old x", "EEXIST"),
            ("append old more", "ok"),
            ("get old", "ok text"),
            ("rename moved there", "ok"),
            ("unlink gone", "ok"),
            ("rmdir empty", "ok"),
            ("mkdir made", "ok"),
            ("get nothing", "ENOENT"),
        ];
        let mut callers: Vec<_> = waiting.iter().map(|_| unit.caller()).collect();
        for (caller, (line, _)) in callers.iter_mut().zip(waiting) {
            caller.tell(line);
        }
        assert!(!first.has_answer());
        for (caller, (line, _)) in callers.iter_mut().zip(waiting) {
            assert!(!caller.has_answer(), "{line}: {}", caller.answer());
        }
        unit.restart();
        for (caller, (line, expected)) in callers.iter_mut().zip(waiting) {
            let answer = caller.answer();
            // Before or behind the other one.
            let also = (line == "get old").then_some("ok textmore");
            assert!(answer == expected || Some(answer.as_str()) == also, "{line}: {answer}");
        }
        assert_eq!(first.ask("get old"), "ok textmore");
        assert_eq!(first.ask("names ."), "ok 4");
    }
}

#[test]
fn open_files_are_as_they_were_but_for_those_without_a_name() {
    need_mounts!();
    for way in [&[][..], SERVED, NEVER] {
        let mut unit = Unit::managed(way, None);
        let mut caller = unit.caller();
        caller.all(&["create named a", "write named 0123456789", "seek named 4"]);
        caller.all(&["make moved b", "write moved abc", "rename b c"]);
        caller.all(&["make linked e", "write linked x", "link e f", "unlink e"]);
        caller.all(&["make nameless d", "write nameless lost", "seek nameless 0", "unlink d"]);
        for round in 1..=2 {
            unit.kill_all();
            unit.restart();
            assert_eq!(caller.ask("position named"), "ok 4", "{way:?}, {round}");
            assert_eq!(caller.ask("read named 3"), "ok 456", "{way:?}, {round}");
            // With passthrough the kernel has the lower file itself, and goes on with it.
            for (call, expected) in [("read nameless 4", "ok lost"), ("write nameless x", "ok")] {
                let answer = caller.ask(call);
                let kept = way.is_empty() && answer == expected;
                assert!(kept || answer == "ESTALE", "{way:?}, {round}: {call}: {answer}");
            }
            let _ = caller.ask("seek nameless 0");
            caller.all(&["write moved d", "seek named 4"]);
            caller.all(&["write linked x"]);
            let expected = format!("ok abc{}", "d".repeat(round));
            assert_eq!(caller.ask("get c"), expected, "{way:?}, {round}");
            // The name is free for another file.
            caller.all(&["put d again", "unlink d"]);
        }
        assert_eq!(["size named", "get f"].map(|line| caller.ask(line)), ["ok 10", "ok xxx"]);
    }
}

#[test]
fn an_open_directory_is_read_on() {
    need_mounts!();
    let mut unit = Unit::managed(SERVED, None);
    let mut caller = unit.caller();
    for number in 0..2000 {
        caller.all(&[&format!("put {number:04}{} x", "n".repeat(40))]);
    }
    caller.all(&["list dir ."]);
    let mut seen = Vec::new();
    let mut next = |caller: &mut Caller, count: usize| {
        let answer = caller.ask(&format!("next dir {count}"));
        let names = answer.strip_prefix("ok").unwrap_or_else(|| panic!("{answer}"));
        seen.extend(names.split_whitespace().map(str::to_string));
        seen.len()
    };
    assert_eq!(next(&mut caller, 100), 100);
    for _ in 0..2 {
        unit.kill_all();
        unit.restart();
        next(&mut caller, 700);
    }
    assert_eq!(next(&mut caller, 10_000), 2000);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 2000);
}

/// Locks that conflict, as another process sees them.
fn held(unit: &Unit, lines: &[&str]) -> Vec<String> {
    let mut other = unit.caller();
    other.all(&["open it locked"]);
    lines.iter().map(|line| other.ask(line)).collect()
}

#[test]
fn locks_of_byte_ranges_are_taken_again_and_a_flock_is_not() {
    need_mounts!();
    let mut unit = Unit::managed(SERVED, None);
    let mut holder = unit.caller();
    holder.all(&["make it locked", "write it 0123456789"]);
    holder.all(&["posix it w 0 10", "posix it r 20 5", "flock it ex"]);
    let mut another = unit.caller();
    another.all(&["open it locked", "ofd it w 100 10"]);
    let asked = ["posix it r 9 1", "posix it w 22 1", "ofd it r 105 1", "flock it sh"];
    assert_eq!(held(&unit, &asked), ["EAGAIN"; 4]);
    for _ in 0..2 {
        unit.kill_all();
        unit.restart();
        assert_eq!(held(&unit, &asked), ["EAGAIN", "EAGAIN", "EAGAIN", "ok"]);
        // As others than the holders are kept out, so they are not, and may share.
        holder.all(&["posix it w 5 1"]);
        another.all(&["ofd it w 100 10", "posix it r 20 5"]);
        another.all(&["posix it u 20 5"]);
    }
    // Who waits gets it when it is released.
    let mut waiting = unit.caller();
    waiting.all(&["open it locked"]);
    waiting.tell("posixw it w 0 1");
    unit.kill_all();
    unit.restart();
    unit.until_serving();
    assert!(!waiting.has_answer(), "{}", waiting.answer());
    holder.all(&["posix it u 0 10"]);
    assert_eq!(waiting.answer(), "ok");
    another.all(&["close it", "open it locked"]);
    assert_eq!(held(&unit, &asked[..3]), ["ok", "EAGAIN", "ok"]);
}

#[test]
fn a_lock_that_somebody_else_has_taken_meanwhile_is_lost() {
    need_mounts!();
    let mut unit = Unit::managed(SERVED, None);
    let mut holder = unit.caller();
    holder.all(&["make it locked", "posix it w 0 10", "posix it w 20 10"]);
    unit.kill_all();
    let mut beside = Caller::new(&unit.place.source());
    beside.all(&["open it locked", "ofd it w 0 5"]);
    unit.restart();
    unit.until_serving();
    let told = unit.log().lines().filter(|line| line.contains("a lock on node ")).count();
    assert_eq!(told, 1, "{}", unit.log());
    assert_eq!(beside.ask("ofd it w 20 5"), "EAGAIN");
    // It is held by nobody in the mount, and can be had again.
    beside.all(&["ofd it u 0 5"]);
    assert_eq!(held(&unit, &["posix it w 0 10", "posix it w 20 10"])[1], "EAGAIN");
    holder.all(&["posix it w 0 10"]);
    assert_eq!(beside.ask("ofd it w 0 5"), "EAGAIN");
}

/// The kill points of a mount.
fn points(unit: &Unit) -> Points {
    let arena = Fd::from_owned(unit.manager().kept(STORED_ARENA));
    Points::of(&Arena::attach(arena, Origin::Inherited).unwrap()).unwrap()
}

#[test]
fn the_data_of_a_write_that_is_under_way_is_kept() {
    need_mounts!();
    for way in [SPLICED, &["-o", "nopassthrough", "--transport", "splice", "-s", "--no-resend"]] {
        let mut unit = Unit::managed(way, None);
        let mut caller = unit.caller();
        caller.all(&["make file file", "write file before-"]);
        let pids = unit.until_serving();
        let write = Armed::kill(Point::Dispatched).of(Opcode::FUSE_WRITE as u32);
        let points = points(&unit);
        points.arm(Armed { action: Action::Hang, ..write }, None, None);
        caller.tell("write file behind");
        assert!(wait_until(SOON, || points.fired()[0] > 0), "{way:?}: {}", unit.log());
        unit.kill(pids);
        points.disarm();
        unit.restart();
        assert_eq!(caller.answer(), "ok", "{way:?}: {}", unit.log());
        assert_eq!(caller.ask("get file"), "ok before-behind", "{way:?}");
        assert_eq!(unit.number("damaged_records"), 0, "{way:?}");
    }
}

/// Callers that work while `kill` does what it does.
fn under_load(way: &[&str], kill: impl FnOnce(&mut Unit)) {
    let mut unit = Unit::managed(way, None);
    let mut callers = [unit.caller(), unit.caller()];
    for (number, caller) in callers.iter_mut().enumerate() {
        let name = number.to_string();
        caller.all(&[&format!("mkdir {name}"), &format!("load {name}")]);
    }
    kill(&mut unit);
    unit.until_serving();
    for caller in &mut callers {
        let answer = caller.ask("unload");
        let rounds = answer.strip_prefix("ok ").and_then(|it| it.parse::<u64>().ok());
        eprintln!("{way:?}: {answer} rounds");
        assert!(rounds.is_some_and(|rounds| rounds > 0), "{way:?}: {answer}");
    }
    assert_eq!(unit.number("damaged_records"), 0);
}

#[test]
fn nothing_is_lost_or_done_twice_under_load() {
    need_mounts!();
    let others: [Mode; 2] = [&["--sandbox"], &["--no-resend", "-s", "-o", "nopassthrough"]];
    for way in WAYS.into_iter().chain(others) {
        under_load(way, |unit| {
            for _ in 0..3 {
                std::thread::sleep(Duration::from_millis(150));
                unit.kill_all();
                unit.restart();
            }
        });
    }
}

#[test]
fn a_start_that_is_killed_leaves_all_to_the_next() {
    need_mounts!();
    for way in [&[][..], SERVED] {
        under_load(way, |unit| {
            unit.kill_all();
            for pause in [2, 5, 10, 15, 20, 25, 30, 40, 60] {
                unit.restart();
                std::thread::sleep(Duration::from_millis(pause));
                unit.kill(Vec::new());
            }
            unit.restart();
        });
    }
}

#[test]
fn the_mount_point_may_be_named_in_another_way() {
    need_mounts!();
    let mut unit = Unit::managed_at("plain/../point", SERVED, None);
    let mut caller = unit.caller();
    caller.all(&["make file file", "write file text"]);
    unit.kill_all();
    unit.restart();
    assert_eq!(caller.ask("get file"), "ok text");
    assert_eq!(unit.fuse_mounts().len(), 1);
}

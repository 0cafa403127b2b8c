//! An upgrade that fails: the old version goes on, and no caller sees anything of it.

use std::process::Output;

use crate::caller::Caller;
use crate::common::SERVED;
use crate::need_mounts;
use crate::unit::Unit;

/// What the command says when the new version is no version of this program.
const ENDED: &str = "fusex: upgrade: the installed program ended before it took over: the old version \
                     goes on\n";

/// A mount with a load on it, and a caller with open files and locks.
struct Used {
    working: Caller,
    holding: Caller,
    unit: Unit,
}

impl Used {
    fn new(way: &[&str]) -> Used {
        let unit = Unit::alone(way);
        let (mut working, mut holding) = (unit.caller(), unit.caller());
        working.all(&["mkdir load", "load load"]);
        holding.all(&["make named a", "write named 0123456789", "seek named 4", "flock named ex"]);
        holding.all(&["posix named w 0 5", "make nameless b", "unlink b", "write nameless abc"]);
        Used { working, holding, unit }
    }

    /// An upgrade that must fail: what the command said. All that was open and locked is still
    /// there, and the next one that can succeed does.
    fn fails(mut self, prepare: impl FnOnce(&Unit)) -> (Option<i32>, String) {
        let generation = self.unit.number("generation");
        self.unit.expect_killed();
        prepare(&self.unit);
        let output = self.unit.ask(&["upgrade"]);
        self.unit.until_serving();
        assert!(self.unit.number("generation") > generation);
        let mut other = self.unit.caller();
        other.all(&["open it a"]);
        assert_eq!(["posix it r 4 1", "flock it sh"].map(|line| other.ask(line)), ["EAGAIN"; 2]);
        assert_eq!(self.holding.ask("read named 9"), "ok 456789");
        self.holding.all(&["seek nameless 0"]);
        assert_eq!(self.holding.ask("read nameless 9"), "ok abc");
        self.unit.install(env!("CARGO_BIN_EXE_fusex"));
        let again = self.unit.ask(&["upgrade"]);
        assert!(again.status.success(), "{again:?}: {}", self.unit.log());
        let answer = self.working.ask("unload");
        assert!(answer.starts_with("ok ") && answer != "ok 0", "{answer}");
        let Output { status, stderr, stdout } = output;
        assert!(stdout.is_empty());
        (status.code(), String::from_utf8_lossy(&stderr).into_owned())
    }
}

/// What the system says of a program that it cannot start.
fn not_executed(prepare: impl Fn(&Unit), why: &str) {
    for way in [&[][..], SERVED] {
        let used = Used::new(way);
        let program = used.unit.program.display().to_string();
        let failed = used.fails(&prepare);
        let line = format!("fusex: upgrade: {program}: {why}: the old version goes on\n");
        assert_eq!(failed, (Some(1), line));
    }
}

#[test]
fn to_a_program_that_is_none() {
    need_mounts!();
    not_executed(|unit| unit.install("/etc/passwd"), "Exec format error");
}

#[test]
fn to_a_program_that_is_missing() {
    need_mounts!();
    not_executed(|unit| std::fs::remove_file(&unit.program).unwrap(), "No such file or directory");
}

#[test]
fn to_a_program_that_may_not_be_executed() {
    need_mounts!();
    let no_mode = |unit: &Unit| {
        unit.install(env!("CARGO_BIN_EXE_fusex"));
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(&unit.program, mode).unwrap();
    };
    not_executed(no_mode, "Permission denied");
}

#[test]
fn to_a_program_that_ends_at_once() {
    need_mounts!();
    for program in ["/bin/false", "/bin/true"] {
        let failed = Used::new(SERVED).fails(|unit| unit.install(program));
        assert_eq!(failed, (Some(1), ENDED.to_string()), "{program}");
    }
}

#[test]
fn to_a_program_that_does_something_else() {
    need_mounts!();
    let never_ends = |unit: &Unit| {
        let path = unit.place.path("script");
        std::fs::write(&path, "#!/bin/sh\nexec sleep 1000\n").unwrap();
        unit.install(path.to_str().unwrap());
    };
    assert_eq!(Used::new(SERVED).fails(never_ends), (Some(1), ENDED.to_string()));
}

/// A program that is the real one, but for a byte of the arena's header that was another one while
/// it started.
fn with_a_changed_arena(unit: &Unit, at: usize, value: u8) {
    let real = env!("CARGO_BIN_EXE_fusex");
    let saved = unit.place.path("saved");
    let saved = saved.display();
    let script = format!(
        "#!/bin/sh\n\
         number=${{FUSEX_HANDOVER#*\\\"arena\\\":}}\n\
         arena=/proc/self/fd/${{number%%,*}}\n\
         dd if=$arena of={saved} bs=4096 count=1 2>/dev/null\n\
         printf '\\{value:03o}' | dd of=$arena bs=1 seek={at} conv=notrunc 2>/dev/null\n\
         {real} \"$@\"\n\
         code=$?\n\
         dd if={saved} of=$arena bs=4096 count=1 conv=notrunc 2>/dev/null\n\
         exit $code\n"
    );
    let path = unit.place.path("script");
    std::fs::write(&path, script).unwrap();
    unit.install(path.to_str().unwrap());
}

#[test]
fn with_an_arena_that_the_new_version_does_not_take() {
    need_mounts!();
    let cases = [
        (0, "the arena is none: it does not begin as one does: mount anew"),
        (8, "the arena has format 7, this fusex has 1: go on with the version that made it"),
        (16, "the arena is none: its header does not pass the check: mount anew"),
        (40, "the arena is none: its header does not pass the check: mount anew"),
    ];
    for (at, why) in cases {
        let failed = Used::new(SERVED).fails(|unit| with_a_changed_arena(unit, at, 7));
        let line = format!("fusex: upgrade: {why}: the old version goes on\n");
        assert_eq!(failed, (Some(1), line));
    }
}

#[test]
fn the_manager_knows_who_goes_on() {
    need_mounts!();
    let mut unit = Unit::managed(SERVED, None);
    let mut caller = unit.caller();
    caller.all(&["make file file", "write file 0", "mkdir load", "load load"]);
    let standby = unit.until_serving()[1];
    unit.install("/bin/false");
    unit.expect_killed();
    assert!(!unit.ask(&["upgrade"]).status.success());
    assert_eq!(unit.manager().wait_for(&format!("MAINPID={standby}")), standby);
    caller.all(&["write file 1"]);
    // What was stored before is as good as ever.
    unit.install(env!("CARGO_BIN_EXE_fusex"));
    unit.kill_all();
    unit.restart();
    caller.all(&["write file 2"]);
    assert_eq!(caller.ask("get file"), "ok 012");
    let answer = caller.ask("unload");
    assert!(answer.starts_with("ok ") && answer != "ok 0", "{answer}");
}

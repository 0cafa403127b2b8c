//! What the service manager has kept is damaged, or something else: the next start refuses it,
//! mounts nothing, and harms nothing, so that the right start goes on.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use nix::sys::memfd::{MFdFlags, memfd_create};
use xxhash_rust::xxh3::xxh3_64;

use crate::common::SERVED;
use crate::need_mounts;
use crate::unit::{Stored, Unit};

const ARENA: &str = "fusex-arena";
const DEVICE: &str = "fusex-device";
/// The directory's first entry in the arena's header, and how long the header is.
const ENTRY: u64 = 6 * 8;
const HEADER: usize = 4096;

/// What `words` words of the header from `at` on have behind them as a check.
fn check_of(arena: &File, at: u64, words: usize) -> [u8; 8] {
    let mut bytes = vec![0; words * 8];
    arena.read_exact_at(&mut bytes, at).unwrap();
    xxh3_64(&bytes).to_le_bytes()
}

/// Whether it is one line as all errors are.
fn is_line(said: &str) -> bool {
    said.starts_with("fusex: ") && said.lines().count() == 1
}

/// Starts with `stored`, and sees that it is refused with the line `error`.
fn refused(unit: &mut Unit, stored: Stored, code: i32, error: &str) {
    let mounts = unit.fuse_mounts();
    let (status, said) = unit.start_refused(stored);
    assert_eq!((status, said), (Some(code), format!("fusex: {error}\n")));
    assert_eq!(unit.fuse_mounts(), mounts, "{error}");
}

/// The kernel trusts nothing: whoever comes to the mount point has to ask, and waits.
const MODE: &[&str] = &["-o", "nopassthrough,entry_timeout=0,attr_timeout=0"];

/// This arena, and the device that is kept, as `name`.
fn kept(unit: &Unit, arena: OwnedFd, name: &str) -> Stored {
    vec![(ARENA.to_string(), arena), (name.to_string(), unit.manager().kept(DEVICE))]
}

/// A mount whose processes are all dead, and with it a call that waits.
fn dead(f: impl FnOnce(&mut Unit)) {
    let mut unit = Unit::managed(MODE, None);
    let mut caller = unit.caller();
    caller.all(&["make file file", "write file text"]);
    unit.kill_all();
    caller.tell("write file more");
    f(&mut unit);
    assert!(!caller.has_answer(), "{}", caller.answer());
    unit.restart();
    assert_eq!(caller.answer(), "ok");
    assert_eq!(caller.ask("get file"), "ok textmore");
}

#[test]
fn a_damaged_arena() {
    need_mounts!();
    dead(|unit| {
        let arena = File::from(unit.manager().kept(ARENA));
        let mut whole = vec![0; HEADER];
        arena.read_exact_at(&mut whole, 0).unwrap();
        let errors = [
            (0, "it does not begin as one does"),
            (2, "its header does not pass the check"),
            (3, "its header does not pass the check"),
            (4, "its header does not pass the check"),
            (5, "its header does not pass the check"),
        ];
        for (word, error) in errors {
            arena.write_all_at(&1u64.to_le_bytes(), word * 8).unwrap();
            let error = format!("the arena is none: {error}: mount anew");
            refused(unit, unit.manager().stored(), 32, &error);
            arena.write_all_at(&whole, 0).unwrap();
        }
        // Of a region, which nobody looks at before it is asked for.
        arena.write_all_at(&1u64.to_le_bytes(), ENTRY + 2 * 8).unwrap();
        let (status, said) = unit.start_refused(unit.manager().stored());
        let end = ": its directory does not pass the check: mount anew\n";
        assert!(is_line(&said) && said.ends_with(end) && status == Some(32), "{status:?} {said}");
        arena.write_all_at(&whole, 0).unwrap();
    });
}

#[test]
fn an_arena_of_another_version() {
    need_mounts!();
    dead(|unit| {
        let arena = File::from(unit.manager().kept(ARENA));
        let mut whole = vec![0; HEADER];
        arena.read_exact_at(&mut whole, 0).unwrap();
        let and = "go on with the version that made it";
        arena.write_all_at(&7u64.to_le_bytes(), 8).unwrap();
        let error = format!("the arena has format 7, this fusex has 1: {and}");
        refused(unit, unit.manager().stored(), 32, &error);
        arena.write_all_at(&whole, 0).unwrap();
        // As many files as can never be open.
        arena.write_all_at(&u64::MAX.to_le_bytes(), 16).unwrap();
        arena.write_all_at(&check_of(&arena, 0, 5), 40).unwrap();
        let error = "the arena is none: its sizes are out of range: mount anew";
        refused(unit, unit.manager().stored(), 32, error);
        arena.write_all_at(&whole, 0).unwrap();
        // Another size of the first region.
        arena.write_all_at(&7u64.to_le_bytes(), ENTRY + 3 * 8).unwrap();
        arena.write_all_at(&check_of(&arena, ENTRY, 5), ENTRY + 5 * 8).unwrap();
        let (status, said) = unit.start_refused(unit.manager().stored());
        let told = is_line(&said)
            && said.contains("the arena's region ")
            && said.contains(" has 7 of ")
            && said.ends_with(&format!(": {and}\n"));
        assert!(status == Some(32) && told, "{status:?} {said}");
        arena.write_all_at(&whole, 0).unwrap();
    });
}

#[test]
fn an_arena_that_was_cut() {
    need_mounts!();
    dead(|unit| {
        let arena = File::from(unit.manager().kept(ARENA));
        let mut bytes = vec![0; 3 * HEADER];
        arena.read_exact_at(&mut bytes, 0).unwrap();
        let (short, small) = ("it is too short", "its sizes are out of range");
        for (length, error) in [(0, short), (40, short), (HEADER, small), (3 * HEADER, small)] {
            let part = File::from(memfd_create(c"part", MFdFlags::MFD_CLOEXEC).unwrap());
            part.write_all_at(&bytes[..length], 0).unwrap();
            let stored = kept(unit, OwnedFd::from(part), DEVICE);
            refused(unit, stored, 32, &format!("the arena is none: {error}: mount anew"));
        }
    });
}

#[test]
fn another_file_is_no_arena() {
    need_mounts!();
    dead(|unit| {
        let path = unit.place.path("file");
        std::fs::write(&path, vec![b'x'; 1 << 16]).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let stored = kept(unit, OwnedFd::from(file), DEVICE);
        let error = "the arena is none: it does not begin as one does: mount anew";
        refused(unit, stored, 32, error);
    });
}

#[test]
fn what_has_another_name_is_not_taken() {
    need_mounts!();
    dead(|unit| {
        let stored = kept(unit, unit.manager().kept(ARENA), "another");
        let point = unit.place.point();
        let error = format!(
            "mount point {}: Connection timed out: the FUSE mount there does not answer: \
             'fusex umount --lazy' removes it",
            point.display()
        );
        refused(unit, stored, 32, &error);
    });
}

#[test]
fn what_is_stored_of_a_mount_that_is_gone_is_replaced() {
    need_mounts!();
    let mut unit = Unit::managed(SERVED, None);
    unit.kill_all();
    let point = unit.place.point();
    nix::mount::umount2(&point, nix::mount::MntFlags::MNT_DETACH).unwrap();
    unit.restart();
    unit.until_serving();
    assert_eq!((unit.fuse_mounts().len(), unit.number("generation")), (1, 0));
    let told = format!("{}: what was stored is not mounted any more", point.display());
    assert!(unit.log().contains(&told), "{}", unit.log());
    unit.manager().wait_for("READY=1");
    let mut caller = unit.caller();
    caller.all(&["make file file", "write file text"]);
    unit.kill_all();
    unit.restart();
    assert_eq!(caller.ask("get file"), "ok text");
}

#[test]
fn a_mount_below_its_source_is_not_picked_up() {
    need_mounts!();
    let mut unit = Unit::managed_at("source/below", SERVED, None);
    unit.kill_all();
    let source = unit.place.source();
    let error = format!(
        "source {}: the mount point is below the source: a mount like that cannot be picked up \
         again: unmount it",
        source.display()
    );
    let stored = unit.manager().stored();
    refused(&mut unit, stored, 32, &error);
}

#[test]
fn a_mount_in_memory_is_not_kept() {
    need_mounts!();
    let unit = Unit::managed(&["-t", "mem"], None);
    unit.manager().wait_for("READY=1");
    assert_eq!(unit.manager().names(), [""; 0]);
}

#[test]
fn what_is_no_device_is_refused() {
    need_mounts!();
    for path in ["/dev/null", "/dev/fuse"] {
        dead(|unit| {
            let device = File::options().read(true).write(true).open(path).unwrap();
            let stored = vec![
                (ARENA.to_string(), unit.manager().kept(ARENA)),
                (DEVICE.to_string(), OwnedFd::from(device)),
            ];
            let (status, said) = unit.start_refused(stored);
            assert!(status == Some(32) && is_line(&said), "{path}: {status:?} {said}");
        });
    }
}

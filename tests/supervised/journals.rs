//! Damaged journals of slots: a slot's device is known from elsewhere too, and whatever else they
//! say, the supervisor stays.

use std::fs;

use fusex::crash::workload::Random;
use nix::sys::signal::Signal;

use crate::arena::LiveArena;
use crate::common::{Mode, Mount};
use crate::damage::{ends, ends_well, supervisor};
use crate::kills::{Killer, Victims};
use crate::line::{number, status};
use crate::need_mounts;

const SERVED: Mode = &["-o", "nopassthrough", "--restart-limit", "8"];

/// The journal of a slot says which device its thread reads.
#[test]
fn a_device_is_found_by_its_mark() {
    need_mounts!();
    let mount = Mount::new(SERVED);
    fs::write(mount.point().join("file"), "x").unwrap();
    LiveArena::of(&mount).damage_devices();
    Killer::new(&mount, Victims::Worker, &[Signal::SIGKILL]).kill().unwrap();
    let path = mount.point().join("another");
    ends("a call", move || fs::write(path, "x").unwrap());
    assert_eq!(mount.log().matches(" died: ").count(), 1, "{}", mount.log());
    assert!(number(&status(&mount.point()), "damaged_records") > 0);
}

#[test]
fn damaged_journals_harm_no_supervisor() {
    need_mounts!();
    let mount = Mount::new(&["-o", "nopassthrough,attr_timeout=0"]);
    let (supervisor, arena) = (supervisor(&mount), LiveArena::of(&mount));
    let mut random = Random::new(crate::common::seed(6));
    for round in 0..5 {
        arena.damage_anywhere(arena.region("journals"), 0, 20, &mut random);
        Killer::new(&mount, Victims::Worker, &[Signal::SIGKILL]).kill().unwrap();
        let new = mount.point().join(format!("new-{round}"));
        ends("a new file", move || fs::write(&new, "new").unwrap());
    }
    ends_well(&mount, supervisor);
}

//! What the kernel lets go: lookup counts.
//!
//! An inode is forgotten at once when its last name is removed, and many together when a remount
//! of the test's own mount drops all names that nobody uses.

use std::fs;
use std::io;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};

use super::{Class, On, Step};
use crate::crash::matrix::scene::{Scene, open};
use crate::recovery::points::Point;
use crate::wire::Opcode::*;

/// Enough for several of them to wait while the first is read.
const FILES: usize = 40;

fn many(scene: &mut Scene) -> io::Result<()> {
    for number in 0..FILES {
        scene.write(&format!("file {number}"), b"")?;
    }
    Ok(())
}

/// All names of the mount that nobody uses are dropped. MS_REMOUNT needs the mount point itself.
fn drop_names(scene: &mut Scene) {
    let point = scene.dir.parent().map(std::path::Path::to_path_buf).unwrap_or_default();
    let none = None::<&str>;
    let dropped = mount(none, &point, none, MsFlags::MS_REMOUNT, none);
    scene.say("remount", dropped);
}

pub(super) fn steps() -> Vec<Step> {
    vec![
        Step::new("forget", FUSE_FORGET, Class::Forgets, |scene| {
            let path = scene.path("one");
            scene.say("unlink", fs::remove_file(path));
        })
        .prepared(|scene| scene.write("one", b"")),
        Step::new("batch-forget", FUSE_BATCH_FORGET, Class::Forgets, drop_names).prepared(many),
        Step {
            // Behind those of the two directories.
            stalls: Some((FUSE_LOOKUP, Point::Done, 2)),
            ..Step::new("forget-beside-lookup", FUSE_FORGET, Class::Forgets, forget_beside_lookup)
                .prepared(|scene| {
                    scene.write("one", b"found under another name")?;
                    fs::create_dir(scene.path("other"))?;
                    match &scene.lower {
                        // The kernel does not know the second name yet.
                        Some(lower) => fs::hard_link(lower.join("one"), lower.join("other/two")),
                        None => Ok(()),
                    }
                })
                .on(On::Threaded)
        },
    ]
}

/// The inode is looked up under its second name while the kernel forgets what it had under the
/// first one: some of its counts are given back, and one stays. O_PATH and fstat(2) show it: a call
/// with a path would look the name up again where the server does not know the inode.
fn forget_beside_lookup(scene: &mut Scene) {
    let (one, two) = (scene.path("one"), scene.path("other/two"));
    let looks = std::thread::spawn(move || open(&two, OFlag::O_PATH));
    // Until the lookup hangs.
    std::thread::sleep(Duration::from_millis(20));
    scene.say("unlink", fs::remove_file(one));
    match looks.join() {
        Ok(found) => {
            let told = found.and_then(|file| Ok(nix::sys::stat::fstat(&file)?.st_size));
            scene.say("fstat", told);
        }
        Err(_) => scene.said.push("the looking thread died".into()),
    }
}

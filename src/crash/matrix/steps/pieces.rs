//! Reading files made of pieces: the bytes are known beforehand, so that no read is measured by
//! another one.

use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use nix::fcntl::OFlag;

use super::{Class, On, Step};
use crate::crash::matrix::scene::Scene;
use crate::crash::pieces::{CHECKED, PLAIN, expected};
use crate::fs::merge::frame::Checksum;
use crate::wire::Opcode::FUSE_READ;

/// One READ, over the borders of four pieces.
const FROM: usize = 15_000;
const LENGTH: usize = 100_000;
/// Where one packet has all of what is asked for.
const ONE_PACKET: usize = 30_000;
/// A successor is there before.
const LATE: Duration = Duration::from_millis(20);

pub(super) fn steps() -> Vec<Step> {
    let read = |name, checksum| {
        Step::new(name, FUSE_READ, Class::Reads, |scene| see(scene, FROM, LENGTH))
            .look(|scene| see(scene, 0, expected().len()))
            .on(On::Pieces(checksum))
    };
    vec![
        read("pieces", Checksum::Header).prepared(plain),
        read("pieces-checked", Checksum::Payload).prepared(|scene| open(scene, CHECKED)),
        // Over a connection that is made meanwhile.
        read("pieces-anew", Checksum::Header).prepared(|scene| {
            plain(scene)?;
            scene.pieces.iter().for_each(|pieces| pieces.hang_up());
            Ok(())
        }),
        // Nothing has come when it is killed.
        Step::new("pieces-late", FUSE_READ, Class::Reads, |scene| see(scene, ONE_PACKET, 10_000))
            .prepared(|scene| {
                plain(scene)?;
                scene.pieces.iter().for_each(|pieces| pieces.slow_down(Some(LATE)));
                Ok(())
            })
            .on(On::Pieces(Checksum::Header)),
    ]
}

fn plain(scene: &mut Scene) -> io::Result<()> {
    scene.pieces.iter().for_each(|pieces| pieces.slow_down(None));
    open(scene, PLAIN)
}

/// The kernel keeps nothing of what is read here.
fn open(scene: &mut Scene, name: &str) -> io::Result<()> {
    scene.open(name, OFlag::O_RDONLY | OFlag::O_DIRECT)
}

/// Reads, and compares with what has to be there.
fn see(scene: &mut Scene, from: usize, length: usize) {
    let expected = expected();
    let mut seen = vec![0; length];
    let read = scene.files[0].read_at(&mut seen, from as u64);
    let is_right = |read: &usize| *read == length && seen == expected[from..from + length];
    if !read.as_ref().is_ok_and(is_right) {
        let differs = seen.iter().zip(&expected[from..]).position(|(seen, there)| seen != there);
        scene.fault(format!("{length} bytes from {from}: {read:?}, wrong from {differs:?} on"));
    }
    scene.say("read", read);
}

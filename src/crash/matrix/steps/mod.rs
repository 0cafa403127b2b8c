//! The operations: one small scene each.
//!
//! | file | steps |
//! | --- | --- |
//! | `names` | what makes, removes and moves names |
//! | `attrs` | attributes, extended attributes, the file system |
//! | `files` | opening, closing |
//! | `data` | reading and writing |
//! | `dirs` | directories |
//! | `locks` | locks, waiting ones too |
//! | `forgets` | what the kernel lets go |
//! | `pieces` | reading files made of pieces |

mod attrs;
mod data;
mod dirs;
mod files;
mod forgets;
mod locks;
mod names;
mod pieces;

use std::io;

use super::flavour::{Flavour, Threads};
use super::scene::Scene;
use crate::crash::target::FsKind;
use crate::fs::merge::frame::Checksum;
use crate::recovery::points::{Armed, Point};
use crate::wire::Opcode;

/// Which points a request has to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Reads: it can be done again.
    Reads,
    /// Gives something out or takes it back: the reply is stored.
    Keeps,
    /// Changes the lower tree.
    Changes,
    /// Gives lookup counts back, without a reply.
    Forgets,
    /// Waits, and is answered by a thread that has no slot.
    Waits,
    /// Has no reply.
    Tells,
}

/// On which mounts there is such a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    /// All where all data go through the server.
    Served,
    /// A served directory: in memory the kernel does it alone.
    Directory,
    /// A served directory, also with the kernel reading and writing lower files itself.
    Backed,
    /// A served directory, with several threads.
    Threaded,
    /// Files made of pieces: the framed ones have such a checksum.
    Pieces(Checksum),
}

/// One step.
#[derive(Clone)]
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) opcode: Opcode,
    pub(super) class: Class,
    on: On,
    /// Before the crash is armed.
    pub(super) prepare: fn(&mut Scene) -> io::Result<()>,
    /// What is interrupted.
    pub(super) act: fn(&mut Scene),
    /// What is looked at afterwards, besides the tree and open files.
    pub(super) look: fn(&mut Scene),
    /// A request with another opcode hangs here, behind so many others, and dies with the worker.
    pub(super) stalls: Option<(Opcode, Point, u16)>,
}

impl Step {
    fn new(name: &'static str, opcode: Opcode, class: Class, act: fn(&mut Scene)) -> Step {
        Step {
            name,
            opcode,
            class,
            on: On::Served,
            prepare: |_| Ok(()),
            act,
            look: |_| (),
            stalls: None,
        }
    }

    fn prepared(self, prepare: fn(&mut Scene) -> io::Result<()>) -> Step {
        Step { prepare, ..self }
    }

    fn look(self, look: fn(&mut Scene)) -> Step {
        Step { look, ..self }
    }

    fn on(self, on: On) -> Step {
        Step { on, ..self }
    }

    /// Whether it is run on such a mount.
    pub(super) fn is_for(&self, flavour: Flavour) -> bool {
        let directory = flavour.kind == FsKind::Passthrough;
        if flavour.spliced && !matches!(self.opcode, Opcode::FUSE_READ | Opcode::FUSE_WRITE) {
            return false;
        }
        match self.on {
            On::Served => flavour.kind != FsKind::Merge && !flavour.backed,
            On::Directory => directory && !flavour.backed,
            On::Backed => directory,
            On::Threaded => directory && !flavour.backed && flavour.threads == Threads::Many,
            On::Pieces(_) => flavour.kind == FsKind::Merge,
        }
    }

    /// Its death at a point. What is answered from nobody's slot is known by its caller alone.
    pub(super) fn kill(&self, point: Point) -> Armed {
        let nobodys = matches!(point, Point::Finished | Point::Replied);
        match self.class {
            Class::Waits if nobodys => Armed::kill(point),
            _ => Armed::kill(point).of(self.opcode as u32),
        }
    }

    /// Whether behind a crash a point is one of another request: what nobody waits for is not sent
    /// again, and how many FORGETs come in one is the kernel's affair.
    pub(super) fn is_another(&self, point: Point) -> bool {
        self.class == Class::Forgets && matches!(point, Point::Read | Point::Begun)
    }

    /// The points that its requests pass in any case.
    pub(super) fn must_pass(&self, flavour: Flavour) -> Vec<Point> {
        use Point::*;
        let mut all = vec![Read, Begun, Dispatched];
        match self.class {
            Class::Forgets => all.extend([Forgotten, ForgetNoted]),
            Class::Waits => all.extend([Finished, Replied]),
            Class::Tells => {}
            class => {
                all.extend([Finished, Replied]);
                if flavour.spliced && self.opcode == Opcode::FUSE_WRITE {
                    all.push(DataInPipe);
                }
                if matches!(self.on, On::Pieces(_)) {
                    all.extend([SourceAsked, SourceAnswers, Streaming, SourceTaken, SourceIdle]);
                }
                // What has to be looked at does not come there.
                let examined = self.on == On::Pieces(Checksum::Payload);
                if flavour.spliced && self.opcode == Opcode::FUSE_READ && !examined {
                    all.extend([PipeHead, PipeFilled]);
                }
                if class != Class::Reads {
                    all.extend([Done, Sent]);
                }
                if class == Class::Changes && flavour.kind == FsKind::Passthrough {
                    all.push(Called);
                }
            }
        }
        all.extend([Clearing, HalfCleared, Cleared]);
        all
    }
}

/// All steps.
pub(super) fn all() -> Vec<Step> {
    [
        names::steps(),
        attrs::steps(),
        files::steps(),
        data::steps(),
        dirs::steps(),
        locks::steps(),
        forgets::steps(),
        pieces::steps(),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::opcode::TABLE;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = all().iter().map(|step| step.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn all_operations_that_a_program_can_ask_for() {
        use Opcode::*;
        let others = [
            // Once for each mount.
            FUSE_INIT,
            FUSE_DESTROY,
            // Of block devices, virtiofs and character devices.
            FUSE_BMAP,
            FUSE_SYNCFS,
            FUSE_SETUPMAPPING,
            FUSE_REMOVEMAPPING,
            CUSE_INIT,
            // Neither file system answers it, and the kernel asks no more.
            FUSE_POLL,
            // The answer to a question that nobody asks.
            FUSE_NOTIFY_REPLY,
            // The newer kernel's way of asking is COPY_FILE_RANGE_64.
            FUSE_COPY_FILE_RANGE,
        ];
        let steps = all();
        for row in TABLE {
            let driven = steps.iter().any(|step| step.opcode == row.opcode);
            assert_ne!(driven, others.contains(&row.opcode), "{}", row.name);
        }
    }
}

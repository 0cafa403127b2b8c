//! Answers, each one message, and what is taken back when nobody waited for one.
//!
//! A caller that was killed leaves its request unanswered: the reply gets ENOENT. The
//! kernel then knows nothing of the entry or handle in it, so that a lookup count or an
//! open file would be left behind for ever.

use std::io::IoSlice;

use zerocopy::{Immutable, IntoBytes};

use crate::Errno;
use crate::buffer::Pipe;
use crate::channel::Connection;
use crate::fs::{Answer, Filesystem, Result};
use crate::recovery::journal::Journal;
use crate::recovery::points::{self, Point};
use crate::wire::abi::fuse_write_out;
use crate::wire::decode::Operation;
use crate::wire::flags::ReleaseFlags;
use crate::wire::{AttrReply, Entry, FileHandle, LockOwner, NodeId, Opened, Unique, encode, ops};

/// Where one request's answer goes.
#[derive(Clone, Copy)]
pub(super) struct Responder {
    pub(super) connection: Connection,
    pub(super) unique: Unique,
    /// Where the reply is stored before it is sent: see [`Responder::to`].
    journal: Option<Journal>,
}

impl Responder {
    /// An answer that a successor makes anew if it was not sent.
    pub(super) fn new(connection: Connection, unique: Unique) -> Responder {
        Responder { connection, unique, journal: None }
    }

    /// An answer to `operation`, in the slot of `journal`. What must not be carried out again is
    /// stored before it is sent, that is, everything but mere reading.
    pub(super) fn to(
        connection: Connection,
        unique: Unique,
        operation: &Operation<'_>,
        journal: Journal,
    ) -> Responder {
        let reads = matches!(
            operation,
            Operation::Getattr(_)
                | Operation::Readlink(_)
                | Operation::Read(_)
                | Operation::Statfs(_)
                | Operation::Fsync(_)
                | Operation::Getxattr(_)
                | Operation::Listxattr(_)
                | Operation::Readdir(_)
                | Operation::Fsyncdir(_)
                | Operation::Getlk(_)
                | Operation::Access(_)
                | Operation::Bmap(_)
                | Operation::Poll(_)
                | Operation::Lseek(_)
                | Operation::Syncfs(_)
                | Operation::Statx(_)
        );
        // Over io_uring there is no successor.
        let stored = !reads && connection.queue().is_none();
        Responder { connection, unique, journal: stored.then_some(journal) }
    }

    /// The request has left its slot, and is answered from somewhere else.
    pub(super) fn is_elsewhere(self) {
        if let Some(journal) = self.journal {
            journal.sent();
        }
    }

    /// Sends the answer; false when nobody waited for it.
    pub(super) fn send(self, result: Result<&[IoSlice<'_>]>) -> bool {
        points::reach(Point::Finished);
        if let Some(journal) = self.journal {
            self.store(journal, &result);
            points::reach(Point::Done);
        }
        let sent = match result {
            Ok(payload) => self.connection.reply(self.unique, payload),
            Err(error) => self.connection.reply_error(self.unique, error),
        };
        points::reach(Point::Replied);
        match sent {
            Ok(()) => {
                if let Some(journal) = self.journal {
                    journal.sent();
                    points::reach(Point::Sent);
                }
                true
            }
            Err(Errno::ENOENT | Errno::ENODEV) => false,
            Err(errno) => {
                // The kernel refused the message itself. The caller must not wait for ever.
                tracing::error!("reply to request {}: {errno}", self.unique);
                let _ = self.connection.reply_error(self.unique, Errno::EIO);
                false
            }
        }
    }

    /// Sends an answer that lies in `pipe`, `length` bytes with its header: mere reading, which is
    /// not stored.
    pub(super) fn piped(self, pipe: Pipe, length: usize) -> Result<()> {
        points::reach(Point::Finished);
        let sent = self.connection.reply_from(pipe, length);
        points::reach(Point::Replied);
        sent
    }

    /// The whole message into the journal; nothing for a long one, which is a directory's
    /// entries and lies in the slot already.
    fn store(self, journal: Journal, result: &Result<&[IoSlice<'_>]>) {
        let payload = result.unwrap_or_default();
        let length = payload.iter().map(|part| part.len()).sum();
        let header = encode::out_header(self.unique, result.err(), length);
        let mut parts = [&[][..]; 4];
        parts[0] = header.as_bytes();
        for (part, slice) in parts[1..].iter_mut().zip(payload) {
            *part = slice;
        }
        let _ = journal.done(&parts[..=payload.len()]) || journal.done(&[]);
    }

    pub(super) fn empty(self, result: Result<()>) {
        self.send(result.map(|()| [].as_slice()));
    }

    pub(super) fn fixed<T: IntoBytes + Immutable>(self, result: Result<T>) -> bool {
        match result {
            Ok(value) => self.send(Ok(&[IoSlice::new(value.as_bytes())])),
            Err(error) => self.send(Err(error)),
        }
    }

    pub(super) fn attr(self, result: Result<AttrReply>) {
        self.fixed(result.map(|reply| reply.to_wire()));
    }

    /// The first `result` bytes of `data`.
    pub(super) fn data(self, result: Result<usize>, data: &[u8]) {
        match result {
            Ok(length) => self.send(Ok(&[IoSlice::new(&data[..length.min(data.len())])])),
            Err(error) => self.send(Err(error)),
        };
    }

    pub(super) fn entry<F: Filesystem>(self, fs: &F, result: Result<Entry>) {
        let node = result.as_ref().map_or(NodeId(0), |entry| entry.node);
        if !self.fixed(result.map(|entry| entry.to_wire())) && node != NodeId(0) {
            fs.forget(node, 1);
        }
    }

    pub(super) fn opened<F: Filesystem>(self, fs: &F, node: NodeId, result: Result<Opened>) {
        let handle = result.as_ref().ok().map(|opened| opened.fh);
        if !self.fixed(result.map(|opened| opened.to_wire()))
            && let Some(fh) = handle
        {
            fs.release(node, &unwanted(fh));
        }
    }

    pub(super) fn opened_dir<F: Filesystem>(self, fs: &F, node: NodeId, result: Result<Opened>) {
        let handle = result.as_ref().ok().map(|opened| opened.fh);
        if !self.fixed(result.map(|opened| opened.to_wire()))
            && let Some(fh) = handle
        {
            let ops::Release { fh, flags, release_flags, lock_owner } = unwanted(fh);
            fs.releasedir(node, &ops::Releasedir { fh, flags, release_flags, lock_owner });
        }
    }

    /// The result of a request that a dead worker had carried out.
    pub(super) fn answer<F: Filesystem>(self, fs: &F, node: NodeId, answer: Answer) {
        match answer {
            Answer::Entry(entry) => self.entry(fs, Ok(entry)),
            Answer::Created(entry, opened) => self.created(fs, Ok((entry, opened))),
            Answer::Opened(opened) => self.opened(fs, node, Ok(opened)),
            Answer::Attr(reply) => self.attr(Ok(reply)),
            Answer::Written(size) => {
                self.fixed(Ok(fuse_write_out { size, padding: 0 }));
            }
            Answer::Empty => self.empty(Ok(())),
            Answer::Failed(error) => self.empty(Err(error)),
        }
    }

    pub(super) fn created<F: Filesystem>(self, fs: &F, result: Result<(Entry, Opened)>) {
        let (entry, opened) = match result {
            Ok(created) => created,
            Err(error) => {
                self.send(Err(error));
                return;
            }
        };
        let (node, fh) = (entry.node, opened.fh);
        let (entry, opened) = (entry.to_wire(), opened.to_wire());
        let parts = [IoSlice::new(entry.as_bytes()), IoSlice::new(opened.as_bytes())];
        if !self.send(Ok(&parts)) {
            fs.release(node, &unwanted(fh));
            fs.forget(node, 1);
        }
    }
}

/// A RELEASE for a handle that the kernel never got.
fn unwanted(fh: FileHandle) -> ops::Release {
    ops::Release { fh, flags: 0, release_flags: ReleaseFlags::empty(), lock_owner: LockOwner(0) }
}

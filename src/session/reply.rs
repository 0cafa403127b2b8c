//! Answers, each one message, and what is taken back when nobody waited for one.
//!
//! A caller that was killed leaves its request unanswered: the reply gets ENOENT. The
//! kernel then knows nothing of the entry or handle in it, so that a lookup count or an
//! open file would be left behind for ever.

use std::io::IoSlice;

use zerocopy::{Immutable, IntoBytes};

use crate::Errno;
use crate::channel::Connection;
use crate::fs::{Filesystem, Result};
use crate::wire::flags::ReleaseFlags;
use crate::wire::{AttrReply, Entry, FileHandle, LockOwner, NodeId, Opened, Unique, ops};

/// Where one request's answer goes.
#[derive(Clone, Copy)]
pub(super) struct Responder {
    pub(super) connection: Connection,
    pub(super) unique: Unique,
}

impl Responder {
    /// Sends the answer; false when nobody waited for it.
    pub(super) fn send(self, result: Result<&[IoSlice<'_>]>) -> bool {
        let sent = match result {
            Ok(payload) => self.connection.reply(self.unique, payload),
            Err(error) => self.connection.reply_error(self.unique, error),
        };
        match sent {
            Ok(()) => true,
            Err(Errno::ENOENT | Errno::ENODEV) => false,
            Err(errno) => {
                // The kernel refused the message itself. The caller must not wait for ever.
                tracing::error!("reply to request {}: {errno}", self.unique);
                let _ = self.connection.reply_error(self.unique, Errno::EIO);
                false
            }
        }
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

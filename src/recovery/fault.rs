//! Who killed the worker: the thread that dies by its own doing leaves a mark in its slot.
//!
//! A handler for SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGSYS and SIGTRAP accuses the request
//! of the thread it runs in, and lets the signal do what it would have done; so does a function
//! that runs at exit(3). A panic and a stack overflow end in SIGABRT. SIGKILL leaves no mark.

use super::journal::Journal;
use crate::sys::fault;

/// Accuses `journal`'s request if the calling thread brings the process down.
pub fn accuse(journal: Journal) {
    fault::set_mark(journal.accusation());
}

/// The calling thread carries nothing out any more.
pub fn acquit() {
    fault::clear_mark();
}

/// Installs the handlers in this process. An error would only make the blame less precise.
pub fn install() {
    if let Err(errno) = fault::install() {
        tracing::debug!("handlers for fatal signals: {errno}");
    }
}

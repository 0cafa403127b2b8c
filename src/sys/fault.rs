//! Handlers for fatal signals and for exit(3) that leave a mark.

use std::cell::Cell;
use std::ffi::CString;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::Errno;

thread_local! {
    static MARK: Cell<Option<&'static AtomicU64>> = const { Cell::new(None) };
}

const FATAL: [Signal; 7] = [
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGABRT,
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGSYS,
    Signal::SIGTRAP,
];

/// Sets the word that becomes 1 if the calling thread brings the process down.
pub fn set_mark(mark: &'static AtomicU64) {
    MARK.set(Some(mark));
}

/// The calling thread's end means nothing.
pub fn clear_mark() {
    MARK.set(None);
}

/// Where a core dump goes whose name is not a whole path.
static CORE_DIR: OnceLock<CString> = OnceLock::new();

/// Lets a core dump of this process be left in `dir`, whatever the working directory is by then.
pub fn dump_into(dir: CString) {
    // The first one stays.
    let _ = CORE_DIR.set(dir);
}

/// The address of that name, for a filter of system calls; 0: there is none.
pub fn dump_address() -> u64 {
    CORE_DIR.get().map_or(0, |dir| dir.as_ptr().addr() as u64)
}

/// A plain store: allowed in a signal handler.
fn leave_mark() {
    // Without a destructor and with a constant initialiser this is a plain read of the thread's
    // own memory. It fails only in a thread that is almost gone.
    if let Ok(Some(mark)) = MARK.try_with(Cell::get) {
        mark.store(1, Ordering::SeqCst);
    }
}

extern "C" fn on_signal(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo_t to a handler installed with SA_SIGINFO.
    let code = unsafe { (*info).si_code };
    // SAFETY: as above; the sender is filled in for what kill(2) and tgkill(2) send.
    let own = code > 0 || unsafe { (*info).si_pid() } == std::process::id() as libc::pid_t;
    if own {
        leave_mark();
    }
    if let Some(dir) = CORE_DIR.get() {
        // SAFETY: a string that ends with a NUL and stays; chdir(2) is allowed in a handler. Where
        // it fails there is no dump.
        unsafe {
            libc::chdir(dir.as_ptr());
        }
    }
    if code <= 0 {
        // Sent, so nothing would raise it again by itself. SA_RESETHAND has put the default back.
        // SAFETY: no memory is passed.
        unsafe {
            libc::raise(signal);
        }
    }
}

extern "C" fn on_exit() {
    leave_mark();
}

/// Installs the handlers. They run on the thread's alternate stack where it has one, so that a
/// stack overflow reaches them, and once: the second time the signal kills.
pub fn install() -> Result<(), Errno> {
    let flags =
        SaFlags::SA_SIGINFO | SaFlags::SA_ONSTACK | SaFlags::SA_RESETHAND | SaFlags::SA_NODEFER;
    let action = SigAction::new(SigHandler::SigAction(on_signal), flags, SigSet::empty());
    for signal in FATAL {
        // SAFETY: the handler makes a store and two system calls, all allowed in a handler.
        unsafe { sigaction(signal, &action) }?;
    }
    // SAFETY: the function makes one store.
    super::check(unsafe { libc::atexit(on_exit) }).map(drop)
}

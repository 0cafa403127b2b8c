//! Processes, threads and signals.

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{ForkResult, Pid};

use super::check;
use crate::Errno;

/// fork(2), to be called while the process has one thread: a lock that another thread held
/// would stay locked in the child for ever.
pub fn fork() -> Result<ForkResult, Errno> {
    // SAFETY: by the callers' order of things (both are in the start of a mount, before the
    // session) there is one thread, so the child is a whole copy and may do anything.
    unsafe { nix::unistd::fork() }
}

extern "C" fn nothing(_: libc::c_int) {}

/// The signal that makes a blocked system call of one thread return EINTR.
pub const WAKE: Signal = Signal::SIGUSR1;

/// Installs a handler for [`WAKE`] that does nothing and restarts nothing.
pub fn install_wake_handler() -> Result<(), Errno> {
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler is an empty function, safe at any point.
    unsafe { sigaction(WAKE, &action) }?;
    // Whoever started this process may have had it blocked.
    SigSet::from(WAKE).thread_unblock()
}

/// The calling thread's id.
pub fn thread_id() -> Pid {
    nix::unistd::gettid()
}

/// The CPU that a thread of any process runs on, or ran on last; none if that is not known here.
pub fn cpu_of(thread: u32) -> Option<usize> {
    // Of the thread alone: the figures of a process are the sums of all its threads.
    let path = super::file::proc_of(thread, &format!("task/{thread}/stat"));
    stat_field(&path, 39)?.parse().ok()
}

/// A field of a `stat` file of /proc by its number in proc(5), from 3 on.
pub fn stat_field(path: &str, number: usize) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    // The name before field 3 may hold anything but ends with the last parenthesis.
    let (_, fields) = text.rsplit_once(") ")?;
    fields.split_ascii_whitespace().nth(number.checked_sub(3)?).map(str::to_string)
}

/// Sends [`WAKE`] to a thread of this process; ESRCH when it has ended.
pub fn wake(thread: Pid) -> Result<(), Errno> {
    let process = std::process::id() as libc::pid_t;
    // SAFETY: no memory is passed; the process id keeps it within this process.
    check(unsafe { libc::syscall(libc::SYS_tgkill, process, thread.as_raw(), WAKE as i32) })
        .map(drop)
}

/// Lets files grow past the limit that this process inherited: the caller's own limit
/// was checked by the kernel.
pub fn ignore_file_size_limit() -> Result<(), Errno> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE)?;
    setrlimit(Resource::RLIMIT_FSIZE, hard, hard)?;
    // SAFETY: ignoring a signal installs no handler.
    unsafe { sigaction(Signal::SIGXFSZ, &ignore()) }.map(drop)
}

fn ignore() -> SigAction {
    SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty())
}

/// Raises the soft limit of open files to the hard one; returns it.
pub fn raise_file_limit() -> Result<u64, Errno> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

//! How urgently the kernel runs a thread of this process.

use nix::unistd::Pid;

use super::check;
use crate::Errno;

/// Whether the calling thread has the policy that threads have by default (SCHED_OTHER).
pub fn is_normal() -> bool {
    // SAFETY: no memory is passed.
    unsafe { libc::sched_getscheduler(0) == libc::SCHED_OTHER }
}

/// Makes a thread one that runs when nobody else wants its CPU (SCHED_IDLE), which anybody may, or
/// one like others again (SCHED_OTHER, with the nice value that it had), which takes CAP_SYS_NICE
/// or a RLIMIT_NICE that allows that value.
pub fn set_idle(thread: Pid, idle: bool) -> Result<(), Errno> {
    let policy = if idle { libc::SCHED_IDLE } else { libc::SCHED_OTHER };
    let parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: the kernel reads one sched_param, which outlives the call.
    let result = unsafe { libc::sched_setscheduler(thread.as_raw(), policy, &raw const parameter) };
    check(result).map(drop)
}

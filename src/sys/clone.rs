//! Processes that share their fd table, and descriptors of processes.
//!
//! clone(2) with CLONE_FILES alone: the child is a copy as by fork(2), only the fd table is one
//! and the same. Nothing that the child has open is closed by its death. pidfd_open(2) is from
//! Linux 5.3, the exit status behind a pidfd from 6.15.

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::Pid;

use super::{Fd, check};
use crate::Errno;

/// On which side of a clone one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The caller; the child's process id.
    Parent(Pid),
    /// The new process.
    Child,
}

/// Makes a child with this process's fd table. To be called while the process has one thread.
pub fn share() -> Result<Side, Errno> {
    let flags = libc::c_long::from(libc::CLONE_FILES | libc::SIGCHLD);
    // SAFETY: without CLONE_VM and with no stack given the child is a copy of this process, as
    // after fork(2); with one thread no lock is held by somebody who is not there any more. The
    // arguments that differ in their order between architectures are all zero.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })?;
    Ok(if pid == 0 { Side::Child } else { Side::Parent(Pid::from_raw(pid as i32)) })
}

/// Ends this process without destructors and handlers: what it has open is others' too.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process; nothing runs after it.
    unsafe { libc::_exit(code) }
}

/// dup3(2): makes `number` refer to what `fd` does, close-on-exec.
pub fn place(fd: Fd, number: i32) -> Result<(), Errno> {
    // SAFETY: no memory is passed; whose `number` was is the caller's decision.
    check(unsafe { libc::dup3(fd.number(), number, libc::O_CLOEXEC) }).map(drop)
}

/// A descriptor of the process `pid`, close-on-exec; readable once the process is dead.
pub fn pidfd_open(pid: Pid) -> Result<Fd, Errno> {
    // SAFETY: no memory is passed.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
    Ok(Fd::from_number(fd as i32))
}

/// Sends a signal to the process of a pidfd; ESRCH when it is dead.
pub fn pidfd_signal(pidfd: Fd, signal: Signal) -> Result<(), Errno> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: no memory is passed: without a siginfo the kernel makes one as for kill(2).
    let sent = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.number(), signal as i32, none, 0)
    };
    check(sent).map(drop)
}

/// `struct pidfd_info` of include/uapi/linux/pidfd.h, in its first size.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

mod request {
    nix::ioctl_readwrite!(pidfd_get_info, 0xff, 11, super::PidfdInfo);
}

/// How a dead process of which this one is not the parent has ended: a status as wait(2) has it.
/// `None` before somebody has waited for it, and on a kernel before 6.15.
pub fn exit_status(pidfd: Fd) -> Option<i32> {
    const EXIT: u64 = 1 << 3;
    let mut info = PidfdInfo { mask: EXIT, ..PidfdInfo::default() };
    // SAFETY: the request reads and writes one struct pidfd_info of the size in its number.
    unsafe { request::pidfd_get_info(pidfd.number(), &raw mut info) }.ok()?;
    (info.mask & EXIT != 0).then_some(info.exit_code)
}

/// Children are waited for: whoever started this process may have had SIGCHLD ignored, and then
/// nobody is told how they ended.
pub fn expect_children() -> Result<(), Errno> {
    let action = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action installs no handler.
    unsafe { sigaction(Signal::SIGCHLD, &action) }.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pidfd_is_of_its_process() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pidfd = pidfd_open(Pid::from_raw(child.id() as i32)).unwrap();
        assert_eq!(super::super::device::readable(pidfd, 0), Ok(false));
        pidfd_signal(pidfd, Signal::SIGTERM).unwrap();
        assert_eq!(super::super::device::readable(pidfd, 10_000), Ok(true));
        assert_eq!(exit_status(pidfd), None, "nobody has waited for it");
        child.wait().unwrap();
        assert_eq!(pidfd_signal(pidfd, Signal::SIGTERM), Err(Errno::ESRCH));
        // Only newer kernels tell; what they tell is right.
        assert!(matches!(exit_status(pidfd), None | Some(libc::SIGTERM)));
        pidfd.close();
    }
}

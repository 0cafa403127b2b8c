//! What a worker gives up before it serves.
//!
//! A worker decodes what callers send and runs file-system code, as root. [`apply`] takes from it
//! what serving a directory does not need, for good and for all threads that it starts later:
//!
//! 1. With a sandbox, every mount but the source tree ([`make_sandbox`]).
//! 2. New privileges by exec (no_new_privs), and capabilities ([`KEPT`]).
//! 3. System calls ([`filter_calls`]): those that reach beyond files, and those that would close
//!    or replace a descriptor of the supervisor, with whom it shares the table.
//!
//! The filter is a list of what is refused, with EPERM, and all else is allowed. A list of what
//! is allowed would be tighter, and would break mounts at the next update of libc, which decides
//! which calls stand behind a function. What keeps the tree closed is the mount namespace and the
//! capabilities; the filter keeps a fault from becoming more. It does not keep a worker from
//! sending signals, which another process of the same user may always do.
//!
//! Rules for whoever starts a worker:
//!
//! * It has one thread when it comes here, and a working directory of its own (no CLONE_FS).
//! * Every number below `protect_below` is taken when it serves, by whatever: a descriptor that
//!   it opened there it could never close.
//! * It cannot exec, mount or unmount afterwards, nor can what it forks: the supervisor does that.
//! * Its working directory is its /proc/self/fd from here on: see [`crate::sys::file::enter_proc`].
//!   Where core dumps are wanted a fatal signal takes it back to where it was, so that one can be
//!   left there; not in a sandbox, where that would be the source.
//!
//! Linux 5.4 is enough.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{chdir, pivot_root};
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, Lt, MaskedEq, Ne};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, sock_filter,
};

use crate::Errno;
use crate::sys::{self, Fd, OpFd, file};

/// What a worker is left with.
#[derive(Clone, Copy, Debug)]
pub struct Confinement {
    /// The mount namespace that it serves in, of [`make_sandbox`]; `None`: the one it was
    /// started in.
    pub sandbox: Option<Fd>,
    /// Descriptors below this number are the supervisor's: 64, or 0 for none.
    pub protect_below: i32,
}

/// Why a worker cannot be confined. It must not serve then.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The directory of descriptors, through which inodes are opened.
    #[error("/proc/self/fd: {}: mount /proc first", .0.desc())]
    Proc(Errno),
    /// Capabilities and filters belong to a thread; the others would keep what they have.
    #[error("the worker has {0} threads: confine it before it starts any")]
    Threads(usize),
    /// The mount namespace.
    #[error("sandbox: {what} {}: {}: needs root with CAP_SYS_ADMIN; without the sandbox it works", path.display(), errno.desc())]
    Sandbox {
        /// The call.
        what: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// Its error.
        errno: Errno,
    },
    /// capset(2) or prctl(2).
    #[error("giving up privileges: {}: see the security modules of this machine", .0.desc())]
    Privileges(Errno),
    /// The filter.
    #[error("system call filter: {0}: needs Linux with CONFIG_SECCOMP_FILTER")]
    Filter(#[from] seccompiler::Error),
}

const fn bits(capabilities: &[u32]) -> u64 {
    let (mut all, mut i) = (0, 0);
    while i < capabilities.len() {
        all |= 1 << capabilities[i];
        i += 1;
    }
    all
}

/// The capabilities that serving a directory needs, a bit each, as in linux/capability.h.
///
/// Not kept, though it may look useful: CAP_SYS_RESOURCE (it would pass every quota), CAP_LEASE
/// (leases of callers end in their kernel), CAP_MAC_OVERRIDE and CAP_MAC_ADMIN (what may be read
/// and labelled is the policy's decision), CAP_SYS_CHROOT and CAP_SETPCAP (used before).
pub const KEPT: u64 = bits(&[
    0,  // CHOWN: give what is changed the owner that the caller asked for
    1,  // DAC_OVERRIDE: the kernel has checked the caller's rights already
    2,  // DAC_READ_SEARCH: open_by_handle_at(2), linkat(2) of an O_PATH descriptor
    3,  // FOWNER: chmod, utimes and attributes of other users' files
    4,  // FSETID: keep set-id bits where the caller may
    6,  // SETGID: setfsgid(2), setgroups(2): make files as the caller
    7,  // SETUID: setfsuid(2)
    9,  // LINUX_IMMUTABLE: the flags i and a of FS_IOC_SETFLAGS
    14, // IPC_LOCK: request buffers are locked in memory, past RLIMIT_MEMLOCK
    21, // SYS_ADMIN: FUSE_PASSTHROUGH, attributes in trusted.*
    23, // SYS_NICE: a thread that ran as SCHED_IDLE beside its caller runs like others again
    27, // MKNOD: devices
    31, // SETFCAP: the attribute security.capability
]);

/// Confines the calling process, which has one thread. There is no way back. In a sandbox `/` is
/// the source.
///
/// # Errors
/// Whatever could not be given up; the process may then have given up some of it.
pub fn apply(confinement: &Confinement) -> Result<(), ConfineError> {
    let threads = std::fs::read_dir("/proc/self/task")
        .map_err(|error| ConfineError::Proc(Errno::try_from(error).unwrap_or(Errno::EIO)))?;
    match threads.count() {
        1 => {}
        count => return Err(ConfineError::Threads(count)),
    }
    let proc = open(c"/proc/self/fd").map_err(ConfineError::Proc)?;
    if let Some(namespace) = confinement.sandbox {
        let entered = setns(namespace, CloneFlags::CLONE_NEWNS);
        entered.map_err(failed("setns(2) to its namespace", Path::new("/")))?;
    } else if getrlimit(Resource::RLIMIT_CORE).is_ok_and(|(soft, _)| soft > 0)
        && let Ok(dir) = std::env::current_dir()
        && let Ok(dir) = CString::new(dir.into_os_string().into_vec())
    {
        // Nothing can be left among descriptors, and nothing of ours is to be left in a source.
        sys::fault::dump_into(dir);
    }
    file::enter_proc(proc.get()).map_err(ConfineError::Proc)?;
    // Closed here: below, its number might be one of those that cannot be.
    drop(proc);
    nix::sys::prctl::set_no_new_privs().map_err(ConfineError::Privileges)?;
    sys::confine::keep_capabilities(KEPT).map_err(ConfineError::Privileges)?;
    filter_calls(confinement.protect_below)
}

fn open(path: &CStr) -> Result<OpFd, Errno> {
    file::openat(Fd::CWD, path, libc::O_RDONLY, 0)
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(Errno) -> ConfineError {
    let path = path.to_path_buf();
    move |errno| ConfineError::Sandbox { what, path, errno }
}

/// Moves the calling process into a new mount namespace that has the tree at `source` only, as
/// `/`: no /proc, no /dev. Returns the namespace, which the caller keeps open for all workers.
///
/// To be called in a short-lived child that shares the fd table, once for a mount. All workers are
/// in the same sandbox: the mounts of a namespace come apart when neither a process nor a
/// descriptor holds it, and what a dead worker had open would lead to none of the mounts below
/// the source any more; also a mount's id is a part of what names an inode.
///
/// Mounts and unmounts made outside below the source come in where the mounts there are shared
/// (as systemd makes them), and nothing goes out: a namespace that kept what it had would keep a
/// disk busy that was unmounted outside. `mountpoint`, where the worker's own mount may be already,
/// is not held if it is below the source: else an unmount outside would not end it.
///
/// # Errors
/// A call that is refused; the process is somewhere between then, and must end.
pub fn make_sandbox(source: &Path, mountpoint: Option<&Path>) -> Result<Fd, ConfineError> {
    let none = None::<&str>;
    let root = Path::new("/");
    unshare(CloneFlags::CLONE_NEWNS).map_err(failed("unshare(2) of", root))?;
    let namespace = open(c"/proc/self/ns/mnt");
    let namespace = namespace.map_err(failed("opening", Path::new("/proc/self/ns/mnt")))?;
    let slave = MsFlags::MS_SLAVE | MsFlags::MS_REC;
    mount(none, root, none, slave, none).map_err(failed("mount(2), propagation of", root))?;
    if let Some(path) = mountpoint.filter(|path| path.starts_with(source)) {
        // Not mounted yet: EINVAL.
        match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(errno) => return Err(failed("umount2(2) of", path)(errno)),
        }
    }
    let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(source), source, none, bind, none).map_err(failed("mount(2), bind of", source))?;
    chdir(source).map_err(failed("chdir(2) to", source))?;
    // The old root comes to lie on the new one, and is taken off.
    pivot_root(".", ".").map_err(failed("pivot_root(2) to", source))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(failed("umount2(2) of the old", root))?;
    Ok(namespace.keep())
}

/// Calls refused whatever their arguments.
const REFUSED: &[i64] = &[
    // Other programs, other processes.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_personality,
    // Mounts, namespaces; the working directory is how inodes are reached.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_fchdir,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    // More of the CPUs and disks than others have: CAP_SYS_NICE is for what follows a caller.
    libc::SYS_sched_setattr,
    libc::SYS_sched_setparam,
    libc::SYS_setpriority,
    libc::SYS_ioprio_set,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // The machine.
    libc::SYS_reboot,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    // Wide parts of the kernel that a file server has no use for. io_uring would also close
    // descriptors past this filter.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

/// open_tree_attr(2), Linux 6.15.
const OPEN_TREE_ATTR: i64 = 467;
/// CLOSE_RANGE_UNSHARE: the worker would go on with a table of its own.
const UNSHARE_TABLE: u64 = 2;

/// Refuses system calls from here on, in this thread and those that it starts, with EPERM; keeps
/// descriptors below `protect_below` from being closed or replaced. Sets no_new_privs.
///
/// 32-bit system calls (another architecture) end the process.
///
/// # Errors
/// The kernel does not take the filter.
pub fn filter_calls(protect_below: i32) -> Result<(), ConfineError> {
    let program = program(protect_below).map_err(seccompiler::Error::Backend)?;
    Ok(seccompiler::apply_filter(&program)?)
}

fn program(protect_below: i32) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED.iter().map(|number| (*number, Vec::new())).collect();
    for (number, argument, length, op, value) in by_argument(protect_below) {
        let condition = SeccompCondition::new(argument, length, op, value)?;
        rules.entry(number).or_default().push(SeccompRule::new(vec![condition])?);
    }
    let policies = [libc::SCHED_OTHER, libc::SCHED_IDLE];
    let other = policies.map(|it| SeccompCondition::new(1, Dword, Ne, it as u64));
    let other = other.into_iter().collect::<Result<_, _>>()?;
    rules.insert(libc::SYS_sched_setscheduler, vec![SeccompRule::new(other)?]);
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let arch = std::env::consts::ARCH.try_into()?;
    let filter: BpfProgram =
        SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?.try_into()?;
    Ok(PROLOGUE.iter().cloned().chain(filter).collect())
}

/// A call, which argument, how long it is, and what it must not be.
type Refusal = (i64, u8, SeccompCmpArgLen, SeccompCmpOp, u64);

fn by_argument(protect_below: i32) -> Vec<Refusal> {
    let mut all = vec![
        // Threads unshare their umask and directory from the others, nothing else.
        (libc::SYS_unshare, 0, Qword, Ne, libc::CLONE_FS as u64),
        (libc::SYS_close_range, 2, Dword, MaskedEq(UNSHARE_TABLE), UNSHARE_TABLE),
        // The way to where a core dump goes is the only one.
        (libc::SYS_chdir, 0, Qword, Ne, sys::fault::dump_address()),
        // Input put into a terminal is run by whoever reads it there.
        (libc::SYS_ioctl, 1, Dword, Eq, libc::TIOCSTI),
        (libc::SYS_ioctl, 1, Dword, Eq, libc::TIOCLINUX),
    ];
    let namespaces = [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
    ];
    for flag in namespaces.map(|flag| flag as u64) {
        all.push((libc::SYS_clone, 0, Qword, MaskedEq(flag), flag));
    }
    // A negative number is EBADF in any case, and a large one here.
    if let Ok(limit @ 1..) = u64::try_from(protect_below) {
        all.push((libc::SYS_close, 0, Dword, Lt, limit));
        all.push((libc::SYS_close_range, 0, Dword, Lt, limit));
        all.push((libc::SYS_dup3, 1, Dword, Lt, limit));
        #[cfg(target_arch = "x86_64")]
        all.push((libc::SYS_dup2, 1, Dword, Lt, limit));
    }
    all
}

/// What a table of numbers cannot say, put in front of it: ENOSYS for clone3(2), whose flags are
/// in memory where a filter cannot look (libc falls back to clone(2)), and for the numbers of
/// the x32 calls, which are the same calls once more.
const PROLOGUE: [sock_filter; 4] = [
    // Load the number, at offset 0 of struct seccomp_data.
    sock_filter { code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: 0 },
    jump(libc::BPF_JEQ, libc::SYS_clone3 as u32, 1, 0),
    jump(libc::BPF_JGE, 0x4000_0000, 0, 1),
    sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32,
    },
];

const fn jump(condition: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | condition | libc::BPF_K) as u16, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;

    /// What the filter says to a call: the few instructions that are used, as the kernel runs them.
    fn run(program: &[sock_filter], number: i64, arguments: [u64; 6]) -> u32 {
        let arch = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };
        let halves = |word: u64| [word as u32, (word >> 32) as u32];
        let mut data = vec![number as u32, arch, 0, 0];
        data.extend(arguments.into_iter().flat_map(halves));
        let (mut at, mut value) = (0, 0);
        loop {
            let step = &program[at];
            let jump = |yes: bool| usize::from(if yes { step.jt } else { step.jf });
            at += 1;
            match step.code {
                0x20 => value = data[step.k as usize / 4],
                0x54 => value &= step.k,
                0x05 => at += step.k as usize,
                0x15 => at += jump(value == step.k),
                0x25 => at += jump(value > step.k),
                0x35 => at += jump(value >= step.k),
                0x06 => return step.k,
                code => panic!("instruction {code:#x}"),
            }
        }
    }

    #[test]
    fn the_filter_decides_by_number_and_argument() {
        let program = program(64).unwrap();
        let ask = |number, first| run(&program, number, [first, 0, 0, 0, 0, 0]);
        let no_call = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
        assert_eq!(ask(libc::SYS_close, 63), REFUSE);
        assert_eq!(ask(libc::SYS_close, 64), libc::SECCOMP_RET_ALLOW);
        // The kernel looks at the low half only.
        assert_eq!(ask(libc::SYS_close, 1 << 40 | 5), REFUSE);
        assert_eq!(ask(libc::SYS_clone3, 0), no_call);
        // The x32 calls of kernels that have them, the first and the last.
        assert_eq!(ask(libc::SYS_close | 0x4000_0000, 63), no_call);
        assert_eq!(ask(libc::SYS_close | 0x7fff_0000, 63), no_call);
        for number in REFUSED {
            assert_eq!(ask(*number, 0), REFUSE, "{number}");
        }
        for policy in -1..9 {
            let answer =
                run(&program, libc::SYS_sched_setscheduler, [0, policy as u64, 0, 0, 0, 0]);
            let allowed = [libc::SCHED_OTHER, libc::SCHED_IDLE].contains(&policy);
            let wanted = if allowed { libc::SECCOMP_RET_ALLOW } else { REFUSE };
            assert_eq!(answer, wanted, "policy {policy}");
        }
        for number in [libc::SYS_openat, libc::SYS_read, libc::SYS_setfsuid, libc::SYS_futex] {
            assert_eq!(ask(number, 0), libc::SECCOMP_RET_ALLOW, "{number}");
        }
    }

    #[test]
    fn nothing_is_protected_below_zero() {
        for limit in [0, -1, i32::MIN] {
            let program = program(limit).unwrap();
            let answer = run(&program, libc::SYS_close, [0; 6]);
            assert_eq!(answer, libc::SECCOMP_RET_ALLOW, "{limit}");
        }
    }
}

//! Acting as a caller, one thread at a time.
//!
//! The raw system calls change the calling thread only (libc's wrappers of setgroups
//! change all of them). A thread that serves requests has its own umask and, but while
//! it makes a file for a caller, root's file-system ids, no supplementary groups, and all
//! capabilities except CAP_SYS_RESOURCE, which would let every write pass the quota.

use std::cell::Cell;

use super::check;
use crate::Errno;

const CAP_DAC_OVERRIDE: u32 = 1;
const CAP_DAC_READ_SEARCH: u32 = 2;
const CAP_FSETID: u32 = 4;
const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYS_RESOURCE: u32 = 24;
const CAP_MKNOD: u32 = 27;
const VERSION_3: u32 = 0x2008_0522;

const fn bit(capability: u32) -> u64 {
    1 << capability
}

/// What setfsuid(2) takes from a thread that leaves user 0, and gives back: CAP_CHOWN,
/// CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID, CAP_LINUX_IMMUTABLE,
/// CAP_MKNOD and CAP_MAC_OVERRIDE.
const FS_SET: u64 = 0x1f | bit(9) | bit(CAP_MKNOD) | bit(32);

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// The sets of a thread, as capget(2) lays them out: the low words, then the high ones.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Sets([[u32; 3]; 2]);

impl Sets {
    fn get() -> Result<Sets, Errno> {
        let mut header = Header { version: VERSION_3, pid: 0 };
        let mut sets = Sets::default();
        // SAFETY: version 3 reads a header and writes two structs of three words, as given.
        check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, &raw mut sets) })?;
        Ok(sets)
    }

    fn effective(&self) -> u64 {
        u64::from(self.0[0][0]) | u64::from(self.0[1][0]) << 32
    }

    /// The same sets with this effective one.
    fn with_effective(mut self, bits: u64) -> Sets {
        self.0[0][0] = bits as u32 & self.0[0][1];
        self.0[1][0] = (bits >> 32) as u32 & self.0[1][1];
        self
    }

    fn apply(&self) -> Result<(), Errno> {
        let mut header = Header { version: VERSION_3, pid: 0 };
        // SAFETY: version 3 reads a header and two structs of three words, as given.
        check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, &raw const *self) })
            .map(drop)
    }
}

/// What [`prepare_thread`] made of a thread.
#[derive(Clone, Copy)]
enum Thread {
    /// Nothing: it makes files for root only.
    Unprepared,
    /// It makes files as the user of the process, whoever asks.
    Plain,
    /// It becomes the caller, and itself again with these capabilities.
    Switches(Sets),
}

thread_local! {
    static THREAD: Cell<Thread> = const { Cell::new(Thread::Unprepared) };
    static UMASK: Cell<Option<u32>> = const { Cell::new(None) };
}

/// What this process may do, looked up once.
#[derive(Clone, Copy, Debug)]
pub struct Powers {
    /// It can act as another user.
    pub switch_user: bool,
    /// It can open file handles.
    pub open_handles: bool,
    /// It can mount and register passthrough files.
    pub admin: bool,
}

impl Powers {
    /// Those of the calling thread.
    pub fn of_thread() -> Powers {
        let bits = Sets::get().map_or(0, |sets| sets.effective());
        let switch = bit(CAP_SETUID) | bit(CAP_SETGID);
        Powers {
            switch_user: bits & switch == switch && nix::unistd::geteuid().is_root(),
            open_handles: bits & bit(CAP_DAC_READ_SEARCH) != 0,
            admin: bits & bit(CAP_SYS_ADMIN) != 0,
        }
    }
}

/// Prepares the calling thread to act for callers. To be called once in each thread that
/// makes files.
pub fn prepare_thread() -> Result<(), Errno> {
    // The umask belongs to the file-system context, which threads share until now.
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS)?;
    set_umask(0);
    if !Powers::of_thread().switch_user {
        THREAD.set(Thread::Plain);
        return Ok(());
    }
    set_groups(&[])?;
    let sets = Sets::get()?;
    let sets = sets.with_effective(sets.effective() & !bit(CAP_SYS_RESOURCE));
    sets.apply()?;
    THREAD.set(Thread::Switches(sets));
    Ok(())
}

/// Runs `f` with this umask.
pub fn set_umask(umask: u32) {
    if UMASK.get() != Some(umask) {
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(umask));
        UMASK.set(Some(umask));
    }
}

fn set_groups(groups: &[u32]) -> Result<(), Errno> {
    // SAFETY: the pointer and count are those of `groups`; gid_t is u32.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

fn set_fs_ids(uid: u32, gid: u32) {
    // The gid first and last as root: setfsgid wants CAP_SETGID, which setfsuid leaves alone.
    nix::unistd::setfsgid(gid.into());
    nix::unistd::setfsuid(uid.into());
}

/// The ids in force: asked by a change to nobody, which is none.
fn fs_ids() -> (u32, u32) {
    let uid = nix::unistd::setfsuid(u32::MAX.into());
    let gid = nix::unistd::setfsgid(u32::MAX.into());
    (uid.as_raw(), gid.as_raw())
}

/// Runs `f` with the caller's file-system ids, groups and umask, so that what it makes
/// belongs to the caller.
///
/// The kernel has checked the caller's permissions with everything it knows; so `f` keeps
/// CAP_DAC_OVERRIDE and CAP_MKNOD, and is not refused for a group or a capability that the
/// request does not tell of. It does not keep CAP_FSETID, so that the set-group-id bit is
/// dropped for callers outside the group.
///
/// EPERM: the thread cannot become that user; nothing was done. A thread that cannot become
/// itself again ends the process: it would make the next caller's files as this one.
pub fn as_caller<T>(
    uid: u32,
    gid: u32,
    groups: &[u32],
    umask: u32,
    f: impl FnOnce() -> Result<T, Errno>,
) -> Result<T, Errno> {
    let is_root = uid == 0 && gid == 0 && groups.is_empty();
    let sets = match THREAD.get() {
        Thread::Unprepared if !is_root => return Err(Errno::EPERM),
        Thread::Switches(sets) if !is_root => sets,
        _ => {
            set_umask(umask);
            return f();
        }
    };
    set_umask(umask);
    let result = become_caller(uid, gid, groups, &sets).and_then(|()| f());
    // Back to root raises the file-system capabilities again (capabilities(7)); the set is
    // put back whole all the same.
    set_fs_ids(0, 0);
    let restored = fs_ids() == (0, 0)
        && (groups.is_empty() || set_groups(&[]).is_ok())
        && (uid == 0 || sets.apply().is_ok());
    if !restored {
        tracing::error!("a serving thread cannot become root again");
        std::process::abort();
    }
    result
}

fn become_caller(uid: u32, gid: u32, groups: &[u32], sets: &Sets) -> Result<(), Errno> {
    // The number that stands for no user: setfsuid takes it as a question.
    if uid == u32::MAX || gid == u32::MAX {
        return Err(Errno::EOVERFLOW);
    }
    if !groups.is_empty() {
        set_groups(groups)?;
    }
    set_fs_ids(uid, gid);
    // Both calls keep quiet when they fail.
    if fs_ids() != (uid, gid) {
        return Err(Errno::EPERM);
    }
    if uid == 0 {
        return Ok(());
    }
    // What setfsuid took away is FS_SET; some of it is taken back.
    let kept = bit(CAP_DAC_OVERRIDE) | bit(CAP_DAC_READ_SEARCH) | bit(CAP_MKNOD);
    sets.with_effective(sets.effective() & !FS_SET | kept).apply()
}

/// Runs `f` without CAP_FSETID: a write or truncate then clears set-id bits, as it does for
/// a caller who has not got it.
pub fn without_fsetid<T>(f: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    let Thread::Switches(sets) = THREAD.get() else { return f() };
    sets.with_effective(sets.effective() & !bit(CAP_FSETID)).apply()?;
    let result = f();
    if sets.apply().is_err() {
        tracing::error!("a serving thread cannot take CAP_FSETID back");
        std::process::abort();
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{Fd, file};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    /// Each in a thread of its own: the test harness's threads are not ours to change.
    fn in_thread(f: impl FnOnce() + Send + 'static) {
        std::thread::spawn(f).join().unwrap();
    }

    #[test]
    fn files_are_made_as_the_caller_and_root_comes_back() {
        if !Powers::of_thread().switch_user {
            eprintln!("SKIP: acting as another user needs CAP_SETUID");
            return;
        }
        in_thread(|| {
            prepare_thread().unwrap();
            let dir = tempfile::tempdir().unwrap();
            let path = std::ffi::CString::new(dir.path().join("f").to_str().unwrap()).unwrap();
            let before = Sets::get().unwrap().effective();
            // The directory is root's with mode 0700: only CAP_DAC_OVERRIDE gets in.
            as_caller(1234, 4321, &[77], 0o027, || {
                file::openat(Fd::CWD, &path, libc::O_CREAT | libc::O_RDWR, 0o666)
            })
            .unwrap();
            let meta = std::fs::metadata(dir.path().join("f")).unwrap();
            assert_eq!((meta.uid(), meta.gid()), (1234, 4321));
            assert_eq!(meta.permissions().mode() & 0o7777, 0o640);
            assert_eq!(Sets::get().unwrap().effective(), before);
            std::fs::write(dir.path().join("g"), b"").unwrap();
            assert_eq!(std::fs::metadata(dir.path().join("g")).unwrap().uid(), 0);
        });
    }

    #[test]
    fn nobody_is_served_as_somebody_else() {
        in_thread(|| {
            let never = || -> Result<(), Errno> { panic!("it ran") };
            // Not prepared: it would run as the process.
            assert_eq!(as_caller(1, 1, &[], 0, never), Err(Errno::EPERM));
            prepare_thread().unwrap();
            if Powers::of_thread().switch_user {
                assert_eq!(as_caller(u32::MAX, 1, &[], 0, never), Err(Errno::EOVERFLOW));
                assert_eq!(as_caller(1, u32::MAX, &[], 0, never), Err(Errno::EOVERFLOW));
                assert_eq!(fs_ids(), (0, 0));
            }
        });
    }

    #[test]
    fn a_write_without_fsetid_clears_set_ids() {
        if !Powers::of_thread().switch_user {
            eprintln!("SKIP: root's own writes keep set-id bits only with CAP_FSETID");
            return;
        }
        in_thread(|| {
            prepare_thread().unwrap();
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("f");
            std::fs::write(&path, b"x").unwrap();
            let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
            let fd = file::openat(Fd::CWD, &name, libc::O_RDWR, 0).unwrap();
            let set = || std::fs::set_permissions(&path, PermissionsExt::from_mode(0o6777));
            let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
            set().unwrap();
            file::pwrite(fd.get(), b"y", 0).unwrap();
            assert_eq!(mode(), 0o6777, "with CAP_FSETID they stay");
            without_fsetid(|| file::pwrite(fd.get(), b"y", 0)).unwrap();
            assert_eq!(mode(), 0o777);
            set().unwrap();
            file::pwrite(fd.get(), b"y", 0).unwrap();
            assert_eq!(mode(), 0o6777, "the capability is back");
        });
    }
}

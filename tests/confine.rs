//! What a confined worker cannot do, and that it can serve all the same.
//!
//! The confined process is a child of this test binary run again, with [`confined_process`] alone:
//! after fork(2) it has one thread. It prints what it saw, a line each, marked with `=`.
#![allow(unsafe_code)]

#[path = "common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fusex::fs::passthrough::{Config, Passthrough};
use fusex::mount::{Mountpoint, options::Options};
use fusex::recovery::arena::Arena;
use fusex::session::{Session, SessionConfig};
use fusex::supervise::confine::{self, Confinement};
use fusex::sys::{Fd, file, xattr};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};

use common::{Place, SOON, sys, wait_until};

const CASE: &str = "FUSEX_CONFINE_CASE";
const ROOT: &str = "FUSEX_CONFINE_ROOT";
/// As in production: the supervisor's numbers end here.
const PROTECTED: i32 = 64;

/// The confined process, from the test's side. Ends with it.
struct Confined(Child, BufReader<std::process::ChildStdout>);

impl Confined {
    fn start(case: &str, root: &Path) -> Confined {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "confined_process", "--ignored", "--nocapture"])
            // Names no test, but marks the process as one of this place.
            .arg(root)
            .env(CASE, case)
            .env(ROOT, root)
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Confined(child, output)
    }

    /// The next line that the case printed; `None` at the end.
    fn line(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.1.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            // libtest writes the test's name in front of the first.
            if let Some((_, said)) = line.split_once('=') {
                return Some(said.trim_end().to_string());
            }
        }
    }

    /// All that it printed, up to its end, which must be a good one.
    fn finish(mut self) -> Vec<String> {
        let lines = std::iter::from_fn(|| self.line()).collect();
        let status = self.0.wait().unwrap();
        assert!(status.success(), "{status}: {lines:?}");
        lines
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        // Ended already, as a rule.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn say(text: impl std::fmt::Display) {
    let mut out = std::io::stdout();
    writeln!(out, "={text}").unwrap();
    out.flush().unwrap();
}

#[test]
#[ignore = "the confined process of other tests, which start it"]
fn confined_process() {
    let Ok(case) = std::env::var(CASE) else { return };
    let root = PathBuf::from(std::env::var_os(ROOT).unwrap());
    in_child(|| {
        // The test ends the process that waits for this one.
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).unwrap();
        run_case(&case, &root);
    });
}

fn run_case(case: &str, root: &Path) {
    match case {
        "calls" => calls(),
        "arguments" => arguments(),
        "privileges" => privileges(),
        "threads" => threads(),
        "sandbox" => sandbox(root),
        "serve" => serve(root, None),
        "serve-sandboxed" => serve(root, Some(&root.join("source"))),
        "serve-itself" => serve(root, Some(root)),
        other => panic!("no case {other}"),
    }
}

fn call(number: i64, arguments: [i64; 5]) -> Result<i64, Errno> {
    let [a, b, c, d, e] = arguments;
    // SAFETY: the arguments are numbers and addresses where nothing is.
    Errno::result(unsafe { libc::syscall(number, a, b, c, d, e) })
}

/// Below [`PROTECTED`] every number is taken from here on, as a supervisor sees to.
fn take_numbers() {
    loop {
        let fd = Fd::from_owned(fs::File::open("/dev/null").unwrap().into());
        if fd.number() >= PROTECTED {
            return fd.close();
        }
    }
}

macro_rules! numbers {
    ($($name:ident)*) => { &[$((stringify!($name), libc::$name)),*] };
}

const CALLS: &[(&str, i64)] = numbers! {
    SYS_execve SYS_execveat SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev
    SYS_pidfd_getfd SYS_kcmp SYS_personality SYS_mount SYS_umount2 SYS_pivot_root SYS_chroot
    SYS_chdir SYS_fchdir SYS_open_tree SYS_move_mount SYS_fsopen SYS_fsconfig SYS_fsmount
    SYS_fspick SYS_mount_setattr SYS_setns SYS_reboot SYS_kexec_load SYS_kexec_file_load
    SYS_init_module SYS_finit_module SYS_delete_module SYS_swapon SYS_swapoff SYS_acct SYS_syslog
    SYS_sethostname SYS_setdomainname SYS_settimeofday SYS_clock_settime SYS_clock_adjtime
    SYS_adjtimex SYS_quotactl SYS_quotactl_fd SYS_bpf SYS_perf_event_open SYS_userfaultfd
    SYS_fanotify_init SYS_keyctl SYS_add_key SYS_request_key SYS_io_uring_setup
    SYS_io_uring_enter SYS_io_uring_register
};

/// Each call with arguments that are wrong in every respect, before and with the filter.
fn calls() {
    let try_all = |when: &str| {
        for (name, number) in CALLS {
            // -1 where personality(2) takes it for a question; else no address, descriptor or flag.
            say(format_args!("{when} {name} {:?}", call(*number, [-1; 5]).map(drop)));
        }
    };
    try_all("free");
    confine::filter_calls(PROTECTED).unwrap();
    try_all("main");
    std::thread::scope(|scope| {
        scope.spawn(|| try_all("thread"));
    });
}

#[test]
fn calls_are_refused_by_the_filter() {
    let place = Place::new();
    let lines = Confined::start("calls", &place.path("")).finish();
    let mut seen = BTreeMap::new();
    for line in &lines {
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        assert!(seen.insert((words[0], words[1]), words[2]).is_none(), "twice: {line}");
    }
    let mut told_apart = 0;
    for (name, _) in CALLS {
        assert_eq!(seen[&("main", *name)], "Err(EPERM)", "{name}");
        assert_eq!(seen[&("thread", *name)], "Err(EPERM)", "{name} in a later thread");
        // EPERM or ENOSYS of the kernel itself proves nothing about the filter.
        told_apart += usize::from(seen[&("free", *name)] != "Err(EPERM)");
    }
    let root = nix::unistd::geteuid().is_root();
    assert!(!root || told_apart * 10 > CALLS.len() * 9, "{told_apart} of {}", CALLS.len());
}

/// Calls that depend on their arguments: `name: with the filter`.
fn arguments() {
    take_numbers();
    let spare = Fd::from_owned(fs::File::open("/dev/null").unwrap().into()).number().into();
    confine::filter_calls(PROTECTED).unwrap();
    let [low, edge, high] = [5, i64::from(PROTECTED) - 1, 200];
    let all = i64::from(u32::MAX);
    let is_open = |fd: i64| call(libc::SYS_fcntl, [fd, libc::F_GETFD.into(), 0, 0, 0]).is_ok();
    let see = |name: &str, result: Result<i64, Errno>| {
        say(format_args!("{name}: {:?}", result.map(drop)))
    };
    see("close 5", call(libc::SYS_close, [low, 0, 0, 0, 0]));
    see("close 63", call(libc::SYS_close, [edge, 0, 0, 0, 0]));
    see("close 5 with high bits", call(libc::SYS_close, [low | 1 << 40, 0, 0, 0, 0]));
    see("close -1", call(libc::SYS_close, [-1, 0, 0, 0, 0]));
    #[cfg(target_arch = "x86_64")]
    {
        see("dup2 onto 5", call(libc::SYS_dup2, [spare, low, 0, 0, 0]));
        see("dup2 onto 200", call(libc::SYS_dup2, [spare, high, 0, 0, 0]));
        // The number of close(2) among the x32 calls.
        see("x32 close 5", call(0x4000_0000 | libc::SYS_close, [low, 0, 0, 0, 0]));
    }
    see("dup3 onto 5", call(libc::SYS_dup3, [spare, low, 0, 0, 0]));
    see("dup3 onto 201", call(libc::SYS_dup3, [spare, high + 1, 0, 0, 0]));
    see("close_range 5", call(libc::SYS_close_range, [low, all, 0, 0, 0]));
    see("close_range unshare", call(libc::SYS_close_range, [high, all, 2, 0, 0]));
    see("close_range 200", call(libc::SYS_close_range, [high, all, 0, 0, 0]));
    say(format_args!("still open: {} {}", is_open(low), is_open(edge)));
    say(format_args!("closed: {}", !is_open(high)));
    see("close spare", call(libc::SYS_close, [spare, 0, 0, 0, 0]));
    see("unshare fs", call(libc::SYS_unshare, [libc::CLONE_FS.into(), 0, 0, 0, 0]));
    for (name, flag) in [
        ("files", libc::CLONE_FILES),
        ("mounts", libc::CLONE_NEWNS),
        ("fs and uts", libc::CLONE_FS | libc::CLONE_NEWUTS),
        ("users", libc::CLONE_NEWUSER),
    ] {
        see(&format!("unshare {name}"), call(libc::SYS_unshare, [flag.into(), 0, 0, 0, 0]));
    }
    // With CLONE_THREAD but not CLONE_VM the kernel itself says EINVAL, and there is no child.
    for flag in [libc::CLONE_NEWNS, libc::CLONE_NEWUSER, libc::CLONE_NEWPID, libc::CLONE_NEWNET] {
        let flags = i64::from(flag | libc::CLONE_THREAD);
        see(&format!("clone {flag:x}"), call(libc::SYS_clone, [flags, 0, 0, 0, 0]));
    }
    let thread = libc::CLONE_THREAD.into();
    see("clone plain", call(libc::SYS_clone, [thread, 0, 0, 0, 0]));
    see("clone3", call(libc::SYS_clone3, [0, 0, 0, 0, 0]));
    let ioctl = |request: libc::Ioctl| call(libc::SYS_ioctl, [0, request as i64, 0, 0, 0]);
    see("TIOCSTI", ioctl(libc::TIOCSTI));
    see("TIOCLINUX", ioctl(libc::TIOCLINUX));
    see("TIOCGWINSZ", ioctl(libc::TIOCGWINSZ));
}

#[test]
fn arguments_decide() {
    let place = Place::new();
    let lines = Confined::start("arguments", &place.path("")).finish();
    let mut expected = String::from(
        "close 5: Err(EPERM)\nclose 63: Err(EPERM)\nclose 5 with high bits: Err(EPERM)\n\
         close -1: Err(EBADF)\n",
    );
    if cfg!(target_arch = "x86_64") {
        expected += "dup2 onto 5: Err(EPERM)\ndup2 onto 200: Ok(())\nx32 close 5: Err(ENOSYS)\n";
    }
    expected += "dup3 onto 5: Err(EPERM)\ndup3 onto 201: Ok(())\nclose_range 5: Err(EPERM)\n\
         close_range unshare: Err(EPERM)\nclose_range 200: Ok(())\nstill open: true true\n\
         closed: true\nclose spare: Ok(())\nunshare fs: Ok(())\nunshare files: Err(EPERM)\n\
         unshare mounts: Err(EPERM)\nunshare fs and uts: Err(EPERM)\nunshare users: Err(EPERM)\n\
         clone 20000: Err(EPERM)\nclone 10000000: Err(EPERM)\nclone 20000000: Err(EPERM)\n\
         clone 40000000: Err(EPERM)\nclone plain: Err(EINVAL)\nclone3: Err(ENOSYS)\n\
         TIOCSTI: Err(EPERM)\nTIOCLINUX: Err(EPERM)\nTIOCGWINSZ: Err(ENOTTY)";
    assert_eq!(lines.join("\n"), expected);
}

/// The lines of /proc/self/status about rights.
fn privileges() {
    let lines = |when: &str| {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        for line in status.lines() {
            if line.starts_with("Cap") || line.starts_with("NoNewPrivs") {
                say(format_args!("{when} {}", line.replace(":\t", " ")));
            }
        }
    };
    lines("before");
    confine::apply(&Confinement { sandbox: None, protect_below: 0 }).unwrap();
    lines("after");
}

#[test]
fn capabilities_are_cut() {
    if !nix::unistd::geteuid().is_root() {
        skip!("needs root");
    }
    let place = Place::new();
    let lines = Confined::start("privileges", &place.path("")).finish();
    let value = |when: &str, name: &str| -> u64 {
        let start = format!("{when} {name} ");
        let line = lines.iter().find_map(|line| line.strip_prefix(&start)).unwrap();
        u64::from_str_radix(line, 16).unwrap()
    };
    // Twelve that the module's documentation argues for, and IPC_LOCK.
    assert_eq!(confine::KEPT, 0x88a0_42df);
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        let before = value("before", set);
        assert_ne!(before & !confine::KEPT, 0, "{set}: there was nothing to lose");
        assert_eq!(value("after", set), before & confine::KEPT, "{set}");
    }
    assert_eq!((value("after", "CapInh"), value("after", "CapAmb")), (0, 0));
    assert_eq!((value("before", "NoNewPrivs"), value("after", "NoNewPrivs")), (0, 1));
}

fn threads() {
    let (send, wait) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || wait.recv().is_err());
    let refused = confine::apply(&Confinement { sandbox: None, protect_below: 0 });
    say(refused.unwrap_err());
    drop(send);
    thread.join().unwrap();
    confine::apply(&Confinement { sandbox: None, protect_below: 0 }).unwrap();
}

#[test]
fn it_is_too_late_with_threads() {
    let place = Place::new();
    let lines = Confined::start("threads", &place.path("")).finish();
    assert_eq!(lines, ["the worker has 2 threads: confine it before it starts any"]);
}

/// Runs `f` in a child, to its end.
fn in_child(f: impl FnOnce()) {
    // SAFETY: the other thread, if there is one, is libtest's and waits, holding nothing.
    match unsafe { nix::unistd::fork() }.unwrap() {
        ForkResult::Child => {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
            // SAFETY: no preconditions.
            unsafe { libc::_exit(i32::from(result.is_err())) }
        }
        ForkResult::Parent { child } => {
            assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
        }
    }
}

fn open(path: &str, flags: i32) -> Result<Fd, Errno> {
    let path = CString::new(path).unwrap();
    file::openat(Fd::CWD, &path, flags, 0).map(|fd| fd.keep())
}

/// Where a sandbox and its root are found in the fd table.
const SANDBOX: i32 = 200;
const SANDBOX_ROOT: i32 = 201;

/// Makes a sandbox as a supervisor does, in a child that shares the fd table.
fn make_sandbox(source: &Path, mountpoint: Option<&Path>) {
    // Without CLONE_VM the child is a copy.
    let child = call(libc::SYS_clone, [i64::from(libc::CLONE_FILES | libc::SIGCHLD), 0, 0, 0, 0]);
    let child = child.unwrap();
    if child == 0 {
        let place = |fd: Fd, number: i32| {
            call(libc::SYS_dup3, [fd.number().into(), number.into(), libc::O_CLOEXEC.into(), 0, 0])
        };
        let made = confine::make_sandbox(source, mountpoint).map(|fd| {
            place(fd, SANDBOX).unwrap();
            let root = open("/", libc::O_PATH).unwrap();
            place(root, SANDBOX_ROOT).unwrap();
            // The table stays when this process ends.
            [fd, root].into_iter().for_each(Fd::close);
        });
        if let Err(error) = made {
            say(error);
        }
        // SAFETY: no preconditions.
        unsafe { libc::_exit(0) }
    }
    let child = Pid::from_raw(child as i32);
    assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
}

/// Two workers one after the other, and what they find.
fn sandbox(root: &Path) {
    make_sandbox(&root.join("none"), None);
    make_sandbox(&root.join("source"), None);
    let namespace = Fd::from_number(SANDBOX);
    for who in ["first", "second"] {
        in_child(|| {
            let sandbox = Some(namespace);
            confine::apply(&Confinement { sandbox, protect_below: 0 }).unwrap();
            look(who);
        });
    }
    let below = || {
        let opened = file::openat(Fd::from_number(SANDBOX_ROOT), c"below/file", libc::O_RDONLY, 0);
        opened.map(drop)
    };
    say(format_args!("kept namespace: {:?}", below()));
    namespace.close();
    // The last use of a namespace is given up in a task of the kernel's.
    say(format_args!("without it: apart {}", wait_until(SOON, || below().is_err())));
}

/// What a worker sees in its sandbox.
fn look(who: &str) {
    let mut names: Vec<String> = fs::read_dir("/")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    say(format_args!("{who} {}", names.join(" ")));
    let up = file::openat(Fd::CWD, c"/../../etc/passwd", libc::O_RDONLY, 0).map(drop);
    say(format_args!("{who} outside: {up:?}"));
    say(format_args!("{who} below: {:?}", open("/below/file", libc::O_RDONLY).map(drop)));
    let mounts = ["/", "/below"].map(|path| {
        let fd = open(path, libc::O_PATH).unwrap();
        file::fstatx(fd).unwrap().stx_mnt_id
    });
    say(format_args!("{who} mounts: {mounts:?}"));
    // What goes through /proc elsewhere.
    let node = open("/file", libc::O_PATH).unwrap();
    let reopened = file::reopen(node, libc::O_RDWR).map(drop);
    let set = xattr::set(node, c"trusted.who", who.as_bytes(), 0);
    let mut buf = [0; 16];
    let got = xattr::get(node, c"trusted.who", &mut buf);
    say(format_args!("{who} node: {reopened:?} {set:?} {got:?} {:?}", file::chmod(node, 0o640)));
}

#[test]
fn a_sandbox_has_the_source_only_and_is_entered_again() {
    need_mounts!();
    let place = Place::new();
    fs::write(place.path("source/file"), "x").unwrap();
    fs::create_dir(place.path("source/below")).unwrap();
    place.tmpfs(&place.path("source/below"), "size=1M");
    fs::write(place.path("source/below/file"), "y").unwrap();
    let lines = Confined::start("sandbox", &place.path("")).finish();
    let none = place.path("none");
    let expected =
        format!("sandbox: mount(2), bind of {}: No such file or directory: ", none.display());
    assert!(lines[0].starts_with(&expected), "{}", lines[0]);
    let of = |who: &str| -> Vec<String> {
        lines.iter().filter_map(|line| Some(line.strip_prefix(who)?.to_string())).collect()
    };
    let first = of("first ");
    assert_eq!(first[0], "below file");
    assert_eq!(first[1], "outside: Err(ENOENT)");
    assert_eq!(first[2], "below: Ok(())");
    assert_eq!(first[4], "node: Ok(()) Ok(()) Ok(5) Ok(())");
    // The same mounts, with the same ids, for the next one.
    let second = of("second ");
    assert_eq!(second[..4], first[..4]);
    assert_eq!(second[4], "node: Ok(()) Ok(()) Ok(6) Ok(())");
    assert!(lines.contains(&"kept namespace: Ok(())".to_string()), "{lines:?}");
    // Why it has to be kept.
    assert_eq!(lines.last().unwrap(), "without it: apart true");
    let mode = fs::metadata(place.path("source/file")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);
    assert!(!place.path("none").exists());
}

/// Serves on `point`, confined, until it is unmounted: `source`, or in a sandbox that directory.
fn serve(root: &Path, sandbox: Option<&Path>) {
    take_numbers();
    let options = Options { allow_other: true, ..Options::default() };
    let point = Mountpoint::Path(root.join("point"));
    let mounted = fusex::mount::mount(&point, "confined", &options).unwrap();
    let source = match sandbox {
        Some(directory) => {
            make_sandbox(directory, Some(&root.join("point")));
            PathBuf::from("/")
        }
        None => root.join("source"),
    };
    let sandbox = sandbox.map(|_| Fd::from_number(SANDBOX));
    confine::apply(&Confinement { sandbox, protect_below: PROTECTED }).unwrap();
    let config = Config { mountpoint: Some(root.join("point")), ..Config::default() };
    let arena = Arena::create().unwrap();
    let fs = Passthrough::new(&source, &config, &arena).unwrap();
    let device = Fd::from_owned(mounted.device);
    let session = Session::start_in(&arena, device, fs, SessionConfig::default()).unwrap();
    say("serving");
    session.serve().unwrap();
    say("ended");
}

/// Starts such a server; the mount can be used.
fn served(case: &str, place: &Place) -> Confined {
    let mut server = Confined::start(case, &place.path(""));
    assert_eq!(server.line().as_deref(), Some("serving"));
    server
}

/// What needs each of the kept capabilities and each call on an inode by descriptor.
fn use_mount(point: &Path, lower: &Path) {
    let path = point.join("f");
    fs::write(&path, vec![7; 300_000]).unwrap();
    assert_eq!(fs::read(&path).unwrap(), vec![7; 300_000]);
    chown(&path, Some(1234), Some(2345)).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o4750)).unwrap();
    let meta = fs::metadata(lower.join("f")).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (1234, 2345, 0o4750));
    for name in [c"user.a", c"trusted.a"] {
        sys::set_xattr(&path, name, b"value", 0).unwrap();
        assert_eq!(sys::get_xattr(&path, name, 16).unwrap().1, b"value");
    }
    // cap_net_raw+ep, version 2.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    sys::set_xattr(&path, c"security.capability", &capability, 0).unwrap();
    sys::remove_xattr(&path, c"user.a").unwrap();
    fs::hard_link(&path, point.join("g")).unwrap();
    fs::rename(point.join("g"), point.join("h")).unwrap();
    symlink("f", point.join("link")).unwrap();
    assert_eq!(fs::read_link(point.join("link")).unwrap(), Path::new("f"));
    let name = CString::new(point.join("null").as_os_str().as_bytes()).unwrap();
    // SAFETY: the name is NUL-ended.
    assert_eq!(unsafe { libc::mknod(name.as_ptr(), libc::S_IFCHR, libc::makedev(1, 3)) }, 0);
    assert!(fs::metadata(lower.join("null")).unwrap().file_type().is_char_device());
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(std::time::UNIX_EPOCH)
        .unwrap();
    assert_eq!(fs::metadata(lower.join("f")).unwrap().mtime(), 0);
    as_a_user(point, lower);
    all_at_once(point);
    fs::remove_file(point.join("h")).unwrap();
    assert!(!lower.join("h").exists());
}

fn as_a_user(point: &Path, lower: &Path) {
    fs::create_dir(point.join("open")).unwrap();
    fs::set_permissions(point.join("open"), PermissionsExt::from_mode(0o777)).unwrap();
    common::USER.run(|| fs::write(point.join("open/mine"), "x").unwrap());
    let meta = fs::metadata(lower.join("open/mine")).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (common::USER.uid, common::USER.gid));
}

/// Many callers, so that more threads serve, which start under the filter.
fn all_at_once(point: &Path) {
    std::thread::scope(|scope| {
        for number in 0..8 {
            scope.spawn(move || {
                for round in 0..50 {
                    let path = point.join(format!("{number}-{round}"));
                    fs::write(&path, [number; 5000]).unwrap();
                    fs::File::open(&path).unwrap().sync_all().unwrap();
                    assert_eq!(fs::read(&path).unwrap(), [number; 5000]);
                    fs::remove_file(&path).unwrap();
                }
            });
        }
    });
}

#[test]
fn a_confined_server_serves() {
    need_mounts!();
    let place = Place::new();
    let server = served("serve", &place);
    use_mount(&place.point(), &place.source());
    place.unmount_all();
    assert_eq!(server.finish(), ["ended"]);
}

#[test]
fn a_sandboxed_server_serves() {
    need_mounts!();
    let place = Place::new();
    let server = served("serve-sandboxed", &place);
    use_mount(&place.point(), &place.source());
    place.unmount_all();
    assert_eq!(server.finish(), ["ended"]);
}

/// The mount point is below the source: the sandbox must not hold the mount.
#[test]
fn a_mount_below_its_source_ends_with_its_unmount() {
    need_mounts!();
    let place = Place::new();
    let server = served("serve-itself", &place);
    fs::write(place.point().join("source/f"), "x").unwrap();
    assert_eq!(fs::read(place.source().join("f")).unwrap(), b"x");
    // What lies under the mount shows as it is.
    assert_eq!(fs::read_dir(place.point().join("point")).unwrap().count(), 0);
    place.unmount_all();
    assert_eq!(server.finish(), ["ended"]);
}

//! What is done in the machine.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libbpf_rs::{Link, MapCore, MapFlags, MapHandle, Object, ObjectBuilder};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags};

use super::OBJECT;
use super::common::sys::{get_xattr, remove_xattr, set_xattr};
use super::common::{code, errno};
use super::server::{self, *};

/// `enum mode` of the programs.
#[derive(Clone, Copy, Debug)]
enum Mode {
    Well,
    Short,
    Type,
    Generation,
    Dead,
    NoError,
    TooFar,
    Opened,
    Refuse,
    Upcall,
}

/// What `seen` counts above the opcodes.
const RACED: u32 = 128;
const INVAL_ATTR: u32 = 129;
const INVAL_INODE: u32 = 130;
const INVAL_ENTRY: u32 = 131;

/// The programs, attached to a connection while `link` is there.
struct Programs {
    object: Object,
    link: Option<Link>,
}

impl Programs {
    fn load(connection: u32) -> Programs {
        let mut builder = ObjectBuilder::default();
        let mut open = builder.open_file(OBJECT).unwrap();
        let mut maps = open.maps_mut();
        let mut answers = maps.find(|it| it.name() == "answers").unwrap();
        // Behind the two programs.
        answers.initial_value_mut().unwrap()[16..20].copy_from_slice(&connection.to_le_bytes());
        drop(maps);
        Programs { object: open.load().unwrap(), link: None }
    }

    fn attach(&mut self) -> Result<(), Errno> {
        let mut maps = self.object.maps_mut();
        let mut answers = maps.find(|it| it.name() == "answers").unwrap();
        let link = answers.attach_struct_ops();
        self.link = Some(link.map_err(|error| match error.kind() {
            libbpf_rs::ErrorKind::NotFound => Errno::ENOENT,
            _ => errno(std::io::Error::last_os_error()),
        })?);
        Ok(())
    }

    fn on(connection: u32) -> Programs {
        let mut programs = Programs::load(connection);
        programs.attach().unwrap();
        programs
    }

    fn map(&self, name: &str) -> MapHandle {
        let map = self.object.maps().find(|it| it.name() == name).unwrap();
        MapHandle::try_from(&map).unwrap()
    }

    fn be(&self, mode: Mode) {
        let value = (mode as u32).to_le_bytes();
        self.map("mode").update(&[0; 4], &value, MapFlags::ANY).unwrap();
    }

    fn seen(&self, what: u32) -> u64 {
        let value = self.map("seen").lookup(&what.to_le_bytes(), MapFlags::ANY).unwrap().unwrap();
        u64::from_le_bytes(value.try_into().unwrap())
    }
}

/// A mount with files.
struct Mounted {
    point: PathBuf,
    server: Arc<Shared>,
    connection: u32,
}

impl Mounted {
    fn new(name: &str) -> Mounted {
        let point = Path::new("/tmp").join(name);
        let (server, connection) = server::mount(&point);
        let mounted = Mounted { point, server, connection };
        for file in 0..20 {
            mounted.make(&format!("file{file}"));
        }
        mounted.server.asked();
        mounted
    }

    fn path(&self, name: &str) -> PathBuf {
        self.point.join(name)
    }

    fn make(&self, name: &str) {
        fs::File::create(self.path(name)).unwrap();
    }

    /// A file that controls the connection.
    fn control(&self, name: &str) -> PathBuf {
        Path::new("/sys/fs/fusebpf/connections").join(self.connection.to_string()).join(name)
    }

    fn stat(&self, name: &str) -> Result<fs::Metadata, Errno> {
        fs::metadata(self.path(name)).map_err(errno)
    }

    fn xattr(&self, name: &str) -> Result<Vec<u8>, Errno> {
        get_xattr(&self.path(name), c"user.x", 100).map(|(length, mut value)| {
            value.truncate(length);
            value
        })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let unmounted = nix::mount::umount2(&self.point, MntFlags::MNT_DETACH);
            assert!(unmounted.is_ok() || unmounted == Err(Errno::EINVAL), "{unmounted:?}");
        }
    }
}

fn nothing() -> BTreeMap<u32, u64> {
    BTreeMap::new()
}

/// Without a program each call asks, with one only the first.
fn warm_answers_ask_nobody() {
    let mounted = Mounted::new("warm");
    let calls = || {
        for file in 0..20 {
            assert_eq!(mounted.stat(&format!("file{file}")).unwrap().mode(), 0o100_644);
            assert_eq!(mounted.stat(&format!("none{file}")).unwrap_err(), Errno::ENOENT);
        }
        assert_eq!(mounted.xattr("file0"), Err(Errno::ENODATA));
        assert_eq!(mounted.xattr("file1"), Ok(b"value".to_vec()));
        assert_eq!(mounted.xattr("file2"), Ok(Vec::new()));
        assert_eq!(fs::read_link(mounted.path("link")).unwrap(), Path::new("to/nowhere"));
    };
    std::os::unix::fs::symlink("to/nowhere", mounted.path("link")).unwrap();
    set_xattr(&mounted.path("file1"), c"user.x", b"value", 0).unwrap();
    set_xattr(&mounted.path("file2"), c"user.x", b"", 0).unwrap();
    mounted.server.asked();
    calls();
    let cold = mounted.server.asked();
    calls();
    assert_eq!(mounted.server.asked(), cold);
    assert_eq!((cold[&LOOKUP], cold[&GETXATTR], cold[&READLINK]), (44, 3, 1));

    let mut programs = Programs::on(mounted.connection);
    calls();
    // Three of the names come up once more.
    assert_eq!(mounted.server.asked()[&LOOKUP], 41);
    for _ in 0..100 {
        calls();
    }
    assert_eq!(mounted.server.asked(), nothing());
    // Too small, and only how much it is.
    let short = get_xattr(&mounted.path("file1"), c"user.x", 2).unwrap_err();
    assert_eq!(short, Errno::ERANGE);
    assert_eq!(get_xattr(&mounted.path("file1"), c"user.x", 0).unwrap().0, 5);
    assert_eq!(mounted.server.asked(), nothing());
    programs.be(Mode::Upcall);
    calls();
    assert_eq!(mounted.server.asked(), cold);
    programs.be(Mode::Well);
    programs.link = None;
    calls();
    assert_eq!(mounted.server.asked(), cold);
}

/// Who changes something sees it changed at once.
fn changes_are_seen() {
    let mounted = Mounted::new("changes");
    let programs = Programs::on(mounted.connection);
    let path = |name| mounted.path(name);
    let (here, absent) = (
        |name| assert!(mounted.stat(name).is_ok(), "{name}"),
        |name| {
            assert_eq!(mounted.stat(name).unwrap_err(), Errno::ENOENT, "{name}");
        },
    );
    for _ in 0..3 {
        absent("new");
        mounted.make("new");
        here("new");
        fs::set_permissions(path("new"), fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(mounted.stat("new").unwrap().mode(), 0o100_600);
        fs::write(path("new"), "12345").unwrap();
        assert_eq!(mounted.stat("new").unwrap().len(), 5);
        absent("other");
        fs::hard_link(path("new"), path("other")).unwrap();
        assert_eq!(mounted.stat("new").unwrap().nlink(), 2);
        // The node is named by the name that goes.
        assert_eq!(mounted.stat("other").unwrap().nlink(), 2);
        fs::remove_file(path("new")).unwrap();
        absent("new");
        assert_eq!(mounted.stat("other").unwrap().nlink(), 1);
        fs::create_dir(path("directory")).unwrap();
        absent("directory/moved");
        fs::rename(path("other"), path("directory/moved")).unwrap();
        absent("other");
        here("directory/moved");
        fs::rename(path("directory/moved"), path("file3")).unwrap();
        absent("directory/moved");
        assert_eq!(mounted.stat("file3").unwrap().len(), 5);
        fs::remove_dir(path("directory")).unwrap();
        absent("directory");
        assert_eq!(mounted.xattr("file3"), Err(Errno::ENODATA));
        set_xattr(&path("file3"), c"user.x", b"1", 0).unwrap();
        assert_eq!(mounted.xattr("file3"), Ok(b"1".to_vec()));
        remove_xattr(&path("file3"), c"user.x").unwrap();
        assert_eq!(mounted.xattr("file3"), Err(Errno::ENODATA));
    }
    assert!(programs.seen(INVAL_ATTR) > 0);
}

/// What the server changes itself is seen when it says so.
fn notices_arrive() {
    let mounted = Mounted::new("notices");
    let programs = Programs::on(mounted.connection);
    let _ = mounted.stat("file0").unwrap();
    let _ = mounted.stat("file1").unwrap();
    let node = mounted.server.node("file0");
    mounted.server.change("file0", |it| it.size = 17);
    mounted.server.take("file1");
    assert_eq!(mounted.stat("file0").unwrap().len(), 0);
    assert!(mounted.stat("file1").is_ok());
    // FUSE_NOTIFY_INVAL_INODE and FUSE_NOTIFY_INVAL_ENTRY.
    let inode = [node.to_le_bytes(), (-1i64).to_le_bytes(), [0; 8]].concat();
    mounted.server.notify(2, &inode).unwrap();
    let name = [&1u64.to_le_bytes()[..], &5u32.to_le_bytes(), &[0; 4], b"file1\0"].concat();
    mounted.server.notify(3, &name).unwrap();
    assert_eq!((programs.seen(INVAL_INODE), programs.seen(INVAL_ENTRY)), (1, 1));
    assert_eq!(mounted.stat("file1").unwrap_err(), Errno::ENOENT);
    let stat = fs::File::open(mounted.path("file0")).unwrap().metadata().unwrap();
    assert_eq!(stat.len(), 17);
}

/// Writes that send no request make attributes stale too.
fn passthrough_writes_are_told() {
    let mounted = Mounted::new("passthrough");
    let programs = Programs::on(mounted.connection);
    let lower = fs::File::create("/tmp/lower").unwrap();
    mounted.server.pass(&lower);
    let mut file = fs::File::options().write(true).open(mounted.path("file0")).unwrap();
    assert_eq!(mounted.stat("file0").unwrap().len(), 0);
    let before = programs.seen(INVAL_ATTR);
    mounted.server.asked();
    file.write_all(b"12345").unwrap();
    assert_eq!(mounted.server.asked().get(&WRITE), None);
    assert_eq!(fs::read("/tmp/lower").unwrap(), b"12345");
    assert!(programs.seen(INVAL_ATTR) > before);
    mounted.server.change("file0", |it| it.size = 5);
    assert_eq!(mounted.stat("file0").unwrap().len(), 5);
}

/// What is missing or wrong in an answer falls back to the server.
fn bad_answers_are_refused() {
    let mounted = Mounted::new("bad");
    let programs = Programs::on(mounted.connection);
    let path = mounted.path("file0");
    let file = fs::File::open(&path).unwrap();
    for mode in [
        Mode::Well,
        Mode::Short,
        Mode::Type,
        Mode::Generation,
        Mode::Dead,
        Mode::NoError,
        Mode::TooFar,
        Mode::Opened,
        Mode::Refuse,
    ] {
        programs.be(Mode::Well);
        let _ = (mounted.stat("file0"), file.metadata());
        programs.be(mode);
        mounted.server.asked();
        let results = (mounted.stat("file0"), file.metadata());
        let asked = mounted.server.asked();
        let asked = [LOOKUP, GETATTR].map(|it| asked.get(&it).copied().unwrap_or(0) > 0);
        if let Mode::Refuse = mode {
            assert_eq!(results.1.map_err(errno).unwrap_err(), Errno::EPERM);
            assert_eq!(code(fs::remove_file(&path)), Err(Errno::EPERM));
            assert_eq!(asked, [false, false]);
            continue;
        }
        assert_eq!(results.0.unwrap().mode(), 0o100_644, "{mode:?}");
        assert_eq!(results.1.unwrap().mode(), 0o100_644, "{mode:?}");
        let expected = match mode {
            Mode::Well | Mode::Opened => [false, false],
            Mode::Short => [false, true],
            Mode::Generation | Mode::Dead => [true, false],
            _ => [true, true],
        };
        assert_eq!(asked, expected, "{mode:?}");
        if let Mode::Opened = mode {
            drop(fs::File::open(&path).unwrap());
            assert_eq!(mounted.server.asked()[&OPEN], 1);
        }
    }
}

/// An answer that was overtaken by a change is not kept.
fn races_are_told() {
    let mounted = Mounted::new("races");
    let programs = Programs::on(mounted.connection);
    let file = fs::File::open(mounted.path("file0")).unwrap();
    let node = mounted.server.node("file0");
    programs.map("attrs").delete(&node.to_le_bytes()).unwrap();
    let before = programs.seen(RACED);
    mounted.server.hold(node);
    std::thread::scope(|scope| {
        scope.spawn(|| file.metadata().unwrap());
        mounted.server.wait_until_held();
        fs::set_permissions(mounted.path("file0"), fs::Permissions::from_mode(0o600)).unwrap();
        mounted.server.release();
    });
    assert_eq!(programs.seen(RACED), before + 1);
    assert_eq!(file.metadata().unwrap().mode(), 0o100_600);
    mounted.server.asked();
    // That one was kept.
    assert_eq!(file.metadata().unwrap().mode(), 0o100_600);
    assert_eq!(mounted.server.asked(), nothing());
}

/// After all is forgotten the server has no lookups left, neither too few nor too many.
fn lookups_balance() {
    let mounted = Mounted::new("balance");
    let programs = Programs::on(mounted.connection);
    for round in 0..5000 {
        for file in 0..20 {
            let _ = mounted.stat(&format!("file{file}")).unwrap();
        }
        if round % 500 == 499 {
            // The dentries go, and what is kept of them no longer is alive.
            fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
        }
    }
    assert!(programs.seen(FORGET) >= 20);
    // A name without a dentry of a node that is alive by another name.
    fs::hard_link(mounted.path("file0"), mounted.path("again")).unwrap();
    let file = fs::File::open(mounted.path("file0")).unwrap();
    let _ = mounted.stat("again").unwrap();
    mounted.server.asked();
    for _ in 0..100 {
        fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
        let _ = mounted.stat("again").unwrap();
    }
    assert_eq!(mounted.server.asked().get(&LOOKUP), None);
    drop(file);
    fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    let left = || {
        let state = mounted.server.state.lock().unwrap();
        let nodes = state.nodes.iter().filter(|it| *it.0 != 1 && it.1.lookups != 0);
        (nodes.count(), state.faults.clone())
    };
    while left().0 > 0 && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(left(), (0, Vec::new()));
}

/// One program for each connection, and each for its own.
fn connections_are_apart() {
    let [one, two] = ["one", "two"].map(Mounted::new);
    assert_eq!(Programs::load(4_000_000).attach(), Err(Errno::ENOENT));
    let first = Programs::on(one.connection);
    assert_eq!(Programs::load(one.connection).attach(), Err(Errno::EBUSY));
    let _second = Programs::on(two.connection);
    let _ = (one.stat("file0").unwrap(), two.stat("file0").unwrap());
    first.be(Mode::Refuse);
    assert_eq!(fs::remove_file(one.path("file0")).map_err(errno), Err(Errno::EPERM));
    fs::remove_file(two.path("file0")).unwrap();
    drop(first);
    fs::remove_file(one.path("file0")).unwrap();
    let _third = Programs::on(one.connection);
}

/// Threads that look up, change and remove, until told to stop.
fn busy(mounted: &Mounted, during: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let stop = &stop;
            scope.spawn(move || {
                for round in 0.. {
                    let own = mounted.path(&format!("own{thread}"));
                    let _ = mounted.stat(&format!("file{}", round % 20));
                    let _ = mounted.xattr(&format!("file{}", round % 20));
                    let _ = (fs::File::create(&own), fs::metadata(&own));
                    let _ = fs::rename(&own, mounted.path(&format!("file{}", round % 7)));
                    let _ = fs::remove_file(mounted.path(&format!("file{}", round % 3)));
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        during();
        stop.store(true, Ordering::Relaxed);
    });
}

/// Attached, detached, aborted and unmounted at any moment.
fn ends_while_busy() {
    let mounted = Mounted::new("detach");
    busy(&mounted, || {
        for _ in 0..30 {
            let programs = Programs::on(mounted.connection);
            std::thread::sleep(Duration::from_millis(50));
            drop(programs);
        }
    });
    assert_eq!(mounted.server.state.lock().unwrap().faults, Vec::<String>::new());

    let mounted = Mounted::new("abort");
    let mut programs = Programs::on(mounted.connection);
    let _ = mounted.stat("file19").unwrap();
    busy(&mounted, || {
        std::thread::sleep(Duration::from_millis(300));
        fs::write(mounted.control("abort"), "1").unwrap();
        std::thread::sleep(Duration::from_millis(300));
    });
    // What is known is no longer answered.
    assert_eq!(mounted.stat("file19").unwrap_err(), Errno::ENOTCONN);
    programs.link = None;
    assert_eq!(programs.attach(), Err(Errno::ENOTCONN));

    let mounted = Mounted::new("unmount");
    let programs = Programs::on(mounted.connection);
    busy(&mounted, || {
        std::thread::sleep(Duration::from_millis(300));
        nix::mount::umount2(&mounted.point, MntFlags::MNT_DETACH).unwrap();
        std::thread::sleep(Duration::from_millis(300));
    });
    // The link is left over, and so is the device.
    drop(programs);
    std::thread::sleep(Duration::from_millis(300));
    let inode = [1i64.to_le_bytes(), (-1i64).to_le_bytes(), [0; 8]].concat();
    assert_eq!(code(mounted.server.notify(2, &inode)), Err(Errno::ENOENT));
}

/// The kernel has nothing to complain about.
fn the_log_is_clean() {
    let log = std::process::Command::new("dmesg").output().unwrap();
    let log = String::from_utf8_lossy(&log.stdout);
    let bad = ["WARNING", "BUG", "Oops", "RIP:", "Call Trace", "duplicate", "stall", "INFO: task"];
    let lines = log.lines().filter(|line| bad.iter().any(|it| line.contains(it)));
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines, Vec::<&str>::new(), "{log}");
}

#[test]
#[ignore = "runs in the virtual machine alone"]
fn all() {
    assert!(Path::new(OBJECT).exists(), "this is no machine for it");
    let connections = "/sys/fs/fusebpf/connections";
    let none: Option<&str> = None;
    nix::mount::mount(none, connections, Some("fusebpfctl"), MsFlags::empty(), none).unwrap();
    let checks: &[(&str, fn())] = &[
        ("warm answers ask nobody", warm_answers_ask_nobody),
        ("changes are seen", changes_are_seen),
        ("notices arrive", notices_arrive),
        ("passthrough writes are told", passthrough_writes_are_told),
        ("bad answers are refused", bad_answers_are_refused),
        ("races are told", races_are_told),
        ("lookups balance", lookups_balance),
        ("connections are apart", connections_are_apart),
        ("ends while busy", ends_while_busy),
        ("the log is clean", the_log_is_clean),
    ];
    for (name, check) in checks {
        println!("{name}");
        check();
    }
    println!("all done");
}
